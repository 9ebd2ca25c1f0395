//! What a stage did: histograms of queue wait and service time, kept per worker, merged by the reader.
//!
//! Recording is a few relaxed additions to memory that no other worker writes: no lock, no allocation.
//! The cells are laid out as an HDR histogram's are (values below 128 exactly, then 64 equal steps for
//! every power of two: at most 1.6 % off); a reading adds them up in an [`hdrhistogram::Histogram`].

use crossbeam::utils::CachePadded;
use hdrhistogram::Histogram;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const EXACT_BITS: u32 = 7;
const STEPS: usize = 1 << (EXACT_BITS - 1);
/// 2^40 ns: 18 minutes. What is longer counts as that long.
const TOP_BIT: u32 = 40;
const CELLS: usize = 2 * STEPS + (TOP_BIT - EXACT_BITS) as usize * STEPS;
/// The longest duration that is told apart, in ns.
const MAX_NS: u64 = (1 << TOP_BIT) - 1;

fn cell_of(value_ns: u64) -> usize {
    let value = value_ns.min(MAX_NS);
    if value < 1 << EXACT_BITS {
        return value as usize;
    }
    let shift = value.ilog2() - (EXACT_BITS - 1);
    shift as usize * STEPS + (value >> shift) as usize
}

/// The middle of a cell's range.
fn value_of(cell: usize) -> u64 {
    if cell < 2 * STEPS {
        return cell as u64;
    }
    let shift = (cell / STEPS - 1) as u32;
    let low = ((cell - shift as usize * STEPS) as u64) << shift;
    low + (1 << shift) / 2
}

struct Cells(Box<[AtomicU64]>);

impl Cells {
    fn new() -> Self {
        Self((0..CELLS).map(|_| AtomicU64::new(0)).collect())
    }

    fn record(&self, value_ns: u64, count: u64) {
        self.0[cell_of(value_ns)].fetch_add(count, Ordering::Relaxed);
    }

    fn add_to(&self, histogram: &mut Histogram<u64>) {
        for (cell, count) in self.0.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                histogram.saturating_record_n(value_of(cell).max(1), count);
            }
        }
    }
}

/// One worker's share of a meter.
struct Sheet {
    queue_wait: Cells,
    service: Cells,
    items: AtomicU64,
    turns: AtomicU64,
    busy_ns: AtomicU64,
    blocked_ns: AtomicU64,
}

/// The measurements of one stage.
pub struct Meter {
    sheets: Box<[CachePadded<Sheet>]>,
    panics: AtomicU64,
}

/// A meter read at one moment; counts from the start of the engine.
#[derive(Clone, Debug)]
pub struct MeterReading {
    /// From `put` until a worker claimed the item, in ns.
    pub queue_wait: Histogram<u64>,
    /// How long the turn took that handled the item, in ns, without the time for which the next stage had no
    /// room; once for every item of the turn.
    pub service: Histogram<u64>,
    /// Items handled.
    pub items: u64,
    /// Turns run; `items / turns` is the mean batch.
    pub turns: u64,
    /// Time spent in turns, over all workers, in ns.
    pub busy_ns: u64,
    /// Time for which turns waited for room in the next stage, over all workers, in ns; not in `busy_ns`.
    pub blocked_ns: u64,
    /// Items over which a handler panicked.
    pub panics: u64,
}

/// This thread's number: its sheet in every meter. Threads beyond the sheets share them, which costs
/// them speed and nothing else.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) }; }
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

impl Meter {
    /// A meter for about `workers` threads.
    pub fn new(workers: usize) -> Self {
        let sheet = || {
            CachePadded::new(Sheet {
                queue_wait: Cells::new(),
                service: Cells::new(),
                items: AtomicU64::new(0),
                turns: AtomicU64::new(0),
                busy_ns: AtomicU64::new(0),
                blocked_ns: AtomicU64::new(0),
            })
        };
        Self { sheets: (0..workers.max(1)).map(|_| sheet()).collect(), panics: AtomicU64::new(0) }
    }

    fn sheet(&self) -> &Sheet {
        &self.sheets[thread_number() % self.sheets.len()]
    }

    /// Items handled so far, over all workers.
    pub fn items(&self) -> u64 {
        self.sheets.iter().map(|sheet| sheet.items.load(Ordering::Relaxed)).sum()
    }

    /// An item waited this long.
    pub fn waited(&self, wait_ns: u64) {
        self.sheet().queue_wait.record(wait_ns, 1);
    }

    /// A turn over `items` items took this long, beside the time for which it waited for room.
    pub(super) fn served(&self, items: u64, service_ns: u64, blocked_ns: u64) {
        let sheet = self.sheet();
        sheet.service.record(service_ns, items);
        sheet.items.fetch_add(items, Ordering::Relaxed);
        sheet.turns.fetch_add(1, Ordering::Relaxed);
        sheet.busy_ns.fetch_add(service_ns, Ordering::Relaxed);
        if blocked_ns > 0 {
            sheet.blocked_ns.fetch_add(blocked_ns, Ordering::Relaxed);
        }
    }

    /// A handler panicked over an item.
    pub(super) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds all workers' shares up.
    pub fn read(&self) -> MeterReading {
        // Bounds that are constant and valid: 1 < 2 * 1 <= 2^40, 2 digits.
        #[allow(clippy::unwrap_used)]
        let histogram = || Histogram::new_with_bounds(1, MAX_NS, 2).unwrap();
        let mut reading = MeterReading {
            queue_wait: histogram(),
            service: histogram(),
            items: 0,
            turns: 0,
            busy_ns: 0,
            blocked_ns: 0,
            panics: self.panics.load(Ordering::Relaxed),
        };
        for sheet in &self.sheets {
            sheet.queue_wait.add_to(&mut reading.queue_wait);
            sheet.service.add_to(&mut reading.service);
            reading.items += sheet.items.load(Ordering::Relaxed);
            reading.turns += sheet.turns.load(Ordering::Relaxed);
            reading.busy_ns += sheet.busy_ns.load(Ordering::Relaxed);
            reading.blocked_ns += sheet.blocked_ns.load(Ordering::Relaxed);
        }
        reading
    }
}

impl MeterReading {
    /// What was added since `earlier`, an older reading of the same meter: nothing has to be reset for it.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let added = |now: &Histogram<u64>, then: &Histogram<u64>| {
            let mut added = now.clone();
            // Cells only grow and the later reading saw every one of them later: it cannot fail.
            let _ = added.subtract(then);
            added
        };
        Self {
            queue_wait: added(&self.queue_wait, &earlier.queue_wait),
            service: added(&self.service, &earlier.service),
            items: self.items.saturating_sub(earlier.items),
            turns: self.turns.saturating_sub(earlier.turns),
            busy_ns: self.busy_ns.saturating_sub(earlier.busy_ns),
            blocked_ns: self.blocked_ns.saturating_sub(earlier.blocked_ns),
            panics: self.panics.saturating_sub(earlier.panics),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_holds_its_own_middle_and_nothing_is_off_by_more_than_two_percent() {
        for cell in 0..CELLS {
            assert_eq!(cell_of(value_of(cell)), cell);
        }
        let mut value = 1_u64;
        while value < MAX_NS {
            let read = value_of(cell_of(value));
            assert!(read.abs_diff(value) as f64 <= value as f64 / 64.0, "{value} read as {read}");
            value += value / 10 + 1;
        }
        assert_eq!(cell_of(u64::MAX), CELLS - 1);
    }

    #[test]
    fn a_reading_agrees_with_an_hdr_histogram_over_many_threads() {
        let meter = Meter::new(3);
        let mut exact = Histogram::<u64>::new_with_bounds(1, MAX_NS, 3).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..5_u64 {
                let values = (0..2000).map(move |n| (n * 37 + thread * 1009) * (n % 50 + 1) + 1);
                values.clone().for_each(|v| exact.record(v).unwrap());
                let meter = &meter;
                scope.spawn(move || {
                    values.for_each(|v| {
                        meter.waited(v);
                        meter.served(1, v, 0);
                    });
                });
            }
        });
        let reading = meter.read();
        assert_eq!((reading.items, reading.queue_wait.len()), (10_000, 10_000));
        for q in [0.01, 0.5, 0.9, 0.99, 0.999] {
            let (read, truth) = (reading.service.value_at_quantile(q), exact.value_at_quantile(q));
            assert!(read.abs_diff(truth) as f64 <= truth as f64 * 0.03, "{q}: {read} for {truth}");
        }
    }

    #[test]
    fn the_difference_of_two_readings_is_what_happened_between_them() {
        let meter = Meter::new(2);
        for wait in [10, 1_000, 5_000_000] {
            meter.waited(wait);
            meter.served(1, wait, 7);
        }
        let before = meter.read();
        for _ in 0..99 {
            meter.waited(2_000);
        }
        meter.waited(90_000);
        meter.served(100, 300, 0);
        let between = meter.read().since(&before);
        assert_eq!((between.items, between.turns, between.busy_ns, between.blocked_ns), (100, 1, 300, 0));
        assert_eq!((between.queue_wait.len(), between.service.len()), (100, 100));
        let near = |read: u64, truth: u64| read.abs_diff(truth) * 50 <= truth;
        assert!(near(between.queue_wait.value_at_quantile(0.99), 2_000), "{:?}", between.queue_wait);
        assert!(near(between.queue_wait.max(), 90_000), "what was before is gone");
    }
}
