//! Sliding windows that only ever add: nothing is subtracted, so nothing drifts.
//!
//! Time is cut into blocks of `n - 1` bars. The items of the current block are folded as they come; those of the
//! block before were folded once, backwards, when it ended: each of its slots holds the fold of its item and
//! all that follow. The last `n` items are then one slot and the running fold, and the last item of the block
//! before is always among them:
//!
//! ```text
//!        block before              current block
//!   [ 0 | 1   2   3   4 ]        [ 0   1 ]
//!         └── slot 1 ──┘    +    └ block ┘        n = 6, after 2 items of the block
//! ```
//!
//! Cost: O(1) a bar, plus O(n) at the end of each block. An item
//! that left the window has left every sum as well, be it an
//! outlier of 1e300 or a NaN, and a sum of zeros is exactly 0. (Known as two-stack aggregation; for minima and
//! maxima as the algorithm of van Herk, 1992, and Gil and Werman, 1993.)

use super::array;
use super::memory::{Layout, Memory};
use super::sum::{error_of_sum, sum};
use serde::{Deserialize, Serialize};
use std::hint::cold_path;
use std::ops::Range;

/// How many items are folded by themselves, before their result joins that of the block, and what rounding takes from it there
/// is carried into the next run. So the rounding error of a sum is at most about `RUN` last bits of what was added, however
/// long the window, and a bar takes two additions. Source: N. Higham, "Accuracy and Stability of Numerical Algorithms", 4.2 and
/// 4.3 (blocked and compensated summation).
const RUN: usize = 128;

/// How many of the newest items are folded one by one. What has just been written waits in the processor's store buffer: it can
/// be read from there as it was written, but not by an instruction that reads two items at once.
const FRESH: usize = 16;

/// How the items of a window, `W` numbers each, become one result, also of `W` numbers: sums, unless it says otherwise.
pub trait Fold<const W: usize>: Copy {
    /// The result over no items.
    const NOTHING: [f64; W] = [0.0; W];

    /// Whether results round, as sums do, so that long blocks are folded run by run.
    const ROUNDS: bool = true;

    /// `anchor` is an item that every window of this block contains.
    fn begin(anchor: [f64; W]) -> Self;

    /// The result over one item.
    fn of(&self, item: [f64; W]) -> [f64; W];

    /// The result over two neighbouring runs of items.
    #[inline(always)]
    fn join(a: [f64; W], b: [f64; W]) -> [f64; W] {
        sum(a, b)
    }

    /// What rounding took from `join(a, b)`.
    #[inline(always)]
    fn lost(a: [f64; W], b: [f64; W]) -> [f64; W] {
        if Self::ROUNDS { error_of_sum(a, b) } else { Self::NOTHING }
    }
}

/// Added to a place of the memory it lies behind every memory's end.
const BEYOND: usize = 1 << (usize::BITS - 1);

/// The last `n` items, folded.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Window<F, const W: usize> {
    /// Where the block begins, and ends, in the memory.
    from: usize,
    to: usize,
    /// Where the next item goes: [`BEYOND`] the memory until there is a block before the current one, so that whether there is
    /// a result takes no question of its own.
    next: usize,
    /// Where the current run ends, or the block: a bar that ends neither is asked nothing else.
    pause: usize,
    /// `n`, and one over it.
    count: f64,
    share: f64,
    fold: F,
    /// The result over the current block's runs that have ended, which the slots ahead of the current run have joined; and the
    /// result over the current run.
    #[serde(with = "array")]
    ended: [f64; W],
    #[serde(with = "array")]
    run: [f64; W],
}

impl<F: Fold<W>, const W: usize> Window<F, W> {
    /// An empty window of `n >= 1` items.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        let len = (n - 1) * W;
        let from = layout.reserve(len);
        let mut window = Self {
            from,
            to: from + len,
            next: from + BEYOND,
            pause: from + BEYOND,
            count: n as f64,
            share: 1.0 / n as f64,
            fold: F::begin([0.0; W]),
            ended: F::NOTHING,
            run: F::NOTHING,
        };
        window.begin_run();
        window
    }

    /// Takes the next item in; the result over the last `n`, once there are as many.
    ///
    /// Items are lent, here and to the memory: an array of one number would be handed on in an integer register, and the way
    /// there and back is a tenth of what a mean takes.
    #[inline(always)]
    pub fn advance(&mut self, item: &[f64; W], memory: &mut impl Memory) -> Option<[f64; W]> {
        self.read(item, memory, |result, _, _| result)
    }

    /// The same, and what `read` makes of the result, of how the items of the current block are folded and of one item's share
    /// of the full window, `1 / n`.
    ///
    /// What is done seldom stands here as well: behind a call it would need the window in memory, and so would every bar.
    #[inline(always)]
    pub fn read<T>(
        &mut self,
        item: &[f64; W],
        memory: &mut impl Memory,
        read: impl FnOnce([f64; W], &F, f64) -> T,
    ) -> Option<T> {
        let Some(earlier) = memory.exchange(self.next, item) else {
            cold_path();
            if self.from == self.to {
                // A window of one item, which never has a block.
                let fold = F::begin(*item);
                return Some(read(fold.of(*item), &fold, self.share));
            }
            memory.exchange(self.next ^ BEYOND, item)?;
            if let Some(memory) = memory.kept() {
                self.move_on(item, memory);
            }
            return None;
        };
        self.run = F::join(self.run, self.fold.of(*item));
        let found = read(F::join(earlier, self.run), &self.fold, self.share);
        if let Some(memory) = memory.kept() {
            self.move_on(item, memory);
        }
        Some(found)
    }

    /// How many items the window holds when full.
    #[inline]
    pub fn n(&self) -> f64 {
        self.count
    }

    /// One item's share of the full window: `1 / n`.
    #[inline]
    pub fn share(&self) -> f64 {
        self.share
    }

    /// To the next item's place. The `newest` item may be the last of its run, and of its block.
    #[inline(always)]
    fn move_on(&mut self, newest: &[f64; W], memory: &mut [f64]) {
        self.next += W;
        if self.next != self.pause {
            return;
        }
        cold_path();
        let at = self.next & !BEYOND;
        if at == self.to {
            self.fold = F::begin(*newest);
            fold_backwards(self.fold, memory, self.from..self.to);
            (self.ended, self.run) = (F::NOTHING, F::NOTHING);
            self.next = self.from;
        } else if F::ROUNDS {
            let (ended, run) = (self.ended, self.run);
            (self.ended, self.run) = (F::join(ended, run), F::lost(ended, run));
            join_each::<F, W>(&mut memory[at..self.to.min(at + RUN * W)], self.ended);
        }
        self.begin_run();
    }

    #[inline(always)]
    fn begin_run(&mut self) {
        let end = self.to + (self.next & BEYOND);
        self.pause = if F::ROUNDS { end.min(self.next + RUN * W) } else { end };
    }
}

/// Joins what has `ended` to each slot of a run that begins, so that its bars need not.
#[inline(always)]
fn join_each<F: Fold<W>, const W: usize>(run: &mut [f64], ended: [f64; W]) {
    for slot in run.as_chunks_mut::<W>().0 {
        *slot = F::join(*slot, ended);
    }
}

/// Leaves in each slot the result over its item and all that follow.
#[inline(never)]
fn fold_backwards<F: Fold<W>, const W: usize>(fold: F, memory: &mut [f64], block: Range<usize>) {
    let slots = memory[block].as_chunks_mut::<W>().0;
    // A number of them that the compiler knows: no loop whose end the processor has to guess, once a block.
    let Some((older, fresh)) = slots.split_last_chunk_mut::<FRESH>() else {
        one_by_one(fold, slots, F::NOTHING);
        return;
    };
    let (mut ended, mut later) = (F::NOTHING, one_by_one(fold, fresh, F::NOTHING));
    let (oldest, groups) = older.as_rchunks_mut::<4>();
    for run in groups.chunks_mut(RUN / 4).rev() {
        for group in run.iter_mut().rev() {
            // Four at a time: only the last of these joins waits for the four behind.
            let [a, b, c, d] = group.map(|item| fold.of(item));
            let cd = F::join(c, d);
            let found = [F::join(F::join(a, b), cd), F::join(b, cd), cd, d];
            let behind = F::join(later, ended);
            *group = found.map(|x| F::join(x, behind));
            later = F::join(found[0], later);
        }
        (ended, later) = (F::join(later, ended), F::lost(later, ended));
    }
    one_by_one(fold, oldest, F::join(later, ended));
}

/// The same, for `slots` behind which the result is `later`; what it is with them.
#[inline(always)]
fn one_by_one<F: Fold<W>, const W: usize>(fold: F, slots: &mut [[f64; W]], mut later: [f64; W]) -> [f64; W] {
    let mut take = |slot: &mut [f64; W]| {
        later = F::join(fold.of(*slot), later);
        *slot = later;
    };
    // Four to a turn: the fewer turns, the likelier the processor guesses the last one.
    let (oldest, fours) = slots.as_rchunks_mut::<4>();
    fours.iter_mut().rev().for_each(|four| four.iter_mut().rev().for_each(&mut take));
    oldest.iter_mut().rev().for_each(take);
    later
}

/// The last `n` numbers themselves.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ring {
    at: usize,
    n: usize,
    /// Slot of the oldest number once full, of the next one before.
    next: usize,
    full: bool,
}

impl Ring {
    /// An empty ring of `n >= 1` numbers.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { at: layout.reserve(n), n, next: 0, full: false }
    }

    /// Takes `x` in; the number taken in `n` before it, once there is one.
    #[inline(always)]
    pub fn advance(&mut self, x: f64, memory: &mut impl Memory) -> Option<f64> {
        let before = self.full.then(|| memory.held()[self.at + self.next]);
        if let Some(memory) = memory.kept() {
            memory[self.at + self.next] = x;
            self.next += 1;
            if self.next == self.n {
                self.next = 0;
                self.full = true;
            }
        }
        before
    }
}

/// The last `n` numbers side by side: each is kept twice, `n` apart, so that a window never wraps around.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Strip {
    at: usize,
    n: usize,
    /// `n`, to divide by.
    count: f64,
    /// Slot of the oldest number, and of its twin `n` further on.
    next: usize,
    full: bool,
}

impl Strip {
    /// An empty strip of `n >= 1` numbers.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        let at = layout.reserve(2 * n);
        Self { at, n, count: n as f64, next: 0, full: false }
    }

    /// Takes `x` in; the `n - 1` numbers before it, the oldest first, once there are as many.
    #[inline(always)]
    pub fn advance<'m>(&mut self, x: f64, memory: &'m mut impl Memory) -> Option<&'m [f64]> {
        // Before it is full what was written begins at the slot 0, and its twin at n.
        let (at, oldest) = (self.at + self.next, self.at + self.next + 1);
        let enough = self.full || self.next + 1 == self.n;
        if let Some(memory) = memory.kept() {
            memory[at] = x;
            memory[at + self.n] = x;
            self.next += 1;
            if self.next == self.n {
                self.next = 0;
                self.full = true;
            }
        }
        enough.then(|| &memory.held()[oldest..][..self.n - 1])
    }

    /// How many numbers it holds when full.
    #[inline]
    pub fn n(&self) -> f64 {
        self.count
    }
}
