//! Who may ask: the token, the host a request must name, and the pages that may change something.
//!
//! A browser runs pages of the whole web on the machine that vela listens on. So a request must name a host that is
//! ours (a page that gets here by a name of its own, DNS rebinding, names another), and where it changes something or opens the
//! stream, a page must be one of ours too (`Origin`). Programs send no `Origin`, and are not concerned.

use super::http::Request;
use super::token::{TOKEN_VARIABLE, Token};
use crate::config::ServeSettings;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It names a host that is none of ours.
    Host,
    /// It comes from a page that is none of ours.
    Origin,
    /// It has no token, or a wrong one.
    Token,
}

/// How far a request has to prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Not at all: whether the process lives, and the page itself, which holds nothing.
    Open,
    /// By the token.
    Token,
    /// By the token, which may stand among a WebSocket's protocols as `bearer.TOKEN`, or in the query as
    /// `access_token`: browsers send no header of ours with a stream.
    Stream,
}

/// What requests are held against.
#[derive(Debug)]
pub struct Access {
    token: Option<Token>,
    /// Only this machine can connect.
    local: bool,
    hosts: Vec<String>,
}

impl Access {
    /// What `settings` ask for at `address`; `variable` is the environment's token.
    ///
    /// # Errors
    /// When the token cannot be read or is too short, or there is none where others can connect.
    pub fn new(
        settings: &ServeSettings,
        address: SocketAddr,
        variable: Option<String>,
    ) -> Result<Self, String> {
        let token = Token::new(settings, variable)?;
        let local = address.ip().to_canonical().is_loopback();
        if token.is_none() && !local && !settings.allow_public {
            return Err(format!(
                "serve.listen = \"{address}\" lets other machines connect, and there is no token: set serve.token_file (or \
                 {TOKEN_VARIABLE}), listen at 127.0.0.1, or set serve.allow_public = true"
            ));
        }
        let hosts = settings.hosts.split(',').map(|host| host.trim().to_ascii_lowercase());
        Ok(Self { token, local, hosts: hosts.filter(|host| !host.is_empty()).collect() })
    }

    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Holds a request against it; `changes` says that it changes something, or opens a stream.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, request: &Request<'_>, guard: Guard, changes: bool) -> Result<(), Denied> {
        if self.local && !request.host.is_empty() && !self.is_ours(request.host) {
            return Err(Denied::Host);
        }
        if changes && let Some(origin) = request.header("origin") {
            let origin = std::str::from_utf8(origin).unwrap_or("null");
            let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            let ours = authority.is_some_and(|authority| {
                authority.eq_ignore_ascii_case(request.host) || self.is_named(host_of(authority))
            });
            if !ours {
                return Err(Denied::Origin);
            }
        }
        let (Some(token), true) = (&self.token, guard != Guard::Open) else { return Ok(()) };
        let bearer = request.text_header("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| Cow::Borrowed(token.trim()))
        });
        let offered = || {
            let protocols = request.text_header("sec-websocket-protocol")?;
            let token = protocols.split(',').find_map(|one| one.trim().strip_prefix("bearer."))?;
            Some(Cow::Borrowed(token))
        };
        let in_query = || request.parameter("access_token");
        let given =
            bearer.or_else(|| (guard == Guard::Stream).then(|| offered().or_else(in_query)).flatten());
        if token.is(&given.unwrap_or_default()) { Ok(()) } else { Err(Denied::Token) }
    }

    /// Whether `host`, with or without a port, is a name of this machine's own or one that the settings name.
    fn is_ours(&self, host: &str) -> bool {
        let name = host_of(host);
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.to_canonical().is_loopback())
            || self.is_named(name)
    }

    fn is_named(&self, name: &str) -> bool {
        self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
    }
}

/// A host without its port.
fn host_of(authority: &str) -> &str {
    match authority.rfind(':') {
        // Within brackets the colons are an address's.
        Some(at) if !authority[at..].contains(']') => &authority[..at],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::{HEADERS_MAX, parse_head};
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn settings() -> ServeSettings {
        ServeSettings { hosts: "vela.example.com, other".to_owned(), ..ServeSettings::default() }
    }

    fn check(
        access: &Access,
        guard: Guard,
        changes: bool,
        target: &str,
        headers: &str,
    ) -> Result<(), Denied> {
        let text = format!("POST {target} HTTP/1.1\r\n{headers}\r\n");
        let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let head = parse_head(text.as_bytes(), &mut room).unwrap().unwrap();
        access.check(&Request::new(&head, &[], ([127, 0, 0, 1], 1).into()), guard, changes)
    }

    #[test]
    fn a_public_address_needs_a_token_or_a_word() {
        let public = SocketAddr::from(([0, 0, 0, 0], 8080));
        let error = Access::new(&settings(), public, None).unwrap_err();
        assert!(error.contains("serve.token_file") && error.contains("allow_public"), "{error}");
        assert!(Access::new(&settings(), public, Some("short".into())).unwrap_err().contains("16"));
        assert!(Access::new(&settings(), public, Some(TOKEN.into())).is_ok());
        let open = ServeSettings { allow_public: true, ..settings() };
        assert!(Access::new(&open, public, None).is_ok());
        assert!(Access::new(&settings(), ([127, 0, 0, 1], 8080).into(), None).is_ok());
        let missing = ServeSettings { token_file: "/no/such/file".into(), ..settings() };
        assert!(Access::new(&missing, public, None).unwrap_err().contains("/no/such/file"));
    }

    #[test]
    fn hosts_origins_and_tokens_are_held() {
        let local = SocketAddr::from(([127, 0, 0, 1], 8080));
        let access = Access::new(&settings(), local, None).unwrap();
        for (host, ours) in [
            ("127.0.0.1:8080", true),
            ("localhost", true),
            ("LOCALHOST:1", true),
            ("[::1]:8080", true),
            ("vela.example.com", true),
            ("evil.example.com:8080", false),
            ("127.0.0.1.evil.com", false),
        ] {
            let result = check(&access, Guard::Token, false, "/", &format!("Host: {host}\r\n"));
            assert_eq!(result.is_ok(), ours, "{host}");
        }
        for (origin, ours) in [
            ("http://localhost:8080", true),
            ("https://vela.example.com", true),
            ("http://localhost:8081", false),
            ("http://evil.com", false),
            ("null", false),
        ] {
            let headers = format!("Host: localhost:8080\r\nOrigin: {origin}\r\n");
            assert_eq!(check(&access, Guard::Token, true, "/", &headers).is_ok(), ours, "{origin}");
            assert!(check(&access, Guard::Token, false, "/", &headers).is_ok());
        }
        let access = Access::new(&settings(), ([0, 0, 0, 0], 80).into(), Some(TOKEN.into())).unwrap();
        let host = "Host: anything\r\n";
        assert_eq!(check(&access, Guard::Token, false, "/", host), Err(Denied::Token));
        assert_eq!(check(&access, Guard::Open, false, "/", host), Ok(()));
        let bearer = |token: &str| format!("{host}Authorization: Bearer {token}\r\n");
        assert_eq!(check(&access, Guard::Token, false, "/", &bearer(TOKEN)), Ok(()));
        assert_eq!(check(&access, Guard::Token, false, "/", &bearer("0123456789abcdee")), Err(Denied::Token));
        let query = format!("/?access_token={TOKEN}");
        assert_eq!(check(&access, Guard::Stream, false, &query, host), Ok(()));
        assert_eq!(check(&access, Guard::Token, false, &query, host), Err(Denied::Token));
    }
}
