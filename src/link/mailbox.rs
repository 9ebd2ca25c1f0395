//! A key's mailbox: a lock-free queue and one word that says how much waits in it and how many workers
//! have been called for it.
//!
//! The whole protocol is that word, changed only by compare-and-swap: `workers` (scheduled or inside) in
//! its upper half, `waiting` (put and not yet claimed) in its lower half. Because both change in one step
//! there is no window between "nothing waits" and "nobody comes": whoever makes the first item wait calls
//! a worker, and a worker can only leave in the same step in which it sees that it is not needed.
//!
//! Invariants, model-checked in `tests/loom`:
//! - `waiting > 0` implies `workers > 0`: no item is ever left without a worker called for it;
//! - `workers <= slots`: with one slot, items are handled by one worker at a time, in the order of `put`;
//! - an item is counted after it has been pushed, so who claims `n` finds `n`.

use super::sync::{AtomicU64, Ordering, Queue, spin_loop};

const WAITING_BITS: u32 = 32;
const WAITING_MASK: u64 = (1 << WAITING_BITS) - 1;

/// A lock-free queue, or one for each lane, that knows whether a worker has to be called.
pub struct Mailbox<T> {
    /// One, or one for each lane.
    queues: Box<[Queue<T>]>,
    state: AtomicU64,
    slots: u64,
}

/// (workers, waiting) of a state word.
fn parts(state: u64) -> (u64, u64) {
    (state >> WAITING_BITS, state & WAITING_MASK)
}

fn word(workers: u64, waiting: u64) -> u64 {
    workers << WAITING_BITS | waiting
}

impl<T> Mailbox<T> {
    /// A mailbox in which at most `slots` workers (at least one) may be at a time.
    pub fn new(slots: u32) -> Self {
        Self::with_lanes(slots, 1)
    }

    /// A mailbox in which items of the same lane keep their order, and only those.
    pub fn with_lanes(slots: u32, lanes: usize) -> Self {
        let queues = (0..lanes.max(1)).map(|_| Queue::new()).collect();
        Self { queues, state: AtomicU64::new(0), slots: u64::from(slots.max(1)) }
    }

    /// Replaces the state by `change` of it, if it gives one; returns the state that was replaced, or the
    /// state for which it gave none.
    fn update(&self, change: impl Fn(u64, u64) -> Option<u64>) -> Result<u64, u64> {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let (workers, waiting) = parts(state);
            let Some(next) = change(workers, waiting) else { return Err(state) };
            match self.state.compare_exchange_weak(state, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(state),
                Err(newer) => state = newer,
            }
        }
    }

    /// Puts an item in. True: the caller must see to it that one worker comes.
    ///
    /// A second worker is called only where there is a slot for it and more waits than the workers
    /// already called take in one turn of `batch` items each.
    #[must_use]
    pub fn put(&self, item: T, batch: usize) -> bool {
        self.put_in(0, item, batch)
    }

    /// [`Mailbox::put`] into a lane; a mailbox of one queue has no others.
    #[must_use]
    pub fn put_in(&self, lane: usize, item: T, batch: usize) -> bool {
        self.queues[lane.min(self.queues.len() - 1)].push(item);
        let calls =
            |workers: u64, waiting: u64| workers < self.slots && waiting >= workers * batch.max(1) as u64;
        let before = self
            .update(|workers, waiting| Some(word(workers + u64::from(calls(workers, waiting)), waiting + 1)));
        before.is_ok_and(|state| {
            let (workers, waiting) = parts(state);
            calls(workers, waiting)
        })
    }

    /// A called worker takes up to `max` items, the oldest first; may find none when another took them.
    pub fn claim(&self, max: usize, take: impl FnMut(T)) {
        self.claim_from(0, max, take);
    }

    /// [`Mailbox::claim`], of the lane `first` before the others, and of those in their order.
    pub fn claim_from(&self, first: usize, max: usize, mut take: impl FnMut(T)) {
        let claimed = self.update(|workers, waiting| {
            let left = waiting.saturating_sub(max as u64);
            (waiting > 0).then(|| word(workers, left))
        });
        let Ok(state) = claimed else { return };
        let (_, waiting) = parts(state);
        let mut count = waiting.min(max as u64);
        while count > 0 {
            let mut lanes = [&self.queues[first.min(self.queues.len() - 1)]].into_iter().chain(&self.queues);
            match lanes.find_map(Queue::pop) {
                Some(item) => {
                    take(item);
                    count -= 1;
                }
                // Counted items have been pushed. Another worker of this key took the one that was seen last, and
                // what it left for this one is in a lane that was empty when it was looked at.
                None => spin_loop(),
            }
        }
    }

    /// A called worker is done with its turn. True: it stays called, because more waits than the others
    /// take, and must come again; false: it has left.
    #[must_use]
    pub fn release(&self, batch: usize) -> bool {
        self.update(|workers, waiting| {
            let needed = waiting > (workers - 1) * batch.max(1) as u64;
            (!needed).then(|| word(workers - 1, waiting))
        })
        .is_err()
    }

    /// The first lane in which something waits; the first of all where nothing does.
    pub fn urgent(&self) -> usize {
        self.queues.iter().position(|queue| !queue.is_empty()).unwrap_or(0)
    }

    /// How many workers may be in it at a time.
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// How many items wait.
    pub fn waiting(&self) -> usize {
        parts(self.state.load(Ordering::Relaxed)).1 as usize
    }
}
