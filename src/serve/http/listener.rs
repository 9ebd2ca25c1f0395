//! The listening socket, and the threads that its connections are answered on.

use super::connection::{Connection, Handler, Takeover};
use super::limits::Limits;
use super::rate::Rate;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread without a connection waits for the next one before it ends.
const THREAD_IDLE: Duration = Duration::from_secs(10);
/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a stop waits for answers that are on their way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
Content-Length: 144\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\
{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\
\"serve.connections_max connections are open: close some, or raise it\"}";

/// What the connections did so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that are open, streams not counted.
    pub open: AtomicUsize,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections turned away because there were too many.
    pub turned_away: AtomicU64,
    /// Requests refused because their client sends too many.
    pub rate_limited: AtomicU64,
}

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) limits: Limits,
    pub(super) rate: Option<Rate>,
    pub(super) counts: Arc<Counts>,
    pub(super) stopping: AtomicBool,
    /// A second handle of every open connection, so that a stop can end its waiting.
    open: Mutex<HashMap<u64, TcpStream>>,
    threads: AtomicUsize,
}

/// An accepted connection, on its way to a thread.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    number: u64,
}

/// A server that listens.
pub struct HttpServer {
    address: SocketAddr,
    /// Until it is stopped.
    listener: Mutex<Option<Arc<TcpListener>>>,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

impl HttpServer {
    /// Answers what comes to `listener` by `handler`.
    ///
    /// # Errors
    /// When the socket has no address, or there is no thread for it.
    pub fn start(listener: TcpListener, limits: Limits, handler: Arc<dyn Handler>) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(false)?;
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared {
            handler,
            limits,
            rate: Rate::new(limits.requests_per_s_max),
            counts: Arc::default(),
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
            threads: AtomicUsize::new(0),
        });
        let (ours, theirs) = (Arc::clone(&shared), Arc::clone(&listener));
        let accept = move || accept(&theirs, &ours);
        let acceptor = std::thread::Builder::new().name("vela-http".into()).spawn(accept)?;
        Ok(Self {
            address,
            listener: Mutex::new(Some(listener)),
            shared,
            acceptor: Mutex::new(Some(acceptor)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listening socket, until it is stopped.
    pub fn listener(&self) -> Option<Arc<TcpListener>> {
        self.listener.lock().clone()
    }

    /// What the connections did so far.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.shared.counts
    }

    /// Stops: nothing more is accepted, answers that are on their way are sent, then connections end.
    pub fn stop(&self) {
        let Some(acceptor) = self.acceptor.lock().take() else { return };
        self.shared.stopping.store(true, Ordering::Relaxed);
        // The thread waits for a connection: it gets one.
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let woken = TcpStream::connect_timeout(&SocketAddr::new(ip, self.address.port()), STOP_PATIENCE);
        if woken.is_ok() && acceptor.join().is_err() {
            tracing::error!("accepting connections panicked; the log has the message");
        }
        drop(self.listener.lock().take());
        // Whoever waits for a request sees the end of its stream; whoever answers can still write.
        for stream in self.shared.open.lock().values() {
            let _ = stream.shutdown(Shutdown::Read);
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.shared.counts.open.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        for (_, stream) in self.shared.open.lock().drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Hands every connection to a thread that waits for one, or to a new one.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    // Nothing waits in it: a connection is only given to a thread that is there for it.
    let (sender, receiver) = bounded::<Accepted>(0);
    let mut number = 0;
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a client that left before it was here.
                tracing::debug!(%error, "a connection was not accepted");
                std::thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let counts = &shared.counts;
        if counts.open.load(Ordering::Relaxed) >= shared.limits.connections_max {
            counts.turned_away.fetch_add(1, Ordering::Relaxed);
            turn_away(&stream);
            continue;
        }
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        counts.open.fetch_add(1, Ordering::AcqRel);
        number += 1;
        let accepted = Accepted { stream, peer, number };
        if let Err(unserved) = hand_over(&sender, &receiver, shared, accepted) {
            counts.open.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%unserved, "a connection was closed: there is no thread for it");
        }
    }
}

/// Says that there are too many; whether the client hears it must hold up nobody.
fn turn_away(mut stream: &TcpStream) {
    let _ = stream.set_nonblocking(true);
    let _ = stream.write(TOO_MANY);
    let _ = stream.shutdown(Shutdown::Write);
}

fn hand_over(
    sender: &Sender<Accepted>,
    receiver: &Receiver<Accepted>,
    shared: &Arc<Shared>,
    accepted: Accepted,
) -> std::io::Result<()> {
    let Err(error) = sender.try_send(accepted) else { return Ok(()) };
    let first = error.into_inner();
    let (shared, receiver) = (Arc::clone(shared), receiver.clone());
    let thread = shared.threads.fetch_add(1, Ordering::Relaxed);
    let work = move || {
        let mut next = first;
        loop {
            serve(&shared, next);
            next = match receiver.recv_timeout(THREAD_IDLE) {
                Ok(accepted) => accepted,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            };
        }
    };
    std::thread::Builder::new().name(format!("vela-http-{thread}")).spawn(work).map(drop)
}

/// Gives a connection its place back whatever becomes of it.
struct Place<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.open.lock().remove(&self.number);
        self.shared.counts.open.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(shared: &Shared, Accepted { stream, peer, number }: Accepted) {
    let place = Place { shared, number };
    if let Ok(second) = stream.try_clone() {
        shared.open.lock().insert(number, second);
    }
    let mut handed: Option<(Takeover, TcpStream, Vec<u8>)> = None;
    match Connection::new(stream, peer, shared) {
        Ok(connection) => handed = connection.run(),
        Err(error) => tracing::debug!(%error, "a connection ended before it began"),
    }
    drop(place);
    // Only now: a stream has a place of its own.
    if let Some((takeover, stream, rest)) = handed {
        takeover(stream, rest);
    }
}
