//! Prometheus' text format: names and units by its conventions, and no label without a bound.
//!
//! Stages, reasons, codes of alerts and routes are closed lists of the program; models are bounded by
//! [`MODELS_MAX`]; symbols are no label at all, `/api/metrics` has them.

use super::routes::ROUTES;
use super::service::Service;
use super::traffic::CLASSES;
use crate::observe::process::ProcessReading;
use hdrhistogram::Histogram;
use std::fmt::{Display, Write as _};

/// How many models have lines of their own, the first by name; the others are added up as `_other`.
const MODELS_MAX: usize = 200;

/// The upper ends of the buckets, in ns: 1, 2.5, 5 of every power of ten from a microsecond to ten seconds.
const BUCKETS_NS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The text that is being written.
#[derive(Default)]
struct Exposition {
    text: String,
}

/// Labels, as they stand between the braces.
type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// Begins a metric.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One line.
    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.text.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.text, " {value}");
    }

    fn labels(&mut self, labels: Labels<'_>, bound: Option<&str>) {
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        for (at, (name, value)) in all.enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() || bound.is_some() {
            self.text.push('}');
        }
    }

    /// A metric of one line.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A histogram of nanoseconds, in seconds.
    fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram<u64>) {
        let mut counts = [0_u64; BUCKETS_NS.len()];
        let mut sum_ns = 0.0;
        for step in histogram.iter_recorded() {
            let (value_ns, count) = (step.value_iterated_to(), step.count_at_value());
            sum_ns += value_ns as f64 * count as f64;
            let bucket = BUCKETS_NS.partition_point(|end| *end < value_ns);
            if let Some(bucket) = counts.get_mut(bucket) {
                *bucket += count;
            }
        }
        let mut below = 0;
        let bucket = format!("{name}_bucket");
        for (end_ns, count) in BUCKETS_NS.iter().zip(counts) {
            below += count;
            let end = (*end_ns as f64 / 1e9).to_string();
            self.text.push_str(&bucket);
            self.labels(labels, Some(&end));
            let _ = writeln!(self.text, " {below}");
        }
        self.text.push_str(&bucket);
        self.labels(labels, Some("+Inf"));
        let _ = writeln!(self.text, " {}", histogram.len());
        self.sample(&format!("{name}_sum"), labels, sum_ns / 1e9);
        self.sample(&format!("{name}_count"), labels, histogram.len());
    }
}

/// Everything at this moment.
pub fn exposition(service: &Service) -> String {
    let mut out = Exposition::default();
    out.metric("vela_build_info", "gauge", "The program; always 1.");
    out.sample("vela_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    engine(service, &mut out);
    stages(service, &mut out);
    pool(service, &mut out);
    served(service, &mut out);
    system(service, &mut out);
    process(&mut out);
    out.text
}

fn engine(service: &Service, out: &mut Exposition) {
    let metrics = service.engine.metrics();
    let performance = &metrics.performance;
    let total = performance.total_predictions;
    out.single("vela_uptime_seconds", "gauge", "Time since the engine started.", performance.uptime_s);
    out.single("vela_bars_total", "counter", "Bars taken in, of every kind.", performance.total_bars);
    out.single("vela_predictions_total", "counter", "Predictions stored.", total);
    let late = performance.late_predictions;
    out.single("vela_late_predictions_total", "counter", "Predictions later than max_latency_ms.", late);
    out.metric("vela_refusals_total", "counter", "Outcomes without a prediction, by reason.");
    for reason in crate::domain::Reason::ALL {
        let count = metrics.reasons.get(reason.code()).copied().unwrap_or(0);
        out.sample("vela_refusals_total", &[("reason", reason.code())], count);
    }
    let unsaved = performance.unsaved;
    out.single("vela_unsaved_outcomes_total", "counter", "Outcomes that the store did not take.", unsaved);
    if !metrics.alerts.is_empty() {
        out.metric("vela_alerts_total", "counter", "Alerts raised, by code.");
    }
    for (code, count) in &metrics.alerts {
        out.sample("vela_alerts_total", &[("code", code.as_ref())], count);
    }
    let models = &metrics.model_pool.models;
    let mut other = (0, 0);
    let mut shown: Vec<(&str, u64, u64)> = Vec::new();
    for (name, model) in models {
        if shown.len() < MODELS_MAX {
            shown.push((name, model.predictions_count, model.errors_count));
        } else {
            other = (other.0 + model.predictions_count, other.1 + model.errors_count);
        }
    }
    if models.len() > MODELS_MAX {
        shown.push(("_other", other.0, other.1));
    }
    if !shown.is_empty() {
        out.metric("vela_model_predictions_total", "counter", "Predictions stored, by model.");
        for (name, predictions, _) in &shown {
            out.sample("vela_model_predictions_total", &[("model", name)], predictions);
        }
        out.metric("vela_model_refusals_total", "counter", "Outcomes without a prediction, by model.");
        for (name, _, refusals) in &shown {
            out.sample("vela_model_refusals_total", &[("model", name)], refusals);
        }
    }
}

fn stages(service: &Service, out: &mut Exposition) {
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

fn pool(service: &Service, out: &mut Exposition) {
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

fn served(service: &Service, out: &mut Exposition) {
    let own = service.metrics();
    let name = "vela_http_requests_total";
    out.metric(name, "counter", "Requests answered, by route and class of status.");
    let mut requests = |route: Option<usize>, method: &str, pattern: &str| {
        for (class, word) in CLASSES.iter().enumerate() {
            let count = service.traffic.count(route, class);
            if count > 0 {
                out.sample(name, &[("method", method), ("route", pattern), ("status", word)], count);
            }
        }
    };
    for (at, route) in ROUTES.iter().enumerate() {
        requests(Some(at), route.method.name(), route.pattern);
    }
    requests(None, "any", "none");
    let duration = "vela_http_request_duration_seconds";
    out.metric(duration, "histogram", "From a request being read until its answer was made.");
    out.histogram(duration, &[], &service.traffic.duration());
    out.single("vela_http_connections", "gauge", "Connections open, streams not counted.", own.connections);
    let turned_away = own.connections_turned_away;
    out.single(
        "vela_http_connections_turned_away_total",
        "counter",
        "Connections beyond the bound.",
        turned_away,
    );
    let limited = own.rate_limited;
    out.single("vela_http_rate_limited_total", "counter", "Requests of clients that sent too many.", limited);
    out.single("vela_stream_clients", "gauge", "Clients of the stream of predictions.", own.stream_clients);
    let conflated = own.stream_conflated;
    out.single("vela_stream_conflated_total", "counter", "Events that a newer one replaced.", conflated);
    let dropped = own.stream_dropped;
    out.single("vela_stream_dropped_total", "counter", "Events left out: too many keys waited.", dropped);
    let missed = own.stream_missed;
    out.single(
        "vela_stream_missed_total",
        "counter",
        "Outcomes that came faster than they were taken.",
        missed,
    );
}

/// The process by its number of replacements, and the control group it is in.
fn system(service: &Service, out: &mut Exposition) {
    /// Metrics in JSON count memory in MiB.
    const MIB: f64 = 1_048_576.0;
    let system = service.engine.metrics().system;
    let limit = system.memory_limit_mb as f64 * MIB;
    out.single("vela_memory_limit_bytes", "gauge", "Resident memory beyond which it replaces itself.", limit);
    let name = "vela_process_generation";
    out.single(
        name,
        "gauge",
        "How often the process has replaced itself by a fresh copy.",
        system.generation,
    );
    if let Some(last) = &system.last_restart {
        let name = "vela_last_restart_pause_seconds";
        out.metric(name, "gauge", "How long no bar was taken in when it last replaced itself, by cause.");
        let pause_s = last.pause_ms.map_or(f64::NAN, |ms| ms as f64 / 1000.0);
        out.sample(name, &[("cause", &last.cause)], pause_s);
    }
    let Some(cgroup) = system.cgroup else { return };
    let used = cgroup.memory_usage_mb * MIB;
    out.single(
        "vela_cgroup_memory_bytes",
        "gauge",
        "Memory of the control group, without cached files.",
        used,
    );
    if let Some(max_mb) = cgroup.memory_max_mb {
        let name = "vela_cgroup_memory_max_bytes";
        out.single(name, "gauge", "Memory that the control group may use.", max_mb * MIB);
    }
    let name = "vela_cgroup_cpu_seconds_total";
    out.single(name, "counter", "Processor time of the control group.", cgroup.cpu_s);
    if let Some(cpus) = cgroup.cpus_max {
        out.single("vela_cgroup_cpus_max", "gauge", "Processors that the control group may use.", cpus);
    }
    let name = "vela_cgroup_throttled_total";
    out.single(
        name,
        "counter",
        "Times the control group was held back for its use of processors.",
        cgroup.throttled,
    );
}

fn process(out: &mut Exposition) {
    let Some(reading) = ProcessReading::now() else { return };
    let cpu = reading.cpu_s;
    out.single("process_cpu_seconds_total", "counter", "Processor time used.", cpu);
    let resident = reading.resident_bytes;
    out.single("process_resident_memory_bytes", "gauge", "Resident memory.", resident);
    out.single("process_virtual_memory_bytes", "gauge", "Virtual memory.", reading.virtual_bytes);
    out.single("process_threads", "gauge", "Threads.", reading.threads);
    out.single("process_open_fds", "gauge", "Open file descriptors.", reading.open_fds);
    let start = reading.start_unix_s;
    out.single("process_start_time_seconds", "gauge", "When the process started, since 1970.", start);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_below_each_end() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value_ns in [500, 2_000, 2_000_000, 60_000_000_000] {
            histogram.record(value_ns).unwrap();
        }
        let mut out = Exposition::default();
        out.histogram("h_seconds", &[("stage", "a\"b\\c\n")], &histogram);
        let line = |end: &str| {
            let start = format!("h_seconds_bucket{{stage=\"a\\\"b\\\\c\\n\",le=\"{end}\"}} ");
            out.text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
        };
        assert_eq!(
            [line("0.000001"), line("0.0000025"), line("0.0025"), line("10"), line("+Inf")],
            ["1", "2", "3", "3", "4"]
        );
        assert!(out.text.contains("h_seconds_count{stage=\"a\\\"b\\\\c\\n\"} 4"), "{}", out.text);
    }
}
