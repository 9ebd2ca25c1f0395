//! Refusals that a person, or a program, can act on: `application/problem+json` (RFC 9457).

use super::http::{Response, phrase};
use serde::Serialize;
use std::borrow::Cow;

/// The media type.
const PROBLEM: &str = "application/problem+json";

/// Why a request is not answered as it asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// There is no page about it.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// A word for programs.
    pub reason: Cow<'static, str>,
    /// What was asked, what is allowed, what to do.
    pub detail: String,
}

impl Problem {
    /// A problem with a word for programs and a text for people.
    pub fn new(status: u16, reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: phrase(status),
            status,
            reason: Cow::Borrowed(reason),
            detail: detail.into(),
        }
    }

    /// What was asked is malformed.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(400, "bad_request", detail)
    }

    /// Everything is busy: the client may come again.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(503, "busy", detail)
    }

    /// Makes it the answer.
    pub fn write(&self, response: &mut Response) {
        response.json(self.status, self);
        response.content_type = Cow::Borrowed(PROBLEM);
        response.header("Cache-Control", "no-store");
        if self.status == 503 {
            response.header("Retry-After", "1");
        }
        if self.status == 401 {
            response.header("WWW-Authenticate", "Bearer realm=\"vela\"");
        }
    }
}
