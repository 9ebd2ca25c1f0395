//! Giving the allocator's free pages back to the system.

/// Has glibc give back the free pages of all its arenas: it keeps what was freed behind a live piece for ever
/// otherwise, ONNX Runtime's memory included. Whether there is such a thing here.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn trim() -> bool {
    // SAFETY: it takes no pointer, may be called by any thread at any time (malloc_trim(3): MT-Safe), and
    // touches only pages that nobody was given.
    unsafe { libc::malloc_trim(0) };
    true
}

/// Other allocators give back by themselves, or cannot be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn trim() -> bool {
    false
}
