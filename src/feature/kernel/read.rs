//! How a column is read off its kernel's values.

use super::{Values, ratio};

/// How a column is read off its kernel's values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read {
    /// The value with this number.
    Value(u8),
    /// The first value over the second number.
    Scaled(u8, f64),
    /// The first of these values over the other one; NaN when that is 0.
    Quotient(u8, u8),
    /// `100 * (ratio - 1)`, percent, of [`super::Spec::Lag`].
    Percent,
    /// `ratio - 1` of [`super::Spec::Lag`].
    Return,
    /// `ln(ratio)` of [`super::Spec::Lag`].
    Log,
    /// `mean + k * deviation` of [`super::Spec::Deviation`].
    Upper(f64),
    /// `mean - k * deviation` of [`super::Spec::Deviation`].
    Lower(f64),
    /// `(close - lower) / (upper - lower)` of [`super::Spec::Deviation`]; NaN when the window is flat.
    PercentB(f64),
    /// `(upper - lower) / mean` of [`super::Spec::Deviation`].
    Width(f64),
    /// `ln((ratio + 0.01) / 1.01)` of [`super::Spec::VolumeRatio`]; 0 when nothing was traded.
    RelativeVolume,
}

/// The logarithm, behind a call: inlined, it is computed for every column, whatever the column reads.
#[inline(never)]
fn ln(x: f64) -> f64 {
    x.ln()
}

/// Where a column goes, and how its value is read.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its place in the row.
    pub at: usize,
    /// How its value is read.
    pub read: Read,
}

impl Column {
    /// Writes the column's value of what its kernel said into the row.
    #[inline]
    pub fn write(&self, values: &Values, row: &mut [f64]) {
        row[self.at] = finite(self.read.of(values));
    }

    /// The same of several bars, whose rows follow each other in `rows`.
    pub fn write_run(&self, found: &[Values], rows: &mut [f64], width: usize) {
        let cells = rows.iter_mut().skip(self.at).step_by(width);
        match self.read {
            Read::Value(i) => {
                cells.zip(found).for_each(|(cell, values)| *cell = finite(values[usize::from(i) & 3]));
            }
            read => cells.zip(found).for_each(|(cell, values)| *cell = finite(read.computed(values))),
        }
    }
}

/// What is too large for an f64 is no number: undefined, like a ratio of nothing. And there is one NaN: which of the many
/// an operation gives is for the compiler to say, and a peek is compiled apart from an update.
#[inline]
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::NAN }
}

impl Read {
    /// The column's value.
    #[inline]
    fn of(self, values: &Values) -> f64 {
        match self {
            Self::Value(i) => values[usize::from(i) & 3],
            _ => self.computed(values),
        }
    }

    /// The value of a column that is more than one of the numbers, behind a call: inlined, the arithmetic of all
    /// of them was done for every column.
    #[inline(never)]
    fn computed(self, values: &Values) -> f64 {
        let [mean, deviation, distance, _] = *values;
        let value = |i: u8| values[usize::from(i) & 3];
        match self {
            Self::Value(i) => value(i),
            Self::Scaled(i, by) => value(i) / by,
            Self::Quotient(i, j) => ratio(value(i), value(j)),
            Self::Return => values[0] - 1.0,
            Self::Percent => (values[0] - 1.0) * 100.0,
            Self::Log => ln(values[0]),
            Self::Upper(k) => mean + k * deviation,
            Self::Lower(k) => mean - k * deviation,
            // The distance from the mean is exact where close - lower would cancel.
            Self::PercentB(k) => 0.5 + ratio(distance, 2.0 * k * deviation),
            Self::Width(k) => ratio(2.0 * k * deviation, mean),
            Self::RelativeVolume if values[1] == 0.0 => 0.0,
            Self::RelativeVolume => ln((values[0] + 0.01) / 1.01),
        }
    }
}
