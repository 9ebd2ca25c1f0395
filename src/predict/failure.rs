//! Why a version, its session or a row has no prediction.

use crate::domain::Reason;

/// Why a version gives no prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which of the known reasons.
    pub reason: Reason,
    /// What was tried and what came of it.
    pub detail: String,
}

impl Failure {
    /// A failure before any row was run.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self { reason: Reason::ModelUnavailable, detail: detail.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}
