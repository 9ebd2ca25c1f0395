//! `/api/decisions`: what the controller changed lately, and what it saw.

use super::super::http::{Request, Response, Then};
use super::super::problem::Problem;
use super::super::service::{Captures, Service};
use super::answer;
use serde_json::json;

/// `GET /api/decisions`: the newest first.
pub fn list(
    service: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let mut decisions = service.engine.decisions();
    decisions.reverse();
    answer(response, 200, &json!({ "decisions": decisions }));
    Ok(Then::Next)
}
