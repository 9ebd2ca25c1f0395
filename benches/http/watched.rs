//! A pipeline under a steady load, in turn alone and with somebody who watches.

use super::clients::{Watchers, Watching, others_s, processor_s};
use super::{serve, settings};
use hdrhistogram::Histogram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vela::domain::{Bar, Outcome, SeriesKey, Timeframe, Timestamp};
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models");
/// Bars a second; three models answer each.
pub const BARS_PER_S: u32 = 100;
pub const SERIES: usize = 100;
/// One turn.
pub const TURN: Duration = Duration::from_secs(5);
const TURNS: usize = 6;
/// What programs that have nothing to do with it may take of a turn that counts, in ms a second.
const OTHERS_MAX: f64 = 100.0;

/// A store that notes how long predictions took to it, in ns.
struct Timing(Arc<Mutex<Histogram<u64>>>);

impl Store for Timing {
    fn write(&mut self, outcomes: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        let now_ns = vela::link::clock::now_ns();
        let mut times = self.0.lock().unwrap();
        for outcome in outcomes.iter().filter(|outcome| outcome.result.is_ok()) {
            times.saturating_record(now_ns.saturating_sub(outcome.stamps.arrived_ns));
        }
        Ok(())
    }
}

/// Bars of many series, each series' next when its turn comes.
struct Market {
    series: Vec<Arc<SeriesKey>>,
    put: usize,
}

impl Market {
    fn put(&mut self, engine: &Engine) {
        let (series, minute) = (&self.series[self.put % SERIES], (self.put / SERIES) as i64);
        self.put += 1;
        let close = 100.0 + (minute as f64 * 0.7).sin() * 3.0 + (minute % 7) as f64 * 0.1;
        let ts = Timestamp::from_secs(1_700_000_040 + minute * 60);
        let bar =
            Bar { ts, open: close - 0.2, high: close + 0.5, low: close - 0.6, close, volume: 10.0 + close };
        engine.ingest_series(series, bar).unwrap();
    }

    /// Evenly, for as long as a turn takes.
    fn run(&mut self, engine: &Engine) {
        let begin = Instant::now();
        let every = Duration::from_secs(1) / BARS_PER_S;
        for n in 0.. {
            let due = every * n;
            if due >= TURN {
                return;
            }
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
            self.put(engine);
        }
    }
}

const SETTINGS: [(&str, Watching); 4] =
    [("alone", Watching::Nobody), ("all", Watching::All), ("few", Watching::Few), ("floor", Watching::Floor)];

pub fn run(count: usize) {
    let times = Arc::new(Mutex::new(histogram()));
    let store: Option<Box<dyn Store>> = Some(Box::new(Timing(Arc::clone(&times))));
    let overrides = Overrides { store, accept_future: true, ..Overrides::default() };
    let engine = Arc::new(Engine::start_with(settings(Path::new(DEMO)), overrides).unwrap());
    let server = serve(&engine);
    let name = |n| Arc::new(SeriesKey::new(&format!("S{n}"), Timeframe::MINUTE).unwrap());
    let mut market = Market { series: (0..SERIES).map(name).collect(), put: 0 };
    for _ in 0..200 * SERIES {
        market.put(&engine);
    }
    assert!(engine.drain(Duration::from_secs(60)));
    market.run(&engine);
    println!(
        "{BARS_PER_S} bars a second of {SERIES} series, {count} clients, turns of {TURN:?}; µs from arrival to the store, \
         ms of processor time a second"
    );
    let mut seen: Vec<(Histogram<u64>, Vec<f64>)> =
        SETTINGS.iter().map(|_| (histogram(), Vec::new())).collect();
    // One setting after the other, again and again: the machine's moods meet all alike.
    for _ in 0..TURNS {
        for ((name, watching), (all, p99s)) in SETTINGS.iter().zip(&mut seen) {
            let watchers = match watching {
                Watching::Nobody => None,
                Watching::Floor => Some(Watchers::of_nothing(count)),
                watching => Some(Watchers::of(&server.address().to_string(), count, *watching)),
            };
            times.lock().unwrap().reset();
            let (before, others) = (processor_s(), others_s(watchers.as_ref()));
            market.run(&engine);
            let (after, others) = (processor_s(), others_s(watchers.as_ref()) - others);
            let times = times.lock().unwrap();
            line(name, &times);
            let per_s = |spent: f64| spent / TURN.as_secs_f64() * 1e3;
            let spent = |thread: &str| per_s(after(thread) - before(thread));
            let (stream, http, others) = (spent("vela-stream"), spent("vela-http"), per_s(others));
            println!(
                "  vela-stream {stream:.1}, vela-http {http:.1}, all of vela {:.1}; other programs {others:.0}",
                spent("vela-")
            );
            if others < OTHERS_MAX {
                all.add(&*times).unwrap();
                p99s.push(times.value_at_quantile(0.99) as f64);
            } else {
                println!("  not counted: other programs ran");
            }
            drop(times);
            if let Some(watchers) = watchers {
                watchers.end();
            }
        }
    }
    println!();
    for ((name, _), (all, _)) in SETTINGS.iter().zip(&seen) {
        line(name, all);
    }
    let median = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
    };
    for ((name, _), (all, p99s)) in SETTINGS.iter().zip(&seen).skip(1) {
        let ratio =
            |quantile| all.value_at_quantile(quantile) as f64 / seen[0].0.value_at_quantile(quantile) as f64;
        println!(
            "{name} over alone: p50 {:.3}, p99 {:.3}; the median turn's p99 {:.3} ({} turns, {} alone)",
            ratio(0.5),
            ratio(0.99),
            median(p99s) / median(&seen[0].1),
            p99s.len(),
            seen[0].1.len()
        );
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap()
}

fn line(name: &str, times: &Histogram<u64>) {
    let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| times.value_at_quantile(q) as f64 / 1e3);
    println!(
        "{name:<12} n {:>6}  p50 {p50:>8.1}  p90 {p90:>8.1}  p99 {p99:>8.1}  max {max:>8.1}",
        times.len()
    );
}
