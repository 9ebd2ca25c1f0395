//! How long a thread may keep the processor once it has it, and so how soon it gets it when it wakes.
//!
//! Linux gives each thread its share of a processor in slices, and who wakes takes over at once where its slice is
//! shorter than that of the one who runs (and it had no more than its share). Workers need microseconds: with short
//! slices they do not wait for the end of a slice of whoever computes, a slow model or another program. Nobody's share
//! changes, so that no right is needed for it (Linux 6.12; before, it has no effect).

use std::mem::size_of;

/// The shortest that there is, in ns.
const SLICE_NS: u64 = 100_000;

/// Asks for short slices for the calling thread. Where the system does not know them, or forbids it, all stays as it is.
pub fn shorten() {
    // SAFETY: plain numbers, for which zero is a value.
    let mut attributes = unsafe { std::mem::zeroed::<libc::sched_attr>() };
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: of this thread (0); the system writes at most `size` bytes.
    let read = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    // Whoever gave the process another policy knows why.
    if read != 0 || attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return;
    }
    attributes.sched_runtime = SLICE_NS;
    // SAFETY: as above; policy and weight are those that were read.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
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
        let shortened = std::thread::spawn(move || {
            shorten();
            read()
        });
        assert_eq!(shortened.join().unwrap(), (Some(SLICE_NS), policy, priority));
        assert_eq!(read(), before);
    }
}
