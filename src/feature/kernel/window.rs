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
use serde::{Deserialize, Serialize};
use std::array::from_fn;
use std::ops::Range;

/// `W` sums with their rounding errors carried along, exact to about twice the precision of `f64`. Side by side, so that
/// the processor adds two at once. Source: A. Neumaier, 1974; the error of one addition by D. Knuth's TwoSum.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sum<const W: usize> {
    #[serde(with = "array")]
    high: [f64; W],
    #[serde(with = "array")]
    low: [f64; W],
}

impl<const W: usize> Default for Sum<W> {
    fn default() -> Self {
        Self { high: [0.0; W], low: [0.0; W] }
    }
}

impl<const W: usize> Sum<W> {
    /// Adds to each sum its own.
    #[inline(always)]
    pub fn add(&mut self, x: [f64; W]) {
        let sum: [f64; W] = from_fn(|j| self.high[j] + x[j]);
        let of_x: [f64; W] = from_fn(|j| sum[j] - self.high[j]);
        let error: [f64; W] = from_fn(|j| (self.high[j] - (sum[j] - of_x[j])) + (x[j] - of_x[j]));
        self.low = from_fn(|j| self.low[j] + error[j]);
        self.high = sum;
    }

    /// The sums, each rounded once.
    #[inline(always)]
    pub fn get(&self) -> [f64; W] {
        from_fn(|j| self.high[j] + self.low[j])
    }
}

/// How the items of a window, `W` numbers each, become one result, also of `W` numbers.
pub trait Fold<const W: usize>: Copy {
    /// The fold of nothing. `anchor` is an item that every window of this block contains.
    fn begin(anchor: [f64; W]) -> Self;

    /// Takes one item in.
    fn add(&mut self, item: [f64; W]);

    /// The result so far.
    fn result(&self) -> [f64; W];

    /// The result over two neighbouring runs of items.
    fn join(a: [f64; W], b: [f64; W]) -> [f64; W];
}

/// The last `n` items, folded.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Window<F, const W: usize> {
    at: usize,
    n: usize,
    /// `n`, to divide by.
    count: f64,
    /// Items in the current block.
    filled: usize,
    /// Whether there is a block before the current one.
    primed: bool,
    block: F,
}

impl<F: Fold<W>, const W: usize> Window<F, W> {
    /// An empty window of `n >= 1` items.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        let at = layout.reserve((n - 1) * W);
        Self { at, n, count: n as f64, filled: 0, primed: false, block: F::begin([0.0; W]) }
    }

    /// Takes the next item in; the result over the last `n`, once there are as many.
    #[inline(always)]
    pub fn advance(&mut self, item: [f64; W], memory: &mut impl Memory) -> Option<[f64; W]> {
        self.fold(item, memory).map(|(result, _)| result)
    }

    /// The same, and the running fold of the current block, that knows how the result is to be read.
    #[inline(always)]
    pub fn fold(&mut self, item: [f64; W], memory: &mut impl Memory) -> Option<([f64; W], F)> {
        if !self.primed {
            return self.begin(item, memory);
        }
        self.block.add(item);
        let block = self.block;
        let from = &memory.held()[self.slot()];
        let earlier = from_fn(|j| from[j]);
        self.keep(item, memory);
        Some((F::join(earlier, block.result()), block))
    }

    /// The first block, whose items are no window yet; a window of one item never has another.
    #[inline(never)]
    fn begin(&mut self, item: [f64; W], memory: &mut impl Memory) -> Option<([f64; W], F)> {
        if self.filled == 0 {
            self.block = F::begin(item);
        }
        self.block.add(item);
        if self.n == 1 {
            return Some((self.block.result(), self.block));
        }
        self.keep(item, memory);
        None
    }

    /// How many items the window holds when full.
    #[inline]
    pub fn n(&self) -> f64 {
        self.count
    }

    /// The next slot of the block.
    #[inline(always)]
    fn slot(&self) -> Range<usize> {
        let at = self.at + self.filled * W;
        at..at + W
    }

    #[inline(always)]
    fn keep(&mut self, item: [f64; W], memory: &mut impl Memory) {
        let Some(memory) = memory.kept() else { return };
        memory[self.slot()].copy_from_slice(&item);
        self.filled += 1;
        if self.filled == self.n - 1 {
            self.end_block(item, memory);
        }
    }

    #[inline(never)]
    fn end_block(&mut self, newest: [f64; W], memory: &mut [f64]) {
        let mut fold = F::begin(newest);
        for slot in memory[self.at..][..(self.n - 1) * W].as_chunks_mut::<W>().0.iter_mut().rev() {
            fold.add(*slot);
            *slot = fold.result();
        }
        self.block = F::begin(newest);
        self.filled = 0;
        self.primed = true;
    }
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
