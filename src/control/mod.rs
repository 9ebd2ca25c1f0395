//! What keeps the process well: the watchdog, the replacement of the process by itself, the service manager.

pub mod reexec;
pub mod systemd;
mod verdict;
mod watchdog;

pub use verdict::{Cause, Limits, Sample, StageProgress, Verdict, Watch};
pub use watchdog::{Watchdog, Watched};
