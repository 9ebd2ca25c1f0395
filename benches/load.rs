//! An open loop around the real engine: a bar's latency counts from when it was due, whether or not the engine was
//! ready to take it, so that a stall is seen by all bars that were due in it.
//!
//! `perf/load steps DIR` measures what the engine can do (bars as fast as it takes them), then offers 10 %, 90 % and
//! 10 % of it, 20 s each. `perf/load overload DIR` offers three times as much for 60 s, with volumes spread by a power
//! law, then a tenth. Further words, in this order: `light`, so that the models are those of the demo, where the way of a
//! bar costs as much as its predictions (otherwise there is one whose rows take a fifth of a millisecond each, as larger
//! models do); and what becomes of stale bars under overload: `supersede` (without a word), `predict`, or `drop`, which is
//! to predict what waited no longer than the budget (`predict.overdue_ms`). Both write a CSV with a line for every quarter of
//! a second and an SVG plot of it into DIR, and print a summary. A bar counts where it was due.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/suite/support/onnx.rs"]
#[allow(dead_code)]
mod onnx;
#[path = "load/plot.rs"]
mod plot;
#[path = "load/stages.rs"]
mod stages;

use hdrhistogram::Histogram;
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
/// The tenth of the symbols that trades most.
const TOP: usize = SERIES / 10;
const START_S: i64 = 1_700_000_040;
const WARM_UP_BARS: u64 = 120;
/// More minutes than are on their way at any time.
const MINUTES: usize = 4096;
const SAMPLE: Duration = Duration::from_millis(250);
const BUDGET_MS: u64 = 250;
/// How long after a step latency may take to be what it was.
const SETTLES: Duration = Duration::from_secs(5);

/// A prediction that came out.
struct Out {
    series: usize,
    due_ns: u64,
    latency_ns: u64,
    parts: [u64; 5],
}

/// What came out since the last look.
#[derive(Default)]
struct Seen {
    fresh: Vec<Out>,
    shed: u64,
}

/// When each bar is due, by its series and its minute.
struct Due {
    begin: Instant,
    ns: Vec<AtomicU64>,
}

impl Due {
    fn now_ns(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn of(&self, minute: usize, series: usize) -> &AtomicU64 {
        &self.ns[minute % MINUTES * SERIES + series]
    }
}

struct Watching {
    due: Arc<Due>,
    index: HashMap<Arc<SeriesKey>, usize>,
    seen: Arc<Mutex<Seen>>,
}

impl Store for Watching {
    fn write(&mut self, outcomes: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        let now_ns = self.due.now_ns();
        let mut seen = self.seen.lock();
        for outcome in outcomes {
            match &outcome.result {
                Ok(_) => {
                    let series = self.index[&outcome.series];
                    let minute = (outcome.ts.as_millis() / 1000 - START_S) / 60;
                    let due_ns = self.due.of(minute as usize, series).load(Ordering::Relaxed);
                    let latency_ns = now_ns.saturating_sub(due_ns);
                    let parts = stages::parts(&outcome.stamps, latency_ns);
                    seen.fresh.push(Out { series, due_ns, latency_ns, parts });
                }
                Err(refusal) => {
                    seen.shed += u64::from(matches!(refusal.reason, Reason::Superseded | Reason::Overdue));
                }
            }
        }
        Ok(())
    }
}

/// A model whose rows cost a fifth of a millisecond each, alone or together.
fn larger(folder: &Path) {
    let version = folder.join("larger/1");
    std::fs::create_dir_all(&version).unwrap();
    std::fs::write(version.join("model.onnx"), onnx::slow_by(1, 300.0)).unwrap();
    let manifest =
        "symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"body_ratio\"]\nbatching = \"off\"\n";
    std::fs::write(version.join("model.toml"), manifest).unwrap();
    std::fs::write(folder.join("larger/promoted"), "1\n").unwrap();
}

/// An engine, fed bar by bar.
struct Rig {
    engine: Arc<Engine>,
    series: Vec<Arc<SeriesKey>>,
    due: Arc<Due>,
    seen: Arc<Mutex<Seen>>,
    next: u64,
    _models: tempfile::TempDir,
}

impl Rig {
    fn new(stale: Stale, overdue_ms: u64, light: bool) -> Self {
        let models = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.models.path = if light {
            concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models").into()
        } else {
            larger(models.path());
            settings.predict.sessions_per_model_max = 2;
            models.path().into()
        };
        settings.source.kind = SourceKind::None;
        settings.feature.warm_up = Stability::Defined;
        settings.max_latency_ms = BUDGET_MS;
        settings.priority.stale = stale;
        settings.predict.overdue_ms = overdue_ms;
        let name = |n: usize| Arc::new(SeriesKey::new(&format!("S{n:03}"), Timeframe::MINUTE).unwrap());
        let series: Vec<Arc<SeriesKey>> = (0..SERIES).map(name).collect();
        let ns = (0..MINUTES * SERIES).map(|_| AtomicU64::new(0)).collect();
        let due = Arc::new(Due { begin: Instant::now(), ns });
        let seen = Arc::new(Mutex::new(Seen::default()));
        let index = series.iter().cloned().enumerate().map(|(n, series)| (series, n)).collect();
        let store = Watching { due: Arc::clone(&due), index, seen: Arc::clone(&seen) };
        let overrides = Overrides { store: Some(Box::new(store)), ..Overrides::default() };
        let engine = Arc::new(Engine::start_with(settings, overrides).unwrap());
        let mut rig = Self { engine, series, due, seen, next: 0, _models: models };
        (0..WARM_UP_BARS * SERIES as u64).for_each(|_| rig.put(0));
        assert!(rig.engine.drain(Duration::from_secs(60)));
        *rig.seen.lock() = Seen::default();
        rig
    }

    /// Puts the next bar in, which was due at `due_ns`.
    fn put(&mut self, due_ns: u64) {
        let (minute, n) = (self.next / SERIES as u64, self.next as usize % SERIES);
        self.due.of(minute as usize, n).store(due_ns, Ordering::Relaxed);
        self.next += 1;
        let close = 100.0 + (minute as f64 * 0.7 + n as f64).sin() * 3.0 + (minute % 7) as f64 * 0.1;
        let ts = Timestamp::from_secs(START_S + minute as i64 * 60);
        // The n-th of the symbols trades as much as the first divided by n.
        let volume = 1e6 / (n + 1) as f64;
        let bar = Bar { ts, open: close + 0.2, high: close + 0.5, low: close - 0.6, close, volume };
        self.engine.ingest_series(&self.series[n], bar).unwrap();
    }

    /// Bars a second that the engine takes and answers, over five seconds.
    fn capacity(&mut self) -> f64 {
        let (begin, before) = (Instant::now(), self.next);
        while begin.elapsed() < Duration::from_secs(5) {
            let due_ns = self.due.now_ns();
            (0..64).for_each(|_| self.put(due_ns));
        }
        assert!(self.engine.drain(Duration::from_secs(60)));
        let rate = (self.next - before) as f64 / begin.elapsed().as_secs_f64();
        *self.seen.lock() = Seen::default();
        rate
    }

    /// Offers bars by the clock, not by what the engine takes; when the last was put in, in ns behind its time.
    fn offer(&mut self, phase: &Phase) -> u64 {
        let count = (phase.per_s * (phase.to_ns - phase.from_ns) as f64 / 1e9) as u64;
        for n in 0..count {
            let due_ns = phase.from_ns + (n as f64 * 1e9 / phase.per_s) as u64;
            loop {
                let now_ns = self.due.now_ns();
                if now_ns >= due_ns {
                    break;
                }
                // Bars that are due within a moment go together: the clock of this machine is no finer.
                std::thread::sleep(Duration::from_nanos((due_ns - now_ns).max(200_000)));
            }
            self.put(due_ns);
        }
        self.due.now_ns().saturating_sub(phase.to_ns)
    }
}

/// A stretch of time with one rate, in ns of the clock that bars are due by.
#[derive(Clone)]
struct Phase {
    share: f64,
    per_s: f64,
    from_ns: u64,
    to_ns: u64,
}

/// Latencies of the bars that were due in a phase, in ns.
struct Latencies {
    all: Histogram<u64>,
    top: Histogram<u64>,
    settled: Histogram<u64>,
    /// Where the time went: of the busiest tenth, of the others.
    parts: [stages::Parts; 2],
}

impl Latencies {
    fn new() -> Self {
        let new = || Histogram::new_with_bounds(1000, 3_600_000_000_000, 3).unwrap();
        Self { all: new(), top: new(), settled: new(), parts: [stages::Parts::new(), stages::Parts::new()] }
    }
}

/// What was seen of a run.
struct Report {
    lines: Vec<Line>,
    phases: Vec<Latencies>,
    /// The longest that each symbol had no prediction, in ns.
    longest_ns: Vec<u64>,
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
    /// Recorded as superseded or overdue.
    pub shed: u64,
    pub memory_mb: f64,
}

fn quantile(sorted: &[u64], q: f64) -> f64 {
    sorted
        .get(((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1)))
        .map_or(0.0, |ns| *ns as f64 / 1e6)
}

/// Looks four times a second until told to stop.
fn watch(rig: &Rig, phases: Vec<Phase>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Report> {
    let (engine, seen, due) = (Arc::clone(&rig.engine), Arc::clone(&rig.seen), Arc::clone(&rig.due));
    std::thread::spawn(move || {
        let begin_ns = phases[0].from_ns;
        let mut report = Report {
            lines: Vec::new(),
            phases: phases.iter().map(|_| Latencies::new()).collect(),
            longest_ns: vec![0; SERIES],
        };
        let mut last_ns = vec![begin_ns; SERIES];
        let mut before_ns = due.now_ns();
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(SAMPLE);
            let Seen { fresh, shed } = std::mem::take(&mut *seen.lock());
            for out in &fresh {
                let at_ns = out.due_ns + out.latency_ns;
                let longest = &mut report.longest_ns[out.series];
                *longest = (*longest).max(at_ns.saturating_sub(last_ns[out.series]));
                last_ns[out.series] = at_ns;
                let of = |phase: &Phase| (phase.from_ns..phase.to_ns).contains(&out.due_ns);
                let Some(n) = phases.iter().position(of) else { continue };
                let Latencies { all, top, settled, parts } = &mut report.phases[n];
                parts[usize::from(out.series >= TOP)].note(&out.parts);
                all.saturating_record(out.latency_ns);
                if out.series < TOP {
                    top.saturating_record(out.latency_ns);
                }
                if out.due_ns >= phases[n].from_ns + SETTLES.as_nanos() as u64 {
                    settled.saturating_record(out.latency_ns);
                }
            }
            let sorted = |top: bool| {
                let of = |out: &&Out| !top || out.series < TOP;
                let mut all: Vec<u64> = fresh.iter().filter(of).map(|out| out.latency_ns).collect();
                all.sort_unstable();
                all
            };
            let (all, top) = (sorted(false), sorted(true));
            let metrics = engine.metrics();
            let stage = |name: &&'static str| &metrics.stages[*name];
            let names = ["ingest", "feature", "predict", "persist"];
            let now_ns = due.now_ns();
            let offered = phases.iter().find(|phase| (phase.from_ns..phase.to_ns).contains(&now_ns));
            report.lines.push(Line {
                second: now_ns.saturating_sub(begin_ns) as f64 / 1e9,
                offered_per_s: offered.map_or(0.0, |phase| phase.per_s),
                predicted_per_s: fresh.len() as f64 * 1e9 / (now_ns - before_ns) as f64,
                p50_ms: quantile(&all, 0.5),
                p99_ms: quantile(&all, 0.99),
                top_p99_ms: quantile(&top, 0.99),
                widths: std::array::from_fn(|n| stage(&names[n]).workers),
                batch_rows: metrics.controller.batch_rows.values().copied().max().unwrap_or(0),
                depth: names.iter().map(|name| stage(name).depth).sum(),
                shed,
                memory_mb: metrics.system.memory_usage_mb,
            });
            before_ns = now_ns;
        }
        report
    })
}

fn run(mode: &str, folder: &Path, light: bool, stale: &str) {
    // What is superseded is not answered: what can be is measured where nothing is.
    let mut rig = Rig::new(Stale::Predict, 0, light);
    let capacity = rig.capacity();
    if mode == "overload" {
        rig.engine.stop().unwrap();
        rig = match stale {
            "predict" => Rig::new(Stale::Predict, 0, light),
            "drop" => Rig::new(Stale::Predict, BUDGET_MS, light),
            _ => Rig::new(Stale::Supersede, 0, light),
        };
    }
    println!("capacity: {capacity:.0} bars/s of {SERIES} series, budget {BUDGET_MS} ms");
    let shares: &[(f64, u64)] = match mode {
        "steps" => &[(0.1, 20), (0.9, 20), (0.1, 20)],
        _ => &[(0.1, 5), (3.0, 60), (0.1, 15)],
    };
    let mut from_ns = rig.due.now_ns() + 1_000_000_000;
    let phases: Vec<Phase> = shares
        .iter()
        .map(|(share, seconds)| {
            let phase = Phase {
                share: *share,
                per_s: capacity * share,
                from_ns,
                to_ns: from_ns + seconds * 1_000_000_000,
            };
            from_ns = phase.to_ns;
            phase
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(&rig, phases.clone(), Arc::clone(&stop));
    let behind_ns: Vec<u64> = phases.iter().map(|phase| rig.offer(phase)).collect();
    assert!(rig.engine.drain(Duration::from_secs(60)));
    stop.store(true, Ordering::Relaxed);
    let report = watching.join().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let words = [mode, if light { "light" } else { "" }, stale];
    let name =
        words.iter().filter(|word| !word.is_empty()).fold("load".to_owned(), |name, word| name + "-" + word);
    plot::csv(&folder.join(format!("{name}.csv")), &report.lines);
    plot::svg(&folder.join(format!("{name}.svg")), &report.lines, &name);
    println!(
        "{:>6}{:>12}{:>12}{:>12}{:>12}{:>14}{:>14}{:>10}{:>12}{:>10}{:>12}",
        "share",
        "predictions",
        "p50 ms",
        "p99 ms",
        "worst ms",
        "top p99 ms",
        "p99 from 5 s",
        "back in s",
        "shed",
        "deepest",
        "memory MiB"
    );
    let begin_ns = phases[0].from_ns;
    for (phase, latencies) in phases.iter().zip(&report.phases) {
        let at = |ns: u64| (ns - begin_ns) as f64 / 1e9;
        let within = |line: &&Line| (at(phase.from_ns)..at(phase.to_ns)).contains(&line.second);
        let worst = |of: fn(&Line) -> f64| report.lines.iter().filter(within).map(of).fold(0.0, f64::max);
        let late = report.lines.iter().filter(within).rfind(|line| line.p99_ms > BUDGET_MS as f64);
        let ms = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        println!(
            "{:>6}{:>12}{:>12.2}{:>12.2}{:>12.2}{:>14.2}{:>14.2}{:>10.2}{:>12}{:>10.0}{:>12.0}",
            phase.share,
            latencies.all.len(),
            ms(&latencies.all, 0.5),
            ms(&latencies.all, 0.99),
            ms(&latencies.all, 1.0),
            ms(&latencies.top, 0.99),
            ms(&latencies.settled, 0.99),
            late.map_or(0.0, |line| line.second - at(phase.from_ns)),
            report.lines.iter().filter(within).map(|line| line.shed).sum::<u64>(),
            worst(|line| line.depth as f64),
            worst(|line| line.memory_mb),
        );
    }
    println!("where the time went, p50 / p99 in ms:");
    for (phase, latencies) in phases.iter().zip(&report.phases) {
        let [top, others] = &latencies.parts;
        println!("{:>6} top tenth: {}\n{:>6}    others: {}", phase.share, top.line(), "", others.line());
    }
    println!(
        "back in: how long after the step a quarter of a second had its 99th percentile above the budget last"
    );
    println!("the source's last bar of each phase went in {:.0?} ms behind its time", ms_of(&behind_ns));
    let longest = |of: &[u64]| of.iter().max().copied().unwrap_or(0) as f64 / 1e9;
    println!(
        "the longest that a symbol had no prediction: {:.2} s, of the top tenth {:.2} s",
        longest(&report.longest_ns),
        longest(&report.longest_ns[..TOP])
    );
    println!("changes by the controller: {}", rig.engine.metrics().controller.decisions);
    rig.engine.stop().unwrap();
}

fn ms_of(all_ns: &[u64]) -> Vec<f64> {
    all_ns.iter().map(|ns| *ns as f64 / 1e6).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [mode @ ("steps" | "overload"), folder, rest @ ..] => {
            let light = rest.first() == Some(&"light");
            let stale = rest.last().copied().filter(|word| *word != "light").unwrap_or_default();
            assert!(["", "supersede", "predict", "drop"].contains(&stale), "{stale}");
            run(mode, &PathBuf::from(folder), light, stale);
        }
        _ => println!(
            "load: `perf/load steps DIR [light]` or `perf/load overload DIR [light] [supersede|predict|drop]`"
        ),
    }
}
