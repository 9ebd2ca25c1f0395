//! Where workers sleep while nothing is ready, and how one of them is woken.
//!
//! An event count over one futex word. A channel's own waiting would do but for one thing: before it parks it calls
//! `sched_yield` up to eight times, and who yields gives up what is left of its slice. Beside a thread that computes
//! (a slow model, another program) it got the processor back one or two slices later, 2.5 to 3 ms on Linux 6.18, and
//! the bar that came meanwhile waited for that. So a worker looks a few times and then sleeps, without yielding.
//!
//! Whoever announces pushes first and then looks for sleepers; whoever goes to sleep says so first and then looks
//! once more. One of them sees the other (`tests/loom` explores it).
//!
//! Waking somebody is a system call, 12 µs where the other processor has to be brought out of its halt, and several keys
//! are often announced one behind the other, the models of a bar say. So one call is on its way at a time: who wakes by it
//! calls the next one, where there is more to find.

use super::sync::{AtomicU32, Futex, LOOKS, Ordering, fence, spin_loop};

/// In [`Parking::sleepers`]: a call is on its way.
const CALLED: u32 = 1;
/// In [`Parking::sleepers`]: one who sleeps.
const SLEEPER: u32 = 2;

/// Where the workers of one stage sleep.
pub struct Parking {
    /// Changes with every call, so that a call between the last look and the sleep is not missed.
    calls: Futex,
    /// Who sleeps, or is about to, and whether one of them is called.
    sleepers: AtomicU32,
}

impl Default for Parking {
    fn default() -> Self {
        Self { calls: Futex::new(0), sleepers: AtomicU32::new(0) }
    }
}

impl Parking {
    /// Sleeps until `look` finds something; `more` says whether there is more for others to find.
    pub fn wait<T>(&self, mut look: impl FnMut() -> Option<T>, more: impl Fn() -> bool) -> T {
        // About as long as waking somebody takes.
        for _ in 0..LOOKS {
            if let Some(found) = look() {
                return found;
            }
            spin_loop();
        }
        loop {
            self.sleepers.fetch_add(SLEEPER, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let calls = self.calls.load();
            let found = look();
            // A call that came before `calls` was read would wake nobody any more, and others rely on it.
            if found.is_none() && self.sleepers.load(Ordering::SeqCst) & CALLED == 0 {
                self.calls.wait(calls);
            }
            self.awake();
            if let Some(found) = found.or_else(&mut look) {
                // Who announced meanwhile may have left it to this one to call others.
                if more() {
                    self.call();
                }
                return found;
            }
        }
    }

    /// One sleeps no more, and the next call is on its way to another.
    fn awake(&self) {
        let awake = |sleepers: u32| Some((sleepers - SLEEPER) & !CALLED);
        let _ = self.sleepers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, awake);
        fence(Ordering::SeqCst);
    }

    /// Sees to it that one of those who sleep wakes, if there is one; call after what it is to find is there.
    pub fn call(&self) {
        fence(Ordering::SeqCst);
        let called =
            |sleepers: u32| (sleepers >= SLEEPER && sleepers & CALLED == 0).then_some(sleepers | CALLED);
        if self.sleepers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, called).is_ok() {
            self.calls.call_one();
        }
    }
}
