//! Many bars of one series at once: kernel by kernel instead of bar by bar.
//!
//! The same arithmetic in the same order for each kernel, and so the same bits; but a kernel's numbers stay in
//! registers over a run of bars, and what a plan does once a bar is done once a run.

use super::super::kernel::{Slot, UNDEFINED, Values};
use super::{Gap, Plan, PlanState, WarmUp};
use crate::domain::{Bar, Timestamp};

/// How many bars a run takes at most.
const RUN: usize = 64;

/// A series' state that takes bars in runs. Made for tables of history; [`PlanState`] is for bars that come one by one.
pub struct Batch {
    state: PlanState,
    /// What each kernel says about each bar of a run.
    found: Box<[Values; RUN]>,
    /// The run's rows, one after another.
    rows: Box<[f64]>,
}

impl Batch {
    /// The state of a series before its first bar.
    pub fn new(plan: &Plan) -> Self {
        let rows = vec![f64::NAN; RUN * plan.len()].into();
        Self { state: plan.state(), found: Box::new([UNDEFINED; RUN]), rows }
    }

    /// Commits `bars`, each the next of its series. Gives `each` the number of every bar within `bars`, its values in the
    /// order of the plan's names (NaN where undefined), and whether `warm_up` is over by then. Allocates nothing.
    pub fn update(&mut self, mut bars: &[Bar], warm_up: &WarmUp, mut each: impl FnMut(usize, &[f64], bool)) {
        let mut done = 0;
        while !bars.is_empty() {
            let (taken, settled_from) = self.run(bars, warm_up);
            let width = self.state.values.len();
            for i in 0..taken {
                each(done + i, &self.rows[i * width..][..width], i >= settled_from);
            }
            done += taken;
            bars = &bars[taken..];
        }
    }

    /// Takes a run from the front of `bars`, and leaves its rows; returns how many bars it took, and from which of them on
    /// `warm_up` is over.
    fn run(&mut self, bars: &[Bar], warm_up: &WarmUp) -> (usize, usize) {
        let Self { state, found, rows } = self;
        let width = state.values.len();
        if !matches!(state.gap_before(&bars[0]), Gap::Skip(_)) {
            // Bars are filled in, or the series begins anew: a run of its own.
            state.update(&bars[0]);
            rows[..width].copy_from_slice(&state.values);
            return (1, usize::from(!state.is_past(warm_up)));
        }
        let nothing = Slot { bar: &bars[0], close: Timestamp::default(), missing: 0, synthetic: false };
        let mut slots = [nothing; RUN];
        let (mut taken, mut settled_from) = (0, RUN);
        let has_coarser = state.frames.len() > 1;
        for (bar, slot) in bars.iter().zip(&mut slots) {
            if !state.frames[0].is_next(bar.ts) && !matches!(state.gap_before(bar), Gap::Skip(_)) {
                break;
            }
            if has_coarser {
                state.take_coarser(bar, false);
                rows[taken * width..][..width].copy_from_slice(&state.values);
            }
            let close = state.shared.grid.close_of(bar.ts);
            *slot = Slot { bar, close, missing: state.note(bar), synthetic: false };
            if settled_from == RUN && state.is_past(warm_up) {
                settled_from = taken;
            }
            taken += 1;
        }
        let (slots, found) = (&slots[..taken], &mut found[..taken]);
        let shared = &state.shared;
        for i in shared.frames[0].1.clone() {
            state.kernels[i].take_run(slots, &mut state.memory, found);
            for column in &shared.columns[shared.readers[i].clone()] {
                column.write_run(found, rows, width);
            }
        }
        state.values.copy_from_slice(&rows[(taken - 1) * width..][..width]);
        (taken, settled_from)
    }
}
