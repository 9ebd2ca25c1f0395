//! Prometheus' text format: names and units by its conventions, and no label without a bound.
//!
//! Stages, reasons, codes of alerts and routes are closed lists of the program; models are bounded by
//! [`MODELS_MAX`]; symbols are no label at all, `/api/metrics` has them.

mod process;
mod serving;
mod stages;
mod text;

use super::service::Service;
use crate::control::health::Status;
use crate::observe::{Metrics, StoreMetrics};
use text::Exposition;

/// How many models have lines of their own, the first by name; the others are added up as `_other`.
const MODELS_MAX: usize = 200;

/// Everything at this moment.
pub fn exposition(service: &Service) -> String {
    let mut out = Exposition::default();
    out.metric("vela_build_info", "gauge", "The program; always 1.");
    out.sample("vela_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    engine(service, &mut out);
    stages::stages(service, &mut out);
    stages::pool(service, &mut out);
    serving::served(service, &mut out);
    process::system(service, &mut out);
    process::process(&mut out);
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
    let budget_s = performance.budget_ms as f64 / 1e3;
    out.single("vela_latency_budget_seconds", "gauge", "The configured max_latency_ms.", budget_s);
    out.metric("vela_refusals_total", "counter", "Outcomes without a prediction, by reason.");
    for reason in crate::domain::Reason::ALL {
        let count = metrics.reasons.get(reason.code()).copied().unwrap_or(0);
        out.sample("vela_refusals_total", &[("reason", reason.code())], count);
    }
    let unsaved = performance.unsaved;
    out.single("vela_unsaved_outcomes_total", "counter", "Outcomes that the store did not take.", unsaved);
    store(&metrics.store, out);
    health(&metrics, out);
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

/// Where predictions go.
fn store(store: &StoreMetrics, out: &mut Exposition) {
    out.single(
        "vela_store_away_seconds",
        "gauge",
        "How long the store has taken nothing; 0: it does.",
        store.away_s,
    );
    out.single("vela_spool_bytes", "gauge", "Rows on disk that wait for their database.", store.spool_bytes);
    let unflushed = store.unflushed_rows;
    let help = "Rows in the database that are kept until its disk has them.";
    out.single("vela_store_unflushed_rows", "gauge", help, unflushed);
    let help = "Rows that were kept when a connection was lost, and so were sent again.";
    out.single("vela_store_resent_rows_total", "counter", help, store.resent_rows);
}

/// What vela thinks of itself, and its alerts. A code that was ever told keeps its line, so that its clearing is seen.
fn health(metrics: &Metrics, out: &mut Exposition) {
    let words = [Status::Healthy, Status::Degraded, Status::Critical].map(Status::word);
    let status = metrics.system.health.and_then(|word| words.iter().position(|known| *known == word));
    if let Some(status) = status {
        out.single("vela_health", "gauge", "Health by its rules: 0 healthy, 1 degraded, 2 critical.", status);
    }
    if metrics.alerts.is_empty() {
        return;
    }
    out.metric("vela_alerts_total", "counter", "Alerts raised, by code.");
    for (code, count) in &metrics.alerts {
        out.sample("vela_alerts_total", &[("code", code.as_ref())], count);
    }
    out.metric("vela_alerts_standing", "gauge", "Alerts whose cause is not over, by code.");
    for code in metrics.alerts.keys() {
        let standing = metrics.active_alerts.iter().filter(|alert| alert.code == *code).count();
        out.sample("vela_alerts_standing", &[("code", code.as_ref())], standing);
    }
}
