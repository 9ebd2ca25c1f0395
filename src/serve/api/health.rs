//! `/livez`, `/readyz`, `/healthz`, `/api/health`.

use super::super::http::{Request, Response, Then};
use super::super::problem::Problem;
use super::super::service::{Captures, Service};
use crate::control::health::{HealthReport, Status};
use serde::Serialize;
use std::time::Duration;

/// However many ask: it is checked this often.
const AGE_MAX: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct AlertJson {
    at: String,
    phase: &'static str,
    severity: &'static str,
    code: String,
    subject: String,
    detail: String,
    count: u64,
}

#[derive(Serialize)]
struct Report {
    /// `status`, `reasons`, `checked_at`.
    #[serde(flatten)]
    health: HealthReport,
    version: &'static str,
    uptime_s: f64,
    models: usize,
    bars: u64,
    outcomes: u64,
    /// The newest, the newest first.
    alerts: Vec<AlertJson>,
}

/// `GET /livez`: the process answers.
pub fn live(
    _: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    response.set(200, "text/plain; charset=utf-8", "ok\n");
    Ok(Then::Next)
}

/// `GET /readyz`: bars are taken and predicted.
pub fn ready(
    service: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    if service.engine.is_stopping() {
        return Err(Problem::new(503, "stopping", "the engine stops: it takes no more bars"));
    }
    response.set(200, "text/plain; charset=utf-8", "ready\n");
    Ok(Then::Next)
}

/// `GET /healthz`: whether all is well enough.
pub fn healthz(
    service: &Service,
    request: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let health = service.engine.health_within(AGE_MAX);
    if health.status == Status::Critical {
        let reasons = health.reasons.iter().map(|reason| reason.code.as_str());
        let reasons: Vec<&str> = reasons.collect();
        let detail = format!("critical: {}; /api/health says more", reasons.join(", "));
        return Err(Problem::new(503, "critical", detail));
    }
    ready(service, request, captures, response)
}

/// `GET /api/health`.
pub fn report(
    service: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let engine = &service.engine;
    let alerts = engine.alerts().into_iter().rev().map(|alert| AlertJson {
        at: alert.at.to_string(),
        phase: alert.phase.word(),
        severity: alert.severity.word(),
        code: alert.code.to_string(),
        subject: alert.subject,
        detail: alert.detail,
        count: alert.count,
    });
    let report = Report {
        health: engine.health_within(AGE_MAX),
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: engine.metrics().performance.uptime_s,
        models: engine.catalogue().models().len(),
        bars: engine.bars(),
        outcomes: engine.outcomes(),
        alerts: alerts.collect(),
    };
    super::answer(response, 200, &report);
    Ok(Then::Next)
}
