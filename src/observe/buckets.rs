//! Durations counted in fixed buckets. The counts only grow, so that any reader, at an interval of its own, gets what
//! happened since by subtraction: rates, quantiles, a distribution.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::sync::LazyLock;

/// Buckets for each doubling.
const PER_OCTAVE: i32 = 4;

/// From 1 µs to 2^24 µs, 17 s: what is longer has a bucket of its own.
const OCTAVES: i32 = 24;

/// The upper bounds of the buckets in µs, rising: `2^(n/4)`. Every fourth is a whole power of two.
pub static BOUNDS_US: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let bound = |n: i32| (f64::from(n) / f64::from(PER_OCTAVE)).exp2();
    (0..=OCTAVES * PER_OCTAVE).map(bound).collect()
});

/// How many durations there were up to each of [`BOUNDS_US`] and above the bound before it; the last is what was longer
/// than all. Off by a bucket where a duration is within 2 % of a bound, which is what the histograms tell apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Buckets(pub Vec<u64>);

impl Buckets {
    /// Counts a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let mut counts = vec![0; BOUNDS_US.len() + 1];
        for cell in histogram.iter_recorded() {
            let us = cell.value_iterated_to() as f64 / 1e3;
            counts[BOUNDS_US.partition_point(|bound| *bound < us)] += cell.count_since_last_iteration();
        }
        Self(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_counted_once_and_in_its_place() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 1 << 40, 3).unwrap();
        for (ns, times) in [(1, 2), (900, 1), (3_000, 5), (3_000_000, 7), (1 << 39, 3)] {
            histogram.record_n(ns, times).unwrap();
        }
        let Buckets(counts) = Buckets::of(&histogram);
        assert_eq!(counts.len(), BOUNDS_US.len() + 1);
        assert_eq!(counts.iter().sum::<u64>(), histogram.len());
        assert_eq!((counts[0], counts[counts.len() - 1]), (3, 3));
        let within = |low: f64, high: f64| -> u64 {
            let inside = |(n, _): &(usize, &u64)| *n > 0 && BOUNDS_US[n - 1] >= low && BOUNDS_US[*n] <= high;
            counts[..BOUNDS_US.len()].iter().enumerate().filter(inside).map(|(_, count)| count).sum()
        };
        assert_eq!((within(2.0, 4.0), within(2048.0, 4096.0)), (5, 7));
    }
}
