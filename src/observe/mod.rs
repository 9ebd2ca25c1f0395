//! What one can see from outside: metrics, and the log.

mod buckets;
mod cpu;
mod disk;
pub mod log;
mod metrics;
pub mod process;

pub use buckets::{BOUNDS_US, Buckets};
pub use cpu::cpu_time;
pub use disk::FileSystem;
pub use metrics::{
    ActiveAlert, CacheMetrics, ControllerMetrics, Metrics, ModelMetrics, ModelPoolMetrics, Performance,
    Quantiles, StageMetrics, SymbolMetrics, SystemMetrics,
};
pub use process::{ProcessProbe, this_process};
