//! Health: what was seen, and what is made of it, as plain data. Rules judge it; who looks and when is the engine's matter.

use super::Standstill;
use crate::alert::Standing;
use crate::domain::{MarketHours, SeriesKey, Severity, Timeframe, Timestamp};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Everything that health is judged by, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// What came out so far.
    pub totals: Totals,
    /// The stages in flow order.
    pub stages: Vec<StageSeen>,
    /// The stage that stands still.
    pub standstill: Option<Standstill>,
    /// Every series with the open time of its newest bar.
    pub series: Vec<(Arc<SeriesKey>, Timestamp)>,
    /// The one of a series' newest bars that moved furthest: when it opened, and how far it moved in average true ranges of
    /// those before it. Where that is measured.
    pub spikes: Vec<(Arc<SeriesKey>, Timestamp, f64)>,
    /// When bars are expected.
    pub hours: MarketHours,
    /// The shortest bars that are expected; `None` where nobody said that any would come.
    pub expected: Option<Timeframe>,
    /// What time it is.
    pub now: Timestamp,
    /// The models that are promoted.
    pub models: Vec<ModelSeen>,
    /// Entries of the models folder that cannot be read, and what is wrong with each.
    pub models_refused: Vec<(String, String)>,
    /// Sessions of ONNX Runtime whose creation was given up and has not ended.
    pub sessions_hanging: usize,
    /// How long the store has taken nothing; `None` where it takes what it is given.
    pub store_away: Option<Duration>,
    /// Rows that wait for their database, in bytes.
    pub spool: Option<Usage>,
    /// Memory, in MiB: of each limit that there is.
    pub memory: Vec<Usage>,
    /// Processors that the process may use.
    pub processors: f64,
    /// File systems, in MiB.
    pub disks: Vec<Usage>,
}

/// Counts from the start of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bars taken in.
    pub bars: u64,
    /// Live predictions that were stored.
    pub live: u64,
    /// Those of them that took longer than `max_latency_ms`.
    pub late: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// Those of them that are a failure.
    pub failures: u64,
    /// Items over which a worker panicked.
    pub panics: u64,
    /// Outcomes that the store did not take.
    pub unsaved: u64,
    /// Processor time that the process used, over all its threads.
    pub cpu: Duration,
    /// When this was counted, by a clock that only goes forward.
    pub at: Duration,
}

/// One stage.
#[derive(Clone, Debug, Default)]
pub struct StageSeen {
    /// Its name.
    pub name: &'static str,
    /// Items that wait or are in work.
    pub depth: usize,
    /// How many there may be.
    pub depth_max: usize,
}

/// One model.
#[derive(Clone, Debug, Default)]
pub struct ModelSeen {
    /// Its name.
    pub name: String,
    /// The version that serves, where one does.
    pub serves: Option<u32>,
    /// Promoted versions that should serve before it and fail, and why.
    pub failing: Vec<(u32, String)>,
}

/// How much of something is used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Of what.
    pub subject: String,
    /// So much.
    pub used: f64,
    /// Of so much.
    pub limit: f64,
}

/// The system's health in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No rule is broken.
    #[default]
    Healthy,
    /// It does its work, and somebody should look.
    Degraded,
    /// Something fails and nothing stands in.
    Critical,
}

impl Status {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Critical => "critical",
        }
    }
}

/// Why it is not healthy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HealthReason {
    /// The rule that is broken.
    pub code: String,
    /// By what.
    pub subject: String,
    /// How grave that is: `info`, `warning`, `error`.
    pub severity: &'static str,
    /// What was measured, and the limit.
    pub detail: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The system's health at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HealthReport {
    /// In one word.
    pub status: Status,
    /// Every broken rule, the gravest first.
    pub reasons: Vec<HealthReason>,
    /// When it was checked, RFC 3339.
    pub checked_at: String,
}

impl HealthReport {
    /// The report of the states that stand.
    pub fn of(mut standing: Vec<Standing>, checked_at: Timestamp) -> Self {
        standing.sort_by_key(|state| std::cmp::Reverse(state.severity));
        let status = match standing.first().map(|gravest| gravest.severity) {
            None | Some(Severity::Info) => Status::Healthy,
            Some(Severity::Warning) => Status::Degraded,
            Some(Severity::Error) => Status::Critical,
        };
        let reason = |state: Standing| HealthReason {
            code: state.code.into_owned(),
            subject: state.subject,
            severity: state.severity.word(),
            detail: state.detail,
            since: state.since.to_string(),
        };
        let reasons = standing.into_iter().map(reason).collect();
        Self { status, reasons, checked_at: checked_at.to_string() }
    }
}
