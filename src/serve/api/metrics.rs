//! `/api/metrics` and `/metrics`.

use super::super::http::{Request, Response, Then};
use super::super::problem::Problem;
use super::super::prometheus;
use super::super::service::{Captures, Service};
use crate::observe::Metrics;
use serde::Serialize;
use std::sync::atomic::Ordering;

/// The server's own numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ServeMetrics {
    /// Requests answered.
    pub requests: u64,
    /// Connections open, streams not counted.
    pub connections: usize,
    /// Connections turned away because there were too many.
    pub connections_turned_away: u64,
    /// Requests refused because their client sent too many.
    pub rate_limited: u64,
    /// Clients of the stream.
    pub stream_clients: usize,
    /// Events that a newer one replaced before a client of the stream that was behind took them.
    pub stream_conflated: u64,
    /// Events that clients of the stream were not sent because too many keys waited.
    pub stream_dropped: u64,
    /// Outcomes that came faster than the stream took them.
    pub stream_missed: u64,
}

impl Service {
    /// The server's own numbers at this moment.
    pub fn metrics(&self) -> ServeMetrics {
        let stream = self.hub.counts();
        let mut metrics = ServeMetrics {
            requests: self.traffic.total(),
            stream_clients: stream.clients.load(Ordering::Relaxed),
            stream_conflated: stream.conflated.load(Ordering::Relaxed),
            stream_dropped: stream.dropped.load(Ordering::Relaxed),
            stream_missed: stream.missed.load(Ordering::Relaxed),
            ..ServeMetrics::default()
        };
        if let Some(counts) = self.connections.get() {
            metrics.connections = counts.open.load(Ordering::Relaxed);
            metrics.connections_turned_away = counts.turned_away.load(Ordering::Relaxed);
            metrics.rate_limited = counts.rate_limited.load(Ordering::Relaxed);
        }
        metrics
    }
}

#[derive(Serialize)]
struct All {
    #[serde(flatten)]
    engine: Metrics,
    serve: ServeMetrics,
}

/// `GET /api/metrics`.
pub fn json(
    service: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let all = All { engine: service.engine.metrics(), serve: service.metrics() };
    super::answer(response, 200, &all);
    Ok(Then::Next)
}

/// `GET /metrics`.
pub fn prometheus(
    service: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    response.set(200, "text/plain; version=0.0.4; charset=utf-8", prometheus::exposition(service));
    Ok(Then::Next)
}
