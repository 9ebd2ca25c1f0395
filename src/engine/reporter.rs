//! The thread that has the performance of each symbol, and every alert, stored, and what was stored made durable.

use super::EngineError;
use crate::alert::{Alert, Alerts};
use crate::config::Settings;
use crate::control::Routine;
use crate::domain::{AlertEvent, Process, SymbolPerformance, Timestamp};
use crate::observe::this_process;
use crate::topology::Topology;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How soon an alert is stored, and how soon again where the store had no time for it; and how often what was written is
/// made durable.
const TICK: Duration = Duration::from_millis(500);

/// How long it waits for the batch that is being written.
const PATIENCE: Duration = Duration::from_millis(200);

/// The thread; it reports a last time when it is stopped.
pub(super) struct Reporter {
    routine: Routine,
    desk: Arc<Mutex<Desk>>,
}

/// What it knows.
struct Desk {
    topology: Arc<Topology>,
    alerts: Arc<Alerts>,
    process: Arc<Process>,
    /// When performance was stored last.
    last: Instant,
    /// The number of the first alert that is not stored. What is not stored when 256 newer ones are there is not stored
    /// at all: it is in the log.
    next_alert: u64,
    /// Whether it was said already that the store does not take reports.
    failing: bool,
    /// Whether it was said already that what was written cannot be made durable.
    unsettled: bool,
}

impl Reporter {
    /// Stores the performance every `log.performance_interval_s`, and alerts soon after they are raised.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        topology: Arc<Topology>,
        alerts: Arc<Alerts>,
        settings: &Arc<ArcSwap<Settings>>,
    ) -> Result<Self, EngineError> {
        let (process, last) = (Arc::new(this_process()), Instant::now());
        let desk = Desk { topology, alerts, process, last, next_alert: 0, failing: false, unsettled: false };
        let desk = Arc::new(Mutex::new(desk));
        let (settings, working) = (Arc::clone(settings), Arc::clone(&desk));
        let work = move || {
            let interval = Duration::from_secs(settings.load().log.performance_interval_s);
            working.lock().work(interval);
        };
        let routine = Routine::start("vela-report", || TICK, work).map_err(EngineError::Thread)?;
        Ok(Self { routine, desk })
    }

    /// Reports a last time and ends the thread.
    pub(super) fn stop(self) {
        self.routine.stop();
        self.desk.lock().report(true);
    }
}

impl Desk {
    fn work(&mut self, interval: Duration) {
        let performance = self.last.elapsed() >= interval;
        if performance {
            self.last += interval;
        }
        self.report(performance);
        self.settle();
    }

    fn settle(&mut self) {
        match self.topology.settle(PATIENCE) {
            None => {}
            Some(Ok(())) => self.unsettled = false,
            Some(Err(_)) if self.unsettled => {}
            Some(Err(error)) => {
                self.unsettled = true;
                tracing::warn!(%error, "rows that are stored may not be on the database's disk");
            }
        }
    }

    fn report(&mut self, with_performance: bool) {
        let alerts = self.alerts.since(self.next_alert);
        let performance = if with_performance { self.performance() } else { Vec::new() };
        let next = alerts.last().map_or(self.next_alert, |last| last.number + 1);
        let events: Vec<_> = alerts.into_iter().map(|alert| event(alert, &self.process)).collect();
        if self.store(&performance, &events) {
            self.next_alert = next;
        }
    }

    /// Whether the store took them, or never will.
    fn store(&mut self, performance: &[SymbolPerformance], alerts: &[AlertEvent]) -> bool {
        if performance.is_empty() && alerts.is_empty() {
            return true;
        }
        let error = match self.topology.report(performance, alerts, PATIENCE) {
            Some(Ok(())) => {
                self.failing = false;
                return true;
            }
            // A batch takes long: the store is busy with what matters more.
            None => return false,
            Some(Err(error)) => error,
        };
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, alerts = alerts.len(), "performance and alerts are not stored");
        }
        !error.retryable
    }

    fn performance(&self) -> Vec<SymbolPerformance> {
        let at = Timestamp::now();
        let tallies = self.topology.ledger().read().symbols;
        let of = |(symbol, tally): (Arc<str>, crate::persist::Tally)| SymbolPerformance {
            at,
            process: Arc::clone(&self.process),
            symbol,
            predictions: tally.predictions,
            errors: tally.refusals,
            latency_avg_ms: tally.latency_avg_ms(),
            latency_max_ms: tally.latency_max_ns as f64 / 1e6,
        };
        tallies.into_iter().map(of).collect()
    }
}

/// An alert as it is stored.
fn event(alert: Alert, process: &Arc<Process>) -> AlertEvent {
    AlertEvent {
        at: alert.at,
        process: Arc::clone(process),
        code: alert.code,
        subject: alert.subject,
        severity: alert.severity.word().into(),
        state: alert.phase.word().into(),
        detail: alert.detail,
        count: alert.count,
    }
}
