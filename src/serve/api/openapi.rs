//! `/openapi.json`.

use super::super::http::{JSON, Request, Response, Then};
use super::super::problem::Problem;
use super::super::service::{Captures, Service};

/// The description of everything that can be asked.
pub const DOCUMENT: &str = include_str!("../openapi.json");

/// `GET /openapi.json`.
pub fn document(
    _: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    response.set(200, JSON, DOCUMENT);
    response.header("Cache-Control", "no-cache");
    Ok(Then::Next)
}
