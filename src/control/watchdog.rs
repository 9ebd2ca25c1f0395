//! The watchdog: a thread that looks at memory and progress, gives memory back, and says when the process must go.
//!
//! What it decides is [`Watch::judge`]'s; this is the shell around it. It replaces nothing itself: that is for the
//! program's main thread, which listens to [`Watchdog::restart_wanted`].

mod trim;

use super::verdict::{Cause, Limits, Sample, StageProgress, Verdict, Watch};
use crate::alert::{Alerts, Severity};
use crate::observe::ProcessProbe;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the watchdog looks at and acts on, whatever it is made of.
pub trait Watched: Send + Sync {
    /// Every stage's progress, in flow order. Must not wait for anything that may stand still.
    fn stages(&self) -> Vec<StageProgress>;

    /// Gives back what can be had again: caches, idle sessions. What it did, in words.
    fn shrink(&self) -> String;
}

/// The thread that watches; ends when it is dropped.
pub struct Watchdog {
    shared: Arc<Shared>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    limits: Mutex<Limits>,
    alerts: Arc<Alerts>,
    begin: Instant,
    /// When it last looked, in ms since `begin`.
    looked_ms: AtomicU64,
    critical: AtomicBool,
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
            critical: AtomicBool::new(false),
            wanted: bounded(1),
        });
        let (stop, stopped) = bounded(0);
        let watching =
            Watching { shared: Arc::clone(&shared), watched, process, watch: Watch::default(), told: None };
        let thread = std::thread::Builder::new()
            .name("vela-watchdog".into())
            .spawn(move || watching.run(interval, &stopped))?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Gets the reason, once, when the process should be replaced: see [`super::reexec`].
    pub fn restart_wanted(&self) -> Receiver<Cause> {
        self.shared.wanted.1.clone()
    }

    /// Whether every stage gets on, and the watchdog itself looked within `patience`.
    pub fn is_well(&self, patience: Duration) -> bool {
        let looked = Duration::from_millis(self.shared.looked_ms.load(Ordering::Relaxed));
        let silent = self.shared.begin.elapsed().saturating_sub(looked);
        !self.shared.critical.load(Ordering::Relaxed) && silent <= patience
    }

    /// Changes what holds, from the next look on.
    pub fn set_limits(&self, limits: Limits) {
        *self.shared.limits.lock() = limits;
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panics for defects only; the log has the message.
            let _ = thread.join();
        }
    }
}

struct Watching {
    shared: Arc<Shared>,
    watched: Arc<dyn Watched>,
    process: Arc<ProcessProbe>,
    watch: Watch,
    /// The stage whose standing still was alerted.
    told: Option<&'static str>,
}

impl Watching {
    fn run(mut self, interval: Duration, stop: &Receiver<()>) {
        while stop.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            self.look();
            let elapsed_ms = self.shared.begin.elapsed().as_millis() as u64;
            self.shared.looked_ms.store(elapsed_ms, Ordering::Relaxed);
        }
    }

    fn look(&mut self) {
        let (usage, stages) = (self.process.look(), self.watched.stages());
        let sample = Sample {
            resident_mb: usage.memory_mb,
            cgroup_max_mb: usage.cgroup.as_ref().and_then(|cgroup| cgroup.memory_max_mb),
            stages: &stages,
        };
        let limits = *self.shared.limits.lock();
        let verdict = self.watch.judge(&sample, &limits, self.shared.begin.elapsed());
        if let (Verdict::Fine, Some(stage)) = (&verdict, self.told) {
            self.told = None;
            self.shared.critical.store(false, Ordering::Relaxed);
            self.shared.alerts.raise(Severity::Info, "stage_moves", stage, "it gets on again".into());
        }
        match verdict {
            Verdict::Fine => {}
            Verdict::Shrink { resident_mb, soft_mb } => self.shrink(resident_mb, soft_mb),
            Verdict::Critical { stage, since } => {
                self.shared.critical.store(true, Ordering::Relaxed);
                if self.told != Some(stage) {
                    self.told = Some(stage);
                    let detail = format!(
                        "it got nothing done for {:.1} s although work waits; the process is replaced after {:.1} s",
                        since.as_secs_f64(),
                        limits.stall_restart.as_secs_f64()
                    );
                    self.shared.alerts.raise(Severity::Error, "stage_stalled", stage, detail);
                }
            }
            Verdict::Restart(cause) => {
                let subject = match &cause {
                    Cause::Stalled { stage, .. } => stage,
                    Cause::Memory { .. } => "memory",
                };
                self.shared.critical.store(matches!(cause, Cause::Stalled { .. }), Ordering::Relaxed);
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
