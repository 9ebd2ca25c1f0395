//! Predictions as they come: `/api/stream`, as a WebSocket where the request asks for one, else as Server-Sent Events.

mod client;
mod filter;
pub mod hub;
mod pace;
mod pending;
mod priority;
mod wire;

use client::Opening;

use super::http::{Request, Response, Then};
use super::problem::Problem;
use super::service::{Captures, Service};
use filter::Wanted;
use hub::Joining;
use mio::net::TcpStream;
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use tungstenite::handshake::derive_accept_key;
use wire::Wire;

/// The protocol that a WebSocket may name; one of those it names has to be taken up.
const PROTOCOL: &str = "vela";

/// `GET /api/stream`.
pub fn open(
    service: &Service,
    request: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let upgrade = request.text_header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let opening = if upgrade { None } else { Some(opening(request)?) };
    let key = if upgrade { Some(websocket_key(request, response)?) } else { None };
    let hub = Arc::clone(&service.hub);
    let place = hub
        .place()
        .ok_or_else(|| Problem::busy("serve.streams_max clients have the stream: close some, or raise it"))?;
    response.endless();
    match key {
        Some(key) => {
            response.status = 101;
            response.header("Upgrade", "websocket");
            response.header("Connection", "Upgrade");
            response.header("Sec-WebSocket-Accept", &derive_accept_key(key.as_bytes()));
            let protocols = request.text_header("sec-websocket-protocol").unwrap_or_default();
            if protocols.split(',').any(|one| one.trim() == PROTOCOL) {
                response.header("Sec-WebSocket-Protocol", PROTOCOL);
            }
        }
        None => {
            response.content_type = "text/event-stream".into();
            response.header("Cache-Control", "no-store");
            // A proxy must not wait for more.
            response.header("X-Accel-Buffering", "no");
            response.close = true;
        }
    }
    let join = move |stream: StdStream, rest: Vec<u8>| {
        if let Err(error) = stream.set_nonblocking(true) {
            return tracing::debug!(%error, "a client of the stream was not taken");
        }
        let stream = TcpStream::from_std(stream);
        let wire = if upgrade { Wire::socket(stream, rest) } else { Wire::events(stream) };
        hub.join(Joining { wire, opening, place });
    };
    Ok(Then::HandOver(Box::new(join)))
}

/// The key of a WebSocket's handshake, RFC 6455 §4.2.1.
fn websocket_key<'a>(request: &Request<'a>, response: &mut Response) -> Result<&'a str, Problem> {
    if request.text_header("sec-websocket-version") != Some("13") {
        response.header("Sec-WebSocket-Version", "13");
        return Err(Problem::new(426, "websocket_version", "version 13 of the WebSocket protocol is spoken"));
    }
    let connection = request.text_header("connection").unwrap_or_default();
    let upgrades = connection.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    let key = request.text_header("sec-websocket-key").filter(|key| key.len() == 24 && upgrades);
    key.ok_or_else(|| {
        Problem::bad(
            "a WebSocket begins with `Connection: Upgrade` and a `Sec-WebSocket-Key` of 24 characters",
        )
    })
}

/// What a request for Server-Sent Events asks for.
fn opening(request: &Request<'_>) -> Result<Opening, Problem> {
    let mut opening = Opening { snapshot: true, ..Opening::default() };
    for (name, value) in request.parameters() {
        let list = || value.split(',').filter(|entry| !entry.is_empty()).map(str::to_owned);
        let yes = || match &*value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Problem::bad(format!("{name} = `{value}`: true or false are allowed"))),
        };
        let Wanted { symbols, timeframes, horizons, models, refusals } = &mut opening.wanted;
        match &*name {
            "symbols" => symbols.extend(list()),
            "timeframes" => timeframes.extend(list()),
            "models" => models.extend(list()),
            "horizons" => {
                for entry in list() {
                    let wrong = |_| Problem::bad(format!("horizons: `{entry}` is no whole number"));
                    horizons.push(entry.parse().map_err(wrong)?);
                }
            }
            "refusals" => *refusals = yes()?,
            "snapshot" => opening.snapshot = yes()?,
            "batch" => opening.pace.batch = yes()?,
            "interval_ms" => {
                let wrong = |_| Problem::bad(format!("interval_ms: `{value}` is no whole number"));
                opening.pace.interval_ms = value.parse().map_err(wrong)?;
            }
            "access_token" => {}
            _ => {
                return Err(Problem::bad(format!(
                    "there is no parameter `{name}`: symbols, timeframes, horizons, models, refusals, snapshot, \
                     interval_ms, batch are known"
                )));
            }
        }
    }
    opening.wanted.check().and_then(|()| opening.pace.check()).map_err(Problem::bad)?;
    opening.last = request.text_header("last-event-id").and_then(|id| {
        let (epoch, number) = id.rsplit_once('-')?;
        Some((epoch.to_owned(), number.parse().ok()?))
    });
    Ok(opening)
}
