//! Who answers requests, as the server sees it.

use super::head::Fault;
use super::request::Request;
use super::response::Response;
use std::net::TcpStream;

/// Takes a connection over, with the bytes that were read of it already.
pub type Takeover = Box<dyn FnOnce(TcpStream, Vec<u8>) + Send>;

/// What follows an answer.
pub enum Then {
    /// The next request.
    Next,
    /// The connection goes to somebody else, once the answer's head is sent.
    HandOver(Takeover),
}

/// Who answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Looks at a request whose body has not been read: by which route it is answered, as the handler counts them; `None`
    /// where `response` refuses it.
    fn admits(&self, request: &Request<'_>, response: &mut Response) -> Option<usize>;

    /// Answers a request that was admitted to `route`.
    fn answer(&self, route: usize, request: &Request<'_>, response: &mut Response) -> Then;

    /// Puts a refusal by the connection itself into `response`.
    fn fault(&self, fault: Fault, response: &mut Response);
}
