//! Sums, and what rounding takes from them.

use serde::{Deserialize, Serialize};
use std::array::from_fn;

/// Adds each of `W` quantities: side by side, so that the processor adds two at once.
#[inline(always)]
pub fn sum<const W: usize>(a: [f64; W], b: [f64; W]) -> [f64; W] {
    from_fn(|j| a[j] + b[j])
}

/// What rounding takes from [`sum`]. Source: D. Knuth's TwoSum.
#[inline(always)]
pub fn error_of_sum<const W: usize>(a: [f64; W], b: [f64; W]) -> [f64; W] {
    from_fn(|j| {
        let sum = a[j] + b[j];
        let of_b = sum - a[j];
        (a[j] - (sum - of_b)) + (b[j] - of_b)
    })
}

/// A sum over a whole history, with its rounding errors carried along: exact to about twice the precision of `f64`.
/// Source: A. Neumaier, 1974.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Endless {
    high: f64,
    low: f64,
}

impl Endless {
    /// Adds `x`.
    #[inline(always)]
    pub fn add(&mut self, x: f64) {
        let [error] = error_of_sum([self.high], [x]);
        self.low += error;
        self.high += x;
    }

    /// The sum, rounded once.
    #[inline(always)]
    pub fn get(&self) -> f64 {
        self.high + self.low
    }
}
