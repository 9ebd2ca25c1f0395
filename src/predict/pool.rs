//! The sessions in memory: loaded when first needed, at most as many as allowed, least recently used first
//! out, one in use never pulled away.

use super::catalogue::{Catalogue, CatalogueArtefact};
use super::probe::{Batching, probe};
use super::runtime::Runtime;
use super::session::{Artefact, Session};
use crate::domain::ValueNames;
use crate::link::clock;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// How long a file that could not be loaded is left alone: at first, and at most (doubling), in ns.
const RETRY_FIRST_NS: u64 = 1_000_000_000;
const RETRY_LONGEST_NS: u64 = 300_000_000_000;

/// A session, and in which batches it answers with the same bits.
pub struct Loaded {
    /// The session.
    pub session: Session,
    /// The batch sizes that may be used.
    pub batching: Batching,
}

enum State {
    Cold,
    Ready(Box<Loaded>),
    Failed { error: Arc<str>, retry_at_ns: u64, pause_ns: u64 },
}

struct Slot {
    artefact: CatalogueArtefact,
    /// One owner at a time; never contended by workers, since an artefact is one key of the predict stage.
    state: Mutex<State>,
    used_ns: AtomicU64,
    /// The names of its output values, once known: they outlive the session.
    names: Mutex<Option<ValueNames>>,
}

/// The sessions of one engine.
pub struct Pool {
    runtime: &'static Runtime,
    slots: Box<[Slot]>,
    sessions_max: usize,
    batch_max: usize,
    deadline: Duration,
    loaded: AtomicUsize,
    loads: AtomicU64,
    evictions: AtomicU64,
    failures: AtomicU64,
}

/// The pool's numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolReading {
    /// Sessions in memory.
    pub loaded: usize,
    /// Sessions loaded so far.
    pub loads: u64,
    /// Sessions that made room.
    pub evictions: u64,
    /// Loads that failed.
    pub failures: u64,
}

impl Pool {
    /// A pool of at most `sessions_max` sessions for the artefacts of `catalogue`, none loaded yet; batches
    /// of up to `batch_max` rows are tried out when one is loaded.
    pub fn new(
        runtime: &'static Runtime,
        catalogue: &Catalogue,
        sessions_max: usize,
        batch_max: usize,
        deadline: Duration,
    ) -> Self {
        let slot = |artefact: &CatalogueArtefact| Slot {
            artefact: artefact.clone(),
            state: Mutex::new(State::Cold),
            used_ns: AtomicU64::new(0),
            names: Mutex::new(None),
        };
        Self {
            runtime,
            slots: catalogue.artefacts().iter().map(slot).collect(),
            sessions_max: sessions_max.max(1),
            batch_max: batch_max.max(1),
            deadline,
            loaded: AtomicUsize::new(0),
            loads: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    /// How many artefacts there are.
    pub fn artefacts(&self) -> usize {
        self.slots.len()
    }

    /// Loads every artefact once, so that what is wrong shows and the names of all outputs are known. Where
    /// there are more than the pool holds, the first ones go again.
    pub fn preload_all(&self) {
        self.preload(self.slots.len());
    }

    /// Loads as many artefacts as the pool holds, so that their first bar does not wait for it.
    pub fn preload_some(&self) {
        self.preload(self.sessions_max);
    }

    fn preload(&self, count: usize) {
        for artefact in 0..self.slots.len().min(count) {
            // What fails stays failed, with its reason for every row.
            let _ = self.with(artefact, |_| ());
        }
    }

    /// The names of the output values of all artefacts loaded so far, each once, in the artefacts' order.
    pub fn output_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for slot in &self.slots {
            for name in slot.names.lock().iter().flat_map(|names| names.iter()) {
                if !names.contains(name) {
                    names.push(Arc::clone(name));
                }
            }
        }
        names
    }

    /// Gives `work` the session of an artefact, loading it where it is not in memory.
    ///
    /// # Errors
    /// Why it cannot be loaded. A failure is remembered for a growing time before it is tried again.
    pub fn with<T>(&self, artefact: usize, work: impl FnOnce(&mut Loaded) -> T) -> Result<T, Arc<str>> {
        let slot = &self.slots[artefact];
        let mut state = slot.state.lock();
        let now_ns = clock::now_ns();
        let pause_ns = match &*state {
            State::Failed { error, retry_at_ns, .. } if now_ns < *retry_at_ns => {
                return Err(Arc::clone(error));
            }
            State::Failed { pause_ns, .. } => (pause_ns * 2).min(RETRY_LONGEST_NS),
            State::Cold | State::Ready(_) => RETRY_FIRST_NS,
        };
        if !matches!(&*state, State::Ready(_)) {
            self.reserve();
            match self.load(slot) {
                Ok(loaded) => *state = State::Ready(Box::new(loaded)),
                Err(error) => {
                    self.loaded.fetch_sub(1, Ordering::Relaxed);
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(model = %slot.artefact.name, %error, "a model cannot be loaded");
                    let error: Arc<str> = error.into();
                    let retry_at_ns = clock::now_ns() + pause_ns;
                    *state = State::Failed { error: Arc::clone(&error), retry_at_ns, pause_ns };
                    return Err(error);
                }
            }
        }
        slot.used_ns.store(now_ns, Ordering::Relaxed);
        match &mut *state {
            State::Ready(loaded) => Ok(work(loaded)),
            State::Cold | State::Failed { .. } => Err("the session went away while it was loaded".into()),
        }
    }

    fn load(&self, slot: &Slot) -> Result<Loaded, String> {
        let CatalogueArtefact { path, manifest, .. } = &slot.artefact;
        let artefact = Artefact::read(path).map_err(|error| error.to_string())?;
        let mut session = Session::load(self.runtime, &artefact, manifest, self.deadline)
            .map_err(|error| error.to_string())?;
        let batching = probe(&mut session, manifest, self.batch_max);
        self.loads.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            model = %slot.artefact.name,
            batch_max = batching.sizes.last().copied().unwrap_or(1),
            batching = %batching.reason,
            "model loaded"
        );
        *slot.names.lock() = Some(session.names());
        Ok(Loaded { session, batching })
    }

    /// Makes room for one more session and counts it.
    fn reserve(&self) {
        loop {
            let room = |loaded: usize| (loaded < self.sessions_max).then_some(loaded + 1);
            if self.loaded.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok() {
                return;
            }
            if !self.evict() {
                // Every session is in use, for as long as one batch takes.
                std::thread::yield_now();
            }
        }
    }

    /// Drops the least recently used session that nobody holds; false when there is none.
    fn evict(&self) -> bool {
        let mut oldest: Option<(u64, &Slot)> = None;
        for slot in &self.slots {
            let used_ns = slot.used_ns.load(Ordering::Relaxed);
            if oldest.is_some_and(|(oldest_ns, _)| oldest_ns <= used_ns) {
                continue;
            }
            // A slot that is locked is in use.
            if slot.state.try_lock().is_some_and(|state| matches!(&*state, State::Ready(_))) {
                oldest = Some((used_ns, slot));
            }
        }
        let Some((_, slot)) = oldest else { return false };
        let Some(mut state) = slot.state.try_lock() else { return false };
        if !matches!(&*state, State::Ready(_)) {
            return false;
        }
        *state = State::Cold;
        self.loaded.fetch_sub(1, Ordering::Relaxed);
        self.evictions.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// The pool's numbers.
    pub fn read(&self) -> PoolReading {
        PoolReading {
            loaded: self.loaded.load(Ordering::Relaxed),
            loads: self.loads.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}
