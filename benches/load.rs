//! An open loop around the real engine: a bar's latency counts from when it was due, whether or not the engine was
//! ready to take it, so that a stall is seen by all bars that were due in it.
//!
//! `cargo bench --bench load -- steps DIR` measures what the engine can do (bars as fast as it takes them), then
//! offers 10 %, 90 % and 10 % of it, 20 s each. `cargo bench --bench load -- overload DIR` offers three times as much
//! for 60 s, with volumes spread by a power law and `priority.stale = "supersede"`, then a tenth. Both write a CSV with
//! a line for every quarter of a second and an SVG plot of it into DIR, and print a summary.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "load/plot.rs"]
mod plot;

use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vela::config::{SourceKind, Stale};
use vela::domain::{Bar, Outcome, Reason, SeriesKey, Stability, Timeframe, Timestamp};
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides, Settings};

const SERIES: usize = 200;
const START_S: i64 = 1_700_000_040;
const WARM_UP_BARS: u64 = 120;
const SAMPLE: Duration = Duration::from_millis(250);
const BUDGET_MS: u64 = 250;

/// What came out, with when it was due.
#[derive(Default)]
struct Seen {
    /// (series, latency in ns, when it was stored) of predictions since the last look.
    fresh: Vec<(usize, u64, Instant)>,
    superseded: u64,
}

/// When each bar is due, by its number: bar `n` belongs to series `n % SERIES`.
struct Due {
    begin: Instant,
    ns: Vec<AtomicU64>,
}

struct Watching {
    due: Arc<Due>,
    index: HashMap<Arc<SeriesKey>, usize>,
    seen: Arc<Mutex<Seen>>,
}

impl Store for Watching {
    fn write(&mut self, outcomes: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        let now = Instant::now();
        let now_ns = (now - self.due.begin).as_nanos() as u64;
        let mut seen = self.seen.lock();
        for outcome in outcomes {
            match &outcome.result {
                Ok(_) => {
                    let series = self.index[&outcome.series];
                    let minute = (outcome.ts.as_millis() / 1000 - START_S) / 60;
                    let due_ns = self.due.ns[minute as usize * SERIES + series].load(Ordering::Relaxed);
                    seen.fresh.push((series, now_ns.saturating_sub(due_ns), now));
                }
                Err(refusal) => seen.superseded += u64::from(refusal.reason == Reason::Superseded),
            }
        }
        Ok(())
    }
}

/// An engine with the demo's models, fed bar by bar.
struct Rig {
    engine: Arc<Engine>,
    series: Vec<Arc<SeriesKey>>,
    due: Arc<Due>,
    seen: Arc<Mutex<Seen>>,
    next: u64,
}

impl Rig {
    fn new(stale: Stale) -> Self {
        let mut settings = Settings::default();
        settings.models.path = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models").into();
        settings.source.kind = SourceKind::None;
        settings.feature.warm_up = Stability::Defined;
        settings.max_latency_ms = BUDGET_MS;
        settings.priority.stale = stale;
        let name = |n: usize| Arc::new(SeriesKey::new(&format!("S{n:03}"), Timeframe::MINUTE).unwrap());
        let series: Vec<Arc<SeriesKey>> = (0..SERIES).map(name).collect();
        let due =
            Arc::new(Due { begin: Instant::now(), ns: (0..8_000_000).map(|_| AtomicU64::new(0)).collect() });
        let seen = Arc::new(Mutex::new(Seen::default()));
        let index = series.iter().cloned().enumerate().map(|(n, series)| (series, n)).collect();
        let store = Watching { due: Arc::clone(&due), index, seen: Arc::clone(&seen) };
        let overrides =
            Overrides { store: Some(Box::new(store)), accept_future: true, ..Overrides::default() };
        let engine = Arc::new(Engine::start_with(settings, overrides).unwrap());
        let mut rig = Self { engine, series, due, seen, next: 0 };
        (0..WARM_UP_BARS * SERIES as u64).for_each(|_| rig.put(0));
        assert!(rig.engine.drain(Duration::from_secs(60)));
        rig.seen.lock().fresh.clear();
        rig
    }

    /// Puts the next bar in, which was due at `due_ns`.
    fn put(&mut self, due_ns: u64) {
        let (minute, n) = (self.next / SERIES as u64, self.next as usize % SERIES);
        let slot = &self.due.ns[self.next as usize];
        slot.store(due_ns, Ordering::Relaxed);
        self.next += 1;
        let close = 100.0 + (minute as f64 * 0.7 + n as f64).sin() * 3.0 + (minute % 7) as f64 * 0.1;
        let ts = Timestamp::from_secs(START_S + minute as i64 * 60);
        // The n-th of the symbols trades as much as the first divided by n.
        let volume = 1e6 / (n + 1) as f64;
        let bar = Bar { ts, open: close - 0.2, high: close + 0.5, low: close - 0.6, close, volume };
        self.engine.ingest_series(&self.series[n], bar).unwrap();
    }

    /// Bars a second that the engine takes and answers, over five seconds.
    fn capacity(&mut self) -> f64 {
        let (begin, before) = (Instant::now(), self.next);
        while begin.elapsed() < Duration::from_secs(5) {
            let due_ns = self.due.begin.elapsed().as_nanos() as u64;
            (0..64).for_each(|_| self.put(due_ns));
        }
        assert!(self.engine.drain(Duration::from_secs(60)));
        let rate = (self.next - before) as f64 / begin.elapsed().as_secs_f64();
        *self.seen.lock() = Seen::default();
        rate
    }

    /// Offers bars at `per_s` for so long, by the clock and not by what the engine takes.
    fn offer(&mut self, per_s: f64, lasts: Duration) {
        let begin_ns = self.due.begin.elapsed().as_nanos() as u64;
        let count = (per_s * lasts.as_secs_f64()) as u64;
        for n in 0..count {
            let due_ns = begin_ns + (n as f64 * 1e9 / per_s) as u64;
            loop {
                let now_ns = self.due.begin.elapsed().as_nanos() as u64;
                if now_ns >= due_ns {
                    break;
                }
                // Bars that are due within a moment go together: the clock of this machine is no finer.
                std::thread::sleep(Duration::from_nanos((due_ns - now_ns).max(200_000)));
            }
            self.put(due_ns);
        }
    }
}

/// One line of the table.
#[derive(Clone, Default)]
pub struct Line {
    pub second: f64,
    pub offered_per_s: f64,
    pub predicted_per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of the tenth of the symbols that trades most.
    pub top_p99_ms: f64,
    pub widths: [usize; 4],
    pub batch_rows: usize,
    pub depth: usize,
    pub superseded: u64,
    pub memory_mb: f64,
}

fn quantile(sorted: &[u64], q: f64) -> f64 {
    sorted
        .get(((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1)))
        .map_or(0.0, |ns| *ns as f64 / 1e6)
}

/// Looks four times a second until told to stop.
fn watch(
    rig: &Rig,
    offered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> std::thread::JoinHandle<(Vec<Line>, Vec<Duration>)> {
    let (engine, seen) = (Arc::clone(&rig.engine), Arc::clone(&rig.seen));
    std::thread::spawn(move || {
        let (begin, mut lines) = (Instant::now(), Vec::new());
        let (mut last, mut longest) = (vec![begin; SERIES], vec![Duration::ZERO; SERIES]);
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(SAMPLE);
            let Seen { fresh, superseded } = std::mem::take(&mut *seen.lock());
            for (series, _, at) in &fresh {
                longest[*series] = longest[*series].max(at.saturating_duration_since(last[*series]));
                last[*series] = *at;
            }
            let sorted = |top: bool| {
                let of = |(series, ..): &&(usize, u64, Instant)| !top || *series < SERIES / 10;
                let mut all: Vec<u64> = fresh.iter().filter(of).map(|(_, ns, _)| *ns).collect();
                all.sort_unstable();
                all
            };
            let (all, top) = (sorted(false), sorted(true));
            let metrics = engine.metrics();
            let stage = |name: &&'static str| &metrics.stages[*name];
            let names = ["ingest", "feature", "predict", "persist"];
            lines.push(Line {
                second: begin.elapsed().as_secs_f64(),
                offered_per_s: f64::from_bits(offered.load(Ordering::Relaxed)),
                predicted_per_s: fresh.len() as f64 / SAMPLE.as_secs_f64(),
                p50_ms: quantile(&all, 0.5),
                p99_ms: quantile(&all, 0.99),
                top_p99_ms: quantile(&top, 0.99),
                widths: std::array::from_fn(|n| stage(&names[n]).workers),
                batch_rows: metrics.controller.batch_rows.values().copied().max().unwrap_or(0),
                depth: names.iter().map(|name| stage(name).depth).sum(),
                superseded,
                memory_mb: metrics.system.memory_usage_mb,
            });
        }
        (lines, longest)
    })
}

fn run(mode: &str, folder: &Path) {
    let stale = if mode == "steps" { Stale::Predict } else { Stale::Supersede };
    let mut rig = Rig::new(stale);
    let capacity = rig.capacity();
    println!("capacity: {capacity:.0} bars/s of {SERIES} series, budget {BUDGET_MS} ms");
    let phases: &[(f64, u64)] = match mode {
        "steps" => &[(0.1, 20), (0.9, 20), (0.1, 20)],
        _ => &[(0.1, 5), (3.0, 60), (0.1, 15)],
    };
    let (offered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watching = watch(&rig, Arc::clone(&offered), Arc::clone(&stop));
    for (share, seconds) in phases {
        offered.store((capacity * share).to_bits(), Ordering::Relaxed);
        let begin = Instant::now();
        rig.offer(capacity * share, Duration::from_secs(*seconds));
        println!("{share} of it for {seconds} s: offered in {:.1} s", begin.elapsed().as_secs_f64());
    }
    assert!(rig.engine.drain(Duration::from_secs(60)));
    stop.store(true, Ordering::Relaxed);
    let (lines, longest) = watching.join().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let name = |ending: &str| folder.join(format!("load-{mode}.{ending}"));
    plot::csv(&name("csv"), &lines);
    plot::svg(&name("svg"), &lines, mode);
    let mut at = 0.0;
    for (share, seconds) in phases {
        let (from, to) = (at, at + *seconds as f64);
        let within = |line: &&Line| line.second >= from && line.second < to;
        let worst = |of: fn(&Line) -> f64| lines.iter().filter(within).map(of).fold(0.0, f64::max);
        let late = |line: &&Line| within(line) && line.second >= from + 5.0;
        let settled = lines.iter().filter(late).map(|line| line.p99_ms).fold(0.0, f64::max);
        let superseded: u64 = lines.iter().filter(within).map(|line| line.superseded).sum();
        println!(
            "{share:>4}: worst p99 of a quarter second {:.1} ms, 5 s after the step {settled:.1} ms; of the top tenth {:.1} ms; \
             deepest {:.0} items; memory {:.0} MiB; {superseded} superseded",
            worst(|line| line.p99_ms),
            worst(|line| line.top_p99_ms),
            worst(|line| line.depth as f64),
            worst(|line| line.memory_mb),
        );
        at = to;
    }
    let longest = longest.iter().max().unwrap();
    println!("the longest that any symbol had no prediction: {:.2} s", longest.as_secs_f64());
    println!("changes: {}", rig.engine.metrics().controller.decisions);
    rig.engine.stop().unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [mode, folder] if mode == "steps" || mode == "overload" => run(mode, &PathBuf::from(folder)),
        _ => println!("load: `cargo bench --bench load -- steps DIR` or `… -- overload DIR`"),
    }
}
