//! The few calls of the system that the standard library has no words for.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether a descriptor is closed when the process is replaced.
///
/// # Errors
/// When it is not open.
pub(super) fn close_on_exec(number: RawFd) -> io::Result<bool> {
    // SAFETY: it only reads flags; a number that is not open is an error, told as such.
    let flags = checked(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    Ok(flags & libc::FD_CLOEXEC != 0)
}

/// Says whether a descriptor is closed when the process is replaced.
///
/// # Errors
/// What the system says.
pub(super) fn set_close_on_exec(socket: &impl AsFd, closes: bool) -> io::Result<()> {
    let flags = if closes { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: the descriptor is borrowed, so it is open; the call changes its flags alone.
    checked(unsafe { libc::fcntl(socket.as_fd().as_raw_fd(), libc::F_SETFD, flags) })?;
    Ok(())
}

/// Has every descriptor but the three standard ones closed when the process is replaced: Rust opens all of its
/// own so, C libraries may not.
pub(super) fn close_all_on_exec() {
    // SAFETY: nothing is closed now, and no pointer is passed. Kernels before 5.11 refuse, which costs what a
    // C library forgot and no more.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Takes a descriptor that this process was handed when it began.
///
/// # Errors
/// When it is not open.
pub(super) fn take(number: RawFd) -> io::Result<OwnedFd> {
    close_on_exec(number)?;
    // SAFETY: it is open, and whoever handed it over said that it is this process's. It is taken from a list
    // that is read once, before which nobody here knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    set_close_on_exec(&socket, true)?;
    Ok(socket)
}

/// A file without a name, in memory alone.
///
/// # Errors
/// What the system says.
pub(super) fn memory_file() -> io::Result<File> {
    // SAFETY: the name is a constant that ends with a zero byte; the call makes a new descriptor.
    let number = checked(unsafe { libc::memfd_create(c"vela".as_ptr(), libc::MFD_CLOEXEC) })?;
    // SAFETY: it is open, and nobody else knows of it.
    Ok(unsafe { File::from_raw_fd(number) })
}

/// Lets this thread receive all signals: the mask is kept by whatever replaces the process.
pub(super) fn unblock_signals() {
    // SAFETY: the set is a plain value, filled by sigemptyset before it is read.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Has SIGHUP do nothing until the next image listens to it: it asks for the configuration to be read, which a start
/// does anyway, and would end a process that does not know of it.
pub(super) fn ignore_hang_up() {
    // SAFETY: it takes no pointer; what the signal was handled by so far is part of what is about to be replaced.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// The system's monotonic clock, in µs: it goes on across a replacement, and is what systemd counts in.
pub(in crate::control) fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value on this stack, which the call fills.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) } != 0 {
        return 0;
    }
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
}
