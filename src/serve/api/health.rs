//! `/livez`, `/readyz`, `/healthz`, `/api/health`.

use super::super::http::{Request, Response, Then};
use super::super::problem::Problem;
use super::super::routes::Captures;
use super::super::service::Service;
use crate::alert::Severity;
use crate::domain::Timestamp;
use serde::Serialize;
use std::time::UNIX_EPOCH;

#[derive(Serialize)]
struct Alert {
    at: String,
    severity: &'static str,
    code: &'static str,
    subject: String,
    detail: String,
}

#[derive(Serialize)]
struct Report {
    status: &'static str,
    version: &'static str,
    uptime_s: f64,
    models: usize,
    bars: u64,
    outcomes: u64,
    /// The newest, the newest first.
    alerts: Vec<Alert>,
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

/// `GET /healthz`: as `/readyz`, under the name that older probes have.
pub fn healthz(
    service: &Service,
    request: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
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
    let alerts = engine.alerts().into_iter().rev().map(|alert| {
        let since = alert.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let severity = match alert.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        Alert {
            at: Timestamp::from_secs(since.as_secs() as i64).to_string(),
            severity,
            code: alert.code,
            subject: alert.subject,
            detail: alert.detail,
        }
    });
    let report = Report {
        status: if engine.is_stopping() { "stopping" } else { "running" },
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
