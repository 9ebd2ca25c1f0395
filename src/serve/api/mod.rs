//! The REST interface: one file for each thing that can be asked about.

pub mod bars;
pub mod config;
pub mod decisions;
pub mod health;
pub mod metrics;
pub mod models;
pub mod openapi;
pub mod predict;
pub mod predictions;

use super::http::{Request, Response};
use super::problem::Problem;
use crate::domain::{SeriesKey, Timeframe, Timestamp};
use serde::Deserialize as _;
use std::borrow::Cow;
use std::ops::RangeInclusive;

/// Reads a body as a JSON object; of structs it would take their values in a list as well.
fn body<'a, T: serde::Deserialize<'a>>(request: &Request<'a>) -> Result<T, Problem> {
    if request.body.is_empty() {
        return Err(Problem::bad("the body is empty: send JSON, see /openapi.json"));
    }
    if !request.query.is_empty() {
        return Err(Problem::bad("what is asked stands in the body here: leave the query away"));
    }
    if !request.body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::bad("the body is no JSON object: send {…}, see /openapi.json"));
    }
    serde_json::from_slice(request.body)
        .map_err(|error| Problem::bad(format!("the body is not what is expected here: {error}")))
}

/// A whole number in JSON, which knows one kind of number: `5.0` is 5.
fn whole<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = serde_json::Number::deserialize(deserializer)?;
    // Beyond 2^53 a float stands for many whole numbers: it is none.
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(number);
    let value = number.as_u64().or_else(|| number.as_f64().filter(exact).map(|number| number as u64));
    let wrong = |why| serde::de::Error::custom(format!("{number} is {why}"));
    T::try_from(value.ok_or_else(|| wrong("no whole number from 0 on"))?).map_err(|_| wrong("too large"))
}

/// [`whole`], where it is given.
fn whole_if_given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<u64>,
{
    whole(deserializer).map(Some)
}

/// Answers with JSON that is not to be kept.
fn answer<T: serde::Serialize + ?Sized>(response: &mut Response, status: u16, value: &T) {
    response.json(status, value);
    response.header("Cache-Control", "no-store");
}

fn timeframe(text: &str) -> Result<Timeframe, Problem> {
    text.parse().map_err(|error| Problem::bad(format!("timeframe: {error}")))
}

fn symbol(text: &str) -> Result<(), Problem> {
    series(text, Timeframe::MINUTE).map(drop)
}

fn series(symbol: &str, timeframe: Timeframe) -> Result<SeriesKey, Problem> {
    SeriesKey::new(symbol, timeframe).map_err(|error| Problem::bad(format!("symbol: {error}")))
}

/// The open time of a bar.
fn ts(text: &str) -> Result<Timestamp, Problem> {
    text.parse().map_err(|error| Problem::bad(format!("ts: {error}")))
}

/// The parameters of a query: each known, each given once.
struct Parameters<'a> {
    given: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Parameters<'a> {
    /// Those of `request`. An unknown one is most likely a known one misspelt, and would be missed.
    fn read(request: &Request<'a>, known: &[&str]) -> Result<Self, Problem> {
        let mut given: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (name, value) in request.parameters() {
            if !known.contains(&&*name) {
                let known = known.join(", ");
                return Err(Problem::bad(format!("there is no parameter `{name}`: {known} are known")));
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(Problem::bad(format!("the parameter {name} is given twice: give it once")));
            }
            given.push((name, value));
        }
        Ok(Self { given })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.given.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    fn needed(&self, name: &str) -> Result<&str, Problem> {
        self.get(name).ok_or_else(|| Problem::bad(format!("the parameter {name} is missing")))
    }

    /// A whole number within `range`; `None` where it is not given.
    fn number(&self, name: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|text| text.parse::<u64>().ok()).filter(|number| range.contains(number));
        let (from, to) = (range.start(), range.end());
        let wrong =
            || Problem::bad(format!("{name} = `{text}`: a whole number from {from} to {to} is allowed"));
        number.map(Some).ok_or_else(wrong)
    }
}
