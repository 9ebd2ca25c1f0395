//! A bar allocates nothing: counted by the allocator itself.

use super::Plan;
use super::catalogue;
use super::series::SeriesFeatures;
use super::tests_support::Market;
use crate::domain::{Admission, Bar, Stability, Timeframe};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Const and without a destructor, so that counting does not allocate.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise is the one asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 10]))), 1);
}

#[test]
fn a_bar_allocates_nothing_in_any_named_set() {
    let bars: Vec<Bar> = Market::new(5, 100.0).take(20_000).collect();
    for (set, names) in catalogue::SETS {
        let coarser: Vec<String> = names.iter().take(5).map(|name| format!("{name}@15m")).collect();
        let with_coarser: Vec<&str> =
            names.iter().copied().chain(coarser.iter().map(String::as_str)).collect();
        let plan = Plan::new(&with_coarser, Timeframe::MINUTE).unwrap();
        let (mut state, mut snapshot) = (plan.state(), plan.state());
        let mut out = vec![0.0; plan.len()];
        let count = allocations(|| {
            for (i, bar) in bars.iter().enumerate() {
                state.update(bar);
                state.write(&mut out);
                if i % 100 == 0 {
                    snapshot.clone_from(&state);
                }
            }
        });
        assert_eq!(count, 0, "{set}");
        // The same behind the retained bars of a series, changes included.
        let mut series = SeriesFeatures::new(plan, 8, 8, Stability::Digits4);
        let count = allocations(|| {
            for (i, bar) in bars.iter().enumerate() {
                series.take(bar, Admission::Next);
                if i % 50 == 0 {
                    series.take(&Bar { volume: bar.volume + 1.0, ..*bar }, Admission::Revision);
                }
            }
        });
        assert_eq!(count, 0, "{set}, as a series");
    }
}
