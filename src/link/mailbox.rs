//! A key's mailbox: a queue (lock-free, or for what many series share [`Fair`] behind a lock) and one word that says how
//! much waits in it and how many workers have been called for it.
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

use super::fair::Fair;
use super::sync::{AtomicU64, Mutex, Ordering, Queue, spin_loop};

const WAITING_BITS: u32 = 32;
const WAITING_MASK: u64 = (1 << WAITING_BITS) - 1;

/// Items past their time that one claim takes beyond its places: whoever waits behind it waits well under a millisecond
/// for them.
pub(super) const SPENT_MAX: usize = 256;

/// A queue that knows whether a worker has to be called.
pub struct Mailbox<T> {
    items: Items<T>,
    state: AtomicU64,
    slots: u64,
}

/// What waits.
enum Items<T> {
    /// In the order in which it came.
    InOrder(Queue<T>),
    /// By lane, and within a lane by whose turn it is. The lock is held for one item at a time.
    Shared(Mutex<Fair<T>>),
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
        Self::with(slots, Items::InOrder(Queue::new()))
    }

    /// A mailbox that many series share, which are served by lane and in turn; a series keeps its order within a lane.
    pub fn shared(slots: u32) -> Self {
        Self::with(slots, Items::Shared(Mutex::new(Fair::new())))
    }

    fn with(slots: u32, items: Items<T>) -> Self {
        Self { items, state: AtomicU64::new(0), slots: u64::from(slots.max(1)) }
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
        self.put_in((0, 0), item, batch)
    }

    /// [`Mailbox::put`], into a lane and as the next of a series where the mailbox is shared.
    #[must_use]
    pub fn put_in(&self, (lane, series): (usize, u32), item: T, batch: usize) -> bool {
        match &self.items {
            Items::InOrder(queue) => queue.push(item),
            Items::Shared(fair) => fair.lock().push(lane, series, item),
        }
        let calls =
            |workers: u64, waiting: u64| workers < self.slots && waiting >= workers * batch.max(1) as u64;
        let before = self
            .update(|workers, waiting| Some(word(workers + u64::from(calls(workers, waiting)), waiting + 1)));
        before.is_ok_and(|state| {
            let (workers, waiting) = parts(state);
            calls(workers, waiting)
        })
    }

    /// A called worker takes up to `max` items; may find none when another took them.
    pub fn claim(&self, max: usize, take: impl FnMut(T)) {
        let _ = self.claim_from(0, max, |_| false, take);
    }

    /// [`Mailbox::claim`], of the lane `first` before the others, where items past their time take no place of the
    /// `max`; returns how many of those it took.
    pub fn claim_from(
        &self,
        first: usize,
        max: usize,
        is_spent: impl Fn(&T) -> bool,
        mut take: impl FnMut(T),
    ) -> usize {
        let (mut count, mut spent) = (self.reserve(max), 0);
        while count > 0 {
            let popped = match &self.items {
                Items::InOrder(queue) => queue.pop().map(|item| {
                    let spent = is_spent(&item);
                    (item, spent)
                }),
                Items::Shared(fair) => fair.lock().pop(first, &is_spent),
            };
            // Counted items have been pushed: where another worker's push is not yet seen, it will be.
            let Some((item, is_spent)) = popped else {
                spin_loop();
                continue;
            };
            count -= 1;
            take(item);
            if is_spent {
                // Its place goes to one behind it: else a lane that is served seldom would fill the stage with items that
                // waited too long, and what comes out of it would always be too late.
                spent += 1;
                count += if spent <= SPENT_MAX { self.reserve(1) } else { 0 };
            }
        }
        spent
    }

    /// Makes up to `max` of the items that wait this worker's.
    fn reserve(&self, max: usize) -> usize {
        let claimed = self.update(|workers, waiting| {
            (waiting > 0).then(|| word(workers, waiting.saturating_sub(max as u64)))
        });
        claimed.map_or(0, |state| parts(state).1.min(max as u64) as usize)
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

    /// The first lane in which something waits; the first of all where nothing does, or there are none.
    pub fn urgent(&self) -> usize {
        match &self.items {
            Items::InOrder(_) => 0,
            Items::Shared(fair) => fair.lock().urgent().unwrap_or(0),
        }
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
