//! An answer: filled by a handler, sent by the connection, kept for the next one.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// The media type of JSON.
pub const JSON: &str = "application/json";

/// An answer that is being made.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// The media type of its body; empty where there is none.
    pub content_type: Cow<'static, str>,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the connection ends behind it.
    pub close: bool,
    /// Header lines besides those that every answer has.
    lines: Vec<u8>,
    /// The body has no end, or there is none: no length is said.
    endless: bool,
}

impl Default for Response {
    fn default() -> Self {
        Self {
            status: 200,
            content_type: Cow::Borrowed(""),
            body: Vec::new(),
            close: false,
            lines: Vec::new(),
            endless: false,
        }
    }
}

impl Response {
    /// Makes it as a new one is; its memory is kept unless it is much.
    pub(super) fn clear(&mut self) {
        const KEPT_MAX: usize = 256 * 1024;
        self.status = 200;
        self.content_type = Cow::Borrowed("");
        self.body.clear();
        self.body.shrink_to(KEPT_MAX);
        self.close = false;
        self.lines.clear();
        self.endless = false;
    }

    /// Adds a header. Characters that would end it are left out.
    pub fn header(&mut self, name: &str, value: &str) {
        self.lines.extend_from_slice(name.as_bytes());
        self.lines.extend_from_slice(b": ");
        self.lines.extend(value.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
        self.lines.extend_from_slice(b"\r\n");
    }

    /// Sets status, media type and body.
    pub fn set(&mut self, status: u16, content_type: &'static str, body: impl AsRef<[u8]>) {
        self.status = status;
        self.content_type = Cow::Borrowed(content_type);
        self.body.clear();
        self.body.extend_from_slice(body.as_ref());
    }

    /// Sets status and a JSON body.
    pub fn json<T: serde::Serialize + ?Sized>(&mut self, status: u16, value: &T) {
        self.status = status;
        self.content_type = Cow::Borrowed(JSON);
        self.body.clear();
        if let Err(error) = serde_json::to_writer(&mut self.body, value) {
            // Only a type with keys that are no text; there is none among ours.
            tracing::error!(%error, "an answer cannot be written as JSON");
            self.set(500, JSON, b"{}");
        }
    }

    /// What follows has no end, or is no body: no length is said.
    pub fn endless(&mut self) {
        self.endless = true;
    }

    /// The answer's bytes, into `out`, which is emptied first; `head_only` leaves the body out.
    pub(super) fn write(&self, out: &mut Vec<u8>, head_only: bool, keep_alive: bool) {
        out.clear();
        out.extend_from_slice(b"HTTP/1.1 ");
        push_number(out, self.status.into());
        out.push(b' ');
        out.extend_from_slice(phrase(self.status).as_bytes());
        out.extend_from_slice(b"\r\nDate: ");
        push_date(out);
        if !self.content_type.is_empty() {
            out.extend_from_slice(b"\r\nContent-Type: ");
            out.extend_from_slice(self.content_type.as_bytes());
        }
        if !self.endless && self.status != 204 && self.status != 304 {
            out.extend_from_slice(b"\r\nContent-Length: ");
            push_number(out, self.body.len() as u64);
        }
        out.extend_from_slice(b"\r\nX-Content-Type-Options: nosniff\r\n");
        if !keep_alive && self.status != 101 {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(&self.lines);
        out.extend_from_slice(b"\r\n");
        if !head_only && self.status != 204 {
            out.extend_from_slice(&self.body);
        }
    }
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{number}");
}

/// The name of a status.
pub fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

thread_local! {
    /// The date of this second, as HTTP writes it.
    static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

fn push_date(out: &mut Vec<u8>) {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(at_s, text)| {
        if *at_s != now_s {
            (*at_s, *text) = (now_s, http_date(now_s));
        }
        out.extend_from_slice(text.as_bytes());
    });
}

/// RFC 9110's date of a second since 1970; the civil date as Howard Hinnant's `civil_from_days` has it.
fn http_date(unix_s: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = (month_index + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let weekday = DAYS[(days % 7) as usize];
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    let month = MONTHS[month as usize];
    format!("{weekday}, {day:02} {month} {year} {hours:02}:{minutes:02}:{seconds:02} GMT")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(1_709_164_800), "Thu, 29 Feb 2024 00:00:00 GMT");
        assert_eq!(http_date(1_767_225_599), "Wed, 31 Dec 2025 23:59:59 GMT");
    }

    #[test]
    fn no_header_can_hold_another() {
        let mut response = Response::default();
        response.header("Location", "/a\r\nSet-Cookie: b");
        let mut out = Vec::new();
        response.write(&mut out, false, true);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("Location: /aSet-Cookie: b\r\n\r\n"), "{text}");
    }
}
