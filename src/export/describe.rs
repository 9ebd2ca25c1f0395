//! What a table says of itself: enough to hold a model trained on it against the features it is served.

use super::series::Tally;
use super::{Columns, Label, Request};
use crate::domain::{Refusal, Timeframe};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is written beside or into a table, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// The version of vela that wrote it.
    pub vela: &'static str,
    /// The names of the features, in the order of their columns.
    pub features: Vec<String>,
    /// [`FeatureSet::hash`](crate::domain::FeatureSet::hash) as 16 hexadecimal digits.
    pub feature_set_hash: String,
    /// `float32` or `float64`.
    pub dtype: &'static str,
    /// The label, where there is one.
    pub label: Option<LabelDescription>,
    /// Whether rows with something undefined or warming up were left out.
    pub complete: bool,
    /// What was done where bars are missing: `skip`, windows count the bars that are there; or else
    /// [`Grid::identity`](crate::domain::Grid::identity).
    pub gaps: String,
    /// How many rows there are.
    pub rows: u64,
    /// The series, in the order of their rows.
    pub series: Vec<SeriesDescription>,
}

/// What a table says of its label.
#[derive(Clone, Debug, Serialize)]
pub struct LabelDescription {
    /// The name of its column.
    pub column: String,
    /// `logret`, `ret` or `direction`.
    pub kind: &'static str,
    /// How far it looks.
    pub horizon: u32,
    /// `bars` or `clock`.
    pub by: &'static str,
}

/// What a table says of one series.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesDescription {
    /// Its symbol.
    pub symbol: String,
    /// Its timeframe.
    pub timeframe: String,
    /// The file that its bars were read from.
    pub file: PathBuf,
    /// Further ones, which hold bars under other names of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_files: Vec<PathBuf>,
    /// Bars that were taken.
    pub bars: u64,
    /// Bars among them that changed after they closed, or came late and were put in their place.
    pub changed: u64,
    /// Rows that were written.
    pub rows: u64,
    /// Rows that were left out because something was undefined or warming up.
    pub left_out: u64,
    /// Open time of the first row.
    pub first_ts: Option<String>,
    /// Open time of the last row.
    pub last_ts: Option<String>,
    /// Splits, dividends and rolls that came in force among the bars, as `feature.adjustments` says them, without the symbol.
    pub adjustments: Vec<String>,
    /// By reason: how many bars were refused, as serving refuses them.
    pub refused: BTreeMap<&'static str, u64>,
    /// The first bar that was refused for each reason: its open time, and what was wrong with it.
    #[serde(skip)]
    pub first_refused: Vec<(String, Refusal)>,
}

impl Description {
    pub(super) fn new(request: &Request, columns: &Columns) -> Self {
        let label = |label: Label| LabelDescription {
            column: label.column(),
            kind: label.kind.name(),
            horizon: label.horizon,
            by: label.by.name(),
        };
        // The same for every timeframe.
        let gaps = request.rules.features.grid(Timeframe::MINUTE).identity();
        Self {
            vela: env!("CARGO_PKG_VERSION"),
            features: request.features.names().iter().map(|name| name.to_string()).collect(),
            feature_set_hash: format!("{:016x}", request.features.hash()),
            dtype: columns.dtype.name(),
            label: request.label.map(label),
            complete: request.complete,
            gaps: if gaps.is_empty() { "skip".to_owned() } else { gaps },
            rows: 0,
            series: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, tally: Tally, mut files: impl Iterator<Item = PathBuf>) {
        self.rows += tally.rows;
        self.series.push(SeriesDescription {
            symbol: tally.series.symbol.to_string(),
            timeframe: tally.series.timeframe.to_string(),
            file: files.next().unwrap_or_default(),
            more_files: files.collect(),
            bars: tally.bars,
            changed: tally.changed,
            rows: tally.rows,
            left_out: tally.left_out,
            first_ts: tally.span.map(|(first, _)| first.to_string()),
            last_ts: tally.span.map(|(_, last)| last.to_string()),
            adjustments: tally.adjusted.iter().map(ToString::to_string).collect(),
            refused: tally.refused.iter().map(|(code, (count, ..))| (*code, *count)).collect(),
            first_refused: tally
                .refused
                .into_values()
                .map(|(_, ts, refusal)| (ts.to_string(), refusal))
                .collect(),
        });
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        // Strings, numbers and lists of them: there is nothing that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }
}
