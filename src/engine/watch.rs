//! What the watchdog watches of an engine, and what it can give back.

use super::{Engine, EngineError};
use crate::alert::Alerts;
use crate::config::Settings;
use crate::control::{Cause, Limits, StageProgress, Watchdog, Watched};
use crate::observe::ProcessProbe;
use crate::predict::Pool;
use crate::topology::Topology;
use crossbeam::channel::Receiver;
use std::sync::Arc;
use std::time::Duration;

/// Sessions that were not used for so long are given back when memory is short.
const SESSION_IDLE: Duration = Duration::from_secs(60);
/// How long after memory was given back it may be done again.
const SHRINK_PAUSE: Duration = Duration::from_secs(30);

/// What of an engine is watched.
pub(super) struct Parts {
    pub(super) topology: Arc<Topology>,
    pub(super) pool: Arc<Pool>,
}

impl Watched for Parts {
    fn stages(&self) -> Vec<StageProgress> {
        self.topology.progress().to_vec()
    }

    fn shrink(&self) -> String {
        let vectors = self.topology.cache().clear();
        let sessions = self.pool.release_idle(SESSION_IDLE);
        format!("{vectors} cached feature vectors and {sessions} idle sessions were dropped")
    }
}

/// What the settings allow.
pub(super) fn limits(settings: &Settings) -> Limits {
    let (watchdog, predict) = (&settings.watchdog, &settings.predict);
    // A stage may wait for a model to be loaded as long as that may take.
    let loading = Duration::from_millis(predict.load_deadline_ms + predict.deadline_ms);
    Limits {
        memory_max_mb: settings.max_memory_mb as f64,
        soft_share: watchdog.soft_share,
        stall_restart: Duration::from_secs(watchdog.stall_restart_s).max(loading),
        shrink_pause: SHRINK_PAUSE,
    }
}

pub(super) fn start(
    parts: Parts,
    process: &Arc<ProcessProbe>,
    alerts: &Arc<Alerts>,
    settings: &Settings,
) -> Result<Arc<Watchdog>, EngineError> {
    let interval = Duration::from_millis(settings.watchdog.interval_ms);
    let (process, alerts) = (Arc::clone(process), Arc::clone(alerts));
    Watchdog::start(Arc::new(parts), process, alerts, limits(settings), interval)
        .map(Arc::new)
        .map_err(EngineError::Thread)
}

impl Engine {
    /// Gets the reason, once, when this process should be replaced: it uses more memory than `max_memory_mb`, or
    /// a stage stands still. `vela run` stops the engine and calls [`crate::control::reexec::replace`]; a program
    /// of another kind may do as it sees fit.
    pub fn restart_wanted(&self) -> Receiver<Cause> {
        self.watchdog.restart_wanted()
    }

    /// Items on their way: taken in, and not stored yet.
    pub fn in_flight(&self) -> usize {
        self.topology.in_flight()
    }

    /// Whether every stage gets on, as far as the watchdog saw within `patience`.
    pub fn is_well(&self, patience: Duration) -> bool {
        self.watchdog.is_well(patience)
    }
}
