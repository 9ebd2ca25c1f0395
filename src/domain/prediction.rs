//! What comes out: a prediction, or the reason why there is none.

use super::flow::Origin;
use super::{Place, Refusal, Reply, SeriesKey, Stamps, Timestamp};
use std::fmt;
use std::sync::Arc;

/// The most outcomes that one answer of a bar can have: how many models may serve one series.
pub const OUTCOMES_PER_BAR_MAX: usize = 128;

/// The names of a model's output values, in order; empty when there is only the prediction itself.
pub type ValueNames = Arc<[Arc<str>]>;

/// One model's answer for one bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The model's name.
    pub model: Arc<str>,
    /// The version that answered.
    pub version: u32,
    /// The prediction itself: a return, a probability, whatever the model was trained for.
    pub value: f64,
    /// Every output value where the model has more than the one (`p_0`, `p_1`, `q10`, …).
    pub outputs: Arc<[f64]>,
    /// The names of `outputs`, of the same length.
    pub names: ValueNames,
}

/// The end of an item's journey: exactly one for every (bar, model) that was demanded.
#[derive(Clone)]
pub struct Outcome {
    /// Which series.
    pub series: Arc<SeriesKey>,
    /// How many bars ahead; 0 where the outcome is about the bar itself.
    pub horizon: u32,
    /// The bar's open time.
    pub ts: Timestamp,
    /// The bar's close, which the prediction speaks from; NaN where no bar is known.
    pub close: f64,
    /// 0 for the first answer about a bar; one more each time it is answered anew because it, or a bar
    /// shortly before it, changed or came after it had closed. The highest one is what a replay of the bars as they
    /// stand gives.
    pub revision: u32,
    /// Where the item stands in the order of this run.
    pub place: Place,
    /// Whether it is live, catching up, or an answer to a caller.
    pub origin: Origin,
    /// When it passed each stage.
    pub stamps: Stamps,
    /// The prediction, or why there is none.
    pub result: Result<Prediction, Refusal>,
    /// Who waits for it.
    pub reply: Option<Reply>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("series", &self.series)
            .field("horizon", &self.horizon)
            .field("ts", &self.ts)
            .field("place", &self.place)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}
