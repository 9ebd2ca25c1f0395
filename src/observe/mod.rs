//! What one can see from outside: metrics, and the log.

mod buckets;
pub mod log;
mod metrics;
mod process;

pub use buckets::{BOUNDS_US, Buckets};
pub use metrics::{
    CacheMetrics, ControllerMetrics, Metrics, ModelMetrics, ModelPoolMetrics, Performance, Quantiles,
    StageMetrics, SymbolMetrics, SystemMetrics,
};
pub use process::{ProcessProbe, this_process};
