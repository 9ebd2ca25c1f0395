//! The engine's metrics: what every part reads, put together.

use super::Engine;
use crate::alert::Standing;
use crate::control::reexec::{Generation, generation};
use crate::domain::{Lane, SeriesKey, Timestamp};
use crate::feature::CacheReading;
use crate::link::StageReading;
use crate::observe::{
    ActiveAlert, BOUNDS_US, Buckets, CacheMetrics, CgroupMetrics, CgroupUsage, LastRestart, Metrics,
    ModelMetrics, ModelPoolMetrics, Performance, Quantiles, StageMetrics, StoreMetrics, SymbolMetrics,
    SystemMetrics,
};
use crate::persist::Tally;
use crate::predict::Catalogue;
use crate::store::StoreReading;
use crate::topology::STAGES;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What [`Metrics`] sums up, as it was counted: for who makes histograms of it.
#[derive(Clone, Debug)]
pub struct Readings {
    /// The stages, in flow order.
    pub stages: Vec<StageReading>,
    /// From a bar's arrival to its prediction being stored, over live bars, in ns.
    pub latency: Histogram<u64>,
    /// The feature cache.
    pub cache: CacheReading,
}

impl Engine {
    /// The priority of a series' live work; `None` before its first bar.
    pub fn lane(&self, series: &SeriesKey) -> Option<Lane> {
        self.topology.lane(series)
    }

    /// The distributions and counts at this moment.
    pub fn readings(&self) -> Readings {
        Readings {
            stages: self.topology.read(),
            latency: self.topology.ledger().latency().read().queue_wait,
            cache: self.topology.cache().read(),
        }
    }

    /// Everything at this moment.
    pub fn metrics(&self) -> Metrics {
        let settings = self.settings.load();
        let ledger = self.topology.ledger().read();
        let latency = self.topology.ledger().latency().read().queue_wait;
        let cache = self.topology.cache().read();
        let pool = self.models.pool.read();
        let health = self.health.newest();
        let usage = self.process.look();
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let hit_rate = share(cache.hits, cache.hits + cache.misses);
        let stages = self.topology.read().into_iter().map(|stage| {
            let meter = stage.meter;
            let metrics = StageMetrics {
                queue_wait: Quantiles::of(&meter.queue_wait),
                service: Quantiles::of(&meter.service),
                queue_wait_buckets: Buckets::of(&meter.queue_wait),
                service_buckets: Buckets::of(&meter.service),
                workers: stage.workers,
                workers_max: settings.workers_max,
                depth: stage.depth,
                items_max: stage.items_max,
                items: meter.items,
                batch_avg: share(meter.items, meter.turns),
                panics: meter.panics,
            };
            (stage.name, metrics)
        });
        let total = ledger.total;
        Metrics {
            version: env!("CARGO_PKG_VERSION"),
            bucket_bounds_us: &BOUNDS_US,
            performance: Performance {
                total_predictions: total.predictions,
                total_bars: self.intake.bars.load(Ordering::Relaxed),
                avg_latency_ms: total.latency_avg_ms(),
                max_latency_ms: total.latency_max_ns as f64 / 1e6,
                latency: Quantiles::of(&latency),
                latency_buckets: Buckets::of(&latency),
                budget_ms: settings.max_latency_ms,
                late_predictions: ledger.late,
                error_rate: share(total.refusals, total.predictions + total.refusals),
                cache_hit_rate: hit_rate,
                unsaved: self.topology.unsaved(),
                uptime_s: self.started.elapsed().as_secs_f64(),
            },
            store: store(self.topology.store()),
            system: SystemMetrics {
                memory_usage_mb: usage.memory_mb,
                memory_limit_mb: settings.max_memory_mb,
                cpu_usage_percent: usage.cpu_percent,
                cores: std::thread::available_parallelism().map_or(1, usize::from),
                threads: usage.threads,
                descriptors: usage.descriptors,
                cgroup: usage.cgroup.map(cgroup),
                generation: generation().number,
                last_restart: last_restart(generation()),
                models_loaded: pool.loaded,
                last_health_check: health.as_ref().map(|report| report.checked_at.clone()),
                health: health.map(|report| report.status.word()),
            },
            model_pool: ModelPoolMetrics {
                total_models: self.models.catalogue().models().len(),
                max_size: settings.model_pool_size,
                loads: pool.loads,
                releases: pool.releases,
                hanging: pool.hanging,
                evictions: pool.evictions,
                failures: pool.failures,
                loaded: pool.loaded,
                loaded_peak: pool.loaded_peak,
                loaded_file_bytes: pool.file_bytes,
                loaded_kept_bytes: pool.kept_bytes,
                rows_loading: self.topology.rows_loading(),
                models: by_model(&self.models.catalogue(), &ledger.models),
            },
            feature_cache: CacheMetrics {
                total_entries: cache.entries,
                hit_rate_percent: hit_rate * 100.0,
                ttl_seconds: settings.cache_ttl_seconds,
            },
            stages: stages.collect(),
            stage_order: STAGES.to_vec(),
            controller: self.controller_metrics(),
            reasons: ledger.reasons,
            alerts: self.models.alerts.counts(),
            active_alerts: self.models.alerts.standing().into_iter().map(active).collect(),
            symbols: by_symbol(&ledger.symbols),
        }
    }
}

fn cgroup(usage: CgroupUsage) -> CgroupMetrics {
    let CgroupUsage { memory_mb, memory_max_mb, cpu_s, cpus_max, throttled } = usage;
    CgroupMetrics { memory_usage_mb: memory_mb, memory_max_mb, cpu_s, cpus_max, throttled }
}

fn last_restart(generation: &Generation) -> Option<LastRestart> {
    let last = generation.last.as_ref()?;
    Some(LastRestart {
        cause: last.cause.clone(),
        detail: last.detail.clone(),
        at: Timestamp::from_millis(i64::try_from(last.at_ms).unwrap_or(i64::MAX)).to_string(),
        pause_ms: generation.pause_ms(),
    })
}

fn active(alert: Standing) -> ActiveAlert {
    let Standing { code, subject, severity, since, .. } = alert;
    ActiveAlert { code, subject, severity: severity.word(), since: since.to_string() }
}

fn store(reading: StoreReading) -> StoreMetrics {
    let StoreReading { away, spool_bytes, spool_bytes_max, unflushed_rows, resent_rows } = reading;
    let away_s = away.map_or(0.0, |away| away.as_secs_f64());
    StoreMetrics { away_s, spool_bytes, spool_bytes_max, unflushed_rows, resent_rows }
}

fn by_symbol(tallies: &BTreeMap<Arc<str>, Tally>) -> BTreeMap<String, SymbolMetrics> {
    let metrics = |tally: &Tally| SymbolMetrics {
        predictions_count: tally.predictions,
        errors_count: tally.refusals,
        avg_latency_ms: tally.latency_avg_ms(),
        max_latency_ms: tally.latency_max_ns as f64 / 1e6,
    };
    tallies.iter().map(|(name, tally)| (name.to_string(), metrics(tally))).collect()
}

/// What came of every model, and what those that serve are now.
fn by_model(catalogue: &Catalogue, tallies: &BTreeMap<Arc<str>, Tally>) -> BTreeMap<String, ModelMetrics> {
    let counted = |tally: &Tally| ModelMetrics {
        predictions_count: tally.predictions,
        errors_count: tally.refusals,
        avg_latency_ms: tally.latency_avg_ms(),
        max_latency_ms: tally.latency_max_ns as f64 / 1e6,
        ..ModelMetrics::default()
    };
    let mut models: BTreeMap<String, ModelMetrics> =
        tallies.iter().map(|(name, tally)| (name.to_string(), counted(tally))).collect();
    for model in catalogue.models() {
        let version = model.version();
        let metrics = models.entry(model.name.to_string()).or_default();
        metrics.version = Some(version.number);
        metrics.standing = Some(version.standing().name());
        metrics.failure = model.versions[0].failure().map(|failure| failure.to_string());
        if let Ok(content) = version.content() {
            metrics.loaded = Some(content.slot.is_loaded());
            let batching = content.slot.batching();
            metrics.batch_rows_max = batching.and_then(|batching| batching.sizes.last().copied());
            metrics.batching = batching.map(|batching| batching.reason.clone());
        }
    }
    models
}
