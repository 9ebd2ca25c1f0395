//! A stage with its workers, and what can be told and asked of any stage alike.

use super::TopologyError;
use crate::config::Settings;
use crate::link::{Link, LinkOptions, MeterReading, Stage, Workers};
use std::sync::Arc;

/// A stage with its workers.
pub(super) struct Line<S: Stage> {
    pub(super) link: Arc<Link<S>>,
    workers: Workers<S>,
}

/// What a line tells and takes, whatever its stage.
pub(super) trait Control: Send + Sync {
    fn depth(&self) -> usize;
    fn width(&self) -> usize;
    fn set_width(&self, width: usize) -> usize;
    fn read(&self) -> MeterReading;
    fn stop(&self);
}

impl<S: Stage> Control for Line<S> {
    fn depth(&self) -> usize {
        self.link.depth()
    }
    fn width(&self) -> usize {
        self.link.width()
    }
    fn set_width(&self, width: usize) -> usize {
        self.workers.set_width(width)
    }
    fn read(&self) -> MeterReading {
        self.link.meter().read()
    }
    fn stop(&self) {
        self.workers.stop();
    }
}

/// One stage at one moment.
#[derive(Clone, Debug)]
pub struct StageReading {
    /// Its name.
    pub name: &'static str,
    /// Items waiting or in work.
    pub depth: usize,
    /// Workers running.
    pub workers: usize,
    /// What it did so far.
    pub meter: MeterReading,
}

/// Makes the link of a stage and starts its workers.
pub(super) fn line<S: Stage>(
    stage_name: &'static str,
    stage: S,
    options: LinkOptions,
    settings: &Settings,
) -> Result<Line<S>, TopologyError> {
    let link = Link::new(stage, options);
    let workers =
        Workers::start(stage_name, Arc::clone(&link), options.workers_max, settings.workers_initial)
            .map_err(|error| TopologyError::Threads { stage: stage_name, error })?;
    Ok(Line { link, workers })
}
