//! What a browser is shown: files that the program carries. No path of a request reaches the file system.

use super::http::{Request, Response, Then};
use super::problem::Problem;
use super::service::{Captures, Service};
use sha2::{Digest as _, Sha256};

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
    request: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    show(request, response, "text/html; charset=utf-8", INDEX);
    response.header("Content-Security-Policy", POLICY);
    response.header("Referrer-Policy", "no-referrer");
    Ok(Then::Next)
}

/// `GET /page/{file}`.
pub fn file(
    _: &Service,
    request: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let found = FILES.iter().find(|(name, ..)| *name == captures[0]);
    let (_, media, content) = found
        .ok_or_else(|| Problem::new(404, "not_found", format!("the page has no file `{}`", captures[0])))?;
    show(request, response, media, content);
    Ok(Then::Next)
}

/// Shows `content`, unless whoever asks has it already. It is asked for each time, as another vela may answer.
fn show(request: &Request<'_>, response: &mut Response, media: &'static str, content: &str) {
    let digest = Sha256::digest(content.as_bytes());
    let tag =
        format!("\"{:016x}\"", digest.iter().take(8).fold(0_u64, |tag, byte| tag << 8 | u64::from(*byte)));
    let known = request.text_header("if-none-match").unwrap_or_default();
    // A proxy that compresses makes the tag a weak one.
    let is_known = |one: &str| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag;
    match known.split(',').map(str::trim).any(is_known) {
        true => response.set(304, "", ""),
        false => response.set(200, media, content),
    }
    response.header("ETag", &tag);
    response.header("Cache-Control", "no-cache");
}
