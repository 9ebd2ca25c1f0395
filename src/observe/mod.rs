//! What one can see from outside: metrics, and the log.

mod buckets;
mod cgroup;
mod cpu;
mod disk;
pub mod log;
mod metrics;
pub mod process;

pub use buckets::{BOUNDS_US, Buckets};
pub use cgroup::CgroupUsage;
pub use cpu::cpu_time;
pub use disk::FileSystem;
pub use metrics::{
    ActiveAlert, CacheMetrics, CgroupMetrics, ControllerMetrics, LastRestart, Metrics, ModelMetrics,
    ModelPoolMetrics, Performance, Quantiles, StageMetrics, StoreMetrics, SymbolMetrics, SystemMetrics,
};
pub use process::{ProcessProbe, ProcessUsage, this_process};
