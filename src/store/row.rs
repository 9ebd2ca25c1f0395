//! What is stored of an outcome, whatever the store: a row of `agentpreds`, a row of `inference_errors`, or nothing.

use crate::domain::{Origin, Outcome, Prediction, Reason, SeriesKey, Stamps, Timestamp};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// One row of either table.
///
/// Under which revision a prediction is stored, and whether at all:
/// - of a bar that just closed: 0, unless there is one of this bar, model and version;
/// - of a bar that changed (`revision` above 0): its own number. Where an earlier run used that for something else (after
///   a start the numbers begin anew), it and the highest that was used together: the highest revision is the last word.
///   Where the same was said under this number or a higher one, nothing: so writing again changes nothing;
/// - of a bar that is caught up with (`unless_answered`): 0. Where the same version said something else, and never this,
///   the next number: a kill came between a change of its bars and its new answer. Nothing where another version answered.
///
/// The same is what differs by no more than rounding, 1e-9 of the value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub series: Arc<SeriesKey>,
    pub horizon: u32,
    pub ts: Timestamp,
    pub revision: u32,
    /// The model that answered; for an error empty where it concerns none.
    pub model: Arc<str>,
    pub created_at: Timestamp,
    /// Only where nothing, or something else, was said of this bar before: by this model for a prediction; where
    /// nothing was said in predictions for an error.
    ///
    /// So after a restart a newly promoted version does not predict old bars a second time.
    pub unless_answered: bool,
    pub said: Said,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    Prediction {
        version: u32,
        value: f64,
        /// A JSON object of every output, where there are several.
        outputs: Option<String>,
        latency_us: Option<f64>,
        ingest_us: Option<f64>,
        feature_us: Option<f64>,
        predict_us: Option<f64>,
    },
    Error {
        reason: Cow<'static, str>,
        detail: Cow<'static, str>,
    },
}

impl Row {
    /// What is stored of `outcome` at `created_at`; its latency ends at `now_ns` on the clock of [`Stamps`], or where
    /// the predict stage ended.
    pub(super) fn of(outcome: &Outcome, created_at: Timestamp, now_ns: Option<u64>) -> Option<Self> {
        let no_model = || Arc::from("");
        let (model, said) = match &outcome.result {
            Ok(prediction) if prediction.value.is_finite() => {
                (Arc::clone(&prediction.model), predicted(prediction, outcome.stamps, now_ns))
            }
            Ok(prediction) => {
                let detail = format!("value {}: a finite number is required", prediction.value).into();
                let reason = Reason::OutputNotFinite.code().into();
                (Arc::clone(&prediction.model), Said::Error { reason, detail })
            }
            // Feeds repeat themselves all the time; the counters tell how often.
            Err(refusal) if refusal.reason == Reason::Duplicate => return None,
            Err(refusal) => {
                let said =
                    Said::Error { reason: refusal.reason.code().into(), detail: refusal.detail.clone() };
                (refusal.model.clone().unwrap_or_else(no_model), said)
            }
        };
        Some(Self {
            series: Arc::clone(&outcome.series),
            horizon: outcome.horizon,
            ts: outcome.ts,
            revision: outcome.revision,
            model,
            created_at,
            // It may have been answered in an earlier run. What is answered anew because a bar changed never was.
            unless_answered: outcome.origin == Origin::CatchUp && outcome.revision == 0,
            said,
        })
    }
}

fn predicted(prediction: &Prediction, stamps: Stamps, now_ns: Option<u64>) -> Said {
    let Stamps { arrived_ns, ingested_ns, featured_ns, predicted_ns } = stamps;
    Said::Prediction {
        version: prediction.version,
        value: prediction.value,
        outputs: json(prediction),
        latency_us: micros(arrived_ns, now_ns.unwrap_or(predicted_ns)),
        ingest_us: micros(arrived_ns, ingested_ns),
        feature_us: micros(ingested_ns, featured_ns),
        predict_us: micros(featured_ns, predicted_ns),
    }
}

/// Microseconds between two stamps; `None` where one of them is missing.
fn micros(from_ns: u64, to_ns: u64) -> Option<f64> {
    (from_ns != 0 && to_ns != 0).then(|| to_ns.saturating_sub(from_ns) as f64 / 1000.0)
}

/// The outputs as a JSON object, in their order; `None` when there are none. JSON has no NaN: such a one is null.
fn json(prediction: &Prediction) -> Option<String> {
    let mut text = String::new();
    for (name, value) in prediction.names.iter().zip(prediction.outputs.iter()) {
        text.push(if text.is_empty() { '{' } else { ',' });
        // Writing to a String cannot fail, and JSON takes an f64 as Rust prints it.
        let _ = write!(text, "{}:", serde_json::Value::from(&**name));
        let _ = if value.is_finite() { write!(text, "{value}") } else { write!(text, "null") };
    }
    (!text.is_empty()).then(|| text + "}")
}
