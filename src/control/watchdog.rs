//! The watchdog: a thread that looks at memory and progress, gives memory back, and says when the process must go.
//!
//! What it decides is [`Watch::judge`]'s; this is the shell around it. It replaces nothing itself: that is for the
//! program's main thread, which listens to [`Watchdog::restart_wanted`].

mod trim;

use super::routine::Routine;
use super::verdict::{Cause, Limits, Sample, StageProgress, Standstill, Verdict, Watch};
use crate::alert::{Alerts, Severity};
use crate::observe::ProcessProbe;
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the watchdog looks at and acts on, whatever it is made of.
pub trait Watched: Send + Sync {
    /// Every stage's progress, in flow order. Must not wait for anything that may stand still.
    fn stages(&self) -> Vec<StageProgress>;

    /// Gives back what can be had again: caches, idle sessions. What it did, in words.
    fn shrink(&self) -> String;
}

/// The thread that watches; it ends when it is told to, or this is dropped.
pub struct Watchdog {
    shared: Arc<Shared>,
    routine: Routine,
}

struct Shared {
    limits: Mutex<Limits>,
    alerts: Arc<Alerts>,
    begin: Instant,
    /// When it last looked, in ms since `begin`.
    looked_ms: AtomicU64,
    standstill: Mutex<Option<Standstill>>,
    wanted: (Sender<Cause>, Receiver<Cause>),
}

impl Watchdog {
    /// Starts to watch every `interval`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        watched: Arc<dyn Watched>,
        process: Arc<ProcessProbe>,
        alerts: Arc<Alerts>,
        limits: Limits,
        interval: Duration,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            limits: Mutex::new(limits),
            alerts,
            begin: Instant::now(),
            looked_ms: AtomicU64::new(0),
            standstill: Mutex::new(None),
            wanted: bounded(1),
        });
        let mut watching =
            Watching { shared: Arc::clone(&shared), watched, process, watch: Watch::default() };
        let routine = Routine::start("vela-watchdog", move || interval, move || watching.look())?;
        Ok(Self { shared, routine })
    }

    /// Gets the reason, once, when the process should be replaced: see [`super::reexec`].
    pub fn restart_wanted(&self) -> Receiver<Cause> {
        self.shared.wanted.1.clone()
    }

    /// The stage that stands still, if any: the last, as data flows, that has work and gets nothing done.
    pub fn standstill(&self) -> Option<Standstill> {
        *self.shared.standstill.lock()
    }

    /// Whether no stage has stood still for half as long as it may, and the watchdog itself looked within `patience`.
    pub fn is_well(&self, patience: Duration) -> bool {
        let looked = Duration::from_millis(self.shared.looked_ms.load(Ordering::Relaxed));
        let silent = self.shared.begin.elapsed().saturating_sub(looked);
        let half = self.shared.limits.lock().stall_restart / 2;
        silent <= patience && self.standstill().is_none_or(|still| still.since < half)
    }

    /// Changes what holds, from the next look on.
    pub fn set_limits(&self, limits: Limits) {
        *self.shared.limits.lock() = limits;
    }

    /// Ends it.
    pub fn stop(&self) {
        self.routine.stop();
    }
}

struct Watching {
    shared: Arc<Shared>,
    watched: Arc<dyn Watched>,
    process: Arc<ProcessProbe>,
    watch: Watch,
}

impl Watching {
    fn look(&mut self) {
        self.see();
        let elapsed_ms = self.shared.begin.elapsed().as_millis() as u64;
        self.shared.looked_ms.store(elapsed_ms, Ordering::Relaxed);
    }

    /// Looks at memory and progress, and does what is to be done.
    fn see(&mut self) {
        let (usage, stages) = (self.process.look(), self.watched.stages());
        let sample = Sample {
            resident_mb: usage.memory_mb,
            cgroup_max_mb: usage.cgroup.as_ref().and_then(|cgroup| cgroup.memory_max_mb),
            stages: &stages,
        };
        let limits = *self.shared.limits.lock();
        let verdict = self.watch.judge(&sample, &limits, self.shared.begin.elapsed());
        *self.shared.standstill.lock() = self.watch.standstill();
        match verdict {
            Verdict::Fine => {}
            Verdict::Shrink { resident_mb, soft_mb } => self.shrink(resident_mb, soft_mb),
            Verdict::Restart(cause) => {
                let subject = match &cause {
                    Cause::Stalled(still) => still.stage,
                    Cause::Memory { .. } => "memory",
                };
                let detail = cause.to_string();
                // Full: it was said before, and whoever listens is about it.
                if self.shared.wanted.0.try_send(cause).is_ok() {
                    self.shared.alerts.raise(Severity::Error, "restart_wanted", subject, detail);
                }
            }
        }
    }

    /// Gives memory back, and sees how much.
    fn shrink(&mut self, resident_mb: f64, soft_mb: f64) {
        let begin = Instant::now();
        let done = self.watched.shrink();
        let trimmed = trim::trim();
        let after_mb = self.process.look_now().memory_mb;
        self.watch.shrunk(self.shared.begin.elapsed(), resident_mb, after_mb);
        let detail = format!(
            "{resident_mb:.0} MiB in use, more than {soft_mb:.0} (max_memory_mb, watchdog.soft_share): {done}, {}; \
             {after_mb:.0} MiB after {} ms",
            if trimmed { "free pages were given back" } else { "this allocator has nothing to give back" },
            begin.elapsed().as_millis()
        );
        self.shared.alerts.raise(Severity::Warning, "memory_soft_limit", "memory", detail);
    }
}
