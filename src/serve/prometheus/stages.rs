//! The stages, the cache and the pool of sessions.

use super::super::service::Service;
use super::text::Exposition;

pub(super) fn stages(service: &Service, out: &mut Exposition) {
    let readings = service.engine.readings();
    let latency = "vela_prediction_latency_seconds";
    out.metric(latency, "histogram", "From a bar's arrival to its prediction being stored.");
    out.histogram(latency, &[], &readings.latency);
    let (wait, service_time) = ("vela_stage_queue_wait_seconds", "vela_stage_service_seconds");
    out.metric(wait, "histogram", "From handed to a stage until a worker took it.");
    for stage in &readings.stages {
        out.histogram(wait, &[("stage", stage.name)], &stage.meter.queue_wait);
    }
    out.metric(service_time, "histogram", "How long the turn took that handled an item.");
    for stage in &readings.stages {
        out.histogram(service_time, &[("stage", stage.name)], &stage.meter.service);
    }
    out.metric("vela_stage_depth", "gauge", "Items that wait or are in work.");
    for stage in &readings.stages {
        out.sample("vela_stage_depth", &[("stage", stage.name)], stage.depth);
    }
    out.metric("vela_stage_items_max", "gauge", "Items that may: at that the stage before it waits.");
    for stage in &readings.stages {
        out.sample("vela_stage_items_max", &[("stage", stage.name)], stage.items_max);
    }
    out.metric("vela_stage_workers", "gauge", "Workers that run.");
    for stage in &readings.stages {
        out.sample("vela_stage_workers", &[("stage", stage.name)], stage.workers);
    }
    out.metric("vela_stage_items_total", "counter", "Items handled.");
    for stage in &readings.stages {
        out.sample("vela_stage_items_total", &[("stage", stage.name)], stage.meter.items);
    }
    out.metric("vela_stage_turns_total", "counter", "Turns run; items over turns are the mean batch.");
    for stage in &readings.stages {
        out.sample("vela_stage_turns_total", &[("stage", stage.name)], stage.meter.turns);
    }
    out.metric("vela_stage_busy_seconds_total", "counter", "Time spent in turns, over all workers.");
    for stage in &readings.stages {
        out.sample(
            "vela_stage_busy_seconds_total",
            &[("stage", stage.name)],
            stage.meter.busy_ns as f64 / 1e9,
        );
    }
    out.metric("vela_stage_panics_total", "counter", "Items over which a worker panicked.");
    for stage in &readings.stages {
        out.sample("vela_stage_panics_total", &[("stage", stage.name)], stage.meter.panics);
    }
    let cache = readings.cache;
    out.single("vela_feature_cache_entries", "gauge", "Feature vectors held.", cache.entries);
    out.single("vela_feature_cache_hits_total", "counter", "Look-ups that found a live vector.", cache.hits);
    let misses = cache.misses;
    out.single("vela_feature_cache_misses_total", "counter", "Look-ups that found none.", misses);
}

pub(super) fn pool(service: &Service, out: &mut Exposition) {
    let pool = service.engine.metrics().model_pool;
    out.single("vela_models", "gauge", "Models that serve.", pool.total_models);
    out.single("vela_sessions", "gauge", "Sessions in memory or being loaded.", pool.loaded);
    out.single("vela_sessions_max", "gauge", "Sessions that may be in memory.", pool.max_size);
    out.single("vela_session_loads_total", "counter", "Sessions loaded.", pool.loads);
    out.single(
        "vela_session_evictions_total",
        "counter",
        "Sessions that made room for others.",
        pool.evictions,
    );
    let failures = pool.failures;
    out.single("vela_session_load_failures_total", "counter", "Loads of sessions that failed.", failures);
    let hanging = pool.hanging;
    out.single(
        "vela_session_loads_hanging",
        "gauge",
        "Loads that were given up and have not ended.",
        hanging,
    );
    let bytes = pool.loaded_file_bytes;
    out.single(
        "vela_session_file_bytes",
        "gauge",
        "Size of the files that sessions were loaded from.",
        bytes,
    );
    let loading = pool.rows_loading;
    out.single("vela_rows_loading", "gauge", "Rows that wait for a session to be loaded.", loading);
}
