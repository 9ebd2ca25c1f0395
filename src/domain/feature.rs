//! Feature sets by name, and what a model asks of a series.

use super::Refusal;
use std::fmt;
use std::sync::Arc;

/// The farthest that a model predicts, and a label looks, in bars.
pub const HORIZON_MAX: u32 = 10_000;

/// An ordered list of feature names and its hash: two models with the same list share one computation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FeatureSet {
    names: Arc<[Arc<str>]>,
    hash: u64,
}

impl FeatureSet {
    /// The set of `names`, in that order.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let names: Arc<[Arc<str>]> = names.into_iter().map(|n| Arc::from(n.as_ref())).collect();
        // FNV-1a, 64 bits: stable over releases and platforms, because it goes into files.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in names.iter().flat_map(|n| n.bytes().chain([b','])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self { names, hash }
    }

    /// The names, in order.
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// How many features.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// 64-bit FNV-1a over the names, each followed by a comma.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} features, {:016x}", self.len(), self.hash)
    }
}

/// How free of the place where its series begins a feature has to be before it is used. Recursive features
/// (exponential and Wilder averages) forget their beginning gradually.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stability {
    /// As soon as there is a value.
    Defined,
    /// When four significant digits no longer depend on it.
    #[default]
    Digits4,
    /// When eight no longer do.
    Digits8,
}

/// What one promoted model asks of every bar of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// How many bars ahead the prediction speaks of; 1 to [`HORIZON_MAX`].
    pub horizon: u32,
    /// The model's dense number within one run: where its work goes.
    pub model: u32,
    /// The model's name.
    pub name: Arc<str>,
    /// The features it reads.
    pub features: FeatureSet,
    /// How many bars, the newest included, it reads them over; 1 for a model without memory.
    pub window: usize,
    /// What versions of it read that may have to stand in, where that is something else; with their windows.
    pub others: Vec<(FeatureSet, usize)>,
    /// Why the model cannot serve, where that is known beforehand: every bar then gets this reason.
    pub unusable: Option<Refusal>,
}

/// The features of one bar (or of a window of bars), shared by all that ask for them.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureVector {
    /// The hash of the feature set it was computed for.
    pub set: u64,
    /// `window * features` values, the oldest bar's row first; NaN where undefined.
    pub values: Box<[f64]>,
    /// Index of the first undefined value, if there is one.
    pub undefined: Option<usize>,
}

impl FeatureVector {
    /// A vector of `len` values, none of which is defined.
    pub fn undefined(len: usize) -> Self {
        Self { set: 0, values: vec![f64::NAN; len].into(), undefined: Some(0) }
    }
}
