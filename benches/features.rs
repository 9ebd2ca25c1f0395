//! What features cost, in nanoseconds a bar on one core.
//!
//! Tables by alternating rounds, so that the machine's moods meet all contestants alike, of the fastest of each and, beside
//! other libraries, of the median; then criterion's report of the named sets:
//! - every family over windows of 10, 100 and 1000 bars: what is said to be O(1) must not grow with the window;
//! - eleven indicators together, and one by one, beside other libraries that compute the same value (the last value of
//!   each is compared): vela's indicators alone, which are called as theirs are; a `PlanState` that takes bar by bar, with
//!   its names, gaps and one row for all; a `Batch` that takes runs of bars;
//! - means again, at four places in memory: where a short loop lies is worth more than what libraries differ by;
//! - what is left of a window's mean and deviation after 5 million bars, and after the price has fallen to a billionth,
//!   beside two passes over the window: what sums that are exact cost, and what sums that run on save.
//!
//! A regression here is paid by every bar of every series, and by every row of a training file.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "features/errors.rs"]
mod errors;
#[path = "features/floors.rs"]
mod floors;
#[path = "features/peers.rs"]
mod peers;
#[path = "features/places.rs"]
mod places;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Instant;
use vela::domain::{Bar, Stability, Timeframe, Timestamp};
use vela::feature::catalogue::{Cost, FAMILIES, Family, set};
use vela::feature::{Batch, Plan};

const BARS: usize = 20_000;
const ROUNDS: usize = 101;

/// A market that walks: xorshift, so that every run sees the same bars.
fn market(bars: usize) -> Vec<Bar> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut unit = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut close = 100.0_f64;
    (0..bars)
        .map(|i| {
            let open = close;
            close *= 1.0 + (unit() - 0.5) * 0.004;
            let high = open.max(close) * (1.0 + unit() * 0.001);
            let low = open.min(close) * (1.0 - unit() * 0.001);
            let ts = Timestamp::from_secs(1_700_000_040 + 60 * i as i64);
            Bar { ts, open, high, low, close, volume: 1.0 + unit() * 1000.0 }
        })
        .collect()
}

/// Built, and before its first bar: runs over all of them; gives the last value.
type Ready<'a> = Box<dyn FnOnce(&[Bar]) -> f64 + 'a>;

/// A name, and what is built anew for each round: the time that building takes is no bar's.
type Contestant<'a> = (String, Box<dyn Fn() -> Ready<'a> + 'a>);

fn contestant<'a, R: FnOnce(&[Bar]) -> f64 + 'a>(name: &str, build: impl Fn() -> R + 'a) -> Contestant<'a> {
    (name.into(), Box::new(move || Box::new(build())))
}

/// What a contestant took, in ns a bar, over many rounds in turn, and its last value.
#[derive(Clone, Copy)]
struct Found {
    /// What else runs on the machine only ever adds, and on a core that two share it adds most to who leaves least of it idle.
    fastest: f64,
    median: f64,
    last: f64,
}

/// Runs all of them in turn, round by round.
fn contest(bars: &[Bar], contestants: &[Contestant<'_>]) -> Vec<Found> {
    let mut times = vec![Vec::with_capacity(ROUNDS); contestants.len()];
    let mut last = vec![f64::NAN; contestants.len()];
    for _ in 0..ROUNDS {
        for (i, (_, build)) in contestants.iter().enumerate() {
            let run = build();
            let begin = Instant::now();
            last[i] = run(black_box(bars));
            times[i].push(begin.elapsed().as_nanos() as f64 / bars.len() as f64);
        }
    }
    let found = |(mut times, last): (Vec<f64>, f64)| {
        times.sort_by(f64::total_cmp);
        Found { fastest: times[0], median: times[ROUNDS / 2], last }
    };
    times.into_iter().zip(last).map(found).collect()
}

/// The features called `names` in one plan.
fn vela(names: &[&str]) -> Contestant<'static> {
    let plan = Plan::new(names, Timeframe::MINUTE).unwrap();
    contestant("vela plan", move || {
        let mut state = plan.state();
        move |bars: &[Bar]| {
            for bar in bars {
                state.update(bar);
                black_box(state.values());
            }
            state.values()[0]
        }
    })
}

/// The same over runs of bars.
fn vela_batch(names: &[&str]) -> Contestant<'static> {
    let plan = Plan::new(names, Timeframe::MINUTE).unwrap();
    let warm_up = plan.warm_up(&[0], 1, Stability::Defined);
    contestant("vela batch", move || {
        let (mut batch, warm_up) = (Batch::new(&plan), warm_up.clone());
        move |bars: &[Bar]| {
            let mut last = f64::NAN;
            batch.update(bars, &warm_up, |_, row, _| last = black_box(row)[0]);
            last
        }
    })
}

/// What `begin` makes steps over all bars: in a variable of its own, so that nothing but its own writing keeps an indicator
/// out of registers.
fn each<S: FnMut(&Bar) -> f64 + 'static>(name: &str, begin: impl Fn() -> S + 'static) -> Contestant<'static> {
    contestant(name, move || {
        let step = begin();
        move |bars: &[Bar]| {
            let mut step = step;
            let mut last = f64::NAN;
            for bar in bars {
                last = black_box(step(bar));
            }
            last
        }
    })
}

/// A family's name with windows of `n` bars.
fn with_window(family: &Family, n: usize) -> Option<String> {
    let periods = family.parameters.iter().filter(|parameter| parameter.whole).count();
    if periods == 0 {
        return None;
    }
    let mut name = family.name.to_owned();
    for (i, parameter) in family.parameters.iter().enumerate() {
        let value = if parameter.whole { (n + i).to_string() } else { parameter.default.to_string() };
        name = format!("{name}_{value}");
    }
    Some(name)
}

fn windows(bars: &[Bar]) {
    println!("\nns a bar by window, whole plan of one feature\n");
    println!("{:<18} {:>8} {:>8} {:>8} {:>9}", "family", "10", "100", "1000", "1000/10");
    for family in FAMILIES {
        let names: Vec<String> = [10, 100, 1000].iter().filter_map(|n| with_window(family, *n)).collect();
        let names = if names.is_empty() { vec![family.example()] } else { names };
        let contestants: Vec<_> = names.iter().map(|name| vela(&[name])).collect();
        let times = contest(bars, &contestants);
        let [first, .., last] = &times[..] else {
            println!("{:<18} {:>8.1}", family.name, times[0].fastest);
            continue;
        };
        let linear = if family.cost == Cost::Linear { "  documented as O(n)" } else { "" };
        let cells: String = times.iter().map(|found| format!(" {:>8.1}", found.fastest)).collect();
        println!("{:<18}{cells} {:>9.2}{linear}", family.name, last.fastest / first.fastest);
    }
}

fn features(criterion: &mut Criterion) {
    let bars = market(BARS);
    if !std::env::args().any(|argument| argument == "--test") {
        windows(&bars);
        peers::print(&bars);
        places::print(&bars);
        errors::print(&bars);
        println!();
    }
    let mut group = criterion.benchmark_group("features");
    group.throughput(Throughput::Elements(BARS as u64));
    group.sample_size(20);
    for name in ["default", "vela-core-1"] {
        let names = set(name).unwrap();
        for (who, build) in [vela(names), vela_batch(names)] {
            group.bench_function(format!("{name}, {who}"), |bencher| {
                bencher.iter_batched(&build, |run| run(&bars), BatchSize::SmallInput)
            });
        }
    }
    group.finish();
}

criterion_group!(benches, features);
criterion_main!(benches);
