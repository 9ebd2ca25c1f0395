//! The threads that answer: how many wait for a connection that is ready, and who comes where none of them does.
//!
//! As many wait as there are processors, since more at a time would only take turns on them; whoever has answered and finds
//! them all there rests. A thread whose work is to wait for others says so ([`Crew::stand_in`]), and where it was the last, one
//! that rests takes its place. What takes long without a word (a slow model, a client that does not read) is noticed by the
//! server's keeper: nobody waits, and nothing was taken for a while.

use crossbeam::channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How long a thread rests before it ends.
const REST_MAX: Duration = Duration::from_secs(10);

/// Who waits, rests and is missing.
#[derive(Debug)]
pub struct Crew {
    /// How many wait at most.
    places: usize,
    waiting: AtomicUsize,
    /// Connections that were taken so far.
    taken: AtomicU64,
    /// The keeper was told that nobody waits, and looks.
    watched: AtomicBool,
    /// A thread is missing, and none rests.
    missing: AtomicBool,
    /// Reaches one that rests, and nobody else: nothing waits in it.
    call: Sender<()>,
    calls: Receiver<()>,
    bell: OwnedFd,
}

impl Crew {
    /// Nobody yet.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (call, calls) = bounded(0);
        Ok(Self {
            // The keeper looks where nobody waits: with one only it would look at every request.
            places: cores.max(2),
            waiting: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            missing: AtomicBool::new(false),
            call,
            calls,
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// How many wait at most, and so with how many it begins.
    pub fn places(&self) -> usize {
        self.places
    }

    /// A place among those who wait, for the calling thread; it rests until there is one. False where it is needed no more.
    pub fn sit_down(&self) -> bool {
        let free = |waiting| (waiting < self.places).then_some(waiting + 1);
        while self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).is_err() {
            if self.calls.recv_timeout(REST_MAX).is_err() {
                return false;
            }
        }
        true
    }

    /// The calling thread waits no more: it has a connection.
    pub fn stand_up(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let last = self.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && !self.watched.swap(true, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// The calling thread is going to wait for somebody else: another is to take what comes meanwhile.
    pub fn stand_in(&self) {
        if self.is_short() && self.call.try_send(()).is_err() {
            self.missing.store(true, Ordering::SeqCst);
            self.ring();
        }
    }

    /// Whether nobody waits.
    pub fn is_short(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// How many connections were taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The keeper looks no more until it is told; true where it has to go on, as nobody waits by now.
    pub fn unwatch(&self) -> bool {
        self.watched.store(false, Ordering::SeqCst);
        self.is_short() && !self.watched.swap(true, Ordering::SeqCst)
    }

    /// Whether a thread is missing that somebody asked for.
    pub fn is_missing(&self) -> bool {
        self.missing.swap(false, Ordering::SeqCst) && self.is_short()
    }

    /// Wakes the keeper.
    pub fn ring(&self) {
        // It fails where it was rung without end and not heard: it is ringing.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// What the keeper hears when it is rung.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The keeper has heard it.
    pub fn hush(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}
