//! The largest value of the last minutes, without remembering every value.

const BUCKETS: usize = 4;

/// A rolling maximum: a value is remembered for three to four times `BUCKET_MS`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Peaks<const BUCKET_MS: u64> {
    buckets: [f64; BUCKETS],
    newest: u64,
}

impl<const BUCKET_MS: u64> Peaks<BUCKET_MS> {
    /// Takes a value of `now_ms` in.
    pub(super) fn note(&mut self, value: f64, now_ms: u64) {
        self.forget(now_ms);
        let bucket = &mut self.buckets[self.newest as usize % BUCKETS];
        *bucket = bucket.max(value);
    }

    /// The largest value that is remembered at `now_ms`; 0 where there is none.
    pub(super) fn max(&mut self, now_ms: u64) -> f64 {
        self.forget(now_ms);
        self.buckets.into_iter().fold(0.0, f64::max)
    }

    fn forget(&mut self, now_ms: u64) {
        let now = now_ms / BUCKET_MS;
        let passed = now.saturating_sub(self.newest);
        for n in 0..passed.min(BUCKETS as u64) {
            self.buckets[(now - n) as usize % BUCKETS] = 0.0;
        }
        self.newest = self.newest.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_remembered_for_three_minutes_and_forgotten_after_four() {
        let mut peaks = Peaks::<60_000>::default();
        peaks.note(7.0, 59_000);
        peaks.note(2.0, 61_000);
        assert_eq!(peaks.max(239_000), 7.0);
        assert_eq!(peaks.max(241_000), 2.0);
        assert_eq!(peaks.max(10_000_000), 0.0);
    }
}
