//! Connections between two requests: none of them has a thread, the system says which is ready.

use super::connection::Connection;
use super::crew::Crew;
use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use std::collections::HashMap;
use std::time::Instant;

/// What a thread is told that is to end.
const END: u64 = u64::MAX;
/// Threads that park and take at the same time rarely meet.
const SHARDS: usize = 16;

/// A connection, and until when it may stay without a request.
type Shard = Mutex<HashMap<u64, (Box<Connection>, Instant)>>;

/// All that are parked, by their numbers.
pub struct Parked {
    epoll: OwnedFd,
    /// Readable once it is over.
    end: OwnedFd,
    shards: [Shard; SHARDS],
}

impl Parked {
    /// None yet.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn new() -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let end = eventfd(0, EventfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &end, epoll::EventData::new_u64(END), epoll::EventFlags::IN)?;
        Ok(Self { epoll, end, shards: std::array::from_fn(|_| Mutex::default()) })
    }

    fn shard(&self, number: u64) -> &Shard {
        &self.shards[number as usize % SHARDS]
    }

    /// Parks a connection until it is readable, or until `until`; `first` is said the first time. One that cannot be ends.
    pub fn park(&self, connection: Box<Connection>, until: Instant, first: bool) {
        let number = connection.number();
        // One thread gets it, and then nobody until it is parked again.
        let (data, flags) =
            (epoll::EventData::new_u64(number), epoll::EventFlags::IN | epoll::EventFlags::ONESHOT);
        let mut shard = self.shard(number).lock();
        // Whoever is told of it finds it: the shard is locked until it is there.
        let told = match first {
            true => epoll::add(&self.epoll, connection.stream(), data, flags),
            false => epoll::modify(&self.epoll, connection.stream(), data, flags),
        };
        match told {
            Ok(()) => drop(shard.insert(number, (connection, until))),
            Err(error) => {
                drop(shard);
                tracing::warn!(%error, "a connection was closed: the system does not say when it is ready");
            }
        }
    }

    /// Waits, in a place of `crew`, for a connection that is ready, and until when that one might have stayed; `None` where the
    /// calling thread is to end.
    pub fn next(&self, crew: &Crew) -> Option<(Box<Connection>, Instant)> {
        let mut events = Vec::with_capacity(1);
        loop {
            if !crew.sit_down() {
                return None;
            }
            let waited = epoll::wait(&self.epoll, spare_capacity(&mut events), None);
            crew.stand_up();
            if let Err(error) = waited
                && error != rustix::io::Errno::INTR
            {
                tracing::error!(%error, "a thread of the HTTP server ends: the system does not say who is ready");
                return None;
            }
            let Some(number) = events.pop().map(|event: epoll::Event| event.data.u64()) else { continue };
            if number == END {
                return None;
            }
            // It is not there where its time was over just now.
            if let Some(taken) = self.shard(number).lock().remove(&number) {
                return Some(taken);
            }
        }
    }

    /// Ends those whose time is over at `now`.
    pub fn expire(&self, now: Instant) {
        for shard in &self.shards {
            let over = shard.lock().extract_if(|_, (_, until)| *until <= now).collect::<Vec<_>>();
            // Closed without the lock.
            drop(over);
        }
    }

    /// A connection goes to somebody else.
    pub fn forget(&self, stream: impl AsFd) {
        let _ = epoll::delete(&self.epoll, stream);
    }

    /// Ends the threads that wait, and those that will.
    pub fn end(&self) {
        let _ = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
    }
}
