//! A sum over a whole history.

use serde::{Deserialize, Serialize};

/// A sum with its rounding errors carried along, exact to about twice the precision of `f64`: for what never ends.
/// Source: A. Neumaier, 1974; the error of one addition by D. Knuth's TwoSum.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Endless {
    high: f64,
    low: f64,
}

impl Endless {
    /// Adds `x`.
    #[inline(always)]
    pub fn add(&mut self, x: f64) {
        let sum = self.high + x;
        let of_x = sum - self.high;
        self.low += (self.high - (sum - of_x)) + (x - of_x);
        self.high = sum;
    }

    /// The sum, rounded once.
    #[inline(always)]
    pub fn get(&self) -> f64 {
        self.high + self.low
    }
}
