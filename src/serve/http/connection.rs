//! One connection: requests one after the other, each within its bounds, on the thread that has it for the time being.
//!
//! A request costs no system call but reading and writing here: deadlines are looked at when a read has waited for a tick,
//! or when it brought less than a request.

use super::chunked::ChunkedBody;
use super::handler::{Takeover, Then};
use super::head::{Fault, Framing, RequestHead, fault, parse_head};
use super::limits::{HEADERS_MAX, Limits};
use super::request::Request;
use super::response::Response;
use super::shared::{Place, Shared};
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

/// What becomes of a connection when its thread is done with it.
pub(super) enum After {
    /// It waits for its next request, until then at most.
    Parked(Instant),
    /// It is over.
    Ended,
    /// Somebody else has it.
    HandedOver(Takeover),
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

pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    /// The first `filled` bytes were read and not yet answered.
    buffer: Vec<u8>,
    filled: usize,
    /// A body that came in chunks.
    body: Vec<u8>,
    out: Vec<u8>,
    response: Response,
}

impl Connection {
    /// An open connection; it looks at its deadlines every `tick`.
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        place: Place,
        tick: Duration,
    ) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(tick))?;
        stream.set_write_timeout(Some(tick))?;
        Ok(Self {
            stream,
            peer,
            place,
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            body: Vec::new(),
            out: Vec::new(),
            response: Response::default(),
        })
    }

    /// Which of its server's it is.
    pub(super) fn number(&self) -> u64 {
        self.place.number()
    }

    /// Its socket.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Gives the place back, and what else there is away: the socket, and what was read of it.
    pub(super) fn leave(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer[..self.filled].to_vec())
    }

    /// Answers what comes, the next request until `until`, and stays with it as long as there is a thread for each connection:
    /// waiting in a read takes less of the processor than being parked.
    pub(super) fn run(&mut self, shared: &Shared, mut until: Instant) -> After {
        let Limits { idle_max, .. } = shared.limits;
        loop {
            while self.filled == 0 {
                let now = Instant::now();
                match self.fill(shared, until.min(now + shared.tick)) {
                    Ok(()) => {}
                    Err(Gap::Late) if Instant::now() < until => {
                        if self.filled == 0 && !shared.has_threads_for_all() {
                            return After::Parked(until);
                        }
                    }
                    Err(_) => return After::Ended,
                }
            }
            match self.turn(shared) {
                Ok(Turn::Next) => {}
                Ok(Turn::End) => return After::Ended,
                Ok(Turn::HandOver(takeover)) => return After::HandedOver(takeover),
                Err(fault) => {
                    self.response.clear();
                    shared.handler.fault(fault, &mut self.response);
                    if self.send(shared, false, false) {
                        self.linger(shared);
                    }
                    return After::Ended;
                }
            }
            if self.filled == 0 {
                if self.buffer.len() > 4 * BUFFER_BYTES {
                    self.buffer.truncate(BUFFER_BYTES);
                    self.buffer.shrink_to_fit();
                }
                until = Instant::now() + idle_max;
                if !shared.has_threads_for_all() {
                    return After::Parked(until);
                }
            }
        }
    }

    /// One request, of which something has come.
    fn turn(&mut self, shared: &Shared) -> Result<Turn, Fault> {
        let limits = &shared.limits;
        let begun = Instant::now();
        let mut chunks = None;
        let mut route = None;
        let mut body_deadline = None;
        loop {
            let missing = match self.try_answer(shared, &mut route, &mut chunks)? {
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
            if asks && !self.write_all(shared, CONTINUE) {
                return Ok(Turn::End);
            }
            // What was taken out of the chunks needs no room any more.
            if let Missing::Chunks { head_len, .. } = missing {
                self.filled = head_len;
            }
            shared.crew.stand_in();
            let mut more = self.fill(shared, deadline);
            if let Missing::Body { until, .. } = missing {
                while more.is_ok() && self.filled < until {
                    more = self.fill(shared, deadline);
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
        shared: &Shared,
        route: &mut Option<usize>,
        chunks: &mut Option<ChunkedBody>,
    ) -> Result<Result<Turn, Missing>, Fault> {
        let peer = self.peer;
        let limits = &shared.limits;
        let bytes = &self.buffer[..self.filled];
        let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let Some(head) = parse_head(bytes, &mut room)? else { return Ok(Err(Missing::Head)) };
        if head.len > limits.head_bytes_max {
            return Err(self.head_too_large());
        }
        let first_look = route.is_none();
        if first_look {
            *route = admits(shared, peer, &head, &mut self.response);
        }
        let Some(route) = *route else {
            // The body, if there is one, is not wanted: what would follow it cannot be found.
            let bodiless = head.framing == Framing::Length(0);
            let (keep_alive, head_only) = (head.keep_alive && bodiless, head.method.name() == "HEAD");
            let end = head.len;
            if keep_alive && head.says_keep_alive {
                self.response.header("Connection", "keep-alive");
            }
            if !self.send(shared, head_only, keep_alive) {
                return Ok(Ok(Turn::End));
            }
            if !keep_alive {
                self.linger(shared);
                return Ok(Ok(Turn::End));
            }
            self.consume(end);
            return Ok(Ok(Turn::Next));
        };
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
        let request = Request::new(&head, body, peer).among(&shared.crew);
        let response = &mut self.response;
        response.clear();
        let answer = AssertUnwindSafe(|| shared.handler.answer(route, &request, response));
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
        let sent = self.send(shared, head_only, keep_alive);
        self.consume(end);
        Ok(Ok(match then {
            _ if !sent => Turn::End,
            Then::HandOver(takeover) => Turn::HandOver(takeover),
            Then::Next if keep_alive => Turn::Next,
            Then::Next => {
                self.linger(shared);
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
    fn fill(&mut self, shared: &Shared, deadline: Instant) -> Result<(), Gap> {
        if self.filled == self.buffer.len() {
            // By as much as there is: what a client says of a length costs nothing before it came.
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        loop {
            if shared.stopping.load(Ordering::Relaxed) {
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
    fn send(&mut self, shared: &Shared, head_only: bool, keep_alive: bool) -> bool {
        let mut out = std::mem::take(&mut self.out);
        self.response.write(&mut out, head_only, keep_alive);
        let sent = self.write_all(shared, &out);
        out.shrink_to(16 * BUFFER_BYTES);
        self.out = out;
        sent
    }

    fn write_all(&mut self, shared: &Shared, mut bytes: &[u8]) -> bool {
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
                shared.crew.stand_in();
                let now = Instant::now();
                let deadline = *deadline.get_or_insert(now + shared.limits.transfer_deadline);
                if now >= deadline {
                    return false;
                }
            }
        }
        true
    }

    /// Reads over what is still sent, for a moment, so that the client sees the answer and not a reset.
    fn linger(&mut self, shared: &Shared) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        shared.crew.stand_in();
        let deadline = Instant::now() + LINGER;
        self.filled = 0;
        while self.fill(shared, deadline).is_ok() {
            self.filled = 0;
        }
    }
}

/// By which route the request is answered, once it has been read; otherwise `response` says why it is not.
fn admits(
    shared: &Shared,
    peer: SocketAddr,
    head: &RequestHead<'_, '_>,
    response: &mut Response,
) -> Option<usize> {
    response.clear();
    if let Some(rate) = &shared.rate
        && let Err(wait) = rate.take(peer.ip(), Instant::now())
    {
        shared.counts.rate_limited.fetch_add(1, Ordering::Relaxed);
        let limited = fault(429, "more requests a second than serve.requests_per_s_max: wait, then go on");
        shared.handler.fault(limited, response);
        response.header("Retry-After", &wait.as_secs().max(1).to_string());
        return None;
    }
    shared.handler.admits(&Request::new(head, &[], peer), response)
}
