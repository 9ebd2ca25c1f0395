//! Workers and batch limits: by hand, and what the controller made of them.

use super::Engine;
use crate::control::{Decision, Plant};
use crate::observe::ControllerMetrics;
use crate::topology::{self, STAGES};

impl Engine {
    /// Changes how many workers a stage (`ingest`, `feature`, `predict`, `persist`) has, now, to between 1
    /// and `workers_max`; returns the number it has then, `None` for an unknown stage.
    ///
    /// The controller leaves the stage alone from then on, until [`Engine::release_workers`].
    pub fn set_workers(&self, stage: &str, workers: usize) -> Option<usize> {
        topology::place_of(stage).map(|stage| self.controller.pin(stage, workers))
    }

    /// Lets the controller change the workers of a stage again that [`Engine::set_workers`] set by hand; false for
    /// an unknown stage.
    pub fn release_workers(&self, stage: &str) -> bool {
        topology::place_of(stage).map(|stage| self.controller.release(stage)).is_some()
    }

    /// What the controller changed lately, with what it saw, the oldest first: at most 256 changes.
    pub fn decisions(&self) -> Vec<Decision> {
        self.controller.decisions()
    }

    pub(super) fn controller_metrics(&self) -> ControllerMetrics {
        let options = self.controller.options();
        let limits = self.topology.batches();
        ControllerMetrics {
            enabled: options.enabled,
            interval_ms: options.rules.interval_ms,
            core_budget: options.rules.core_budget,
            decisions: self.controller.decided(),
            pinned: self.controller.pinned().into_iter().map(|stage| STAGES[stage]).collect(),
            batch_rows: limits.into_iter().map(|(name, limit)| (name.to_string(), limit.get())).collect(),
        }
    }
}
