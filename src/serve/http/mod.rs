//! HTTP/1.1 on sockets of the standard library: few threads, each with one request at a time, nothing asynchronous.
//!
//! Written by hand because no synchronous library meets what is asked of it here: a deadline for a request's head
//! (oxhttp, tiny_http and astra have none), a listening socket that was opened by somebody else (oxhttp), answers
//! that stream (oxhttp), bounds on what is read (tiny_http), and upkeep (tiny_http, rouille). Parsing is `httparse`'s;
//! [`parse_head`] and [`ChunkedBody`] are pure, and fuzzed.
//!
//! Nothing here knows what is served: [`Handler`] does.

mod chunked;
mod connection;
mod crew;
mod handler;
mod head;
mod limits;
mod listener;
mod parked;
mod rate;
mod request;
mod response;
mod shared;

pub use chunked::ChunkedBody;
pub use handler::{Handler, Takeover, Then};
pub use head::{Fault, Framing, Method, RequestHead, parse_head};
pub use limits::{HEADERS_MAX, Limits};
pub use listener::HttpServer;
pub use rate::Rate;
pub use request::{Request, decoded};
pub use response::{JSON, Response, phrase};
pub use shared::Counts;
