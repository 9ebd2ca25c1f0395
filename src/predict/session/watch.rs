//! Runs that take too long are ended: one thread watches the sessions of the whole process.
//!
//! A run notes its beginning in its session's own entry, under a lock that nobody else takes but who ends
//! that very run; no timer is set, no thread is woken. The watcher looks at the entries a few times in a
//! deadline, and sleeps for good while there is no session.

use crate::link::clock::now_ns;
use crate::link::{LongWork, long_work};
use ort::session::RunOptions;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::Duration;

/// How often the watcher looks within the shortest deadline.
const LOOKS_PER_DEADLINE: u32 = 4;
/// The longest time between two looks.
const LOOK_LONGEST: Duration = Duration::from_millis(250);

/// Who asked for a run to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Somebody outside.
    Asked,
    /// The watcher: the deadline had passed.
    Overdue,
}

/// The entry of one session.
pub(super) struct Watch {
    options: RunOptions,
    deadline: Duration,
    /// When the run that is going on began; 0 between runs. Changed under `ended` only.
    since_ns: AtomicU64,
    /// How long the last run took.
    took_ns: AtomicU64,
    ended: Mutex<Option<Ended>>,
}

impl Watch {
    /// A new entry, which the watcher sees from now on.
    pub(super) fn new(deadline: Duration) -> ort::Result<Arc<Self>> {
        let watch = Arc::new(Self {
            options: RunOptions::new()?,
            deadline,
            since_ns: AtomicU64::new(0),
            took_ns: AtomicU64::new(0),
            ended: Mutex::new(None),
        });
        watcher().add(&watch);
        Ok(watch)
    }

    /// The options that each run is to be given.
    pub(super) fn options(&self) -> &RunOptions {
        &self.options
    }

    /// How long a run may take.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// A run begins, on the calling thread; what it gives is to be kept until it is over: the last run took long, so
    /// this one is expected to.
    pub(super) fn begin(&self) -> ort::Result<Option<LongWork>> {
        let long = long_work(self.took_ns.load(Ordering::Relaxed));
        let mut ended = self.ended.lock();
        *ended = None;
        self.options.unterminate()?;
        self.since_ns.store(now_ns(), Ordering::Relaxed);
        Ok(long)
    }

    /// It is over; who ended it, where it did not end by itself.
    pub(super) fn over(&self) -> Option<Ended> {
        let ended = self.ended.lock();
        let since_ns = self.since_ns.swap(0, Ordering::Relaxed);
        self.took_ns.store(now_ns().saturating_sub(since_ns), Ordering::Relaxed);
        *ended
    }

    /// Ends the run that is going on, if there is one.
    pub(super) fn end(&self) {
        let mut ended = self.ended.lock();
        if self.since_ns.load(Ordering::Relaxed) != 0 {
            self.terminate(&mut ended, Ended::Asked);
        }
    }

    fn terminate(&self, ended: &mut Option<Ended>, why: Ended) {
        ended.get_or_insert(why);
        // It fails only for options that do not exist.
        let _ = self.options.terminate();
    }

    /// Ends the run if it is overdue; how long it has left otherwise, `None` between runs.
    fn look(&self, now_ns: u64) -> Option<Duration> {
        let left = |since_ns: u64| {
            let running = (since_ns != 0).then(|| Duration::from_nanos(now_ns.saturating_sub(since_ns)))?;
            Some(self.deadline.saturating_sub(running))
        };
        let since_ns = self.since_ns.load(Ordering::Relaxed);
        if left(since_ns)? > Duration::ZERO {
            return left(since_ns);
        }
        // The next run may have begun by now: it must not pay for this one.
        let mut ended = self.ended.lock();
        if self.since_ns.load(Ordering::Relaxed) == since_ns {
            self.terminate(&mut ended, Ended::Overdue);
        }
        None
    }
}

struct Watcher {
    watches: Mutex<Vec<Weak<Watch>>>,
    thread: OnceLock<Thread>,
}

fn watcher() -> &'static Watcher {
    static WATCHER: Watcher = Watcher { watches: Mutex::new(Vec::new()), thread: OnceLock::new() };
    &WATCHER
}

impl Watcher {
    fn add(&'static self, watch: &Arc<Watch>) {
        self.watches.lock().push(Arc::downgrade(watch));
        let start = || {
            let thread = std::thread::Builder::new().name("vela-deadline".into()).spawn(|| self.watch());
            // Without it a slow model would hold its worker for ever: better to say so at once.
            #[allow(clippy::expect_used)]
            thread.expect("the system gives no thread to watch deadlines").thread().clone()
        };
        // It may sleep longer than this session's deadline.
        self.thread.get_or_init(start).unpark();
    }

    fn watch(&self) {
        loop {
            match self.look(now_ns()) {
                Some(pause) => std::thread::park_timeout(pause),
                None => std::thread::park(),
            }
        }
    }

    /// Looks at every session; when to look again, `None` while there is no session.
    fn look(&self, now_ns: u64) -> Option<Duration> {
        let mut pause: Option<Duration> = None;
        self.watches.lock().retain(|watch| {
            let Some(watch) = watch.upgrade() else { return false };
            let left = watch.look(now_ns).unwrap_or(LOOK_LONGEST);
            let next = left.min(watch.deadline / LOOKS_PER_DEADLINE).max(Duration::from_millis(1));
            pause = Some(pause.unwrap_or(LOOK_LONGEST).min(next));
            true
        });
        pause
    }
}
