//! `/api/config`: every key with its value in effect. Secrets are masked.

use super::super::http::{Request, Response, Then};
use super::super::problem::Problem;
use super::super::routes::Captures;
use super::super::service::Service;
use super::answer;
use crate::config::{KEYS, Value, masked};
use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct KeyJson {
    name: &'static str,
    value: serde_json::Value,
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

/// `GET /api/config`.
pub fn show(
    service: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let settings = service.engine.settings();
    let keys = KEYS.iter().map(|key| KeyJson {
        name: key.name,
        value: value_json(&key.value(&settings)),
        default: value_json(&key.default_value()),
        unit: key.unit,
        allowed: key.allowed.to_string(),
        change: key.change.to_string(),
        doc: key.doc.join(" ").trim().to_owned(),
    });
    answer(response, 200, &json!({ "keys": keys.collect::<Vec<_>>() }));
    Ok(Then::Next)
}

/// `PATCH /api/config`.
pub fn change(_: &Service, _: &Request<'_>, _: &Captures<'_>, _: &mut Response) -> Result<Then, Problem> {
    let detail = "no key can be changed while running yet: change the configuration file and start again";
    Err(Problem::new(501, "not_implemented", detail))
}
