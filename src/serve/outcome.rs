//! An outcome as JSON: what `/api/predict`, `/api/predictions` and the stream say of it.

use crate::domain::{Origin, Outcome, Timestamp};
use serde::ser::{SerializeMap as _, Serializer};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// An outcome to be written.
pub struct OutcomeJson<'a> {
    /// What is written.
    pub outcome: &'a Outcome,
    /// When it was stored, on the clock of its stamps; the latency ends there.
    pub stored_ns: u64,
    /// Its key and its number within it, in the stream.
    pub place: Option<(&'a str, u64)>,
}

/// Written as its text.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The values of a prediction under their names.
struct Outputs<'a>(&'a crate::domain::Prediction);

impl Serialize for Outputs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(prediction) = self;
        serializer.collect_map(prediction.names.iter().map(|name| &**name).zip(prediction.outputs.iter()))
    }
}

fn origin_word(origin: Origin) -> &'static str {
    match origin {
        Origin::Live => "live",
        Origin::CatchUp => "catch_up",
        Origin::WarmUp => "warm_up",
        Origin::Withdrawn => "withdrawn",
        Origin::Asked => "asked",
        Origin::Provisional => "provisional",
    }
}

impl Serialize for OutcomeJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { outcome, stored_ns, place } = self;
        let mut map = serializer.serialize_map(None)?;
        let kind = if outcome.result.is_ok() { "prediction" } else { "refusal" };
        map.serialize_entry("type", kind)?;
        if let Some((key, seq)) = place {
            map.serialize_entry("key", key)?;
            map.serialize_entry("seq", seq)?;
        }
        map.serialize_entry("symbol", &*outcome.series.symbol)?;
        map.serialize_entry("timeframe", &Text(outcome.series.timeframe))?;
        map.serialize_entry("horizon", &outcome.horizon)?;
        // A question about a series without a bar has none either.
        let ts = (outcome.ts != Timestamp::default()).then_some(Text(outcome.ts));
        map.serialize_entry("ts", &ts)?;
        let close = outcome.close.is_finite().then_some(outcome.close);
        map.serialize_entry("close", &close)?;
        map.serialize_entry("revision", &outcome.revision)?;
        map.serialize_entry("origin", origin_word(outcome.origin))?;
        match &outcome.result {
            Ok(prediction) => {
                map.serialize_entry("model", &*prediction.model)?;
                map.serialize_entry("version", &prediction.version)?;
                map.serialize_entry("value", &prediction.value)?;
                map.serialize_entry("outputs", &Outputs(prediction))?;
            }
            Err(refusal) => {
                map.serialize_entry("model", &refusal.model.as_deref())?;
                map.serialize_entry("reason", refusal.reason.code())?;
                map.serialize_entry("detail", &*refusal.detail)?;
            }
        }
        let latency_us = stored_ns.saturating_sub(outcome.stamps.arrived_ns) as f64 / 1e3;
        map.serialize_entry("latency_us", &latency_us)?;
        map.end()
    }
}

/// A bar that has not closed, as a request holds it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BarJson {
    /// Open price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Price so far.
    pub close: f64,
    /// Volume so far.
    pub volume: f64,
}
