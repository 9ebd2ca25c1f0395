//! What a browser is shown: files that the program carries. No path of a request reaches the file system.

use super::http::{Request, Response, Then};
use super::problem::Problem;
use super::routes::Captures;
use super::service::Service;

const INDEX: &str = include_str!("page/index.html");
/// Nothing from elsewhere, and nobody may frame it.
const POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; \
connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`.
pub fn index(
    _: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    response.set(200, "text/html; charset=utf-8", INDEX);
    response.header("Content-Security-Policy", POLICY);
    response.header("Referrer-Policy", "no-referrer");
    response.header("Cache-Control", "no-cache");
    Ok(Then::Next)
}
