//! What is seen of a run: the table, and the latencies of each phase.

use super::rig::{Out, Phase, Rig, SERIES, Seen, TOP};
use super::stages::Parts;
use hdrhistogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SAMPLE: Duration = Duration::from_millis(250);
/// How long after a step latency may take to be what it was.
const SETTLES: Duration = Duration::from_secs(5);

/// Latencies of the bars that were due in a phase, in ns.
pub struct Latencies {
    pub all: Histogram<u64>,
    pub top: Histogram<u64>,
    pub settled: Histogram<u64>,
    /// Where the time went: of the busiest tenth, of the others.
    pub parts: [Parts; 2],
}

impl Latencies {
    fn new() -> Self {
        let new = || Histogram::new_with_bounds(1000, 3_600_000_000_000, 3).unwrap();
        Self { all: new(), top: new(), settled: new(), parts: [Parts::new(), Parts::new()] }
    }
}

/// What was seen of a run.
pub struct Report {
    pub lines: Vec<Line>,
    pub phases: Vec<Latencies>,
    /// The longest that each symbol had no prediction, in ns.
    pub longest_ns: Vec<u64>,
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
    /// Superseded or overdue.
    pub shed: u64,
    pub memory_mb: f64,
}

fn quantile(sorted: &[u64], q: f64) -> f64 {
    sorted
        .get(((sorted.len() as f64 * q) as usize).min(sorted.len().saturating_sub(1)))
        .map_or(0.0, |ns| *ns as f64 / 1e6)
}

/// Looks four times a second until told to stop.
pub fn watch(rig: &Rig, phases: Vec<Phase>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Report> {
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
