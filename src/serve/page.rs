//! What a browser is shown: files that the program carries. No path of a request reaches the file system.

use super::http::{Request, Response, Then};
use super::problem::Problem;
use super::service::{Captures, Service};

const INDEX: &str = include_str!("page/index.html");
/// What it needs: name, media type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("access.js", "text/javascript; charset=utf-8", include_str!("page/access.js")),
    ("charts.js", "text/javascript; charset=utf-8", include_str!("page/charts.js")),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("interval.js", "text/javascript; charset=utf-8", include_str!("page/interval.js")),
    ("main.js", "text/javascript; charset=utf-8", include_str!("page/main.js")),
    ("page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
    ("pipeline.js", "text/javascript; charset=utf-8", include_str!("page/pipeline.js")),
    ("series.js", "text/javascript; charset=utf-8", include_str!("page/series.js")),
    ("stream.js", "text/javascript; charset=utf-8", include_str!("page/stream.js")),
    ("tables.js", "text/javascript; charset=utf-8", include_str!("page/tables.js")),
    ("verdict.js", "text/javascript; charset=utf-8", include_str!("page/verdict.js")),
    ("words.js", "text/javascript; charset=utf-8", include_str!("page/words.js")),
];
/// Nothing from elsewhere, and nobody may frame it.
const POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'; \
connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`.
pub fn index(
    _: &Service,
    _: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    show(response, "text/html; charset=utf-8", INDEX);
    response.header("Content-Security-Policy", POLICY);
    response.header("Referrer-Policy", "no-referrer");
    Ok(Then::Next)
}

/// `GET /page/{file}`.
pub fn file(
    _: &Service,
    _: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let found = FILES.iter().find(|(name, ..)| *name == captures[0]);
    let (_, media, content) = found
        .ok_or_else(|| Problem::new(404, "not_found", format!("the page has no file `{}`", captures[0])))?;
    show(response, media, content);
    Ok(Then::Next)
}

fn show(response: &mut Response, media: &'static str, content: &str) {
    response.set(200, media, content);
    response.header("Cache-Control", "no-cache");
}
