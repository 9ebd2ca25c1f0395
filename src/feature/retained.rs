//! The newest bars of a series, and states to go back to when one of them changes after it closed.

use super::plan::{PlanState, SavedState};
use super::rows::Rows;
use crate::domain::{Bar, Timestamp};

/// Two snapshots and the bars since the older one. A snapshot is taken every `span` bars, so that at least the
/// newest `span` bars can be changed; copying costs a bar only a `span`-th of a copy.
pub(super) struct Retained {
    span: usize,
    older: PlanState,
    newer: PlanState,
    /// How many of `bars` the newer snapshot has taken.
    newer_at: usize,
    /// The bars since the older snapshot.
    bars: Vec<Bar>,
}

impl Retained {
    /// For the newest `span >= 1` bars of a series that stands at `state`.
    pub(super) fn new(span: usize, state: &PlanState) -> Self {
        Self {
            span,
            older: state.clone(),
            newer: state.clone(),
            newer_at: 0,
            bars: Vec::with_capacity(2 * span),
        }
    }

    /// The older snapshot, how many bars behind it the newer one stands, and the bars since: all the rest follows.
    pub(super) fn save(&self) -> (SavedState<'_>, usize, &[Bar]) {
        (self.older.save(), self.newer_at, &self.bars)
    }

    /// What was saved, and the state of the series behind it: `older` was saved first, and `bars` came since.
    pub(super) fn restored(&self, older: PlanState, newer_at: usize, bars: Vec<Bar>) -> (Self, PlanState) {
        let (mut live, mut newer) = (older.clone(), older.clone());
        for (at, bar) in bars.iter().enumerate() {
            live.update(bar);
            if at + 1 == newer_at {
                newer.clone_from(&live);
            }
        }
        (Self { span: self.span, older, newer, newer_at, bars }, live)
    }

    /// Notes a bar that `live` has just taken.
    pub(super) fn note(&mut self, bar: &Bar, live: &PlanState) {
        self.bars.push(*bar);
        self.turn(live);
    }

    fn turn(&mut self, live: &PlanState) {
        if self.bars.len() - self.newer_at < self.span {
            return;
        }
        std::mem::swap(&mut self.older, &mut self.newer);
        self.newer.clone_from(live);
        self.bars.drain(..self.newer_at);
        self.newer_at = self.bars.len();
    }

    /// Puts a changed or late bar in its place and brings `live` and `rows` back to where they stood before it.
    /// Returns how many bars are to be taken anew by [`Self::retake`], this one first; `None`, and nothing
    /// changed, where it lies before the bars that are retained.
    pub(super) fn rewind(&mut self, bar: &Bar, live: &mut PlanState, rows: &mut Rows) -> Option<usize> {
        if !self.reaches(bar.ts) {
            return None;
        }
        let at = self.bars.partition_point(|known| known.ts < bar.ts);
        // Into the bars before the newer snapshot, or behind it.
        let before_newer = at < self.newer_at;
        let from = if before_newer { 0 } else { self.newer_at };
        rows.rewind(self.bars.len() - from);
        match self.bars.get_mut(at).filter(|known| known.ts == bar.ts) {
            Some(known) => *known = *bar,
            None => {
                self.bars.insert(at, *bar);
                self.newer_at += usize::from(before_newer);
            }
        }
        live.clone_from(if before_newer { &self.older } else { &self.newer });
        for bar in &self.bars[from..at] {
            live.update(bar);
            rows.push(live);
        }
        Some(self.bars.len() - at)
    }

    /// Whether the bar that opened at `ts` is, or would be, among those that can be changed.
    pub(super) fn reaches(&self, ts: Timestamp) -> bool {
        self.older.newest_ts().is_none_or(|older| ts > older)
    }

    /// Takes a bar out that is among those that can be changed, and brings `live` and `rows` back to where they stood
    /// before it. Returns how many bars are to be taken anew by [`Self::retake`]; `None`, and nothing changed, where it
    /// is not there.
    pub(super) fn withdraw(&mut self, ts: Timestamp, live: &mut PlanState, rows: &mut Rows) -> Option<usize> {
        let at = self.bars.binary_search_by_key(&ts, |known| known.ts).ok()?;
        let before_newer = at < self.newer_at;
        let from = if before_newer { 0 } else { self.newer_at };
        rows.rewind(self.bars.len() - from);
        self.bars.remove(at);
        self.newer_at -= usize::from(before_newer);
        live.clone_from(if before_newer { &self.older } else { &self.newer });
        for bar in &self.bars[from..at] {
            live.update(bar);
            rows.push(live);
        }
        if before_newer && at == self.newer_at {
            // It was the last before the newer snapshot, which no bar brings back.
            self.newer.clone_from(live);
        }
        Some(self.bars.len() - at)
    }

    /// Takes the bar anew that has `behind` newer ones. After a rewind each is taken, the oldest first.
    pub(super) fn retake(&mut self, behind: usize, live: &mut PlanState, rows: &mut Rows) {
        let taken = self.bars.len() - behind;
        live.update(&self.bars[taken - 1]);
        rows.push(live);
        if taken == self.newer_at {
            self.newer.clone_from(live);
        }
        if behind == 0 {
            self.turn(live);
        }
    }

    /// Begins anew with `state`.
    pub(super) fn reset(&mut self, state: &PlanState) {
        self.older.clone_from(state);
        self.newer.clone_from(state);
        self.newer_at = 0;
        self.bars.clear();
    }
}
