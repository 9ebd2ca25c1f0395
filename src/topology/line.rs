//! A stage with its workers, and what can be told and asked of any stage alike.

use crate::config::Settings;
use crate::link::{Link, LinkError, LinkOptions, Stage, StageReading, Workers};
use std::sync::Arc;

/// A stage with its workers.
pub(super) struct Line<S: Stage> {
    pub(super) link: Arc<Link<S>>,
    pub(super) workers: Workers<S>,
}

/// What a line tells and takes, whatever its stage.
pub(super) trait Control: Send + Sync {
    fn depth(&self) -> usize;
    fn set_width(&self, width: usize) -> usize;
    fn read(&self, name: &'static str) -> StageReading;
    fn items(&self) -> u64;
    fn stop(&self);
}

impl<S: Stage> Control for Line<S> {
    fn depth(&self) -> usize {
        self.link.depth()
    }
    fn set_width(&self, width: usize) -> usize {
        self.workers.set_width(width)
    }
    fn read(&self, name: &'static str) -> StageReading {
        self.link.read(name)
    }
    fn items(&self) -> u64 {
        self.link.meter().items()
    }
    fn stop(&self) {
        self.workers.stop();
    }
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is on its way.
    Taken,
    /// No bar of that series ever came.
    NoSeries,
    /// Ingest is full, and it was not to be waited for.
    Full,
}

/// Why a topology cannot be built or extended.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The system gives no more threads.
    #[error("the {stage} workers cannot be started ({error}): lower workers_max or raise the thread limit")]
    Threads {
        /// Which stage.
        stage: &'static str,
        /// What rayon said.
        error: rayon::ThreadPoolBuildError,
    },
    /// A stage has as many keys as it can have.
    #[error("{what} cannot be added: {error} ({setting})")]
    Full {
        /// What was to be added.
        what: String,
        /// What the link said.
        error: LinkError,
        /// Which setting bounds it.
        setting: &'static str,
    },
}

/// Starts a stage's workers on a link of its own.
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
