//! The newest rows of a series' columns: what models that look back over several bars read.

use super::plan::PlanState;
use crate::domain::FeatureVector;

/// A ring of rows, one a bar.
pub(super) struct Rows {
    values: Box<[f64]>,
    width: usize,
    max: usize,
    /// How many rows were pushed; the newest `max` of them are there.
    count: u64,
}

impl Rows {
    /// Room for `max >= 1` rows of `width` columns.
    pub(super) fn new(width: usize, max: usize) -> Self {
        Self { values: vec![f64::NAN; width * max].into(), width, max, count: 0 }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn push(&mut self, state: &PlanState) {
        let at = (self.count % self.max as u64) as usize * self.width;
        state.write(&mut self.values[at..at + self.width]);
        self.count += 1;
    }

    /// Takes the newest `rows` back: they are about to be pushed anew.
    pub(super) fn rewind(&mut self, rows: usize) {
        self.count -= rows as u64;
    }

    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// The newest `window` rows of `columns`, as of no set by name: the oldest first; the last of them is `provisional` where there is one.
    pub(super) fn collect(
        &self,
        columns: &[usize],
        window: usize,
        provisional: Option<&[f64]>,
    ) -> FeatureVector {
        let mut values = Vec::with_capacity(window * columns.len());
        let committed = window - usize::from(provisional.is_some());
        for back in (0..committed as u64).rev() {
            match self.count.checked_sub(back + 1) {
                Some(bar) => {
                    let row = (bar % self.max as u64) as usize * self.width;
                    values.extend(columns.iter().map(|column| self.values[row + column]));
                }
                None => values.extend(columns.iter().map(|_| f64::NAN)),
            }
        }
        values.extend(provisional.iter().flat_map(|row| columns.iter().map(|column| row[*column])));
        // Infinity is no more an input than NaN is: models turn both into plausible numbers.
        let undefined = values.iter().position(|value| !value.is_finite());
        FeatureVector { set: 0, values: values.into(), undefined }
    }
}
