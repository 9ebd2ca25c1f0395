//! What all connections of a server share.

use super::crew::Crew;
use super::handler::Handler;
use super::limits::Limits;
use super::rate::Rate;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

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
pub struct Shared {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) limits: Limits,
    /// How often a connection that waits looks at its deadlines.
    pub(super) tick: Duration,
    pub(super) rate: Option<Rate>,
    pub(super) counts: Arc<Counts>,
    pub(super) crew: Crew,
    pub(super) stopping: AtomicBool,
    /// A second handle of every open connection, so that a stop can end its waiting.
    open: Mutex<HashMap<u64, TcpStream>>,
}

impl Shared {
    /// Of a server without connections.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub(super) fn new(limits: Limits, handler: Arc<dyn Handler>) -> std::io::Result<Self> {
        Ok(Self {
            handler,
            limits,
            tick: limits.tick(),
            rate: Rate::new(limits.requests_per_s_max),
            counts: Arc::default(),
            crew: Crew::new()?,
            stopping: AtomicBool::new(false),
            open: Mutex::default(),
        })
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.counts.open.load(Ordering::Acquire)
    }

    /// Whether each connection may keep a thread, and one waits all the same.
    pub(super) fn has_threads_for_all(&self) -> bool {
        self.counts.open.load(Ordering::Relaxed) < self.crew.places()
    }

    /// Ends one direction of all open connections, or both.
    pub(super) fn shut_down(&self, how: Shutdown) {
        for stream in self.open.lock().values() {
            let _ = stream.shutdown(how);
        }
    }
}

/// A connection's place among those that are open; given back whatever becomes of it.
pub struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Place {
    /// For `stream`, the server's `number`th.
    pub(super) fn new(shared: &Arc<Shared>, number: u64, stream: &TcpStream) -> Self {
        shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
        shared.counts.open.fetch_add(1, Ordering::AcqRel);
        if let Ok(second) = stream.try_clone() {
            shared.open.lock().insert(number, second);
        }
        Self { shared: Arc::clone(shared), number }
    }

    /// Which connection it is.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open.lock().remove(&self.number);
        self.shared.counts.open.fetch_sub(1, Ordering::AcqRel);
    }
}
