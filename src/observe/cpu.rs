//! The processor time that this process has used.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// All of it so far, over all threads.
pub fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    // Neither is ever negative.
    Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec.unsigned_abs() as u32)
}
