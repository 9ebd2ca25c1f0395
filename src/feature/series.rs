//! What the feature stage knows of one series: the state of its kernels, and what they said of the newest bars.

use super::plan::{Plan, PlanState, SavedState, WarmUp};
use super::retained::Retained;
use super::rows::Rows;
use crate::domain::{Admission, Bar, FeatureVector, Stability, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// All of [`SeriesFeatures`] that a process which replaces this one cannot know by itself.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedFeatures<'s> {
    /// Where newer bars can change: the state before them.
    state: SavedState<'s>,
    newer_at: usize,
    bars: Cow<'s, [Bar]>,
    rows: Cow<'s, [f64]>,
    counts: [u64; 2],
    newest: Option<Timestamp>,
}

/// The features of one series: its state, the newest rows, and what it takes to change one of the newest bars.
///
/// Whatever came in whatever order, its rows are those of a series whose bars came in order and unchanged.
pub struct SeriesFeatures {
    plan: Plan,
    live: PlanState,
    rows: Rows,
    retained: Option<Retained>,
    /// What `live` says of a bar that has not closed.
    provisional: Box<[f64]>,
    newest: Option<Timestamp>,
    stability: Stability,
}

impl SeriesFeatures {
    /// Of a plan's features, rows kept for the newest `rows_max` bars; the newest `revision_bars` bars can change.
    pub fn new(plan: Plan, rows_max: usize, revision_bars: usize, stability: Stability) -> Self {
        let live = plan.state();
        let retained = (revision_bars > 0).then(|| Retained::new(revision_bars, &live));
        // A bar that is answered anew looks back over `rows_max` bars from where it stands, others may have been withdrawn.
        let rows = Rows::new(plan.len(), rows_max.max(1) + 2 * revision_bars);
        let provisional = vec![f64::NAN; plan.len()].into();
        Self { plan, live, rows, retained, provisional, newest: None, stability }
    }

    pub(super) fn save(&self) -> SavedFeatures<'_> {
        let retained = self.retained.as_ref().map(Retained::save);
        let (state, newer_at, bars) = retained.unwrap_or_else(|| (self.live.save(), 0, &[]));
        let (rows, counts) = self.rows.save();
        let newest = self.newest;
        SavedFeatures { state, newer_at, bars: bars.into(), rows: rows.into(), counts, newest }
    }

    /// Goes on where a series of the same plan and rules stood; `None` where it was another one.
    pub(super) fn restore(mut self, saved: SavedFeatures<'_>) -> Option<Self> {
        let SavedFeatures { state, newer_at, bars, rows, counts, newest } = saved;
        let state = self.plan.restore(state)?;
        match &mut self.retained {
            Some(retained) => {
                (*retained, self.live) = retained.restored(state, newer_at, bars.into_owned());
            }
            None => self.live = state,
        }
        self.newest = newest;
        self.rows.restore(&rows, counts).then_some(self)
    }

    /// The open time of the newest bar.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// Takes a bar in. False where it is a change that comes too late: nothing changed then.
    pub fn take(&mut self, bar: &Bar, admission: Admission) -> bool {
        let anew = match admission {
            Admission::Next => {
                self.take_next(bar);
                return true;
            }
            Admission::Revision | Admission::Late => self.rewind(bar),
            Admission::Withdrawn => self.withdraw(bar.ts),
        };
        (0..anew.unwrap_or(0)).rev().for_each(|behind| self.retake(behind));
        anew.is_some()
    }

    /// Takes in a bar that is newer than all before.
    pub(super) fn take_next(&mut self, bar: &Bar) {
        let Self { live, rows, retained, .. } = self;
        live.update(bar);
        rows.push(live);
        if let Some(retained) = retained {
            retained.note(bar, live);
        }
        self.newest = Some(bar.ts);
    }

    /// Goes back to before a changed or late bar. Returns how many bars are to be taken anew, it and those behind it;
    /// `None`, and nothing changed, where it comes too late.
    pub(super) fn rewind(&mut self, bar: &Bar) -> Option<usize> {
        let Self { live, rows, retained, .. } = self;
        retained.as_mut()?.rewind(bar, live, rows)
    }

    /// Whether the bar that opened at `ts` is, or would be, among those that can be changed.
    pub(super) fn reaches(&self, ts: Timestamp) -> bool {
        self.retained.as_ref().is_some_and(|retained| retained.reaches(ts))
    }

    /// Takes a bar out and goes back to before it. Returns how many bars are to be taken anew, those behind it; `None`,
    /// and nothing changed, where it is not among those that can be changed.
    pub(super) fn withdraw(&mut self, ts: Timestamp) -> Option<usize> {
        let Self { live, rows, retained, .. } = self;
        let anew = retained.as_mut()?.withdraw(ts, live, rows)?;
        if self.newest == Some(ts) {
            self.newest = self.live.newest_ts();
        }
        Some(anew)
    }

    /// Takes the bar anew that has `behind` newer ones: what is collected then is what a replay gives at this bar.
    pub(super) fn retake(&mut self, behind: usize) {
        let Self { live, rows, retained, .. } = self;
        if let Some(retained) = retained {
            retained.retake(behind, live, rows);
        }
    }

    /// Sets the newest bar's answer aside for what would be, if `bar` closed as it is now.
    pub fn peek(&mut self, bar: &Bar) {
        self.live.peek(bar, &mut self.provisional);
    }

    /// The newest `window` rows of `columns`, as of no set by name; the last of them what was peeked at, if `provisional`.
    pub fn collect(&self, columns: &[usize], window: usize, provisional: bool) -> FeatureVector {
        let mut values: Box<[f64]> = vec![f64::NAN; window * columns.len()].into();
        let undefined = self.write(columns, window, provisional, &mut values);
        FeatureVector { set: 0, values, undefined }
    }

    /// [`SeriesFeatures::collect`] into `values`, which has a place for each; the index of the first that is undefined.
    pub(super) fn write(
        &self,
        columns: &[usize],
        window: usize,
        provisional: bool,
        values: &mut [f64],
    ) -> Option<usize> {
        self.rows.write(columns, window, provisional.then_some(&*self.provisional), values)
    }

    /// What `columns` take before they are used over the newest `window` bars.
    pub fn warm_up(&self, columns: &[usize], window: usize) -> WarmUp {
        self.plan.warm_up(columns, window, self.stability)
    }

    /// Whether `warm_up` is over.
    pub fn is_past(&self, warm_up: &WarmUp) -> bool {
        self.live.is_past(warm_up)
    }

    /// Why `columns` are not used yet over the newest `window` bars: the one that takes longest.
    pub fn warming_up(&self, columns: &[usize], window: usize) -> String {
        let takes = |column: &usize| self.plan.warm_up_bars(*column, self.stability);
        let Some(column) = columns.iter().copied().max_by_key(takes) else { return String::new() };
        let name: &Arc<str> = &self.plan.names()[column];
        let needs = takes(&column) + window as u64 - 1;
        let until = match self.stability {
            Stability::Defined => "is defined",
            Stability::Digits4 => "no longer depends, in 4 digits, on where the series begins",
            Stability::Digits8 => "no longer depends, in 8 digits, on where the series begins",
        };
        let bars = self.live.bars();
        format!("{name} takes {needs} bars until it {until}; {bars} were taken so far")
    }

    /// Which feature is the one at `index` of what was collected for `columns`, and how many bars were taken.
    pub fn undefined(&self, columns: &[usize], window: usize, index: usize) -> String {
        let (row, column) = (index / columns.len(), index % columns.len());
        let name = &self.plan.names()[columns[column]];
        let bars_ago = window - 1 - row;
        let ago = if bars_ago == 0 { String::new() } else { format!(" {bars_ago} bars ago") };
        format!("{name} is undefined{ago}; {} bars of the series were taken so far", self.rows.count())
    }

    /// Forgets all bars.
    pub fn reset(&mut self) {
        self.live.reset();
        self.rows.clear();
        if let Some(retained) = &mut self.retained {
            retained.reset(&self.live);
        }
    }
}
