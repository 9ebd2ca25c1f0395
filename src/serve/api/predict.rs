//! `/api/predict`: one question, or many, about the newest closed bars or one that has not closed.

use super::super::http::{Request, Response, Then};
use super::super::outcome::{BarJson, OutcomeJson};
use super::super::problem::Problem;
use super::super::service::{Captures, Service};
use super::{Parameters, answer, body, symbol, timeframe, ts, whole, whole_if_given};
use crate::domain::{Bar, HORIZON_MAX, Outcome, Reason, Timeframe};
use crate::engine::Pending;
use crate::link::clock;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The longest that a request may wait.
const WAIT_MS_MAX: u64 = 60_000;
/// The most questions of a batch.
const BATCH_MAX: usize = 1000;

/// A question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with symbol, timeframe and horizon")]
struct Question {
    symbol: String,
    timeframe: String,
    #[serde(deserialize_with = "whole")]
    horizon: u32,
    /// The bar so far, where it has not closed.
    bar: Option<BarJson>,
    /// Its open time; needed with `bar`.
    ts: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Single {
    symbol: String,
    timeframe: String,
    #[serde(deserialize_with = "whole")]
    horizon: u32,
    bar: Option<BarJson>,
    ts: Option<String>,
    #[serde(default, deserialize_with = "whole_if_given")]
    wait: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    requests: Vec<Question>,
    #[serde(default, deserialize_with = "whole_if_given")]
    wait: Option<u64>,
}

/// What is said when nobody waits for the answer.
#[derive(Serialize)]
struct Requested<'a> {
    status: &'static str,
    symbol: &'a str,
    timeframe: String,
    horizon: u32,
}

/// A question that was checked.
struct Checked {
    symbol: String,
    timeframe: Timeframe,
    horizon: u32,
    provisional: Option<Bar>,
}

impl Question {
    fn check(self) -> Result<Checked, Problem> {
        let Self { symbol: name, timeframe: text, horizon, bar, ts: open_time } = self;
        symbol(&name)?;
        let timeframe = timeframe(&text)?;
        if !(1..=HORIZON_MAX).contains(&horizon) {
            return Err(Problem::bad(format!("horizon = {horizon}: 1 to {HORIZON_MAX} bars are allowed")));
        }
        let provisional = match (bar, open_time) {
            (None, None) => None,
            (Some(bar), Some(open_time)) => {
                let ts = ts(&open_time)?;
                let BarJson { open, high, low, close, volume } = bar;
                Some(Bar { ts, open, high, low, close, volume })
            }
            _ => {
                return Err(Problem::bad(
                    "`bar` and `ts`, its open time, belong together: send both, or neither",
                ));
            }
        };
        Ok(Checked { symbol: name, timeframe, horizon, provisional })
    }
}

impl Checked {
    fn ask(&self, service: &Service) -> Result<Pending, Problem> {
        let Self { symbol, timeframe, horizon, provisional } = self;
        let pending = service.engine.try_predict(symbol, *timeframe, *horizon, *provisional);
        pending.ok_or_else(|| {
            Problem::busy("the ingest stage is full (ingest.queue_bars_max): come again in a second")
        })
    }

    fn requested(&self) -> Requested<'_> {
        let Self { symbol, timeframe, horizon, .. } = self;
        let timeframe = timeframe.to_string();
        Requested { status: "prediction_requested", symbol, timeframe, horizon: *horizon }
    }

    /// The outcome, where it came in time.
    fn wait(&self, pending: &Pending, wait: Duration) -> Result<Outcome, Problem> {
        let outcome = pending.wait(wait).ok_or_else(|| {
            let detail = format!(
                "no answer within {} ms: it is computed and stored all the same, ask /api/predictions, or wait longer",
                wait.as_millis()
            );
            Problem::new(504, "not_in_time", detail)
        })?;
        match &outcome.result {
            Ok(_) => Ok(outcome),
            Err(refusal) => {
                let mut detail = refusal.to_string();
                if refusal.reason == Reason::NoBar {
                    detail.push_str("; bars come through the source, /api/bars, or the library");
                }
                Err(Problem::new(status_of(refusal.reason), refusal.reason.code(), detail))
            }
        }
    }
}

/// The status of an answer without a prediction.
fn status_of(reason: Reason) -> u16 {
    match reason {
        Reason::NoModel | Reason::NoBar => 404,
        // There will be one, once there are more bars.
        Reason::WarmingUp | Reason::UndefinedFeature => 409,
        Reason::ModelUnavailable | Reason::Stopping => 503,
        Reason::ModelTimeout => 504,
        Reason::ModelFailed | Reason::OutputNotFinite | Reason::Panicked => 500,
        // The bar that was sent along is not good.
        _ => 422,
    }
}

fn wait_of(service: &Service, wait: Option<u64>) -> Result<Duration, Problem> {
    let default = service.engine.settings().max_latency_ms.min(WAIT_MS_MAX);
    match wait.unwrap_or(default) {
        ms if ms <= WAIT_MS_MAX => Ok(Duration::from_millis(ms)),
        ms => Err(Problem::bad(format!("wait = {ms}: 0 to {WAIT_MS_MAX} ms are allowed"))),
    }
}

fn one(
    service: &Service,
    request: &Request<'_>,
    question: Question,
    wait: Option<u64>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let wait = wait_of(service, wait)?;
    let checked = question.check()?;
    let pending = checked.ask(service)?;
    if wait.is_zero() {
        answer(response, 202, &checked.requested());
        return Ok(Then::Next);
    }
    request.waits();
    let outcome = checked.wait(&pending, wait)?;
    answer(response, 200, &OutcomeJson { outcome: &outcome, stored_ns: clock::now_ns(), place: None });
    Ok(Then::Next)
}

/// `GET /api/predict`.
pub fn get(
    service: &Service,
    request: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let parameters = Parameters::read(request, &["symbol", "timeframe", "horizon", "wait"])?;
    let (symbol, timeframe) = (parameters.needed("symbol")?, parameters.needed("timeframe")?);
    parameters.needed("horizon")?;
    let horizon = parameters.number("horizon", 1..=HORIZON_MAX.into())?.unwrap_or(1) as u32;
    let wait = parameters.number("wait", 0..=WAIT_MS_MAX)?;
    let (symbol, timeframe) = (symbol.to_owned(), timeframe.to_owned());
    let question = Question { symbol, timeframe, horizon, bar: None, ts: None };
    one(service, request, question, wait, response)
}

/// `POST /api/predict`.
pub fn post(
    service: &Service,
    request: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    if request.body.is_empty() && !request.query.is_empty() {
        return get(service, request, captures, response);
    }
    let Single { symbol, timeframe, horizon, bar, ts, wait } = body(request)?;
    one(service, request, Question { symbol, timeframe, horizon, bar, ts }, wait, response)
}

/// One answer of a batch.
#[derive(Serialize)]
#[serde(untagged)]
enum Answered<'a> {
    Outcome(OutcomeJson<'a>),
    Requested(Requested<'a>),
    Problem(&'a Problem),
}

#[derive(Serialize)]
struct Results<'a> {
    results: Vec<Answered<'a>>,
}

/// `POST /api/predict/batch`: each is answered for itself, in the order of the questions.
pub fn batch(
    service: &Service,
    request: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let Batch { requests, wait } = body(request)?;
    if requests.is_empty() || requests.len() > BATCH_MAX {
        let detail = format!("requests has {} entries: 1 to {BATCH_MAX} are allowed", requests.len());
        return Err(Problem::bad(detail));
    }
    let wait = wait_of(service, wait)?;
    let deadline = Instant::now() + wait;
    let asked: Vec<Result<(Checked, Pending), Problem>> = requests
        .into_iter()
        .map(|question| {
            let checked = question.check()?;
            let pending = checked.ask(service)?;
            Ok((checked, pending))
        })
        .collect();
    if !wait.is_zero() {
        request.waits();
    }
    let outcomes: Vec<Option<Result<Outcome, Problem>>> = asked
        .iter()
        .map(|asked| {
            let (checked, pending) = asked.as_ref().ok()?;
            let left = deadline.saturating_duration_since(Instant::now());
            (!wait.is_zero()).then(|| checked.wait(pending, left))
        })
        .collect();
    let stored_ns = clock::now_ns();
    let results = asked.iter().zip(&outcomes).map(|(asked, outcome)| match (asked, outcome) {
        (Err(problem), _) | (_, Some(Err(problem))) => Answered::Problem(problem),
        (_, Some(Ok(outcome))) => Answered::Outcome(OutcomeJson { outcome, stored_ns, place: None }),
        (Ok((checked, _)), None) => Answered::Requested(checked.requested()),
    });
    let results = Results { results: results.collect() };
    answer(response, if wait.is_zero() { 202 } else { 200 }, &results);
    Ok(Then::Next)
}
