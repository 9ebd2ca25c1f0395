//! How long a thread may keep the processor once it has it, and so how soon it gets it when it wakes.
//!
//! Linux gives each thread its share of a processor in slices, and who wakes takes over at once where its slice is
//! shorter than that of the one who runs (and it had no more than its share). Where both are as short it waits: for the
//! end of the other's slice, and that is seen at the next tick of the clock, up to 4 ms later. So workers, who need
//! microseconds, have the shortest slices there are, and whoever computes for long has long ones, a worker too for as
//! long as it does. Nobody's share changes, so that no right is needed for it (Linux 6.12; before, it has no effect).

use std::mem::size_of;

/// The shortest that there is, in ns.
const SHORT_NS: u64 = 100_000;
/// For whoever computes, in ns: a tick of the clock. From 0.4 to 100 ms all served as well; one who had more than its
/// share when it wakes may have to wait for as long.
const LONG_NS: u64 = 4_000_000;

/// Asks for short slices for the calling thread. Where the system does not know them, or forbids it, all stays as it is.
pub(super) fn shorten() {
    Slice::read().inspect(|slice| slice.set(SHORT_NS));
}

/// Asks for long slices for the calling thread, which is to compute and be in nobody's way: those that wake go first.
pub fn lengthen() {
    Slice::read().inspect(|slice| slice.set(LONG_NS));
}

/// The slices of a thread as they were; its slices are long until this is dropped.
pub(super) struct Long(Option<Slice>);

impl Long {
    /// Lengthens the slices of the calling thread for a while.
    pub(super) fn begin() -> Self {
        Self(Slice::read().inspect(|slice| slice.set(LONG_NS)))
    }
}

impl Drop for Long {
    fn drop(&mut self) {
        if let Some(slice) = &self.0 {
            slice.set(slice.0.sched_runtime);
        }
    }
}

/// How a thread is scheduled.
struct Slice(libc::sched_attr);

impl Slice {
    /// Of the calling thread; `None` where the system does not say, or it has another policy than the usual.
    fn read() -> Option<Self> {
        // SAFETY: plain numbers, for which zero is a value.
        let mut attributes = unsafe { std::mem::zeroed::<libc::sched_attr>() };
        let size = size_of::<libc::sched_attr>() as u32;
        // SAFETY: of this thread (0); the system writes at most `size` bytes.
        let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
        // Whoever gave the process another policy knows why.
        (read == 0 && attributes.sched_policy == libc::SCHED_OTHER as u32).then_some(Self(attributes))
    }

    /// Slices of `slice_ns` for the calling thread, for which this was read; policy and weight stay.
    fn set(&self, slice_ns: u64) {
        let attributes = libc::sched_attr { sched_runtime: slice_ns, ..self.0 };
        // SAFETY: as above; the system reads as many bytes as the attributes say.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_slice_changes_and_only_of_this_thread() {
        let read = || {
            let sched = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
            let of = |name: &str| {
                let line = sched.lines().find(|line| line.starts_with(name))?;
                line.rsplit(' ').next()?.parse::<u64>().ok()
            };
            (of("se.slice"), of("policy"), of("prio"))
        };
        let before = read();
        let (Some(_), policy, priority) = before else {
            println!("skipped: this kernel tells no slices");
            return;
        };
        let changed = std::thread::spawn(move || {
            let usual = read();
            let long = Long::begin();
            let lengthened = read();
            drop(long);
            let back = read();
            shorten();
            let shortened = read();
            let long = Long::begin();
            let lengthened_again = read();
            drop(long);
            [usual, lengthened, back, shortened, lengthened_again, read()]
        });
        let of = |slice_ns| (Some(slice_ns), policy, priority);
        let (short, long) = (of(SHORT_NS), of(LONG_NS));
        assert_eq!(changed.join().unwrap(), [before, long, before, short, long, short]);
        assert_eq!(read(), before);
    }
}
