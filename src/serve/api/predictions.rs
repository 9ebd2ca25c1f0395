//! `/api/predictions`: the newest outcomes, from memory or out of the store.

use super::super::http::{JSON, Request, Response, Then};
use super::super::problem::Problem;
use super::super::recent::EventKey;
use super::super::service::{Captures, Service};
use super::{Parameters, series, symbol, timeframe};
use crate::domain::{HORIZON_MAX, Said, SeriesKey, Stored, Timeframe, Timestamp, Wanted};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many are shown when nobody says how many, and at most.
const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 10_000;

const KNOWN: [&str; 8] = ["symbol", "timeframe", "horizon", "model", "limit", "refusals", "from", "before"];

/// What is asked for.
struct Question<'a> {
    symbol: Option<&'a str>,
    timeframe: Option<Timeframe>,
    horizon: Option<u32>,
    model: Option<&'a str>,
    limit: usize,
    refusals: bool,
}

/// `GET /api/predictions`.
pub fn newest(
    service: &Service,
    request: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let parameters = Parameters::read(request, &KNOWN)?;
    let question = Question {
        symbol: parameters
            .get("symbol")
            .map(|text| symbol(text).map(|()| service.recent.symbol_of(text)))
            .transpose()?,
        timeframe: parameters.get("timeframe").map(timeframe).transpose()?,
        // Within the range of a horizon, so of its type.
        horizon: parameters.number("horizon", 1..=HORIZON_MAX.into())?.map(|horizon| horizon as u32),
        model: parameters.get("model"),
        limit: parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT) as usize,
        refusals: match parameters.get("refusals") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                return Err(Problem::bad(format!("refusals = `{other}`: true or false are allowed")));
            }
        },
    };
    let before = parameters.get("before");
    let json = match parameters.get("from") {
        None | Some("memory") if before.is_some() => {
            return Err(unfit("before goes with from=store: memory has the newest alone"));
        }
        None | Some("memory") => remembered(service, &question),
        Some("store") => stored(service, &question, before)?,
        Some(other) => return Err(Problem::bad(format!("from = `{other}`: memory or store are allowed"))),
    };
    response.set(200, JSON, json);
    response.header("Cache-Control", "no-store");
    Ok(Then::Next)
}

/// Each part is well-formed, and they do not go together.
fn unfit(detail: impl Into<String>) -> Problem {
    Problem::new(422, "unfit", detail)
}

fn remembered(service: &Service, question: &Question<'_>) -> String {
    let wanted = |key: &EventKey| {
        (key.predictions || question.refusals)
            && question.symbol.is_none_or(|symbol| *key.series.symbol == *symbol)
            && question.timeframe.is_none_or(|timeframe| key.series.timeframe == timeframe)
            && question.horizon.is_none_or(|horizon| key.horizon == horizon)
            && question.model.is_none_or(|model| *key.model == *model)
    };
    let events = service.recent.newest(wanted, question.limit);
    // Each is JSON already.
    let predictions: Vec<&str> = events.iter().map(|event| event.json().as_str()).collect();
    let (epoch, predictions) = (service.recent.epoch(), predictions.join(","));
    format!("{{\"epoch\":\"{epoch}\",\"predictions\":[{predictions}]}}")
}

fn stored(service: &Service, question: &Question<'_>, before: Option<&str>) -> Result<String, Problem> {
    let (Some(symbol), Some(timeframe)) = (question.symbol, question.timeframe) else {
        return Err(unfit("from=store reads one series: name its symbol and timeframe"));
    };
    let moment =
        |text: &str| text.parse::<Timestamp>().map_err(|error| unfit(format!("before = `{text}`: {error}")));
    let wanted = Wanted {
        series: series(symbol, timeframe)?,
        horizon: question.horizon,
        model: question.model.map(str::to_owned),
        before: before.map(moment).transpose()?,
        refusals: question.refusals,
        limit: question.limit,
    };
    let rows = service.engine.stored(&wanted).ok_or_else(|| {
        Problem::new(
            409,
            "no_store",
            "nothing is stored here (store.url) that could be read: from=memory has the newest",
        )
    })?;
    let rows = rows.map_err(|error| Problem::new(503, "store_away", error.to_string()))?;
    let rows: Vec<Value> = rows.into_iter().map(|row| row_json(&wanted.series, row)).collect();
    Ok(json!({ "epoch": service.recent.epoch(), "predictions": rows }).to_string())
}

/// A row as [`super::super::outcome::OutcomeJson`] writes an outcome: what no row has is left out.
fn row_json(series: &SeriesKey, row: Stored) -> Value {
    let Stored { horizon, ts, model, revision, said } = row;
    let mut json = json!({
        "symbol": &*series.symbol, "timeframe": series.timeframe.to_string(), "horizon": horizon,
        "ts": ts.to_string(), "revision": revision, "origin": "stored",
    });
    match said {
        Said::Prediction { version, value, outputs, latency_us } => {
            // Read as the numbers they are, so that they are written as an outcome's.
            let outputs: Option<BTreeMap<String, Option<f64>>> =
                outputs.and_then(|outputs| serde_json::from_str(&outputs).ok());
            json["type"] = "prediction".into();
            json["model"] = model.into();
            json["version"] = version.into();
            json["value"] = value.into();
            json["outputs"] = json!(outputs.unwrap_or_default());
            json["latency_us"] = latency_us.into();
        }
        Said::Refusal { reason, detail } => {
            json["type"] = "refusal".into();
            json["model"] = if model.is_empty() { Value::Null } else { model.into() };
            json["reason"] = reason.into();
            json["detail"] = detail.into();
        }
    }
    json
}
