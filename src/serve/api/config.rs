//! `/api/config`: every key with its value in effect, and changes while it runs. Secrets are masked.

use super::super::http::{Request, Response, Then};
use super::super::problem::Problem;
use super::super::service::{Captures, Service};
use super::{answer, body};
use crate::config::{KEYS, Key, Settings, Value, masked};
use crate::engine::{Engine, EngineError};
use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct KeyJson {
    name: &'static str,
    value: serde_json::Value,
    /// What the file asks for meanwhile, where it waits for the next start.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_restart: Option<serde_json::Value>,
    default: serde_json::Value,
    unit: &'static str,
    allowed: String,
    /// `live`: takes effect while running; `restart`: at the next start.
    change: String,
    doc: String,
}

fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Whole(number) => json!(number),
        Value::Fraction(number) => json!(number),
        Value::Bool(yes) => json!(yes),
        Value::Text(text) => json!(masked(text)),
        Value::Path(path) => json!(path.display().to_string()),
        Value::Store(url) => json!(url.to_string()),
        Value::Postgres(url) => json!(url.as_ref().map(ToString::to_string).unwrap_or_default()),
        // As the configuration file has them.
        Value::Tables(_) | Value::Rules(_) => json!(value.shown()),
        Value::Lanes(lanes) => {
            let lanes = lanes.iter().map(|(symbol, lane)| {
                let word = format!("{lane:?}").to_ascii_lowercase();
                (symbol.clone(), json!(word))
            });
            serde_json::Value::Object(lanes.collect())
        }
    }
}

fn key_json(key: &Key, settings: &Settings, wanted: &Settings) -> KeyJson {
    let (value, at_restart) = (key.value(settings), key.value(wanted));
    KeyJson {
        name: key.name,
        value: value_json(&value),
        at_restart: (at_restart != value).then(|| value_json(&at_restart)),
        default: value_json(&key.default_value()),
        unit: key.unit,
        allowed: key.allowed.to_string(),
        change: key.change.to_string(),
        // Lines of a comment, each with the space that it begins with.
        doc: key.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "),
    }
}

fn keys_json(engine: &Engine) -> Vec<KeyJson> {
    let (settings, wanted) = (engine.settings(), engine.settings_wanted());
    KEYS.iter().map(|key| key_json(key, &settings, &wanted)).collect()
}

/// `GET /api/config`.
pub fn show(
    service: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    answer(response, 200, &json!({ "keys": keys_json(&service.engine) }));
    Ok(Then::Next)
}

/// `PATCH /api/config`: a JSON merge patch (RFC 7396) of keys that are live; all of it takes effect, or nothing does.
pub fn change(
    service: &Service,
    request: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let patch: serde_json::Map<String, serde_json::Value> = body(request)?;
    let engine = &service.engine;
    let changed = engine.patch(&patch, &request.peer.ip().to_string()).map_err(|error| {
        let detail = error.to_string();
        match error {
            EngineError::NeedsRestart(_) => Problem::new(409, "needs_restart", detail),
            EngineError::LevelFixed(_) => Problem::new(409, "overruled", detail),
            _ => Problem::new(422, "not_allowed", detail),
        }
    })?;
    answer(response, 200, &json!({ "changed": changed, "keys": keys_json(engine) }));
    Ok(Then::Next)
}
