//! `model.toml`: what a model predicts, and what it reads.
//!
//! ```toml
//! symbol = "BTCUSDT"            # or ["BTCUSDT", "ETHUSDT"], or "*"
//! timeframe = "1m"
//! horizon = 5
//! features = ["ret_1", "rsi_14"]
//! features_hash = "…"           # optional: the training table's `feature_set_hash`, which these must have
//! window = 1
//! ```

mod raw;

pub use crate::domain::HORIZON_MAX;
use crate::domain::{FeatureSet, Timeframe};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The longest window, in bars.
pub const WINDOW_MAX: usize = 4096;
/// The most features one model may read.
pub const FEATURES_MAX: usize = 1024;
/// The largest `model.toml` that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How far an answer may be from a golden row where the manifest says nothing of it.
pub const TOLERANCE: f64 = 1e-5;

/// What a model is and wants: the checked content of its `model.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Whom it predicts.
    pub symbols: Symbols,
    /// The length of the bars it reads.
    pub timeframe: Timeframe,
    /// How many bars ahead it predicts; 1 to [`HORIZON_MAX`].
    pub horizon: u32,
    /// Everything that any of its inputs reads, in the order of a row.
    pub features: FeatureSet,
    /// How many bars, the newest included, a row spans; 1 to [`WINDOW_MAX`].
    pub window: usize,
    /// What its outputs mean, where it says so.
    pub kind: Option<Kind>,
    /// How its inputs are fed; empty: one input takes all features, or one input each takes one.
    pub inputs: Vec<InputSpec>,
    /// Which output is the prediction.
    pub output: OutputSpec,
    /// Whether rows may share a run.
    pub batching: BatchingPolicy,
    /// How far an answer to a golden row may be from it: `tolerance + tolerance * |expected|`.
    pub tolerance: f64,
    /// Whether its session is kept in memory before others.
    pub pinned: bool,
}

/// Whom a model predicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbols {
    /// Every symbol that has no model of its own.
    Any,
    /// These.
    Listed(Vec<String>),
}

impl std::fmt::Display for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Listed(symbols) => f.write_str(&symbols.join(",")),
        }
    }
}

/// What a model's outputs mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Regression,
    /// A probability for each class.
    Classification,
    /// Quantiles of one number.
    Quantiles,
}

/// One input of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Its name in the graph.
    pub name: String,
    /// What it is fed.
    pub reads: Reads,
}

/// What an input is fed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Features over a window.
    Features {
        /// Positions in the model's feature list; `None` for all.
        columns: Option<Vec<usize>>,
        /// How many of the newest bars; `None` for the model's window.
        window: Option<usize>,
    },
    /// The number of the row's symbol.
    SymbolIds(BTreeMap<String, i64>),
}

/// Which output value is the prediction; what is `None` follows from the graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputSpec {
    /// The output's name.
    pub value: Option<String>,
    /// The column of that output, from 0.
    pub column: Option<usize>,
    /// The key of that output's map (ZipMap), whole numbers in decimal.
    pub class: Option<String>,
}

/// Whether rows may share a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchingPolicy {
    /// Where a probe shows the same bits as alone.
    #[default]
    Auto,
    /// Always: small differences are accepted.
    Approximate,
    /// Never.
    Off,
}

/// What is wrong with a `model.toml`, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {detail}", file.display(), line.map(|l| format!(":{l}")).unwrap_or_default())]
pub struct ManifestError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The key, its value, and what is allowed.
    pub detail: String,
}

/// The same in one line of plain text.
fn plain(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

impl Manifest {
    /// Reads and checks `file`.
    ///
    /// # Errors
    /// When it cannot be read, or holds an unknown key or a value that is not allowed.
    pub fn read(file: &Path) -> Result<Self, ManifestError> {
        let error = |detail: String| ManifestError { file: file.to_owned(), line: None, detail };
        let size = file.metadata().map_err(|e| error(format!("cannot be read: {e}")))?.len();
        if size > FILE_BYTES_MAX {
            return Err(error(format!("has {size} bytes, at most {FILE_BYTES_MAX} are read")));
        }
        let text = std::fs::read_to_string(file).map_err(|e| error(format!("cannot be read: {e}")))?;
        Self::parse(&text, file)
    }

    /// Checks the text of a `model.toml`; `file` is for the messages.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, ManifestError> {
        raw::parse(text).map_err(|fault| ManifestError {
            file: file.to_owned(),
            line: fault.at.map(|at| 1 + text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()),
            // It may quote what stands there, whatever that is.
            detail: plain(&fault.detail),
        })
    }

    /// How a session of it is fed and read, as a text to compare: manifests that differ only in whom and
    /// how far they predict are equal in this.
    pub fn reading(&self) -> String {
        let Self { features, window, kind, inputs, output, batching, .. } = self;
        format!("{:?}", (features.names(), window, kind, inputs, output, batching))
    }

    /// Values in one row: window times features.
    pub fn row_len(&self) -> usize {
        self.window * self.features.len()
    }

    /// Whether it names `symbol` itself.
    pub fn names(&self, symbol: &str) -> bool {
        match &self.symbols {
            Symbols::Any => false,
            Symbols::Listed(symbols) => symbols.iter().any(|s| s == symbol),
        }
    }

    /// Whether it can predict `symbol`: named or any, and known to every input that takes the symbol's number.
    pub fn accepts(&self, symbol: &str) -> bool {
        let known = self.inputs.iter().all(|input| match &input.reads {
            Reads::SymbolIds(ids) => ids.contains_key(symbol),
            Reads::Features { .. } => true,
        });
        known && (self.symbols == Symbols::Any || self.names(symbol))
    }
}

#[cfg(test)]
mod tests;
