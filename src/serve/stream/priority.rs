//! How far the stream's thread gives way to those that have bars in their hands.

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
