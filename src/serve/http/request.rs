//! A request as its handler sees it.

use super::crew::Crew;
use super::head::{Method, RequestHead};
use httparse::Header;
use std::borrow::Cow;
use std::net::SocketAddr;

/// A request, whole.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is to be done.
    pub method: Method,
    /// To what: the path, still percent-encoded.
    pub path: &'a str,
    /// What follows the question mark, still encoded.
    pub query: &'a str,
    /// The host that is meant, with its port where one is named; empty where HTTP/1.0 names none.
    pub host: &'a str,
    /// Its body; empty where it has none.
    pub body: &'a [u8],
    /// Who asks.
    pub peer: SocketAddr,
    headers: &'a [Header<'a>],
    /// Where the thread that answers it belongs to.
    crew: Option<&'a Crew>,
}

impl<'a> Request<'a> {
    /// The request of `head`.
    pub fn new(head: &RequestHead<'a, 'a>, body: &'a [u8], peer: SocketAddr) -> Self {
        let RequestHead { method, path, query, headers, host, .. } = *head;
        Self { method, path, query, host, body, peer, headers, crew: None }
    }

    /// It, answered by one of `crew`.
    pub(super) fn among(self, crew: &'a Crew) -> Self {
        Self { crew: Some(crew), ..self }
    }

    /// To be said before waiting for others to answer it: another thread takes what comes meanwhile.
    pub fn waits(&self) {
        if let Some(crew) = self.crew {
            crew.stand_in();
        }
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    /// [`Request::header`] where it is text.
    pub fn text_header(&self, name: &str) -> Option<&'a str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok()).map(str::trim)
    }

    /// The parameters of the query, decoded, in their order; one without `=` has the value "".
    pub fn parameters(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name, true), decoded(value, true))
        })
    }

    /// The first parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        self.parameters().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Percent-decoded; `plus` says whether `+` means a space. What is no valid escape stays as it is, and what is no
/// UTF-8 afterwards is replaced.
pub fn decoded(text: &str, plus: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || (plus && byte == b'+')) {
        return Cow::Borrowed(text);
    }
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match (byte, hex(bytes.get(at)), hex(bytes.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits are a byte.
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if plus => out.push(b' '),
            (byte, ..) => out.push(*byte),
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_what_is_none_is_left() {
        assert_eq!(decoded("BTC%2FUSD", false), "BTC/USD");
        assert_eq!(decoded("a+b%20c", true), "a b c");
        assert_eq!(decoded("a+b", false), "a+b");
        assert_eq!(decoded("100%", true), "100%");
        assert_eq!(decoded("%zz%4", true), "%zz%4");
        assert_eq!(decoded("%ff", true), "\u{fffd}");
    }
}
