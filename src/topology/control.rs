//! The topology as the controller sees it: four stages and the models' batch limits.

use super::{STAGES, Topology};
use crate::config::Settings;
use crate::control::{BatchRules, Controller, ControllerOptions, Plant, Rules, run_max_ns};
use crate::link::{BatchLimit, StageReading};
use std::sync::Arc;

impl Plant for Topology {
    fn stages(&self) -> Vec<StageReading> {
        self.read()
    }

    fn set_workers(&self, stage: usize, workers: usize) -> usize {
        self.lines()[stage].1.set_width(workers)
    }

    fn batches(&self) -> Vec<(Arc<str>, Arc<BatchLimit>)> {
        self.routes.batches(&self.models.catalogue())
    }
}

/// Starts what follows the load, as configured.
pub fn control(topology: &Arc<Topology>, settings: &Settings) -> Controller {
    Controller::start(Arc::clone(topology) as Arc<dyn Plant>, control_options(settings))
}

/// What holds for it, as configured.
pub fn control_options(settings: &Settings) -> ControllerOptions {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ControllerOptions {
        rules: Rules::of(settings, cores),
        batch: BatchRules {
            rows_initial: settings.batch_size_initial,
            rows_max: settings.batch_size_max,
            run_max_ns: run_max_ns(settings),
        },
        enabled: settings.controller,
    }
}

/// The place of a stage in the flow, by its name.
pub fn place_of(stage: &str) -> Option<usize> {
    STAGES.iter().position(|name| *name == stage)
}
