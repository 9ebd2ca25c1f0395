//! The batch limit of one key, which may change at any moment, and what its turns cost.
//!
//! Eight relaxed additions a turn, to memory that one worker at a time writes. No histogram for each key: whether
//! the 99th percentile of its turns is above a bound is the share of turns that took longer than it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many items one turn of a key takes at most, and what turns cost so far.
#[derive(Debug)]
pub struct BatchLimit {
    items: AtomicUsize,
    late_ns: u64,
    turns: AtomicU64,
    full: AtomicU64,
    late: AtomicU64,
    sum: AtomicU64,
    sum_squared: AtomicU64,
    busy_ns: AtomicU64,
    busy_us_squared: AtomicU64,
    items_busy_ns: AtomicU64,
}

/// What turns of one key cost: counts from its beginning, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchReading {
    /// Turns.
    pub turns: u64,
    /// Turns that took as many items as they may.
    pub full: u64,
    /// Turns that took longer than they should.
    pub late: u64,
    /// Items: the sum of all batch sizes.
    pub items: u64,
    /// The sum of the squares of all batch sizes.
    pub items_squared: u64,
    /// The time of all turns, in ns.
    pub busy_ns: u64,
    /// The sum of the squares of the times of all turns, in µs, modulo 2^64.
    pub busy_us_squared: u64,
    /// The sum over all turns of items times ns, modulo 2^64.
    pub items_busy_ns: u64,
}

impl BatchLimit {
    /// A limit of `items` a turn; turns longer than `late_ns` count as late.
    pub fn new(items: usize, late_ns: u64) -> Self {
        Self {
            items: AtomicUsize::new(items.max(1)),
            late_ns,
            turns: AtomicU64::new(0),
            full: AtomicU64::new(0),
            late: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            sum_squared: AtomicU64::new(0),
            busy_ns: AtomicU64::new(0),
            busy_us_squared: AtomicU64::new(0),
            items_busy_ns: AtomicU64::new(0),
        }
    }

    /// How many items a turn takes at most.
    pub fn get(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }

    /// Changes it, to at least 1.
    pub fn set(&self, items: usize) {
        self.items.store(items.max(1), Ordering::Relaxed);
    }

    /// How long a turn should take at most, in ns.
    pub fn late_ns(&self) -> u64 {
        self.late_ns
    }

    /// A turn over `items` items took this long.
    pub fn note(&self, items: usize, service_ns: u64) {
        let full = items >= self.get();
        let (items, us) = (items as u64, service_ns.div_ceil(1000));
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.full.fetch_add(u64::from(full), Ordering::Relaxed);
        self.late.fetch_add(u64::from(service_ns > self.late_ns), Ordering::Relaxed);
        self.sum.fetch_add(items, Ordering::Relaxed);
        self.sum_squared.fetch_add(items * items, Ordering::Relaxed);
        self.busy_ns.fetch_add(service_ns, Ordering::Relaxed);
        self.busy_us_squared.fetch_add(us.wrapping_mul(us), Ordering::Relaxed);
        self.items_busy_ns.fetch_add(items.wrapping_mul(service_ns), Ordering::Relaxed);
    }

    /// Everything so far.
    pub fn read(&self) -> BatchReading {
        BatchReading {
            turns: self.turns.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
            items: self.sum.load(Ordering::Relaxed),
            items_squared: self.sum_squared.load(Ordering::Relaxed),
            busy_ns: self.busy_ns.load(Ordering::Relaxed),
            busy_us_squared: self.busy_us_squared.load(Ordering::Relaxed),
            items_busy_ns: self.items_busy_ns.load(Ordering::Relaxed),
        }
    }
}

impl BatchReading {
    /// What was added since `earlier`, an older reading of the same key.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            turns: self.turns.wrapping_sub(earlier.turns),
            full: self.full.wrapping_sub(earlier.full),
            late: self.late.wrapping_sub(earlier.late),
            items: self.items.wrapping_sub(earlier.items),
            items_squared: self.items_squared.wrapping_sub(earlier.items_squared),
            busy_ns: self.busy_ns.wrapping_sub(earlier.busy_ns),
            busy_us_squared: self.busy_us_squared.wrapping_sub(earlier.busy_us_squared),
            items_busy_ns: self.items_busy_ns.wrapping_sub(earlier.items_busy_ns),
        }
    }
}
