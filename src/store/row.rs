//! What is stored of an outcome, whatever the store: a row of `agentpreds`, a row of `inference_errors`, or nothing.

use crate::domain::{Origin, Outcome, Prediction, Reason, SeriesKey, Stamps, Timestamp};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// One row of either table.
///
/// Under which revision a prediction is stored, and whether at all, is [`Numbers`]' to say. What is there stays: a row
/// that is written twice is there once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub series: Arc<SeriesKey>,
    pub horizon: u32,
    pub ts: Timestamp,
    pub revision: u32,
    /// The model that answered; for an error empty where it concerns none.
    pub model: Arc<str>,
    pub created_at: Timestamp,
    /// It may have been answered in an earlier run. A prediction is stored under 0 where this model said nothing of this
    /// bar; under `revision` where the last word before that is of the same version and was another, by more than
    /// rounding, 1e-9 of the value: its bars have changed since. Else not: a newly promoted version does not predict old
    /// bars a second time. An error is stored where no prediction is.
    pub unless_answered: bool,
    pub content: Content,
}

/// What a row says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Prediction(Predicted),
    Error { reason: Cow<'static, str>, detail: Cow<'static, str> },
}

/// What was predicted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Predicted {
    pub version: u32,
    pub value: f64,
    /// A JSON object of every output, where there are several.
    pub outputs: Option<String>,
    /// How long it took: all of it, and in ingest, feature and predict, in the order of the tables' columns.
    pub stages_us: [Option<f64>; 4],
}

/// The revisions that a run gives, all of them above those of the runs before it: so the highest revision of a bar is the
/// last word, whichever run it is of and in whatever order rows are written.
///
/// - of a bar that just closed: 0;
/// - of a bar that is caught up with and was answered otherwise before (a change came while nobody watched, or a kill
///   before its answer): one above the highest there was when the store was opened;
/// - of a bar that changed: as much above that as it was answered anew in this run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    /// The first that this run may give; 0 in a store that nothing was written into before.
    again: u32,
}

impl Numbers {
    /// Of a store whose `highest` revision this is; `None` where it has no rows.
    pub(super) fn after(highest: Option<i64>) -> Self {
        let again = highest.map_or(0, |highest| highest.saturating_add(1));
        Self { again: u32::try_from(again).unwrap_or(u32::MAX) }
    }
}

impl Row {
    /// What is stored of `outcome` at `created_at`; its latency ends at `now_ns` on the clock of [`Stamps`], or where
    /// the predict stage ended.
    pub(super) fn of(
        outcome: &Outcome,
        numbers: Numbers,
        created_at: Timestamp,
        now_ns: Option<u64>,
    ) -> Option<Self> {
        let no_model = || Arc::from("");
        let (model, content) = match &outcome.result {
            Ok(prediction) if prediction.value.is_finite() => {
                let predicted = Predicted::of(prediction, outcome.stamps, now_ns);
                (Arc::clone(&prediction.model), Content::Prediction(predicted))
            }
            Ok(prediction) => {
                let detail = format!("value {}: a finite number is required", prediction.value).into();
                let reason = Reason::OutputNotFinite.code().into();
                (Arc::clone(&prediction.model), Content::Error { reason, detail })
            }
            // Feeds repeat themselves all the time; the counters tell how often.
            Err(refusal) if refusal.reason == Reason::Duplicate => return None,
            Err(refusal) => {
                let content =
                    Content::Error { reason: refusal.reason.code().into(), detail: refusal.detail.clone() };
                (refusal.model.clone().unwrap_or_else(no_model), content)
            }
        };
        // What is answered anew because a bar changed in this run was not answered so in an earlier one.
        let unless_answered = outcome.origin == Origin::CatchUp && outcome.revision == 0;
        let revision = match outcome.revision {
            0 if unless_answered && matches!(content, Content::Prediction(_)) => numbers.again,
            0 => 0,
            anew => numbers.again.saturating_add(anew),
        };
        Some(Self {
            series: Arc::clone(&outcome.series),
            horizon: outcome.horizon,
            ts: outcome.ts,
            revision,
            model,
            created_at,
            unless_answered,
            content,
        })
    }
}

impl Predicted {
    fn of(prediction: &Prediction, stamps: Stamps, now_ns: Option<u64>) -> Self {
        let Stamps { arrived_ns, ingested_ns, featured_ns, predicted_ns } = stamps;
        Self {
            version: prediction.version,
            value: prediction.value,
            outputs: json(prediction),
            stages_us: [
                micros(arrived_ns, now_ns.unwrap_or(predicted_ns)),
                micros(arrived_ns, ingested_ns),
                micros(ingested_ns, featured_ns),
                micros(featured_ns, predicted_ns),
            ],
        }
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
