//! What features cost, in nanoseconds a bar on one core.
//!
//! Tables by alternating rounds, so that the machine's moods meet all contestants alike; then criterion's report of the
//! named sets:
//! - every family over windows of 10, 100 and 1000 bars: what is said to be O(1) must not grow with the window;
//! - eleven indicators together, and one by one, beside other libraries that compute the same value (the last value of
//!   each is compared): vela's indicators alone, which are called as theirs are; a `PlanState` that takes bar by bar, with
//!   its names, gaps and one row for all; a `Batch` that takes runs of bars;
//! - what is left of a window's mean and deviation after 5 million bars, and after the price has fallen to a billionth,
//!   beside two passes over the window: what sums that are exact cost, and what sums that run on save.
//!
//! A regression here is paid by every bar of every series, and by every row of a training file.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "features/errors.rs"]
mod errors;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quantedge_ta as quantedge;
use std::hint::black_box;
use std::num::NonZero;
use std::time::Instant;
use ta::Next as _;
use vela::domain::{Bar, Stability, Timeframe, Timestamp};
use vela::feature::catalogue::{Cost, FAMILIES, Family, set};
use vela::feature::indicator::{
    Adx, Atr, Bands, Bollinger, Cci, Directions, Ema, Macd, MacdValues, Obv, Rsi, Sma, Stochastic,
    StochasticValues, WilliamsR,
};
use vela::feature::{Batch, Plan};
use yata::prelude::Method as _;

const BARS: usize = 20_000;
const ROUNDS: usize = 15;

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

/// Runs over all bars; gives the last value.
type Contestant<'a> = (String, Box<dyn FnMut(&[Bar]) -> f64 + 'a>);

/// The medians of a few rounds in turn, in ns a bar, and the last values.
fn contest(bars: &[Bar], contestants: &mut [Contestant<'_>]) -> Vec<(f64, f64)> {
    let mut times = vec![Vec::with_capacity(ROUNDS); contestants.len()];
    let mut last = vec![f64::NAN; contestants.len()];
    for _ in 0..ROUNDS {
        for (i, (_, run)) in contestants.iter_mut().enumerate() {
            let begin = Instant::now();
            last[i] = run(black_box(bars));
            times[i].push(begin.elapsed().as_nanos() as f64 / bars.len() as f64);
        }
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    times.iter().map(|times| times[ROUNDS / 2]).zip(last).collect()
}

/// The features called `names` in one plan.
fn vela(names: &[&str]) -> Contestant<'static> {
    let plan = Plan::new(names, Timeframe::MINUTE).unwrap();
    let run = move |bars: &[Bar]| {
        let mut state = plan.state();
        for bar in bars {
            state.update(bar);
            black_box(state.values());
        }
        state.values()[0]
    };
    ("vela plan".into(), Box::new(run))
}

/// The same over runs of bars.
fn vela_batch(names: &[&str]) -> Contestant<'static> {
    let plan = Plan::new(names, Timeframe::MINUTE).unwrap();
    let warm_up = plan.warm_up(&[0], 1, Stability::Defined);
    let run = move |bars: &[Bar]| {
        let mut last = f64::NAN;
        Batch::new(&plan).update(bars, &warm_up, |_, row, _| last = black_box(row)[0]);
        last
    };
    ("vela batch".into(), Box::new(run))
}

/// One of vela's indicators by itself, called as those of the other libraries are.
macro_rules! alone {
    ($new:expr, $read:expr) => {
        each("vela alone", || {
            let mut indicator = $new.unwrap();
            Box::new(move |bar| $read(indicator.update(bar)))
        })
    };
}

/// A mean by a sum that runs on: what is added is taken away again `N` bars later, and its rounding stays.
fn running_mean<const N: usize>() -> Contestant<'static> {
    let run = |bars: &[Bar]| {
        let (mut ring, mut at, mut sum, mut last) = ([0.0; N], 0, 0.0, f64::NAN);
        for bar in bars {
            sum += bar.close - std::mem::replace(&mut ring[at], bar.close);
            at = if at + 1 == N { 0 } else { at + 1 };
            last = black_box(sum / N as f64);
        }
        last
    };
    ("a running sum".into(), Box::new(run))
}

/// Eleven of vela's indicators without a plan, composed as those of quantedge-ta are.
fn alone_together() -> Contestant<'static> {
    each("vela alone", || {
        macro_rules! all {
            ($($name:ident: $new:expr;)+) => {{
                $(let mut $name = $new.unwrap();)+
                Box::new(move |bar: &Bar| {
                    $(black_box($name.update(bar));)+
                    bar.close
                })
            }};
        }
        all! {
            sma: Sma::new(20);
            ema: Ema::new(26);
            rsi: Rsi::new(14);
            atr: Atr::new(14);
            bands: Bollinger::new(20, 2.0);
            macd: Macd::new(12, 26, 9);
            stochastic: Stochastic::new(14, 3, 3);
            adx: Adx::new(14);
            willr: WilliamsR::new(14);
            cci: Cci::new(20);
            obv: Obv::new();
        }
    })
}

fn each(name: &str, step: impl Fn() -> Box<dyn FnMut(&Bar) -> f64> + 'static) -> Contestant<'static> {
    let run = move |bars: &[Bar]| {
        let mut step = step();
        bars.iter().fold(f64::NAN, |_, bar| black_box(step(bar)))
    };
    (name.into(), Box::new(run))
}

/// A bar as quantedge-ta takes it.
fn ohlcv(bar: &Bar) -> quantedge::Ohlcv {
    quantedge::Ohlcv {
        open: bar.open,
        high: bar.high,
        low: bar.low,
        close: bar.close,
        open_time: bar.ts.as_millis() as u64,
        volume: bar.volume,
    }
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
        let mut contestants: Vec<_> = names.iter().map(|name| vela(&[name])).collect();
        let times = contest(bars, &mut contestants);
        let [first, .., last] = &times[..] else {
            println!("{:<18} {:>8.1}", family.name, times[0].0);
            continue;
        };
        let linear = if family.cost == Cost::Linear { "  documented as O(n)" } else { "" };
        let cells: String = times.iter().map(|(time, _)| format!(" {time:>8.1}")).collect();
        println!("{:<18}{cells} {:>9.2}{linear}", family.name, last.0 / first.0);
    }
}

fn peers(bars: &[Bar]) {
    let nz = |n: usize| NonZero::new(n).unwrap();
    macro_rules! quantedge {
        ($type:ident, $config:expr, $read:expr) => {
            each("quantedge-ta", move || {
                let mut indicator = quantedge::$type::new($config);
                Box::new(move |bar| {
                    let bar = ohlcv(bar);
                    indicator.compute(&bar).map_or(f64::NAN, $read)
                })
            })
        };
    }
    macro_rules! ta {
        ($new:expr) => {
            each("ta", || {
                let mut indicator = $new.unwrap();
                Box::new(move |bar| indicator.next(bar.close))
            })
        };
    }
    let first = bars[0].close;
    macro_rules! yata {
        ($method:ident, $n:literal) => {
            each("yata", move || {
                let mut method = yata::methods::$method::new($n, &first).unwrap();
                Box::new(move |bar| method.next(&bar.close))
            })
        };
    }
    use quantedge::{
        AdxConfig, AtrConfig, BbConfig, CciConfig, EmaConfig, MacdConfig, ObvConfig, RsiConfig, SmaConfig,
        StochConfig, WillRConfig,
    };
    let stoch = move || StochConfig::builder().length(nz(14)).k_smooth(nz(3)).d_smooth(nz(3)).build();
    // All of them over the same bars, as a model would ask: a plan's own cost is paid once.
    let together = each("quantedge-ta", move || {
        macro_rules! all {
            ($($name:ident: $type:ident, $config:expr;)+) => {{
                $(let mut $name = quantedge::$type::new($config);)+
                Box::new(move |bar: &Bar| {
                    let bar = ohlcv(bar);
                    let mut last = f64::NAN;
                    $(if black_box($name.compute(&bar)).is_some() { last = bar.close; })+
                    last
                })
            }};
        }
        all! {
            sma: Sma, SmaConfig::close(nz(20));
            ema: Ema, EmaConfig::close(nz(26));
            rsi: Rsi, RsiConfig::close(nz(14));
            atr: Atr, AtrConfig::builder().length(nz(14)).build();
            bb: Bb, BbConfig::close(nz(20));
            macd: Macd, MacdConfig::close(nz(12), nz(26), nz(9));
            stochastic: Stoch, stoch();
            adx: Adx, AdxConfig::builder().length(nz(14)).build();
            willr: WillR, WillRConfig::builder().length(nz(14)).build();
            cci: Cci, CciConfig::builder().length(nz(20)).build();
            obv: Obv, ObvConfig::default();
        }
    });
    let eleven = [
        "sma_20",
        "ema_26",
        "rsi_14",
        "atr_14",
        "bb_upper",
        "bb_mid",
        "bb_lower",
        "macd",
        "macd_signal",
        "macd_hist",
        "stoch_k",
        "stoch_d",
        "adx_14",
        "plus_di_14",
        "minus_di_14",
        "willr_14",
        "cci_20",
        "obv",
    ];
    let mut all = [alone_together(), vela(&eleven), vela_batch(&eleven), together];
    let found = contest(bars, &mut all);
    let theirs = found[3].0;
    println!("\neleven indicators together, 18 columns, ns a bar: quantedge-ta {theirs:.1}");
    for ((who, _), (time, _)) in all.iter().zip(&found).take(3) {
        println!("    {who:<14} {time:>6.1} (x{:.2})", time / theirs);
    }
    let table: Vec<(&str, Contestant<'_>, Vec<Contestant<'_>>)> = vec![
        (
            "sma_20",
            alone!(Sma::new(20), |x| x),
            vec![
                quantedge!(Sma, SmaConfig::close(nz(20)), |x| x),
                ta!(ta::indicators::SimpleMovingAverage::new(20)),
                yata!(SMA, 20),
                running_mean::<20>(),
            ],
        ),
        (
            "sma_1000",
            alone!(Sma::new(1000), |x| x),
            vec![
                quantedge!(Sma, SmaConfig::close(nz(1000)), |x| x),
                ta!(ta::indicators::SimpleMovingAverage::new(1000)),
            ],
        ),
        (
            "ema_26",
            alone!(Ema::new(26), |x| x),
            vec![
                quantedge!(Ema, EmaConfig::close(nz(26)), |x| x),
                ta!(ta::indicators::ExponentialMovingAverage::new(26)),
                yata!(EMA, 26),
            ],
        ),
        ("rsi_14", alone!(Rsi::new(14), |x| x), vec![quantedge!(Rsi, RsiConfig::close(nz(14)), |x| x)]),
        (
            "atr_14",
            alone!(Atr::new(14), |x| x),
            vec![quantedge!(Atr, AtrConfig::builder().length(nz(14)).build(), |x| x)],
        ),
        (
            "bb_upper_20_2",
            alone!(Bollinger::new(20, 2.0), |x: Bands| x.upper),
            vec![quantedge!(Bb, BbConfig::close(nz(20)), |x| x.upper)],
        ),
        (
            "macd_12_26_9",
            alone!(Macd::new(12, 26, 9), |x: MacdValues| x.line),
            vec![quantedge!(Macd, MacdConfig::close(nz(12), nz(26), nz(9)), |x| x.macd)],
        ),
        (
            "stoch_k_14_3_3",
            alone!(Stochastic::new(14, 3, 3), |x: StochasticValues| x.k),
            vec![quantedge!(Stoch, stoch(), |x| x.k)],
        ),
        (
            "adx_14",
            alone!(Adx::new(14), |x: Directions| x.adx),
            vec![quantedge!(Adx, AdxConfig::builder().length(nz(14)).build(), |x| x.adx)],
        ),
        (
            "willr_14",
            alone!(WilliamsR::new(14), |x| x),
            vec![quantedge!(WillR, WillRConfig::builder().length(nz(14)).build(), |x| x)],
        ),
        (
            "cci_20",
            alone!(Cci::new(20), |x| x),
            vec![quantedge!(Cci, CciConfig::builder().length(nz(20)).build(), |x| x)],
        ),
        ("obv", alone!(Obv::new(), |x| x), vec![quantedge!(Obv, ObvConfig::default(), |x| x)]),
    ];
    println!("\nns a bar beside other libraries; `same` where the last values agree within 1e-6 of them\n");
    for (name, alone, others) in table {
        let mut contestants = vec![alone, vela(&[name]), vela_batch(&[name])];
        contestants.extend(others);
        let found = contest(bars, &mut contestants);
        let (alone, plan, batch) = (found[0], found[1], found[2]);
        assert!(alone.1.to_bits() == plan.1.to_bits(), "{name}: alone and in a plan, the same bits");
        print!("{name:<16} alone {:>5.1}   plan {:>5.1}   batch {:>5.1}", alone.0, plan.0, batch.0);
        for ((who, _), (time, value)) in contestants.iter().zip(&found).skip(3) {
            let same = if (value - alone.1).abs() <= 1e-6 * alone.1.abs() { "same" } else { "differs" };
            print!("   {who} {time:>5.1} (alone x{:.2}, {same})", alone.0 / time);
        }
        println!();
    }
    errors::print(bars);
}

fn features(criterion: &mut Criterion) {
    let bars = market(BARS);
    if !std::env::args().any(|argument| argument == "--test") {
        windows(&bars);
        peers(&bars);
        println!();
    }
    let mut group = criterion.benchmark_group("features");
    group.throughput(Throughput::Elements(BARS as u64));
    group.sample_size(20);
    for name in ["default", "vela-core-1"] {
        let names = set(name).unwrap();
        for (who, mut run) in [vela(names), vela_batch(names)] {
            group.bench_function(format!("{name}, {who}"), |bencher| bencher.iter(|| run(&bars)));
        }
    }
    group.finish();
}

criterion_group!(benches, features);
criterion_main!(benches);
