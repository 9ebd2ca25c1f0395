//! What one can see from outside: metrics, and the log.

mod disk;
pub mod log;
mod metrics;
mod process;

pub use disk::FileSystem;
pub use metrics::{
    ActiveAlert,     CacheMetrics, Metrics, ModelMetrics, ModelPoolMetrics, Performance, Quantiles, StageMetrics,
    SystemMetrics,
};
pub use process::{ProcessProbe, host_name};
