//! What a store has of a series, as it is asked and as it answers.

use super::{SeriesKey, Timestamp};

/// Which rows of a store are wanted: the newest of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub series: SeriesKey,
    /// Of this horizon only, in bars ahead.
    pub horizon: Option<u32>,
    /// Of this model only.
    pub model: Option<String>,
    /// Of bars that opened before this only.
    pub before: Option<Timestamp>,
    /// Whether what has no prediction is wanted as well.
    pub refusals: bool,
    /// At most so many.
    pub limit: usize,
}

/// One row of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Bars ahead; 0 for a refusal of the bar itself.
    pub horizon: u32,
    /// When its bar opened.
    pub ts: Timestamp,
    /// The model; empty for a refusal that concerns none.
    pub model: String,
    /// One more each time that the bar's answer changed.
    pub revision: u32,
    /// What it says.
    pub said: Said,
}

/// A stored prediction, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A prediction.
    Prediction {
        /// Of the model.
        version: u32,
        /// The first value.
        value: f64,
        /// A JSON object of every value, where there are several.
        outputs: Option<String>,
        /// From the bar's arrival, in µs, where it was measured.
        latency_us: Option<f64>,
    },
    /// None.
    Refusal {
        /// The reason's code.
        reason: String,
        /// What was found.
        detail: String,
    },
}

impl Stored {
    /// Puts rows in order, the newest bar first and of a bar the last word first, and leaves `limit` of them.
    pub fn newest(mut rows: Vec<Self>, limit: usize) -> Vec<Self> {
        rows.sort_by(|a, b| {
            let of = (a.horizon, &a.model).cmp(&(b.horizon, &b.model));
            b.ts.cmp(&a.ts).then(of).then(b.revision.cmp(&a.revision))
        });
        rows.truncate(limit);
        rows
    }
}
