//! The process's monotonic clock: the one place that reads it for measurements.

use std::sync::OnceLock;
use std::time::Instant;

static START: OnceLock<Instant> = OnceLock::new();

/// Nanoseconds since the first call in this process; never zero, so that zero can mean "never".
pub fn now_ns() -> u64 {
    // 2^64 ns are 584 years.
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64 + 1
}
