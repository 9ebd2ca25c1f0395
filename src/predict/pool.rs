//! The sessions in memory: loaded when first needed, at most as many as allowed, least recently used first
//! out, one in use never pulled away.

mod creation;
mod slot;

pub(super) use creation::in_time;
pub use slot::{Slot, Slots};

use super::failure::Failure;
use super::manifest::Manifest;
use super::probe::{Batching, probe};
use super::runtime::Runtime;
use super::session::{Artefact, ModelError, RunError, RunLimits, Session};
use crate::domain::Reason;
use crate::link::clock;
use arc_swap::ArcSwap;
use creation::Creators;
use slot::Seat;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a load waits before it asks again for room.
const ROOM_PAUSE: Duration = Duration::from_micros(100);

/// What a version that can be tried is run from.
#[derive(Clone, Debug)]
pub struct Content {
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
    /// Its graph.
    pub path: PathBuf,
    /// Rows that it must reproduce, where it has them.
    pub golden: Option<PathBuf>,
    /// The place of its sessions; versions with the same content share it.
    pub slot: Arc<Slot>,
}

/// A session, and in which batches it answers with the same bits.
pub struct Loaded {
    /// The session.
    pub session: Session,
    /// The batch sizes that may be used.
    pub batching: Batching,
    /// Given back when the session is gone.
    _place: Place,
}

/// What a pool may hold, and what it loads with.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Sessions in memory at most, those being loaded included.
    pub sessions_max: usize,
    /// Rows of a batch at most.
    pub batch_max: usize,
    /// What a run may cost.
    pub run: RunLimits,
    /// How long loading a session may take before it is given up.
    pub load_deadline: Duration,
}

/// Who may load a session that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// The caller's thread.
    Here,
    /// The caller's thread, which waits until then at most where all sessions are busy.
    Until(Instant),
    /// Not the caller's: it has other work.
    Elsewhere,
}

/// The sessions of one engine.
pub struct Pool {
    runtime: &'static Runtime,
    slots: Arc<Slots>,
    limits: ArcSwap<PoolLimits>,
    counts: Arc<Counts>,
    creators: Creators,
}

#[derive(Default)]
struct Counts {
    sessions: AtomicUsize,
    sessions_peak: AtomicUsize,
    file_bytes: AtomicU64,
    kept_bytes: AtomicU64,
    loads: AtomicU64,
    releases: AtomicU64,
    evictions: AtomicU64,
    failures: AtomicU64,
}

/// One session's share of the bound.
struct Place {
    counts: Arc<Counts>,
    file_bytes: u64,
    kept_bytes: u64,
    /// Whether a session took it.
    taken: bool,
}

impl Place {
    /// `session` takes it.
    fn take(&mut self, session: &Session) {
        (self.taken, self.kept_bytes) = (true, session.kept_bytes() as u64);
        self.counts.kept_bytes.fetch_add(self.kept_bytes, Ordering::Relaxed);
        self.counts.loads.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.sessions.fetch_sub(1, Ordering::AcqRel);
        self.counts.file_bytes.fetch_sub(self.file_bytes, Ordering::Relaxed);
        self.counts.kept_bytes.fetch_sub(self.kept_bytes, Ordering::Relaxed);
        self.counts.releases.fetch_add(u64::from(self.taken), Ordering::Relaxed);
    }
}

/// The pool's numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolReading {
    /// Sessions in memory or being loaded.
    pub loaded: usize,
    /// The most there ever were.
    pub loaded_peak: usize,
    /// The size of the files they were loaded from, in bytes; what they take in memory is more.
    pub file_bytes: u64,
    /// What they keep in memory for tensors, in bytes: weights in the order they are run in, constants.
    pub kept_bytes: u64,
    /// Sessions loaded so far.
    pub loads: u64,
    /// Sessions released so far, for whatever reason: `loads - releases` are in memory.
    pub releases: u64,
    /// Sessions that made room.
    pub evictions: u64,
    /// Loads that failed.
    pub failures: u64,
    /// Loads that were given up and have not ended since; each keeps a thread.
    pub hanging: usize,
}

impl Pool {
    /// An empty pool for what `slots` has.
    pub fn new(runtime: &'static Runtime, slots: Arc<Slots>, limits: PoolLimits) -> Self {
        let limits = ArcSwap::from_pointee(limits);
        Self { runtime, slots, limits, counts: Arc::default(), creators: Creators::default() }
    }

    /// What it loads with.
    pub fn runtime(&self) -> &'static Runtime {
        self.runtime
    }

    /// Its bounds.
    pub fn limits(&self) -> PoolLimits {
        **self.limits.load()
    }

    /// Changes its bounds. What is in memory beyond them goes at once, what is in use then before another is loaded;
    /// how long a run may take holds for sessions loaded from now on.
    pub fn set_limits(&self, limits: PoolLimits) {
        self.limits.store(Arc::new(limits));
        while self.counts.sessions.load(Ordering::Relaxed) > limits.sessions_max && self.evict() {}
    }

    /// The places of sessions.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Gives `work` a session of `content`; `None` where it would have to be loaded and `loading` forbids it, or where none
    /// was free by the time that `loading` names.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub fn with<T>(
        &self,
        content: &Content,
        loading: Loading,
        work: impl FnOnce(&mut Loaded) -> T,
    ) -> Result<Option<T>, Failure> {
        let slot = &content.slot;
        for seat in &slot.seats {
            if let Some(mut session) = seat.session.try_lock()
                && let Some(loaded) = session.as_deref_mut()
            {
                seat.touch();
                return Ok(Some(work(loaded)));
            }
        }
        let ready = slot.ready.load(Ordering::Acquire);
        // All are busy: one more where there is room for it, otherwise the first one's turn is waited for.
        let more = ready > 0 && ready < slot.seats.len() && self.has_room();
        if loading == Loading::Elsewhere && (ready == 0 || more) {
            return Ok(None);
        }
        let Some((seat, mut session)) = self.seat(slot, more, loading) else { return Ok(None) };
        if session.is_none() {
            if loading == Loading::Elsewhere {
                // It made room for another just now.
                return Ok(None);
            }
            let loaded = self.load(content).inspect_err(|_| {
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
            })?;
            *session = Some(Box::new(loaded));
            slot.ready.fetch_add(1, Ordering::Release);
        }
        seat.touch();
        Ok(session.as_deref_mut().map(work))
    }

    /// A seat of `slot`, locked: an empty one where `more` asks for it and there is one.
    fn seat<'a>(
        &self,
        slot: &'a Slot,
        more: bool,
        loading: Loading,
    ) -> Option<(&'a Seat, parking_lot::MutexGuard<'a, Option<Box<Loaded>>>)> {
        let empty = |seat: &'a Seat| {
            let session = seat.session.try_lock().filter(|session| session.is_none())?;
            Some((seat, session))
        };
        if let Some(found) = slot.seats.iter().find_map(empty).filter(|_| more) {
            return Some(found);
        }
        let first = &slot.seats[0];
        let session = match loading {
            Loading::Until(deadline) => first.session.try_lock_until(deadline)?,
            Loading::Here | Loading::Elsewhere => first.session.lock(),
        };
        Some((first, session))
    }

    /// Loads a session of `content`, on another thread, for as long as that may take.
    fn load(&self, content: &Content) -> Result<Loaded, Failure> {
        let begin = Instant::now();
        let PoolLimits { batch_max, run, load_deadline, .. } = self.limits();
        let mut place = self.reserve(content.slot.file_bytes)?;
        let (runtime, what) = (self.runtime, content.clone());
        let left = load_deadline.saturating_sub(begin.elapsed());
        let known = (content.slot.number, content.slot.names.get().is_some());
        let created = self.creators.run(known, left, move || create(runtime, &what, (batch_max, run)));
        let (session, batching) = created.map_err(Failure::unavailable)??;
        place.take(&session);
        tracing::debug!(
            model = %content.slot.name,
            batch_max = batching.sizes.last().copied().unwrap_or(1),
            batching = %batching.reason,
            "session loaded"
        );
        Ok(Loaded { session, batching, _place: place })
    }

    /// Ends the waiting for sessions that are being loaded, now and from now on: the engine stops.
    pub(crate) fn give_up(&self) {
        self.creators.give_up();
    }

    /// Whether one more session fits without another having to go.
    fn has_room(&self) -> bool {
        self.counts.sessions.load(Ordering::Relaxed) < self.limits.load().sessions_max
    }

    /// Makes room for one more session and counts it.
    fn reserve(&self, file_bytes: u64) -> Result<Place, Failure> {
        let begin = Instant::now();
        let Counts { sessions, sessions_peak, file_bytes: all_bytes, .. } = &*self.counts;
        loop {
            let PoolLimits { sessions_max, load_deadline, .. } = self.limits();
            let room = |count: usize| (count < sessions_max).then_some(count + 1);
            if let Ok(before) = sessions.fetch_update(Ordering::AcqRel, Ordering::Acquire, room) {
                sessions_peak.fetch_max(before + 1, Ordering::Relaxed);
                all_bytes.fetch_add(file_bytes, Ordering::Relaxed);
                return Ok(Place {
                    counts: Arc::clone(&self.counts),
                    file_bytes,
                    kept_bytes: 0,
                    taken: false,
                });
            }
            if !self.evict() {
                if begin.elapsed() > load_deadline {
                    return Err(Failure::unavailable(format!(
                        "all {sessions_max} sessions were in use for {} ms (model_pool_size)",
                        load_deadline.as_millis()
                    )));
                }
                // Every session is in use, for as long as one batch takes.
                std::thread::sleep(ROOM_PAUSE);
            }
        }
    }

    /// Drops the least recently used session that nobody holds, a pinned one only where all are; false when
    /// there is none.
    fn evict(&self) -> bool {
        let slots = self.slots.all();
        let free = |seat: &Seat| seat.session.try_lock().is_some_and(|session| session.is_some());
        let seats = slots.iter().flat_map(|slot| slot.seats.iter().map(move |seat| (slot, seat)));
        let oldest = seats.filter(|(_, seat)| free(seat)).min_by_key(|(slot, seat)| {
            (slot.pinned.load(Ordering::Relaxed), seat.used_ns.load(Ordering::Relaxed))
        });
        let Some((slot, seat)) = oldest else { return false };
        let Some(mut session) = seat.session.try_lock() else { return false };
        let evicted = session.take();
        if evicted.is_some() {
            slot.ready.fetch_sub(1, Ordering::Release);
            self.counts.evictions.fetch_add(1, Ordering::Relaxed);
        }
        evicted.is_some()
    }

    /// Drops the sessions that nobody used for `idle`; returns how many. They are loaded again when they are needed.
    pub fn release_idle(&self, idle: Duration) -> usize {
        let before_ns = clock::now_ns().saturating_sub(u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX));
        let mut released = 0;
        for slot in self.slots.all() {
            for seat in slot.seats.iter().filter(|seat| seat.used_ns.load(Ordering::Relaxed) < before_ns) {
                if let Some(mut session) = seat.session.try_lock()
                    && session.take().is_some()
                {
                    slot.ready.fetch_sub(1, Ordering::Release);
                    self.counts.evictions.fetch_add(1, Ordering::Relaxed);
                    released += 1;
                }
            }
        }
        released
    }

    /// Drops the sessions of a content that failed: what it did to them is not known. One in use stays.
    pub(super) fn discard(&self, slot: &Slot) {
        for seat in &slot.seats {
            if let Some(mut session) = seat.session.try_lock()
                && session.take().is_some()
            {
                slot.ready.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// The pool's numbers.
    pub fn read(&self) -> PoolReading {
        let Counts { sessions, sessions_peak, file_bytes, kept_bytes, loads, releases, evictions, failures } =
            &*self.counts;
        PoolReading {
            loaded: sessions.load(Ordering::Relaxed),
            loaded_peak: sessions_peak.load(Ordering::Relaxed),
            file_bytes: file_bytes.load(Ordering::Relaxed),
            kept_bytes: kept_bytes.load(Ordering::Relaxed),
            loads: loads.load(Ordering::Relaxed),
            releases: releases.load(Ordering::Relaxed),
            evictions: evictions.load(Ordering::Relaxed),
            failures: failures.load(Ordering::Relaxed),
            hanging: self.creators.hanging(),
        }
    }
}

/// A session of `content`, and in which batches it answers with the same bits.
fn create(
    runtime: &'static Runtime,
    content: &Content,
    (batch_max, limits): (usize, RunLimits),
) -> Result<(Session, Batching), Failure> {
    let Content { manifest, path, slot, .. } = content;
    let failed = |error: ModelError| match error {
        ModelError::FirstRun(RunError::Deadline { .. }) => {
            Failure { reason: Reason::ModelTimeout, detail: error.to_string() }
        }
        error => Failure::unavailable(error.to_string()),
    };
    let artefact = Artefact::read(path).map_err(failed)?;
    if artefact.sha256() != slot.sha256 {
        let path = path.display();
        return Err(Failure::unavailable(format!(
            "{path} is being changed: it has other content than a moment ago"
        )));
    }
    let mut session = Session::load(runtime, &artefact, manifest, limits).map_err(failed)?;
    drop(artefact);
    let probe = || probe(&mut session, manifest, batch_max);
    let batching = slot.batching.get_or_init(probe).clone();
    slot.names.get_or_init(|| session.names());
    Ok((session, batching))
}
