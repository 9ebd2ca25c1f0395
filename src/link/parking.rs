//! Where workers sleep while nothing is ready, and how one of them is woken.
//!
//! An event count over one futex word. A channel's own waiting would do but for one thing: before it parks it calls
//! `sched_yield` up to eight times, and who yields gives up what is left of its slice. Beside a thread that computes
//! (a slow model, another program) it got the processor back one or two slices later, 2.5 to 3 ms on Linux 6.18, and
//! the bar that came meanwhile waited for that. So a worker looks a few times and then sleeps, without yielding.
//!
//! Whoever announces pushes first and then looks for sleepers; whoever goes to sleep says so first and then looks
//! once more. One of them sees the other (`tests/loom` explores it).

use super::sync::{AtomicU32, Futex, LOOKS, Ordering, fence, spin_loop};

/// Where the workers of one stage sleep.
pub struct Parking {
    /// Changes with every call, so that a call between the last look and the sleep is not missed.
    calls: Futex,
    /// Who sleeps, or is about to.
    sleepers: AtomicU32,
}

impl Default for Parking {
    fn default() -> Self {
        Self { calls: Futex::new(0), sleepers: AtomicU32::new(0) }
    }
}

impl Parking {
    /// Sleeps until `look` finds something.
    pub fn wait<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        // About as long as waking somebody takes.
        for _ in 0..LOOKS {
            if let Some(found) = look() {
                return found;
            }
            spin_loop();
        }
        loop {
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let calls = self.calls.load();
            let found = look();
            if found.is_none() {
                self.calls.wait(calls);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
            if let Some(found) = found.or_else(&mut look) {
                return found;
            }
        }
    }

    /// Wakes one of those who sleep, if there is one; call after what it is to find is there.
    pub fn call(&self) {
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.calls.call_one();
        }
    }
}
