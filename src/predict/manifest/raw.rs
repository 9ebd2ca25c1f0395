//! The text of a `model.toml` as serde reads it, and its way to a checked [`Manifest`].

mod short;

use super::{
    BatchingPolicy, FEATURES_MAX, HORIZON_MAX, InputSpec, Kind, Manifest, OutputSpec, Reads, Symbols,
    TOLERANCE, WINDOW_MAX,
};
use crate::domain::{FeatureSet, SeriesKey, Timeframe};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use toml::Spanned;

/// What is wrong, and at which byte.
pub(super) struct Fault {
    pub at: Option<usize>,
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    symbol: Spanned<OneOrMany>,
    timeframe: Spanned<String>,
    horizon: Spanned<i64>,
    features: Spanned<Vec<String>>,
    features_hash: Option<Spanned<String>>,
    window: Option<Spanned<i64>>,
    kind: Option<RawKind>,
    #[serde(default, deserialize_with = "short::inputs")]
    input: Inputs,
    #[serde(default, deserialize_with = "short::output")]
    output: RawOutput,
    #[serde(default)]
    batching: RawBatching,
    #[serde(default)]
    check: RawCheck,
    #[serde(default)]
    pinned: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawCheck {
    tolerance: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a symbol, a list of symbols, or \"*\"")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawKind {
    Regression,
    Classification,
    Quantiles,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawBatching {
    #[default]
    Auto,
    Approximate,
    Off,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInput {
    name: String,
    features: Option<Vec<String>>,
    window: Option<i64>,
    symbol_ids: Option<BTreeMap<String, i64>>,
}

/// `[[input]]` tables, or the name of the only input.
enum Inputs {
    Named(String),
    Listed(Vec<Spanned<RawInput>>),
}

impl Default for Inputs {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Inputs {
    fn listed(&self) -> &[Spanned<RawInput>] {
        match self {
            Self::Named(_) => &[],
            Self::Listed(inputs) => inputs,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawOutput {
    value: Option<String>,
    column: Option<Spanned<i64>>,
    class: Option<RawClass>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a whole number or a text")]
enum RawClass {
    Number(i64),
    Text(String),
}

fn fault<T>(value: &Spanned<T>, detail: impl Into<String>) -> Fault {
    Fault { at: Some(value.span().start), detail: detail.into() }
}

pub(super) fn parse(text: &str) -> Result<Manifest, Fault> {
    let raw: RawManifest = toml::from_str(text).map_err(|e| Fault {
        at: e.span().map(|span| span.start),
        detail: explain(text, e.span().map(|span| span.start), e.message()),
    })?;
    let symbols = symbols(&raw.symbol)?;
    let timeframe: Timeframe =
        raw.timeframe.get_ref().parse().map_err(|e| fault(&raw.timeframe, format!("`timeframe`: {e}")))?;
    let horizon = within(&raw.horizon, "horizon", i64::from(HORIZON_MAX))? as u32;
    let window = raw.window.as_ref().map_or(Ok(1), |w| within(w, "window", WINDOW_MAX as i64))? as usize;
    let features = features(&raw.features)?;
    if let Some(trained) = &raw.features_hash {
        trained_with(trained, &features)?;
    }
    let mut inputs = Vec::new();
    let mut names = HashSet::new();
    if let Inputs::Named(name) = &raw.input {
        let reads = Reads::Features { columns: None, window: None };
        inputs.push(InputSpec { name: name.clone(), reads });
    }
    for input in raw.input.listed() {
        if !names.insert(input.get_ref().name.clone()) {
            return Err(fault(input, format!("`input`: two have the name `{}`", input.get_ref().name)));
        }
        inputs.push(input_spec(input, &features, window)?);
    }
    let column = match &raw.output.column {
        Some(column) if *column.get_ref() < 0 => {
            return Err(fault(
                column,
                format!("`output.column` is {}: columns count from 0", column.get_ref()),
            ));
        }
        Some(column) if raw.output.class.is_some() => {
            return Err(fault(column, "`output.column` and `output.class` exclude each other: keep one"));
        }
        column => column.as_ref().map(|c| *c.get_ref() as usize),
    };
    let tolerance = match &raw.check.tolerance {
        Some(tolerance) if !(0.0..=1.0).contains(tolerance.get_ref()) => {
            let value = tolerance.get_ref();
            return Err(fault(tolerance, format!("`check.tolerance` is {value}: 0 to 1 is allowed")));
        }
        tolerance => tolerance.as_ref().map_or(TOLERANCE, |tolerance| *tolerance.get_ref()),
    };
    Ok(Manifest {
        symbols,
        timeframe,
        horizon,
        features,
        window,
        kind: raw.kind.map(|kind| match kind {
            RawKind::Regression => Kind::Regression,
            RawKind::Classification => Kind::Classification,
            RawKind::Quantiles => Kind::Quantiles,
        }),
        inputs,
        output: OutputSpec {
            value: raw.output.value,
            column,
            class: raw.output.class.map(|class| match class {
                RawClass::Number(number) => number.to_string(),
                RawClass::Text(text) => text,
            }),
        },
        batching: match raw.batching {
            RawBatching::Auto => BatchingPolicy::Auto,
            RawBatching::Approximate => BatchingPolicy::Approximate,
            RawBatching::Off => BatchingPolicy::Off,
        },
        tolerance,
        pinned: raw.pinned,
    })
}

/// The parser's message, with the key of the line where it does not name one.
fn explain(text: &str, at: Option<usize>, message: &str) -> String {
    let message = message.trim().replace('\n', ", ").replace("expected i64", "expected a whole number");
    let before = at.and_then(|at| text.get(..at)).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    match line.split_once('=') {
        Some((key, _)) => format!("`{}`: {message}", key.trim()),
        None => message,
    }
}

fn within(value: &Spanned<i64>, key: &str, max: i64) -> Result<i64, Fault> {
    let number = *value.get_ref();
    if (1..=max).contains(&number) {
        Ok(number)
    } else {
        Err(fault(value, format!("`{key}` is {number}: 1 to {max} is allowed")))
    }
}

fn symbols(value: &Spanned<OneOrMany>) -> Result<Symbols, Fault> {
    let listed = match value.get_ref() {
        OneOrMany::One(one) if one == "*" => return Ok(Symbols::Any),
        OneOrMany::One(one) => std::slice::from_ref(one),
        OneOrMany::Many(many) => many.as_slice(),
    };
    if listed.is_empty() {
        return Err(fault(value, "`symbol` is an empty list: name a symbol, several, or \"*\""));
    }
    for symbol in listed {
        SeriesKey::new(symbol, Timeframe::MINUTE)
            .map_err(|e| fault(value, format!("`symbol`: {e}; \"*\" stands alone for every symbol")))?;
    }
    Ok(Symbols::Listed(listed.to_vec()))
}

/// Holds the hash of the training table's feature set against the features that are listed.
fn trained_with(hash: &Spanned<String>, features: &FeatureSet) -> Result<(), Fault> {
    let listed = format!("{:016x}", features.hash());
    if *hash.get_ref() == listed {
        return Ok(());
    }
    Err(fault(
        hash,
        format!(
            "`features_hash` is `{}`, but the features listed here, in this order, have `{listed}`: list those of the \
             training table, whose description has its hash as `feature_set_hash`",
            hash.get_ref()
        ),
    ))
}

fn features(value: &Spanned<Vec<String>>) -> Result<FeatureSet, Fault> {
    let names = value.get_ref();
    if names.is_empty() || names.len() > FEATURES_MAX {
        return Err(fault(
            value,
            format!("`features` has {} names: 1 to {FEATURES_MAX} are allowed", names.len()),
        ));
    }
    let mut seen = HashSet::new();
    for name in names {
        let plain =
            !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_graphic() && b != b',');
        if !plain {
            return Err(fault(value, format!("`features`: `{}` is no feature name", name.escape_default())));
        }
        if !seen.insert(name) {
            return Err(fault(value, format!("`features` names `{name}` twice")));
        }
    }
    Ok(FeatureSet::new(names))
}

fn input_spec(input: &Spanned<RawInput>, all: &FeatureSet, window: usize) -> Result<InputSpec, Fault> {
    let raw = input.get_ref();
    let wrong = |detail: String| fault(input, format!("`input` `{}`: {detail}", raw.name));
    if let Some(ids) = &raw.symbol_ids {
        if raw.features.is_some() || raw.window.is_some() {
            return Err(wrong("`symbol_ids` excludes `features` and `window`".to_owned()));
        }
        if ids.is_empty() {
            return Err(wrong("`symbol_ids` is empty: name at least one symbol".to_owned()));
        }
        if let Some((symbol, id)) = ids.iter().find(|(_, id)| **id < 0) {
            // A negative index counts from the end in ONNX: another symbol's row would answer.
            return Err(wrong(format!("`symbol_ids.{symbol}` is {id}: 0 or more is allowed")));
        }
        return Ok(InputSpec { name: raw.name.clone(), reads: Reads::SymbolIds(ids.clone()) });
    }
    let own =
        raw.window.map(|own| usize::try_from(own).ok().filter(|own| (1..=window).contains(own)).ok_or(own));
    let window = own
        .transpose()
        .map_err(|own| wrong(format!("`window` is {own}: 1 to {window}, the model's, is allowed")))?;
    let position = |name: &String| {
        let position = all.names().iter().position(|n| **n == **name);
        position.ok_or_else(|| {
            wrong(format!(
                "`features` names `{name}`, which the model's `features` do not have: add it there"
            ))
        })
    };
    let columns = match &raw.features {
        Some(names) if names.is_empty() => return Err(wrong("`features` is empty".to_owned())),
        Some(names) => Some(names.iter().map(position).collect::<Result<Vec<_>, _>>()?),
        None => None,
    };
    Ok(InputSpec { name: raw.name.clone(), reads: Reads::Features { columns, window } })
}
