//! What looks after the system while it runs: tuning (how many workers each stage has, how many rows a run of each
//! model takes), health by rules, the webhook that alerts go to, the watchdog, the replacement of the process by
//! itself ([`reexec`]), and the service manager.
//!
//! ```text
//! readings, twice ──► what the interval saw ──► decide / BatchState::step ──► widths, batch limits
//!  (driver)                                      (pure functions)              (driver), decisions kept
//! ```
//!
//! It sees numbers of stages and changes numbers of theirs; which stages there are only the topology knows.

mod batch;
mod budget;
mod cost;
mod decision;
mod driver;
mod examiner;
pub mod health;
mod memory;
mod policy;
pub mod reexec;
mod routine;
mod rules;
mod sample;
pub mod systemd;
mod verdict;
mod watchdog;
pub mod webhook;

pub use batch::{BatchRules, BatchState};
pub use decision::{Decision, DecisionSeen, DecisionWhy};
pub use driver::{Controller, ControllerOptions, Plant};
pub use examiner::Examiner;
pub use policy::{Change, Rules, StageRules, State, decide};
pub use routine::Routine;
pub use sample::Sample;
pub use verdict::{Cause, Limits, StageProgress, Standstill};
pub use watchdog::{Watchdog, Watched};

use crate::config::Settings;

/// What part of the latency budget a bar may wait before each stage, in flow order: most before the models, which
/// cost most. What is left is for the work itself.
const WAIT_SHARES: [f64; 4] = [0.1, 0.1, 0.4, 0.2];

/// What part of the latency budget one run of a model may take: those that wait for the worker wait that long.
const RUN_SHARE: f64 = 0.1;

/// Stages whose workers compute; those of the last wait for the store.
const CPU_BOUND: [bool; 4] = [true, true, true, false];

/// Workers beyond the cores in the automatic budget: one for each stage that computes, because each one's need is
/// rounded up and a worker that waits for room keeps no core busy.
const BEYOND_CORES: usize = 3;

impl Rules {
    /// The rules of the four stages, as configured, on a machine of `cores`.
    pub fn of(settings: &Settings, cores: usize) -> Self {
        let budget_ns = settings.max_latency_ms as f64 * 1e6;
        let stage = |(share, cpu_bound): (f64, bool)| StageRules {
            workers_min: settings.workers_min,
            workers_max: settings.workers_max,
            cpu_bound,
            wait_max_ns: (budget_ns * share) as u64,
        };
        let automatic = cores + BEYOND_CORES;
        Self {
            interval_ms: settings.controller_interval_ms,
            core_budget: if settings.core_budget == 0 { automatic } else { settings.core_budget },
            stages: WAIT_SHARES.into_iter().zip(CPU_BOUND).map(stage).collect(),
        }
    }
}

/// How long one run of a model may take, in ns.
pub fn run_max_ns(settings: &Settings) -> u64 {
    (settings.max_latency_ms as f64 * 1e6 * RUN_SHARE) as u64
}
