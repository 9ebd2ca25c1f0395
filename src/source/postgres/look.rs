//! What the source's thread asks of the connection's, and what it is told: the words that both use.

use crate::domain::{Bar, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Which series: its table by number, and what the table calls it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Named {
    pub table: usize,
    pub symbol: Arc<str>,
    pub timeframe: Arc<str>,
}

/// A question for the bars of a series from a time on.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub series: Named,
    pub since: Timestamp,
    /// From when on bars were written just now; the end of time where that is not known.
    pub announced: Timestamp,
}

/// The end of time.
pub(super) const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// The answer to an [`Ask`].
#[derive(Debug)]
pub(super) struct Found {
    pub ask: Ask,
    /// By time, the oldest first.
    pub bars: Vec<Bar>,
    /// There are more behind the last.
    pub more: bool,
}

/// Rows that are no bars.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    pub rows: u64,
    /// The first problem.
    pub problem: String,
}

/// A bar that its announcement told.
#[derive(Debug)]
pub(super) struct Told {
    pub series: Named,
    pub bar: Bar,
}

/// What a look saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// In the order of their commits.
    pub told: Vec<Told>,
    pub found: Vec<Found>,
    pub skipped: Skipped,
    /// Something was announced that does not say what it was.
    pub anything: bool,
    /// Nothing will be announced: the server's process that answers does not listen.
    pub deaf: bool,
    /// Which transactions had ended, as the server counts them; asked for only where tables are polled.
    pub snapshot: Option<String>,
}

/// What a look is to do.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// How long to wait for the first announcement.
    pub wait: Duration,
    /// What to read in any case.
    pub asks: Vec<Ask>,
    /// Whether tables are polled.
    pub polled: bool,
}

impl Skipped {
    pub(super) fn add(&mut self, problem: &dyn std::fmt::Display) {
        if self.rows == 0 {
            self.problem = problem.to_string();
        }
        self.rows += 1;
    }
}
