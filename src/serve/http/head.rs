//! A request's first line and headers, and what they say of its body: pure functions of bytes, which the fuzzer runs.
//!
//! Strict where two readers of the same bytes could differ, since a proxy may stand before us: one length or one
//! encoding, no folding, one host.

use httparse::Header;

/// What a request wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Read, without the body.
    Head,
    /// Do.
    Post,
    /// Replace.
    Put,
    /// Change in parts.
    Patch,
    /// Remove.
    Delete,
    /// Ask what is possible.
    Options,
    /// Any other, such as TRACE: nothing here does it.
    Other,
}

impl Method {
    fn parse(text: &str) -> Self {
        match text {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }

    /// Its name in a request, for people where it is another.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Other => "this method",
        }
    }

    /// Whether it changes nothing.
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its length, which may be 0.
    Length(usize),
    /// By chunks that say their own.
    Chunked,
}

/// A request that is refused before anybody looks at what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status of the answer.
    pub status: u16,
    /// Why, and what to do.
    pub detail: &'static str,
}

pub(super) const fn fault(status: u16, detail: &'static str) -> Fault {
    Fault { status, detail }
}

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead<'h, 'b> {
    /// What is to be done.
    pub method: Method,
    /// To what: the path, still percent-encoded.
    pub path: &'b str,
    /// What follows the question mark, still encoded.
    pub query: &'b str,
    /// Its headers, in their order.
    pub headers: &'h [Header<'b>],
    /// The host that is meant, with its port where one is named; empty where HTTP/1.0 names none.
    pub host: &'b str,
    /// How the end of its body is found.
    pub framing: Framing,
    /// Whether the body is only sent after a word of ours.
    pub expects_continue: bool,
    /// Whether another request may follow on this connection.
    pub keep_alive: bool,
    /// Whether that has to be said: HTTP/1.0 takes it for the exception.
    pub says_keep_alive: bool,
    /// Its length in bytes.
    pub len: usize,
}

/// Reads a head from the start of `bytes`; `None` while its end has not come. `room` takes the headers.
///
/// # Errors
/// The answer to a request that cannot be understood or must not be.
pub fn parse_head<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut [Header<'b>],
) -> Result<Option<RequestHead<'h, 'b>>, Fault> {
    let mut raw = httparse::Request::new(room);
    let len = match raw.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(fault(431, "more than 64 headers: send fewer")),
        Err(httparse::Error::Version) => {
            return Err(fault(505, "only HTTP/1.1 and HTTP/1.0 are spoken here"));
        }
        Err(_) => return Err(fault(400, "this is no HTTP request: its first line or a header is malformed")),
    };
    let headers: &'h [Header<'b>] = raw.headers;
    let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
        return Err(fault(400, "the first line is not complete"));
    };
    let method = Method::parse(method);
    let (authority, path, query) = split_target(target)?;
    let mut host = None;
    let mut length = None;
    let mut chunked = false;
    let mut expects_continue = false;
    let mut keep_alive = minor == 1;
    for Header { name, value } in headers {
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                let value = std::str::from_utf8(value).ok().filter(|host| is_host(host));
                let value = value.ok_or(fault(400, "the Host header is no host"))?;
                if host.replace(value).is_some() {
                    return Err(fault(400, "two Host headers: send one"));
                }
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(fault(417, "only `Expect: 100-continue` can be met"));
                }
                expects_continue = minor == 1;
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for token in value.split(|byte| *byte == b',') {
                    let token = token.trim_ascii();
                    keep_alive = match token {
                        _ if token.eq_ignore_ascii_case(b"close") => false,
                        _ if token.eq_ignore_ascii_case(b"keep-alive") => true,
                        _ => keep_alive,
                    };
                }
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                let before = length.replace(length_of(value)?);
                if before.is_some() {
                    return Err(fault(400, "two Content-Length headers: send one"));
                }
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if chunked || minor == 0 {
                    return Err(fault(400, "Transfer-Encoding is sent twice, or in HTTP/1.0"));
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(fault(501, "only the transfer encoding `chunked` is understood"));
                }
                chunked = true;
            }
            _ => {}
        }
    }
    let framing = match (length, chunked) {
        (Some(_), true) => {
            return Err(fault(400, "Content-Length and Transfer-Encoding exclude each other: send one"));
        }
        (Some(length), false) => Framing::Length(length),
        (None, true) => Framing::Chunked,
        (None, false) => Framing::Length(0),
    };
    if host.is_none() && minor == 1 {
        return Err(fault(400, "HTTP/1.1 needs a Host header"));
    }
    let host = authority.or(host).unwrap_or("");
    let says_keep_alive = keep_alive && minor == 0;
    Ok(Some(RequestHead {
        method,
        path,
        query,
        headers,
        host,
        framing,
        expects_continue,
        keep_alive,
        says_keep_alive,
        len,
    }))
}

/// The host (of the absolute form, which proxies are sent), path and query of a target.
fn split_target(target: &str) -> Result<(Option<&str>, &str, &str), Fault> {
    let wrong = fault(400, "the request's target is no path: it must begin with /");
    let (authority, rest) = match target.strip_prefix("http://").or_else(|| target.strip_prefix("https://")) {
        Some(absolute) => {
            let end = absolute.find(['/', '?']).unwrap_or(absolute.len());
            let (authority, rest) = absolute.split_at(end);
            if !is_host(authority) {
                return Err(wrong);
            }
            (Some(authority), if rest.is_empty() { "/" } else { rest })
        }
        None => (None, target),
    };
    if rest.contains('#') {
        return Err(wrong);
    }
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.starts_with('/') || target == "*" { Ok((authority, path, query)) } else { Err(wrong) }
}

/// A name or an address, with or without a port.
fn is_host(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]%~".contains(&b);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(fits)
}

fn length_of(value: &[u8]) -> Result<usize, Fault> {
    let digits = value.trim_ascii();
    let wrong = fault(400, "Content-Length must be digits");
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    let text = std::str::from_utf8(digits).map_err(|_| wrong)?;
    // More digits than any number has are a body that is too large.
    Ok(text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What became of it: its framing, or the status of the refusal.
    fn framing(request: &str) -> Result<Option<Framing>, u16> {
        let mut room = [httparse::EMPTY_HEADER; super::super::limits::HEADERS_MAX];
        let head = parse_head(request.as_bytes(), &mut room);
        head.map(|head| head.map(|head| head.framing)).map_err(|fault| fault.status)
    }

    #[test]
    fn requests_that_two_readers_could_take_differently_are_refused() {
        let with = |headers: &str| framing(&format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        assert_eq!(with(""), Ok(Some(Framing::Length(0))));
        assert_eq!(with("Content-Length: 12\r\n"), Ok(Some(Framing::Length(12))));
        assert_eq!(with("Transfer-Encoding: CHUNKED\r\n"), Ok(Some(Framing::Chunked)));
        assert_eq!(
            with("Content-Length: 99999999999999999999999\r\n"),
            Ok(Some(Framing::Length(usize::MAX)))
        );
        for (headers, status) in [
            ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: -1\r\n", 400),
            ("Content-Length:\r\n", 400),
            ("Content-Length : 1\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
            ("X: a\r\n b\r\n", 400),
            ("Host: b\r\n", 400),
            ("Expect: 200-maybe\r\n", 417),
        ] {
            assert_eq!(with(headers), Err(status), "{headers:?}");
        }
        assert_eq!(framing("POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), Err(400));
        assert_eq!(framing("GET /x HTTP/1.1\r\n\r\n"), Err(400));
        assert_eq!(framing("GET /x HTTP/1.0\r\n\r\n"), Ok(Some(Framing::Length(0))));
        assert_eq!(framing("GET x HTTP/1.1\r\nHost: a\r\n\r\n"), Err(400));
        assert_eq!(framing("GET /x HTTP/2.0\r\nHost: a\r\n\r\n"), Err(505));
        assert_eq!(framing("BREW /x HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(Some(Framing::Length(0))));
        assert_eq!(framing("GET /x HTTP/1.1\r\nHost: a b\r\n\r\n"), Err(400));
        assert_eq!(framing("GET /x HTT"), Ok(None));
    }

    #[test]
    fn targets_are_taken_apart() {
        assert_eq!(split_target("/a/b?c=d?e"), Ok((None, "/a/b", "c=d?e")));
        assert_eq!(split_target("http://h:80/a?b"), Ok((Some("h:80"), "/a", "b")));
        assert_eq!(split_target("http://h"), Ok((Some("h"), "/", "")));
        assert_eq!(split_target("*"), Ok((None, "*", "")));
        assert!(split_target("http:///a").is_err() && split_target("/a#b").is_err());
    }

    #[test]
    fn a_connection_is_kept_as_the_versions_say() {
        let kept = |request: &str| {
            let mut room = [httparse::EMPTY_HEADER; 8];
            parse_head(request.as_bytes(), &mut room).unwrap().unwrap().keep_alive
        };
        assert!(kept("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!kept("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n"));
        assert!(!kept("GET / HTTP/1.0\r\n\r\n"));
        assert!(kept("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    }
}
