//! How far the stream's thread gives way to those that have bars in their hands.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Takes for the calling thread what others leave of the processors, where the system allows that.
///
/// A lower weight (nice) is not enough: a thread that wakes for a bar still waits until the slice of whoever runs is over,
/// a millisecond or more. One that is idle by its class is put aside at once. Writing to many clients takes long, and each
/// piece of it can wait; where no processor is left for it, clients get the newest of each key once there is. Other programs
/// of the same control group go before it as well; those of others (each service of systemd has its own) do not.
pub(super) fn give_way() {
    #[cfg(target_os = "linux")]
    {
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: 0 is the calling thread, and the pointer is to a value that outlives the call, which only reads it.
        // Giving way needs no right; where it is refused all the same, the thread is one as the others.
        unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    }
}

/// How long the thread works before it asks who waits for the processor.
const TURN: Duration = Duration::from_micros(50);
/// The longest time, where the processors are taken by others.
const TURN_MAX: Duration = Duration::from_millis(1);

thread_local! {
    static ASK_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Lets those go first that wait for the processor at this moment; without `at_once` only where its turn is over.
///
/// The class alone puts this thread aside for whoever *wakes*. A worker whose slice ends with a bar in its hands is compared
/// with all that wait, and there Linux (EEVDF) gives the turn to who had less than its share, the class notwithstanding: one
/// that has just woken, as this thread has. It is next looked at when it sleeps or at a tick of the clock, a millisecond or
/// more later. Who yields after a few microseconds has had its share, however little that is, and comes last.
///
/// On a machine without a processor to spare that share is next to nothing. Whoever was put aside for long has a longer turn
/// then: as long, but at most a millisecond, so that clients are served all the same.
pub(super) fn let_others(at_once: bool) {
    let asked = Instant::now();
    if at_once || ASK_AT.get().is_none_or(|at| asked >= at) {
        std::thread::yield_now();
        let now = Instant::now();
        ASK_AT.set(Some(now + (now - asked).clamp(TURN, TURN_MAX)));
    }
}
