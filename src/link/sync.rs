//! What the mailbox and the parking are built on, by short names: the model checker compiles `mailbox.rs` and
//! `parking.rs` against its own versions of these (see `tests/loom`).

pub(super) use crossbeam::queue::SegQueue as Queue;
pub(super) use parking_lot::Mutex;
use rustix::thread::futex;
pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// How often who waits looks before it sleeps: a few microseconds.
pub(super) const LOOKS: u32 = 100;

/// A word that threads sleep on.
pub(super) struct Futex(AtomicU32);

impl Futex {
    pub(super) fn new(word: u32) -> Self {
        Self(AtomicU32::new(word))
    }

    pub(super) fn load(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Sleeps while the word is `seen`; may wake for no reason.
    pub(super) fn wait(&self, seen: u32) {
        // Another word by now, or a signal: whoever called looks again.
        let _ = futex::wait(&self.0, futex::Flags::PRIVATE, seen, None);
    }

    /// Changes the word and wakes one who sleeps on it.
    pub(super) fn call_one(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        // It fails only for words that do not exist.
        let _ = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
    }
}
