//! Why there is no prediction: a closed list, because each reason is counted, stored and documented.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident = $code:literal,)+) => {
        /// Why a bar, or a (bar, horizon), has no prediction.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of the stages that give them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name it has in metrics, in the store and in messages.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }
        }
    };
}

reasons! {
    /// A price or the volume is NaN or infinite.
    NotFinite = "not_finite",
    /// A price is zero or negative.
    PriceNotPositive = "price_not_positive",
    /// The volume is negative.
    NegativeVolume = "negative_volume",
    /// The high is below the low.
    HighBelowLow = "high_below_low",
    /// The open or the close lies outside low..high.
    OutsideRange = "outside_range",
    /// The open time is not on the timeframe's grid.
    Unaligned = "unaligned",
    /// The bar closes later than now (and the tolerated clock skew) allows.
    Future = "future",
    /// The same bar, with the same content, was taken before.
    Duplicate = "duplicate",
    /// The bar was taken before with other content, too long ago to be replaced.
    Revision = "revision",
    /// The bar is older than the bars of its series that can still be changed.
    Late = "late",
    /// The bar was told by its source, which then did not have it: it is taken back.
    Withdrawn = "withdrawn",
    /// No model has been promoted for this series (or for the horizon that was asked for).
    NoModel = "no_model",
    /// A feature that the model reads still depends on where the series' history begins.
    WarmingUp = "warming_up",
    /// A feature that the model reads is undefined: a ratio of nothing.
    UndefinedFeature = "undefined_feature",
    /// A newer bar of its series came before it was predicted (`priority.stale`).
    Superseded = "superseded",
    /// No version of the model could be loaded.
    ModelUnavailable = "model_unavailable",
    /// The model's run took longer than `predict.deadline_ms` and was ended.
    ModelTimeout = "model_timeout",
    /// The model was so far behind that the bar was not worth running any more (`predict.overdue_ms`).
    Overdue = "overdue",
    /// The model's run ended in an error.
    ModelFailed = "model_failed",
    /// The model answered NaN or infinity.
    OutputNotFinite = "output_not_finite",
    /// No bar of this series has been taken yet.
    NoBar = "no_bar",
    /// A worker panicked over this item: a defect of vela.
    Panicked = "panicked",
    /// The engine was stopping.
    Stopping = "stopping",
}

impl Reason {
    /// Whether it is a failure of a bar, a model or vela. The others are as they have to be: a bar that came
    /// twice, a feature that warms up, a series without a model.
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::NotFinite
                | Self::PriceNotPositive
                | Self::NegativeVolume
                | Self::HighBelowLow
                | Self::OutsideRange
                | Self::Unaligned
                | Self::Future
                | Self::ModelUnavailable
                | Self::ModelTimeout
                | Self::ModelFailed
                | Self::OutputNotFinite
                | Self::Panicked
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A reason with what a person needs to act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the known reasons.
    pub reason: Reason,
    /// The model it concerns, if it concerns one.
    pub model: Option<Arc<str>>,
    /// What was tried, the value, the allowed range.
    pub detail: Cow<'static, str>,
}

impl Refusal {
    /// A refusal that concerns no model.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, model: None, detail: detail.into() }
    }

    /// That of a bar that a newer one overtook.
    pub fn superseded() -> Self {
        let detail = "a newer bar of its series came before it was predicted (priority.stale)";
        Self::new(Reason::Superseded, detail)
    }

    /// A refusal by, or because of, a model.
    pub fn of_model(model: &Arc<str>, reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, model: Some(Arc::clone(model)), detail: detail.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let Some(model) = &self.model {
            write!(f, " ({model})")?;
        }
        write!(f, ": {}", self.detail)
    }
}
