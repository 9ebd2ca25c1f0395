//! What a process says of itself, to be stored beside its outcomes.

use super::Timestamp;
use std::borrow::Cow;
use std::sync::Arc;

/// A process, as rows name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The machine's name.
    pub host: Arc<str>,
    /// The process's number there.
    pub pid: u32,
}

/// How one symbol has fared since its process started. The totals only grow: of one that was not stored the next one
/// says as much.
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolPerformance {
    /// When it was so.
    pub at: Timestamp,
    /// Whose it is.
    pub process: Arc<Process>,
    /// Which symbol.
    pub symbol: Arc<str>,
    /// Predictions stored.
    pub predictions: u64,
    /// Outcomes without a prediction.
    pub errors: u64,
    /// The mean time from a live bar's arrival to its stored prediction, in ms; 0 where there is none.
    pub latency_avg_ms: f64,
    /// The longest of them, in ms.
    pub latency_max_ms: f64,
}

/// One step in the life of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertEvent {
    /// When.
    pub at: Timestamp,
    /// Who says so.
    pub process: Arc<Process>,
    /// Of which kind it is.
    pub code: Cow<'static, str>,
    /// Whom it concerns: a model, a folder.
    pub subject: String,
    /// `info`, `warning` or `error`.
    pub severity: Cow<'static, str>,
    /// `raised`, `repeated` or `cleared`.
    pub state: Cow<'static, str>,
    /// What happened, and what is done about it.
    pub detail: String,
    /// How often this was seen since it was raised.
    pub count: u64,
}
