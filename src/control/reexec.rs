//! Replacing the process by a fresh copy of itself: the same number, program, arguments and listening sockets, and
//! none of the memory.
//!
//! What has to outlive it travels in the environment: [`Generation`] says which copy this is and why, [`adopt`]
//! which descriptors it was handed. Both name the process they are meant for, so that a child that inherits the
//! variables does not take them for its own.

mod budget;
mod generation;
mod image;
mod inherited;
mod system;

pub use budget::{Budget, Next};
pub use generation::{Generation, Restart, generation};
pub use image::replace;
pub use inherited::{adopt, adopt_bytes, forget, keep, keep_bytes, keep_file};
pub(super) use system::monotonic_us;

/// Carries [`Generation`].
const GENERATION_VARIABLE: &str = "VELA_REEXEC";
/// Carries the names and numbers of handed-over descriptors.
const INHERIT_VARIABLE: &str = "VELA_INHERIT";
