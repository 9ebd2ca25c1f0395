//! The thread that has the performance of each symbol, and every alert, stored.

use super::EngineError;
use crate::alert::{Alert, Alerts};
use crate::config::Settings;
use crate::domain::{AlertEvent, Process, SymbolPerformance, Timestamp};
use crate::observe::this_process;
use crate::topology::Topology;
use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How soon an alert is stored, and how soon again where the store had no time for it.
const TICK: Duration = Duration::from_millis(500);

/// How long it waits for the batch that is being written.
const PATIENCE: Duration = Duration::from_millis(200);

/// The thread; it reports a last time when it is stopped.
pub(super) struct Reporter {
    /// Dropped to end the thread.
    stop: Sender<()>,
    handle: JoinHandle<()>,
}

/// What it knows.
struct Desk {
    topology: Arc<Topology>,
    alerts: Arc<Alerts>,
    process: Arc<Process>,
    /// The number of the first alert that is not stored. What is not stored when 256 newer ones are there is not stored
    /// at all: it is in the log.
    next_alert: u64,
    /// Whether it was said already that the store does not take reports.
    failing: bool,
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
        let (stop, stopped) = bounded(0);
        let process = Arc::new(this_process());
        let settings = Arc::clone(settings);
        let mut desk = Desk { topology, alerts, process, next_alert: 0, failing: false };
        let handle = std::thread::Builder::new()
            .name("vela-report".into())
            .spawn(move || desk.work(&settings, &stopped))
            .map_err(EngineError::Thread)?;
        Ok(Self { stop, handle })
    }

    /// Reports a last time and ends the thread.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.handle.join().is_err() {
            tracing::error!("the thread that stores performance and alerts panicked");
        }
    }
}

impl Desk {
    fn work(&mut self, settings: &ArcSwap<Settings>, stopped: &Receiver<()>) {
        let mut last = Instant::now();
        while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            let interval = Duration::from_secs(settings.load().log.performance_interval_s);
            let performance = last.elapsed() >= interval;
            if performance {
                last += interval;
            }
            self.report(performance);
        }
        self.report(true);
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
