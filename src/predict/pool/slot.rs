//! The places of sessions: one for each content, however many models and versions have it.

use super::Loaded;
use crate::domain::ValueNames;
use crate::link::clock;
use crate::predict::manifest::Manifest;
use crate::predict::probe::Batching;
use crate::predict::session::Artefact;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// How often it is told of a content that its rows wait too long, in ns.
const TELL_AGAIN_NS: u64 = 60_000_000_000;

/// What one content is called by: its hash, and how it is fed and read.
type ContentKey = ([u8; 32], String);

/// The number of the next slot.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The place of one content's sessions.
pub struct Slot {
    /// Its number, never used again within the process.
    pub number: u64,
    /// The name of the first model that has it.
    pub name: Arc<str>,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
    /// The size of its file, in bytes.
    pub file_bytes: u64,
    pub(super) seats: Box<[Seat]>,
    /// How many of the seats hold a session.
    pub(super) ready: AtomicUsize,
    /// Found out once: a session that is loaded again need not be probed again.
    pub(super) batching: OnceLock<Batching>,
    pub(super) names: OnceLock<ValueNames>,
    pub(super) pinned: AtomicBool,
    /// When it was told last that its rows wait too long; 0 for never.
    told_behind_ns: AtomicU64,
}

/// Room for one session.
#[derive(Default)]
pub(super) struct Seat {
    /// One owner at a time; held while the session is loaded or runs.
    pub(super) session: Mutex<Option<Box<Loaded>>>,
    pub(super) used_ns: AtomicU64,
}

impl Seat {
    pub(super) fn touch(&self) {
        self.used_ns.store(clock::now_ns(), Ordering::Relaxed);
    }
}

impl Slot {
    /// Whether a session of it is in memory.
    pub fn is_loaded(&self) -> bool {
        self.ready.load(Ordering::Acquire) > 0
    }

    /// The batch sizes that may be used, once they are known.
    pub fn batching(&self) -> Option<&Batching> {
        self.batching.get()
    }

    /// The names of its output values, once they are known; they outlive the session.
    pub fn names(&self) -> Option<ValueNames> {
        self.names.get().cloned()
    }

    /// Its rows wait too long: whether it is time to tell, which it is once in a while.
    pub(crate) fn is_behind(&self) -> bool {
        let (now_ns, before_ns) = (clock::now_ns(), self.told_behind_ns.load(Ordering::Relaxed));
        let due = before_ns == 0 || now_ns - before_ns.min(now_ns) > TELL_AGAIN_NS;
        due && self
            .told_behind_ns
            .compare_exchange(before_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Keeps its session in memory before others.
    pub(crate) fn pin(&self) {
        self.pinned.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("number", &self.number).field("name", &self.name).finish_non_exhaustive()
    }
}

/// All slots that something refers to.
pub struct Slots {
    seats: usize,
    known: Mutex<HashMap<ContentKey, Weak<Slot>>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Slots {
    /// Slots of at most `seats` sessions each.
    pub fn new(seats: usize) -> Self {
        Self { seats: seats.max(1), known: Mutex::default() }
    }

    /// The slot of `artefact`, fed and read as `manifest` says.
    pub(crate) fn get(&self, name: &Arc<str>, artefact: &Artefact, manifest: &Manifest) -> Arc<Slot> {
        let mut known = self.known.lock();
        if known.len() == known.capacity() {
            known.retain(|_, slot| slot.strong_count() > 0);
        }
        let place = known.entry((artefact.sha256(), manifest.reading())).or_default();
        if let Some(slot) = place.upgrade() {
            return slot;
        }
        let slot = Arc::new(Slot {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            name: Arc::clone(name),
            sha256: artefact.sha256(),
            file_bytes: artefact.size(),
            seats: (0..self.seats).map(|_| Seat::default()).collect(),
            ready: AtomicUsize::new(0),
            batching: OnceLock::new(),
            names: OnceLock::new(),
            pinned: AtomicBool::new(false),
            told_behind_ns: AtomicU64::new(0),
        });
        *place = Arc::downgrade(&slot);
        slot
    }

    /// A place of its own for sessions of the content that `slot` has elsewhere.
    pub(crate) fn apart(&self, slot: &Slot) -> Arc<Slot> {
        let apart = Arc::new(Slot {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            name: Arc::clone(&slot.name),
            sha256: slot.sha256,
            file_bytes: slot.file_bytes,
            seats: (0..self.seats).map(|_| Seat::default()).collect(),
            ready: AtomicUsize::new(0),
            batching: slot.batching.clone(),
            names: slot.names.clone(),
            pinned: AtomicBool::new(false),
            told_behind_ns: AtomicU64::new(0),
        });
        let key = (slot.sha256, format!("apart {}", apart.number));
        let mut known = self.known.lock();
        known.retain(|_, slot| slot.strong_count() > 0);
        known.insert(key, Arc::downgrade(&apart));
        apart
    }

    /// Every slot that something refers to.
    pub(crate) fn all(&self) -> Vec<Arc<Slot>> {
        // Upgraded outside of the lock's reach: the last owner may go away meanwhile, with its sessions.
        let known: Vec<Weak<Slot>> = self.known.lock().values().cloned().collect();
        known.iter().filter_map(Weak::upgrade).collect()
    }
}
