//! The loops of one stage's workers: how many there are, and who stands in for one that is away.
//!
//! A worker in work that takes long is no worker to the others. It says so ([`long_work`]), and where it was the last,
//! one more loop is started in its place, so that whatever else is ready does not wait for it: a slow model takes a core
//! for as long as it runs, and never the stage. There are never more loops than the pool has threads.

use super::carry;
use super::lanes::Wake;
use super::slice;
use super::stage::{Link, Stage};
use crossbeam::sync::WaitGroup;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The loops of one stage.
pub(super) struct Crew<S: Stage> {
    link: Arc<Link<S>>,
    /// How many threads there are for them.
    loops_max: usize,
    loops: Mutex<Loops>,
    /// Whether there are more than are wanted; a hint, so that loops need not ask each time.
    surplus: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Loops {
    /// How many there shall be.
    wanted: usize,
    /// How many there are.
    running: usize,
    /// Of these, in work that takes long.
    away: usize,
}

impl<S: Stage> Crew<S> {
    pub(super) fn new(link: Arc<Link<S>>, loops_max: usize) -> Self {
        Self { link, loops_max, loops: Mutex::default(), surplus: AtomicBool::new(false) }
    }

    pub(super) fn link(&self) -> &Arc<Link<S>> {
        &self.link
    }

    /// Wants `wanted` loops from now on; how many the caller is to start.
    pub(super) fn want(&self, wanted: usize) -> usize {
        let mut loops = self.loops.lock();
        loops.wanted = wanted;
        let missing = wanted.saturating_sub(loops.running);
        loops.running += missing;
        self.surplus.store(loops.running > wanted, Ordering::Relaxed);
        missing
    }

    /// Whether a loop is one too many, and counted out: never the last that is not away.
    fn is_one_too_many(&self) -> bool {
        if !self.surplus.load(Ordering::Relaxed) {
            return false;
        }
        let mut loops = self.loops.lock();
        let ends = loops.running > loops.wanted && loops.running - loops.away > 1;
        loops.running -= usize::from(ends);
        self.surplus.store(loops.running > loops.wanted, Ordering::Relaxed);
        ends
    }

    /// One worker, on the calling thread, until it is told to end.
    pub(super) fn work(self: Arc<Self>, group: WaitGroup) {
        // What may take long is not carried on, and need not be prompt.
        if self.link.stage().may_be_carried() {
            slice::shorten();
        } else {
            slice::lengthen();
        }
        HERE.set(Some(Here { crew: Arc::clone(&self) as Arc<dyn StandIns>, group }));
        while !self.is_one_too_many() {
            match self.link.lanes().wait() {
                Wake::Ready => carry::run(self.link.lanes().take(), || self.link.lanes().is_empty()),
                Wake::Nudge => {}
                Wake::Stop => break,
            }
        }
        HERE.set(None);
    }
}

/// A crew, whatever its stage.
trait StandIns {
    /// One of its loops is away; where it was the last, another starts, on a thread of this one's pool.
    fn leave(self: Arc<Self>, group: &WaitGroup);
    /// It is back.
    fn come_back(&self);
}

impl<S: Stage> StandIns for Crew<S> {
    fn leave(self: Arc<Self>, group: &WaitGroup) {
        let mut loops = self.loops.lock();
        loops.away += 1;
        if loops.away == loops.running && loops.running < self.loops_max {
            loops.running += 1;
            self.surplus.store(loops.running > loops.wanted, Ordering::Relaxed);
            drop(loops);
            let group = group.clone();
            #[expect(
                clippy::disallowed_methods,
                reason = "called on a thread of a pool, it goes to that pool"
            )]
            rayon::spawn(move || self.work(group));
        }
    }

    fn come_back(&self) {
        self.loops.lock().away -= 1;
    }
}

/// The loop that runs on a thread.
struct Here {
    crew: Arc<dyn StandIns>,
    group: WaitGroup,
}

thread_local! {
    /// `None` on a thread that is no worker.
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// Work of about so long, in ns, is done in long slices: what that costs is small beside it.
const LONG_NS: u64 = 1_000_000;
/// Work of about so long, in ns, leaves the others a worker; shorter work is waited for, as the width says.
const AWAY_NS: u64 = 50_000_000;

/// The calling thread is in work that takes long, until this is dropped.
pub struct LongWork {
    crew: Option<Arc<dyn StandIns>>,
    _slice: slice::Long,
}

/// Says that the calling thread begins work that took `expected_ns` when it was done last. Where that is a millisecond
/// or more it is done in long slices, so that whoever wakes beside it goes first; where it is much more, and the thread
/// is a stage's last worker, another stands in for it. Costs a few microseconds then, nothing otherwise.
pub fn long_work(expected_ns: u64) -> Option<LongWork> {
    if expected_ns < LONG_NS {
        return None;
    }
    let crew = HERE.with_borrow(|here| {
        let Here { crew, group } = here.as_ref().filter(|_| expected_ns >= AWAY_NS)?;
        Arc::clone(crew).leave(group);
        Some(Arc::clone(crew))
    });
    Some(LongWork { crew, _slice: slice::Long::begin() })
}

impl Drop for LongWork {
    fn drop(&mut self) {
        if let Some(crew) = &self.crew {
            crew.come_back();
        }
    }
}
