//! What one can see from outside: metrics, and the log.

pub mod log;
mod metrics;
mod process;

pub use metrics::{
    CacheMetrics, ControllerMetrics, Metrics, ModelMetrics, ModelPoolMetrics, Performance, Quantiles,
    StageMetrics, SystemMetrics,
};
pub use process::ProcessProbe;
