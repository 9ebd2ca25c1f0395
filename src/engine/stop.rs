//! The end of a run: what is on its way is stored, and what became of it is said.

use super::reporter::Reporter;
use super::{Engine, EngineError};
use crate::control::Routine;
use std::time::{Duration, Instant};

/// How long a stop waits for what is on its way, before it says what was left.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);

/// How long a stop waits for a store that is away.
const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// What became of a run.
#[derive(Clone, Debug)]
pub struct StopReport {
    /// Items that were still on their way when the drain's time was up; none is the rule. Their bars are
    /// predicted at the next start, because the watermarks stand before them.
    pub undrained: usize,
    /// Outcomes that the store did not take.
    pub unsaved: u64,
    /// Why the source ended, where that was an error.
    pub source_error: Option<String>,
}

impl StopReport {
    /// What went wrong, for a program to end with: `None` where everything that was taken in came out.
    pub fn failure(&self) -> Option<String> {
        let Self { undrained, unsaved, source_error } = self;
        let again = "the next start predicts their bars again";
        source_error
            .clone()
            .or_else(|| {
                (*unsaved > 0)
                    .then(|| format!("{unsaved} outcomes were not stored (the log says why): {again}"))
            })
            .or_else(|| {
                (*undrained > 0).then(|| format!("{undrained} items were still on their way: {again}"))
            })
    }
}

impl Engine {
    /// Stops: no more bars from the source, what is on its way is predicted and stored, then the workers
    /// end. Nothing that was taken in is lost.
    ///
    /// # Errors
    /// When the store cannot be made durable.
    pub fn stop(&self) -> Result<StopReport, EngineError> {
        let mut report = self.report.lock();
        if let Some(report) = &*report {
            return Ok(report.clone());
        }
        drop(self.keeper.lock().take());
        self.watchdog.stop();
        self.checks.iter().for_each(Routine::stop);
        self.controller.stop();
        let source = self.source.lock().take();
        let give_up = || drop(self.patience.lock().take());
        let source_error = source.and_then(|source| source.stop(STORE_PATIENCE, give_up));
        self.gate.close();
        let drain = |deadline| self.gate.empties(deadline) && self.topology.drain(deadline);
        let deadline = Instant::now() + DRAIN_MAX;
        let drained = drain(Instant::now() + STORE_PATIENCE) || {
            // A store that is away is asked once more and then left: the watermarks stand before what it
            // did not take, so that the next start predicts it again.
            give_up();
            // The same for a model that cannot be loaded: what waits for it is answered with that reason.
            self.models.pool.give_up();
            drain(deadline)
        };
        give_up();
        let undrained = if drained { 0 } else { self.topology.in_flight() };
        let stopped = StopReport { undrained, unsaved: self.topology.unsaved(), source_error };
        *report = Some(stopped.clone());
        self.reporter.lock().take().into_iter().for_each(Reporter::stop);
        self.health.webhook.stop();
        self.topology.stop()?;
        Ok(stopped)
    }
}

impl Drop for Engine {
    /// An engine that goes away unstopped still ends its threads; what is on its way is drained.
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::error!(%error, "the engine did not stop cleanly");
        }
    }
}
