//! `/api/predictions`: the newest outcomes, from memory.

use super::super::http::{JSON, Request, Response, Then};
use super::super::problem::Problem;
use super::super::recent::EventKey;
use super::super::routes::Captures;
use super::super::service::Service;
use super::{Parameters, symbol, timeframe};
use crate::domain::HORIZON_MAX;

/// How many are shown when nobody says how many, and at most.
const LIMIT: u64 = 100;
const LIMIT_MAX: u64 = 10_000;

/// `GET /api/predictions`.
pub fn newest(
    service: &Service,
    request: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let known = ["symbol", "timeframe", "horizon", "model", "limit", "refusals"];
    let parameters = Parameters::read(request, &known)?;
    let wanted_symbol = parameters.get("symbol");
    wanted_symbol.map(symbol).transpose()?;
    let wanted_timeframe = parameters.get("timeframe").map(timeframe).transpose()?;
    let horizon = parameters.number("horizon", 1..=HORIZON_MAX.into())?;
    let model = parameters.get("model");
    let limit = parameters.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT) as usize;
    let refusals = match parameters.get("refusals") {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(Problem::bad(format!("refusals = `{other}`: true or false are allowed"))),
    };
    let wanted = |key: &EventKey| {
        (key.predictions || refusals)
            && wanted_symbol.is_none_or(|symbol| *key.series.symbol == *symbol)
            && wanted_timeframe.is_none_or(|timeframe| key.series.timeframe == timeframe)
            && horizon.is_none_or(|horizon| u64::from(key.horizon) == horizon)
            && model.is_none_or(|model| *key.model == *model)
    };
    let events = service.recent.newest(wanted, limit);
    // Each is JSON already.
    let predictions: Vec<&str> = events.iter().map(|event| event.json().as_str()).collect();
    let (epoch, predictions) = (service.recent.epoch(), predictions.join(","));
    let json = format!("{{\"epoch\":\"{epoch}\",\"predictions\":[{predictions}]}}");
    response.set(200, JSON, json);
    response.header("Cache-Control", "no-store");
    Ok(Then::Next)
}
