//! The listening socket, the threads that answer its connections, and the keeper, who accepts them and looks after both.

use super::connection::{After, Connection};
use super::handler::Handler;
use super::limits::Limits;
use super::parked::Parked;
use super::shared::{Counts, Place, Shared};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that are accepted before anything else is looked at.
const ACCEPTED_MAX: usize = 64;
/// Where nobody waits and nothing was taken for as long, one more thread is there.
const STUCK_AFTER: Duration = Duration::from_millis(2);
/// How long a stop waits for answers that are on their way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n\
Content-Length: 176\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\
{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
\"reason\":\"too_many_connections\",\"detail\":\
\"serve.connections_max connections are open: close some, or raise it\"}";

/// What the server's threads have in common.
struct Inner {
    shared: Arc<Shared>,
    parked: Parked,
    /// Threads that were started so far, for their names.
    started: AtomicUsize,
}

/// A server that listens.
pub struct HttpServer {
    address: SocketAddr,
    /// Until it is stopped.
    listener: Mutex<Option<Arc<TcpListener>>>,
    inner: Arc<Inner>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl HttpServer {
    /// Answers what comes to `listener` by `handler`.
    ///
    /// # Errors
    /// When the socket has no address, or there are no threads or descriptors for it.
    pub fn start(listener: TcpListener, limits: Limits, handler: Arc<dyn Handler>) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared::new(limits, handler)?);
        let inner = Arc::new(Inner { shared, parked: Parked::new()?, started: AtomicUsize::new(0) });
        let keeper = Keeper { inner: Arc::clone(&inner), listener: Arc::clone(&listener), number: 0 };
        let server = Self {
            address,
            listener: Mutex::new(Some(listener)),
            inner: Arc::clone(&inner),
            keeper: Mutex::default(),
        };
        for _ in 0..inner.shared.crew.places() {
            inner.employ()?;
        }
        let keep = std::thread::Builder::new().name("vela-http".into()).spawn(move || keeper.keep())?;
        *server.keeper.lock() = Some(keep);
        Ok(server)
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
        &self.inner.shared.counts
    }

    /// Stops: nothing more is accepted, answers that are on their way are sent, then connections end.
    pub fn stop(&self) {
        let Inner { shared, parked, .. } = &*self.inner;
        shared.stopping.store(true, Ordering::SeqCst);
        shared.crew.ring();
        let keeper = self.keeper.lock().take();
        if keeper.is_some_and(|keeper| keeper.join().is_err()) {
            tracing::error!("accepting connections panicked; the log has the message");
        }
        drop(self.listener.lock().take());
        // Whoever waits for a request sees the end of its stream; whoever answers can still write.
        shared.shut_down(Shutdown::Read);
        let deadline = Instant::now() + STOP_PATIENCE;
        while shared.open() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        shared.shut_down(Shutdown::Both);
        parked.end();
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Inner {
    /// Starts one more thread that answers.
    fn employ(self: &Arc<Self>) -> std::io::Result<()> {
        let thread = self.started.fetch_add(1, Ordering::Relaxed);
        let inner = Arc::clone(self);
        std::thread::Builder::new().name(format!("vela-http-{thread}")).spawn(move || inner.work()).map(drop)
    }

    fn work(&self) {
        let Self { shared, parked, .. } = self;
        while let Some((mut connection, until)) = parked.next(&shared.crew) {
            match connection.run(shared, until) {
                After::Parked(until) => parked.park(connection, until, false),
                After::Ended => {}
                After::HandedOver(takeover) => {
                    // Its place is given back first: a stream has one of its own.
                    let (stream, rest) = connection.leave();
                    parked.forget(&stream);
                    takeover(stream, rest);
                }
            }
        }
    }
}

/// Accepts connections, ends those that are idle for too long, and sees to it that somebody waits for those that are ready.
struct Keeper {
    inner: Arc<Inner>,
    listener: Arc<TcpListener>,
    /// Of the last connection.
    number: u64,
}

impl Keeper {
    fn keep(mut self) {
        let inner = Arc::clone(&self.inner);
        let Inner { shared, parked, .. } = &*inner;
        let (crew, tick) = (&shared.crew, shared.tick);
        let mut swept_at = Instant::now();
        // When it was seen that nobody waits, and how many connections had been taken by then.
        let mut short: Option<(Instant, u64)> = None;
        loop {
            let timeout = match short {
                Some(_) => Some(STUCK_AFTER),
                None => (shared.open() > 0).then_some(tick),
            };
            // Both are looked at whatever it says; it only waits.
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            let bell = crew.bell();
            let mut sources = [PollFd::new(&self.listener, PollFlags::IN), PollFd::new(&bell, PollFlags::IN)];
            let _ = poll(&mut sources, timeout.as_ref());
            crew.hush();
            if shared.stopping.load(Ordering::SeqCst) {
                return;
            }
            self.accept();
            let now = Instant::now();
            if now >= swept_at + tick {
                swept_at = now;
                parked.expire(now);
            }
            let stuck = short.is_some_and(|(since, taken)| {
                now >= since + STUCK_AFTER && crew.is_short() && crew.taken() == taken
            });
            if (crew.is_missing() || stuck)
                && let Err(error) = inner.employ()
            {
                tracing::warn!(%error, "requests wait: there is no thread for them");
            }
            short = match short {
                Some(since) if now < since.0 + STUCK_AFTER => Some(since),
                _ if crew.is_short() || crew.unwatch() => Some((now, crew.taken())),
                _ => None,
            };
        }
    }

    /// Accepts those that wait for it.
    fn accept(&mut self) {
        let Inner { shared, parked, .. } = &*self.inner;
        for _ in 0..ACCEPTED_MAX {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Out of descriptors, or a client that left before it was here.
                    tracing::debug!(%error, "a connection was not accepted");
                    return std::thread::sleep(ACCEPT_PAUSE);
                }
            };
            if shared.open() >= shared.limits.connections_max {
                shared.counts.turned_away.fetch_add(1, Ordering::Relaxed);
                turn_away(&stream);
                continue;
            }
            self.number += 1;
            let place = Place::new(shared, self.number, &stream);
            match Connection::new(stream, peer, place, shared.tick) {
                Ok(connection) => {
                    let until = Instant::now() + shared.limits.idle_max;
                    parked.park(Box::new(connection), until, true);
                }
                Err(error) => tracing::debug!(%error, "a connection ended before it began"),
            }
        }
    }
}

/// Says that there are too many; whether the client hears it must hold up nobody.
fn turn_away(mut stream: &TcpStream) {
    let _ = stream.set_nonblocking(true);
    let _ = stream.write(TOO_MANY);
    let _ = stream.shutdown(Shutdown::Write);
}
