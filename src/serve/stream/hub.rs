//! The one thread of the stream: takes outcomes in, numbers them, and passes them to every client that is ready for them.
//!
//! Readiness is asked of the system (`mio`), so that a client costs no thread and one that does not read costs nothing.
//! The persist worker only hands an outcome over, and wakes the thread where it sleeps.

use super::super::recent::{Event, Recent};
use super::client::{Client, Opening};
use super::priority;
use super::wire::{Gone, Wire};
use crate::config::ServeSettings;
use crate::domain::Outcome;
use crate::engine::Engine;
use crate::link::clock;
use crossbeam::channel::{Receiver, Sender, bounded};
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Outcomes that may wait for the thread; further ones are counted, and slow nobody.
const WAITING_MAX: usize = 65_536;
/// Outcomes that are taken in before clients are looked after again.
const TURN_MAX: usize = 4096;
/// How often the thread looks for outcomes while no client waits for them.
const TICK: Duration = Duration::from_millis(50);
const WAKE: Token = Token(usize::MAX);
/// Connections that may wait to be taken over.
const JOINING_MAX: usize = 64;

/// A client on its way to the thread.
pub struct Joining {
    /// Its connection.
    pub wire: Wire,
    /// How it begins, where it says nothing itself.
    pub opening: Option<Opening>,
    /// Its place.
    pub place: Place,
}

/// What the stream did so far.
#[derive(Debug, Default)]
pub struct StreamCounts {
    /// Clients at this moment.
    pub clients: AtomicUsize,
    /// Events that a newer one of their key replaced before a client that was behind took them.
    pub conflated: AtomicU64,
    /// Events that clients were not sent because too many keys waited.
    pub dropped: AtomicU64,
    /// Outcomes that came faster than the thread took them.
    pub missed: AtomicU64,
}

struct Shared {
    counts: Arc<StreamCounts>,
    /// The thread waits, and is to be woken.
    asleep: AtomicBool,
    stopping: AtomicBool,
}

/// One client's share of the bound.
pub struct Place(Arc<StreamCounts>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The stream of an engine.
pub struct Hub {
    shared: Arc<Shared>,
    waker: Arc<Waker>,
    joins: Sender<Joining>,
    streams_max: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Hub {
    /// Takes every outcome of `engine` from now on into `recent`, and to whoever joins.
    ///
    /// # Errors
    /// When the system gives no thread, or nothing to wait with.
    pub fn start(engine: &Engine, recent: Arc<Recent>) -> std::io::Result<Self> {
        let settings = engine.settings().serve.clone();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let shared = Arc::new(Shared {
            counts: Arc::default(),
            asleep: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let (sender, outcomes) = bounded::<(Outcome, u64)>(WAITING_MAX);
        let (joins, joining) = bounded(JOINING_MAX);
        let streams_max = settings.streams_max;
        let (ours, wake) = (Arc::clone(&shared), Arc::clone(&waker));
        engine.subscribe_batches(move |outcomes| {
            let stored_ns = clock::now_ns();
            for outcome in outcomes {
                let own = Outcome { reply: None, ..outcome.clone() };
                if sender.try_send((own, stored_ns)).is_err() {
                    ours.counts.missed.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Once for what was stored together, so that a client is sent it together.
            let wanted = ours.counts.clients.load(Ordering::Relaxed) > 0;
            if wanted && ours.asleep.swap(false, Ordering::SeqCst) {
                let _ = wake.wake();
            }
        });
        let thread = Thread {
            poll,
            shared: Arc::clone(&shared),
            outcomes,
            joining,
            recent,
            settings,
            clients: HashMap::new(),
            next: 0,
            turn: Vec::new(),
        };
        let run = move || thread.run();
        let thread = std::thread::Builder::new().name("vela-stream".into()).spawn(run)?;
        Ok(Self { shared, waker, joins, streams_max, thread: Mutex::new(Some(thread)) })
    }

    /// What it did so far.
    pub fn counts(&self) -> &Arc<StreamCounts> {
        &self.shared.counts
    }

    /// A place for one more client, where there is one.
    pub fn place(&self) -> Option<Place> {
        let counts = &self.shared.counts;
        let room = |clients| (clients < self.streams_max).then_some(clients + 1);
        let taken = counts.clients.fetch_update(Ordering::AcqRel, Ordering::Acquire, room);
        taken.ok().map(|_| Place(Arc::clone(counts)))
    }

    /// Hands a client over.
    pub fn join(&self, joining: Joining) {
        // Waits while many come at once; where the thread has ended it is closed.
        let _ = self.joins.send(joining);
        let _ = self.waker.wake();
    }

    /// Ends the thread, and every client's connection.
    pub fn stop(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = self.waker.wake();
        if thread.join().is_err() {
            tracing::error!("the stream of predictions panicked; the log has the message");
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Thread {
    poll: Poll,
    shared: Arc<Shared>,
    outcomes: Receiver<(Outcome, u64)>,
    joining: Receiver<Joining>,
    recent: Arc<Recent>,
    settings: ServeSettings,
    clients: HashMap<Token, (Client, Place)>,
    next: usize,
    /// The events of a turn; empty between two.
    turn: Vec<Arc<Event>>,
}

impl Thread {
    fn run(mut self) {
        priority::give_way();
        let interval = Duration::from_secs(self.settings.stream_heartbeat_s);
        let mut beat_at = Instant::now() + interval;
        // Room for all: whoever is ready is heard before it is asked who was silent.
        let mut events = Events::with_capacity(self.settings.streams_max + 1);
        while !self.shared.stopping.load(Ordering::SeqCst) {
            self.shared.asleep.store(true, Ordering::SeqCst);
            // Asked after it was said: what comes now wakes.
            let busy = !self.outcomes.is_empty() || !self.joining.is_empty();
            let timeout = match (busy, self.clients.is_empty()) {
                (true, _) => Duration::ZERO,
                (false, true) => TICK,
                (false, false) => {
                    let rounds = self.clients.values().filter_map(|(client, _)| client.due());
                    rounds.fold(beat_at, Instant::min).saturating_duration_since(Instant::now())
                }
            };
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the stream of predictions ends: the system does not say who is ready");
                return;
            }
            self.shared.asleep.store(false, Ordering::SeqCst);
            // Whoever stored what woke it may not be done with its bar.
            priority::let_others(true);
            let recent = Arc::clone(&self.recent);
            for event in &events {
                let (token, readable, writable) = (event.token(), event.is_readable(), event.is_writable());
                self.with(token, |client| {
                    if readable {
                        client.hear(&recent)?;
                    }
                    if writable { client.flush(&recent) } else { Ok(()) }
                });
            }
            while let Ok(joining) = self.joining.try_recv() {
                self.join(joining);
            }
            self.pass_on();
            let now = Instant::now();
            self.with_all(|client, recent| match client.due() {
                Some(at) if at <= now => client.flush(recent),
                _ => Ok(()),
            });
            if now >= beat_at {
                beat_at = Instant::now() + interval;
                self.with_all(|client, recent| client.beat(interval, recent));
            }
        }
    }

    fn join(&mut self, Joining { mut wire, opening, place }: Joining) {
        let token = Token(self.next);
        self.next = (self.next + 1) % WAKE.0;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(wire.stream(), token, interest) {
            tracing::debug!(%error, "a client of the stream was not taken");
            return;
        }
        let client = Client::new(wire, self.settings.stream_queue_max);
        self.clients.insert(token, (client, place));
        let recent = Arc::clone(&self.recent);
        self.with(token, |client| {
            if let Some(opening) = opening {
                client.open(opening, &recent)?;
            }
            // It may have spoken before it was here.
            client.hear(&recent)
        });
    }

    /// Takes outcomes in and passes them on.
    fn pass_on(&mut self) {
        let mut turn = std::mem::take(&mut self.turn);
        let waiting = self.outcomes.try_iter().take(TURN_MAX);
        turn.extend(waiting.map(|(outcome, stored_ns)| self.recent.push(outcome, stored_ns)));
        if !turn.is_empty() {
            self.with_all(|client, recent| client.offer(&turn, recent));
        }
        turn.clear();
        self.turn = turn;
    }

    fn with(&mut self, token: Token, work: impl FnOnce(&mut Client) -> Result<(), Gone>) {
        let Some((client, _)) = self.clients.get_mut(&token) else { return };
        let before = client.missed();
        let result = work(client);
        self.shared.counts.note(before, client.missed());
        if result == Err(Gone) {
            // Closing the socket takes it out of the poll as well.
            self.clients.remove(&token);
        }
    }

    fn with_all(&mut self, mut work: impl FnMut(&mut Client, &Recent) -> Result<(), Gone>) {
        let Self { clients, recent, shared, .. } = self;
        clients.retain(|_, (client, _)| {
            let before = client.missed();
            let result = work(client, recent);
            shared.counts.note(before, client.missed());
            result.is_ok()
        });
    }
}

impl StreamCounts {
    fn note(&self, before: (u64, u64), after: (u64, u64)) {
        if after != before {
            self.conflated.fetch_add(after.0 - before.0, Ordering::Relaxed);
            self.dropped.fetch_add(after.1 - before.1, Ordering::Relaxed);
        }
    }
}
