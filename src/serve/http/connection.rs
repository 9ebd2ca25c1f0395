//! One connection: requests one after the other, each within its bounds, on the thread that has it.
//!
//! There is no system call a request besides reading and writing: deadlines are looked at when a read has waited for
//! a tick, or when it brought less than a request.

use super::chunked::ChunkedBody;
use super::head::{Fault, Framing, RequestHead, fault, parse_head};
use super::limits::HEADERS_MAX;
use super::listener::Shared;
use super::request::Request;
use super::response::Response;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a buffer begins with, and goes back to.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long a refused client may go on sending before its connection is cut: cut at once, it would not see why.
const LINGER: Duration = Duration::from_secs(1);
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

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
    /// Looks at a request whose body has not been read: true where `response` refuses it.
    fn refuses(&self, request: &Request<'_>, response: &mut Response) -> bool;

    /// Answers a request.
    fn answer(&self, request: &Request<'_>, response: &mut Response) -> Then;

    /// Puts a refusal by the connection itself into `response`.
    fn fault(&self, fault: Fault, response: &mut Response);
}

/// How a turn ended.
enum Turn {
    Next,
    End,
    HandOver(Takeover),
}

/// Why no more could be read.
enum Gap {
    /// The client is gone, or the server stops.
    Closed,
    /// The deadline is past.
    Late,
}

/// What is missing before a request can be answered.
enum Missing {
    Head,
    Body { until: usize, ask: bool },
    Chunks { head_len: usize, ask: bool },
}

pub(super) struct Connection<'a> {
    stream: TcpStream,
    peer: SocketAddr,
    shared: &'a Shared,
    /// The first `filled` bytes were read and not yet answered.
    buffer: Vec<u8>,
    filled: usize,
    /// A body that came in chunks.
    body: Vec<u8>,
    out: Vec<u8>,
    response: Response,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, shared: &'a Shared) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        let tick = shared.limits.tick();
        stream.set_read_timeout(Some(tick))?;
        stream.set_write_timeout(Some(tick))?;
        Ok(Self {
            stream,
            peer,
            shared,
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            body: Vec::new(),
            out: Vec::new(),
            response: Response::default(),
        })
    }

    /// Answers until the connection ends, or somebody else is to have it.
    pub(super) fn run(mut self) -> Option<(Takeover, TcpStream, Vec<u8>)> {
        loop {
            match self.turn() {
                Ok(Turn::Next) => {}
                Ok(Turn::End) => return None,
                Ok(Turn::HandOver(takeover)) => {
                    let rest = self.buffer[..self.filled].to_vec();
                    return Some((takeover, self.stream, rest));
                }
                Err(fault) => {
                    self.response.clear();
                    self.shared.handler.fault(fault, &mut self.response);
                    if self.send(false, false) {
                        self.linger();
                    }
                    return None;
                }
            }
        }
    }

    /// One request.
    fn turn(&mut self) -> Result<Turn, Fault> {
        let limits = self.shared.limits;
        if self.buffer.len() > 4 * BUFFER_BYTES && self.filled < BUFFER_BYTES {
            self.buffer.truncate(BUFFER_BYTES);
            self.buffer.shrink_to_fit();
        }
        while self.filled == 0 {
            if self.fill(Instant::now() + limits.idle_max).is_err() {
                return Ok(Turn::End);
            }
        }
        let begun = Instant::now();
        let mut chunks = None;
        let mut admitted = false;
        let mut body_deadline = None;
        loop {
            let missing = match self.try_answer(&mut admitted, &mut chunks)? {
                Ok(turn) => return Ok(turn),
                Err(missing) => missing,
            };
            let deadline = match missing {
                Missing::Head => {
                    if self.filled >= limits.head_bytes_max {
                        return Err(self.head_too_large());
                    }
                    begun + limits.head_deadline
                }
                Missing::Body { .. } | Missing::Chunks { .. } => {
                    *body_deadline.get_or_insert_with(|| Instant::now() + limits.transfer_deadline)
                }
            };
            let asks = matches!(missing, Missing::Body { ask: true, .. } | Missing::Chunks { ask: true, .. });
            if asks && !self.write_all(CONTINUE) {
                return Ok(Turn::End);
            }
            // What was taken out of the chunks needs no room any more.
            if let Missing::Chunks { head_len, .. } = missing {
                self.filled = head_len;
            }
            let mut more = self.fill(deadline);
            if let Missing::Body { until, .. } = missing {
                while more.is_ok() && self.filled < until {
                    more = self.fill(deadline);
                }
            }
            match more {
                Ok(()) => {}
                Err(Gap::Closed) => return Ok(Turn::End),
                Err(Gap::Late) => {
                    return Err(fault(408, "the request did not come to its end in time: send it faster"));
                }
            }
        }
    }

    /// Answers the request at the start of the buffer, if it is whole; otherwise says what is missing.
    fn try_answer(
        &mut self,
        admitted: &mut bool,
        chunks: &mut Option<ChunkedBody>,
    ) -> Result<Result<Turn, Missing>, Fault> {
        let Self { shared, peer, .. } = *self;
        let limits = &shared.limits;
        let bytes = &self.buffer[..self.filled];
        let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let Some(head) = parse_head(bytes, &mut room)? else { return Ok(Err(Missing::Head)) };
        if head.len > limits.head_bytes_max {
            return Err(self.head_too_large());
        }
        let first_look = !std::mem::replace(admitted, true);
        if first_look && !admits(shared, peer, &head, &mut self.response) {
            // The body, if there is one, is not wanted: what would follow it cannot be found.
            let bodiless = head.framing == Framing::Length(0);
            let (keep_alive, head_only) = (head.keep_alive && bodiless, head.method.name() == "HEAD");
            let end = head.len;
            if keep_alive && head.says_keep_alive {
                self.response.header("Connection", "keep-alive");
            }
            if !self.send(head_only, keep_alive) {
                return Ok(Ok(Turn::End));
            }
            if !keep_alive {
                self.linger();
                return Ok(Ok(Turn::End));
            }
            self.consume(end);
            return Ok(Ok(Turn::Next));
        }
        let ask = first_look && head.expects_continue;
        let (body, end) = match head.framing {
            Framing::Length(length) if length > limits.body_bytes_max => {
                return Err(fault(413, "the body is larger than serve.body_bytes_max: send less at a time"));
            }
            Framing::Length(length) => {
                let until = head.len + length;
                if bytes.len() < until {
                    return Ok(Err(Missing::Body { until, ask: ask && bytes.len() == head.len }));
                }
                (&bytes[head.len..until], until)
            }
            Framing::Chunked => {
                if first_look {
                    self.body.clear();
                }
                let chunks = chunks.get_or_insert_with(|| ChunkedBody::new(limits.body_bytes_max));
                let raw = &bytes[head.len..];
                let used = chunks.take(raw, &mut self.body)?;
                if !chunks.is_done() {
                    let ask = ask && raw.is_empty();
                    return Ok(Err(Missing::Chunks { head_len: head.len, ask }));
                }
                (&self.body[..], head.len + used)
            }
        };
        let request = Request::new(&head, body, peer);
        let response = &mut self.response;
        response.clear();
        let answer = AssertUnwindSafe(|| shared.handler.answer(&request, response));
        let then = catch_unwind(answer).unwrap_or_else(|_| {
            self.response.clear();
            self.response.close = true;
            let defect = fault(500, "answering this request panicked: a defect; the log has the message");
            shared.handler.fault(defect, &mut self.response);
            Then::Next
        });
        let (keep_alive, head_only) = (head.keep_alive, head.method.name() == "HEAD");
        let keep_alive = keep_alive && !self.response.close && !shared.stopping.load(Ordering::Relaxed);
        if keep_alive && head.says_keep_alive {
            self.response.header("Connection", "keep-alive");
        }
        let sent = self.send(head_only, keep_alive);
        self.consume(end);
        Ok(Ok(match then {
            _ if !sent => Turn::End,
            Then::HandOver(takeover) => Turn::HandOver(takeover),
            Then::Next if keep_alive => Turn::Next,
            Then::Next => {
                self.linger();
                Turn::End
            }
        }))
    }

    fn head_too_large(&self) -> Fault {
        match self.buffer[..self.filled].contains(&b'\n') {
            true => {
                fault(431, "the headers are longer than serve.head_bytes_max: send fewer or shorter ones")
            }
            false => {
                fault(414, "the address is longer than serve.head_bytes_max: put what is long into the body")
            }
        }
    }

    /// Forgets the first `end` bytes of the buffer; what follows is the next request.
    fn consume(&mut self, end: usize) {
        self.buffer.copy_within(end..self.filled, 0);
        self.filled -= end;
    }

    /// Reads once, at least a byte, before `deadline`.
    fn fill(&mut self, deadline: Instant) -> Result<(), Gap> {
        if self.filled == self.buffer.len() {
            // By as much as there is: what a client says of a length costs nothing before it came.
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        loop {
            if self.shared.stopping.load(Ordering::Relaxed) {
                return Err(Gap::Closed);
            }
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err(Gap::Closed),
                Ok(read) => {
                    self.filled += read;
                    // Only reached again where that was not a whole request.
                    return if Instant::now() < deadline { Ok(()) } else { Err(Gap::Late) };
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return Err(Gap::Late);
                    }
                }
                Err(_) => return Err(Gap::Closed),
            }
        }
    }

    /// Sends the answer; false where the client did not take it.
    fn send(&mut self, head_only: bool, keep_alive: bool) -> bool {
        let mut out = std::mem::take(&mut self.out);
        self.response.write(&mut out, head_only, keep_alive);
        let sent = self.write_all(&out);
        out.shrink_to(16 * BUFFER_BYTES);
        self.out = out;
        sent
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> bool {
        let mut deadline = None;
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return false,
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return false,
            }
            if !bytes.is_empty() {
                let now = Instant::now();
                let deadline = *deadline.get_or_insert(now + self.shared.limits.transfer_deadline);
                if now >= deadline {
                    return false;
                }
            }
        }
        true
    }

    /// Reads over what is still sent, for a moment, so that the client sees the answer and not a reset.
    fn linger(&mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + LINGER;
        self.filled = 0;
        while self.fill(deadline).is_ok() {
            self.filled = 0;
        }
    }
}

/// Whether the request may be read further; otherwise `response` says why not.
fn admits(shared: &Shared, peer: SocketAddr, head: &RequestHead<'_, '_>, response: &mut Response) -> bool {
    response.clear();
    if let Some(rate) = &shared.rate
        && let Err(wait) = rate.take(peer.ip(), Instant::now())
    {
        shared.counts.rate_limited.fetch_add(1, Ordering::Relaxed);
        let limited = fault(429, "more requests a second than serve.requests_per_s_max: wait, then go on");
        shared.handler.fault(limited, response);
        response.header("Retry-After", &wait.as_secs().max(1).to_string());
        return false;
    }
    !shared.handler.refuses(&Request::new(head, &[], peer), response)
}
