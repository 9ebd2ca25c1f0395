//! Who may still put something in, when the engine stops.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Lets callers in until the engine stops, and knows of those who are inside: what they put in is drained.
#[derive(Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    inside: AtomicUsize,
}

/// One caller inside.
pub(super) struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate {
    /// Lets a caller in, unless the gate is closed.
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        // Counted before it is asked whether the gate is closed, so that nobody slips in unseen.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside(self);
        (!self.closed.load(Ordering::SeqCst)).then_some(inside)
    }

    /// Lets nobody in any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether nobody is let in any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether everybody has left before `deadline`.
    pub(super) fn empties(&self, deadline: Instant) -> bool {
        while self.inside.load(Ordering::SeqCst) > 0 {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    }
}
