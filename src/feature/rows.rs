//! The newest rows of a series' columns: what models that look back over several bars read.

use super::plan::PlanState;

/// A ring of rows, one a bar.
pub(super) struct Rows {
    values: Box<[f64]>,
    width: usize,
    max: usize,
    /// How many rows were pushed and not taken back.
    count: u64,
    /// The most there ever were: the newest `max` of those are there, or were overwritten by what was pushed anew.
    most: u64,
}

impl Rows {
    /// Room for `max >= 1` rows of `width` columns.
    pub(super) fn new(width: usize, max: usize) -> Self {
        Self { values: vec![f64::NAN; width * max].into(), width, max, count: 0, most: 0 }
    }

    /// The rows as they lie in the ring, how many were pushed, and the most there ever were.
    pub(super) fn save(&self) -> (&[f64], [u64; 2]) {
        (&self.values, [self.count, self.most])
    }

    /// Takes up what was saved; false where the ring was another one.
    pub(super) fn restore(&mut self, values: &[f64], counts: [u64; 2]) -> bool {
        let same = values.len() == self.values.len();
        if same {
            self.values.copy_from_slice(values);
            [self.count, self.most] = counts;
        }
        same
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn push(&mut self, state: &PlanState) {
        let at = (self.count % self.max as u64) as usize * self.width;
        state.write(&mut self.values[at..at + self.width]);
        self.count += 1;
        self.most = self.most.max(self.count);
    }

    /// Takes the newest `rows` back: they are about to be pushed anew.
    pub(super) fn rewind(&mut self, rows: usize) {
        self.count -= rows as u64;
    }

    pub(super) fn clear(&mut self) {
        (self.count, self.most) = (0, 0);
    }

    /// Writes the newest `window` rows of `columns` into `values`, the oldest first; the last of them is `provisional`
    /// where there is one. The index of the first value that is undefined.
    pub(super) fn write(
        &self,
        columns: &[usize],
        window: usize,
        provisional: Option<&[f64]>,
        values: &mut [f64],
    ) -> Option<usize> {
        let committed = window - usize::from(provisional.is_some());
        for (i, row) in values.chunks_exact_mut(columns.len().max(1)).enumerate() {
            let known = match self.count.checked_sub(committed.saturating_sub(i) as u64) {
                _ if i >= committed => provisional,
                // Rows were taken back for good, and newer ones had been written over this one.
                Some(bar) if self.most - bar > self.max as u64 => None,
                Some(bar) => {
                    let at = (bar % self.max as u64) as usize * self.width;
                    Some(&self.values[at..at + self.width])
                }
                None => None,
            };
            for (value, column) in row.iter_mut().zip(columns) {
                *value = known.map_or(f64::NAN, |known| known[*column]);
            }
        }
        // Infinity is no more an input than NaN is: models turn both into plausible numbers.
        values.iter().position(|value| !value.is_finite())
    }
}
