//! The engine, fed bar by bar, and what comes out of it.

use super::{onnx, stages};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vela::config::{SourceKind, Stale};
use vela::domain::{Bar, Outcome, Reason, SeriesKey, Stability, Timeframe, Timestamp};
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides, Settings};

pub const SERIES: usize = 200;
/// The tenth of the symbols that trades most.
pub const TOP: usize = SERIES / 10;
const START_S: i64 = 1_700_000_040;
const WARM_UP_BARS: u64 = 120;
/// More minutes than are on their way at any time.
const MINUTES: usize = 4096;
pub const BUDGET_MS: u64 = 250;
/// What of it a row may wait, where what waited too long is dropped: the rest is for its run and the store.
pub const OVERDUE_MS: u64 = BUDGET_MS / 5 * 4;

/// A prediction that came out.
pub struct Out {
    pub series: usize,
    pub due_ns: u64,
    pub latency_ns: u64,
    /// What of it each part of the way took.
    pub parts: [u64; 5],
}

/// What came out since the last look.
#[derive(Default)]
pub struct Seen {
    pub fresh: Vec<Out>,
    /// Superseded or overdue.
    pub shed: u64,
}

/// When each bar is due, by its series and its minute.
pub struct Due {
    begin: Instant,
    ns: Vec<AtomicU64>,
}

impl Due {
    pub fn now_ns(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    pub fn of(&self, minute: usize, series: usize) -> &AtomicU64 {
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
pub struct Rig {
    pub engine: Arc<Engine>,
    pub series: Vec<Arc<SeriesKey>>,
    pub due: Arc<Due>,
    pub seen: Arc<Mutex<Seen>>,
    next: u64,
    _models: tempfile::TempDir,
}

impl Rig {
    pub fn new(stale: Stale, overdue_ms: u64, light: bool) -> Self {
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
        // Its bars are of years ago: with `accept_future` nothing would be overdue.
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

    /// Bars a second that the engine takes and answers, over five seconds, and the share of a processor that putting them
    /// in took.
    pub fn capacity(&mut self) -> (f64, f64) {
        let (begin, before, used_ns) = (Instant::now(), self.next, thread_cpu_ns());
        while begin.elapsed() < Duration::from_secs(5) {
            let due_ns = self.due.now_ns();
            (0..64).for_each(|_| self.put(due_ns));
        }
        let used = (thread_cpu_ns() - used_ns) as f64 / begin.elapsed().as_nanos() as f64;
        assert!(self.engine.drain(Duration::from_secs(60)));
        let rate = (self.next - before) as f64 / begin.elapsed().as_secs_f64();
        *self.seen.lock() = Seen::default();
        (rate, used)
    }

    /// Bars a second that the engine keeps up with where they come by the clock, looked for below `taken`: it does where
    /// the queue is gone a tenth of the budget after the last bar of three seconds.
    pub fn kept_up(&mut self, taken: f64) -> f64 {
        let mut per_s = taken;
        loop {
            let from_ns = self.due.now_ns() + 100_000_000;
            self.offer(&Phase { share: 1.0, per_s, from_ns, to_ns: from_ns + 3_000_000_000 });
            let kept_up = self.engine.drain(Duration::from_millis(BUDGET_MS / 10));
            assert!(self.engine.drain(Duration::from_secs(60)));
            *self.seen.lock() = Seen::default();
            if kept_up {
                return per_s;
            }
            per_s *= 0.975;
        }
    }

    /// Offers bars by the clock, not by what the engine takes; when the last was put in, in ns behind its time, and the
    /// share of a processor that this took.
    pub fn offer(&mut self, phase: &Phase) -> (u64, f64) {
        let (begin, used_ns) = (Instant::now(), thread_cpu_ns());
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
        let used = (thread_cpu_ns() - used_ns) as f64 / begin.elapsed().as_nanos() as f64;
        (self.due.now_ns().saturating_sub(phase.to_ns), used)
    }
}

/// The processor time of this thread so far, in ns.
fn thread_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

/// A stretch of time with one rate, in ns of the clock that bars are due by.
#[derive(Clone)]
pub struct Phase {
    pub share: f64,
    pub per_s: f64,
    pub from_ns: u64,
    pub to_ns: u64,
}
