//! The metrics structure: one snapshot of everything, with the names of the HTTP interface's JSON.

use super::Buckets;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Everything at one moment; counts run from the start of the engine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Metrics {
    /// The program's version.
    pub version: &'static str,
    /// The upper bounds of all `…_buckets`, in µs; each has one count more, for what was longer.
    pub bucket_bounds_us: &'static [f64],
    /// What came out.
    pub performance: Performance,
    /// Where predictions go.
    pub store: StoreMetrics,
    /// What the process uses.
    pub system: SystemMetrics,
    /// The models' sessions.
    pub model_pool: ModelPoolMetrics,
    /// The feature cache.
    pub feature_cache: CacheMetrics,
    /// The stages by name.
    pub stages: BTreeMap<&'static str, StageMetrics>,
    /// The names of `stages` in flow order.
    pub stage_order: Vec<&'static str>,
    /// What tunes them.
    pub controller: ControllerMetrics,
    /// How many outcomes without a prediction each reason explains.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Alerts raised so far, by their kind.
    pub alerts: BTreeMap<Cow<'static, str>, u64>,
    /// Alerts whose cause is not over.
    pub active_alerts: Vec<ActiveAlert>,
    /// By symbol.
    pub symbols: BTreeMap<String, SymbolMetrics>,
}

/// An alert whose cause is not over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActiveAlert {
    /// Of which kind.
    pub code: Cow<'static, str>,
    /// Whom it concerns.
    pub subject: String,
    /// How grave it is: `info`, `warning`, `error`.
    pub severity: &'static str,
    /// Since when, RFC 3339.
    pub since: String,
}

/// What came out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Performance {
    /// Predictions stored.
    pub total_predictions: u64,
    /// Bars taken in, of every kind.
    pub total_bars: u64,
    /// Mean time from a bar's arrival to its prediction being stored, in ms, over live bars.
    pub avg_latency_ms: f64,
    /// The longest such time, in ms.
    pub max_latency_ms: f64,
    /// Its distribution.
    pub latency: Quantiles,
    /// The same, counted in buckets.
    pub latency_buckets: Buckets,
    /// The configured `max_latency_ms`.
    pub budget_ms: u64,
    /// Predictions that took longer than the configured `max_latency_ms`.
    pub late_predictions: u64,
    /// Outcomes without a prediction, over all outcomes: 0 to 1.
    pub error_rate: f64,
    /// Share of feature vectors that were not computed again: 0 to 1.
    pub cache_hit_rate: f64,
    /// Outcomes that the store did not take.
    pub unsaved: u64,
    /// Outcomes that slow subscribers missed are counted at their subscription.
    pub uptime_s: f64,
}

/// Where predictions go.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct StoreMetrics {
    /// How long it has taken nothing, in s; 0 while it takes what it is given.
    pub away_s: f64,
    /// Rows that wait on disk for their database, in bytes.
    pub spool_bytes: u64,
    /// The configured size of that place, in bytes; 0 where there is none.
    pub spool_bytes_max: u64,
    /// Rows that can be seen in the database, and are kept until its disk has them.
    pub unflushed_rows: u64,
    /// Rows that were kept when the connection was lost, and so were sent again.
    pub resent_rows: u64,
}

/// What the process uses.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SystemMetrics {
    /// Resident memory, in MiB.
    pub memory_usage_mb: f64,
    /// The configured `max_memory_mb`, in MiB.
    pub memory_limit_mb: u64,
    /// Processor use since the last snapshot, in percent of one core.
    pub cpu_usage_percent: f64,
    /// Threads of the process.
    pub threads: usize,
    /// Its open descriptors.
    pub descriptors: usize,
    /// The cgroup it is in, where the system tells.
    pub cgroup: Option<CgroupMetrics>,
    /// How often the process has replaced itself by a fresh copy since it was started.
    pub generation: u32,
    /// The last time it did so.
    pub last_restart: Option<LastRestart>,
    /// Processor cores that the process may use.
    pub cores: usize,
    /// Sessions in memory.
    pub models_loaded: usize,
    /// When health was last checked, RFC 3339; absent where it never was.
    pub last_health_check: Option<String>,
    /// What came of it: `healthy`, `degraded`, `critical`.
    pub health: Option<&'static str>,
}

/// The process's cgroup.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CgroupMetrics {
    /// Memory of all its processes, without the cache of files, in MiB.
    pub memory_usage_mb: f64,
    /// The most it may use, in MiB; absent without a limit.
    pub memory_max_mb: Option<f64>,
    /// Processor time used so far, in seconds.
    pub cpu_s: f64,
    /// Processors it may use; absent without a limit.
    pub cpus_max: Option<f64>,
    /// How often it was held back since it used more.
    pub throttled: u64,
}

/// A replacement of the process by a fresh copy of itself.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LastRestart {
    /// `memory` or `stalled`.
    pub cause: String,
    /// What was seen, in words.
    pub detail: String,
    /// When the process went, RFC 3339.
    pub at: String,
    /// How long no bar was taken in, in ms; absent until the first one was.
    pub pause_ms: Option<u64>,
}

/// The models' sessions.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ModelPoolMetrics {
    /// Models that serve.
    pub total_models: usize,
    /// The most sessions that may be in memory.
    pub max_size: usize,
    /// Sessions loaded so far.
    pub loads: u64,
    /// Sessions released so far, for whatever reason: `loads - releases` are in memory.
    pub releases: u64,
    /// Loads that were given up and have not ended since; each keeps a thread.
    pub hanging: usize,
    /// Sessions that made room for others.
    pub evictions: u64,
    /// Loads that failed.
    pub failures: u64,
    /// Sessions in memory or being loaded.
    pub loaded: usize,
    /// The most there ever were; never more than `max_size`.
    pub loaded_peak: usize,
    /// The size of the files that the sessions in memory came from, in bytes. They take more than that.
    pub loaded_file_bytes: u64,
    /// What they keep for weights and constants, in bytes; what graphs take beside that is not counted.
    pub loaded_kept_bytes: u64,
    /// Rows that wait for a session to be loaded.
    pub rows_loading: usize,
    /// By model.
    pub models: BTreeMap<String, ModelMetrics>,
}

/// One model. What it is now is absent where it does not serve any more.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ModelMetrics {
    /// Predictions stored.
    pub predictions_count: u64,
    /// Outcomes without a prediction.
    pub errors_count: u64,
    /// Mean time from arrival to stored, in ms.
    pub avg_latency_ms: f64,
    /// The longest such time, in ms.
    pub max_latency_ms: f64,
    /// The version that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// How it stands: `good`, `untried`, `unsteady` (a run failed) or `failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<&'static str>,
    /// Why the newest promoted version does not stand good, where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Whether a session of it is in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<bool>,
    /// The most rows of a run; absent until its first session was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_rows_max: Option<usize>,
    /// Why so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching: Option<String>,
}

/// One symbol.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SymbolMetrics {
    /// Predictions stored.
    pub predictions_count: u64,
    /// Outcomes without a prediction.
    pub errors_count: u64,
    /// Mean time from arrival to stored, in ms.
    pub avg_latency_ms: f64,
    /// The longest such time, in ms.
    pub max_latency_ms: f64,
}

/// The feature cache.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CacheMetrics {
    /// Vectors held.
    pub total_entries: usize,
    /// Look-ups that found one, in percent.
    pub hit_rate_percent: f64,
    /// How long one is served.
    pub ttl_seconds: u64,
}

/// What tunes workers and batches.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ControllerMetrics {
    /// Whether it decides anything.
    pub enabled: bool,
    /// How far apart its looks are, in ms.
    pub interval_ms: u64,
    /// The most workers that the stages which compute have together.
    pub core_budget: usize,
    /// Changes it made so far.
    pub decisions: u64,
    /// Stages whose workers were set by hand: it leaves them alone.
    pub pinned: Vec<&'static str>,
    /// Rows that a run takes at most now, by model; models of the same content share a limit, under one's name.
    pub batch_rows: BTreeMap<String, usize>,
}

/// One stage.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StageMetrics {
    /// From handed in until a worker took it.
    pub queue_wait: Quantiles,
    /// How long the turn took that handled it.
    pub service: Quantiles,
    /// `queue_wait`, counted in buckets.
    pub queue_wait_buckets: Buckets,
    /// `service`, counted in buckets.
    pub service_buckets: Buckets,
    /// Workers running.
    pub workers: usize,
    /// The most that may run.
    pub workers_max: usize,
    /// Items waiting or in work.
    pub depth: usize,
    /// The most that may; at that the stage before it waits.
    pub items_max: usize,
    /// Items handled.
    pub items: u64,
    /// Items a turn handled, on average.
    pub batch_avg: f64,
    /// Items over which a worker panicked.
    pub panics: u64,
}

/// A distribution of durations, in µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Half took at most this, in µs.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Quantiles {
    /// The quantiles of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: histogram.max() as f64 / 1e3 }
    }
}
