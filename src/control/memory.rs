//! What the policy remembers of a stage: the largest value of the last minutes, whether a load that lasted has ended,
//! intervals that say too little alone.

use super::sample::Sample;

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

/// How busy a stage was lately, to tell when a load that lasted has ended. A burst does not last, and is no such load.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fall {
    /// Busy workers, and whether so many items say something; the newest last.
    seen: [(f64, bool); Fall::LASTED + Fall::INTERVALS as usize],
}

impl Fall {
    /// So many intervals in a row were all less busy than any of those before.
    pub(super) const INTERVALS: u64 = 2;
    /// So many.
    const LASTED: usize = 10;
    /// By so much.
    const TO: f64 = 0.7;

    /// Takes an interval in; whether the load has fallen.
    pub(super) fn note(&mut self, interval: &Sample) -> bool {
        self.seen.rotate_left(1);
        if let Some(newest) = self.seen.last_mut() {
            *newest = (interval.busy(), interval.is_telling());
        }
        let (before, now) = self.seen.split_at(Self::LASTED);
        let lasted = before.iter().map(|(busy, telling)| if *telling { *busy } else { 0.0 });
        let least = lasted.fold(f64::MAX, f64::min);
        now.iter().all(|(busy, _)| *busy < least * Self::TO)
    }
}

/// Puts intervals together until they say something.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pool {
    open: Option<Sample>,
    intervals: u64,
}

impl Pool {
    /// Of so many what is there is judged.
    const INTERVALS_MAX: u64 = 10;

    /// What can be judged with the interval that was `seen`, and of how many intervals it is.
    pub(super) fn judge(&mut self, seen: &Sample) -> Option<(Sample, u64)> {
        if seen.is_telling() {
            *self = Self::default();
            return Some((seen.clone(), 1));
        }
        let all = self.open.take().map_or_else(|| seen.clone(), |open| open.and(seen));
        self.intervals += 1;
        let enough = all.is_telling() || self.intervals >= Self::INTERVALS_MAX;
        // Where nothing was finished but something is in work, nothing is known yet.
        if enough && (all.items > 0 || all.depth == 0) {
            return Some((all, std::mem::take(self).intervals));
        }
        self.open = Some(all);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_lasted_has_fallen_when_two_intervals_say_so_and_a_burst_does_not() {
        let falls = |items, busy: &dyn Fn(usize) -> u64| {
            let mut fall = Fall::default();
            let sample = |n| Sample { lasted_ns: 10, items, busy_ns: busy(n), ..Sample::default() };
            (0..40).filter(|n| fall.note(&sample(*n))).collect::<Vec<usize>>()
        };
        assert_eq!(falls(100, &|n| if n < 20 { 36 } else { 4 }), [21]);
        assert!(falls(5, &|n| if n < 20 { 36 } else { 4 }).is_empty(), "too few to say so");
        assert!(falls(100, &|n| if n < 20 { 36 } else { 30 }).is_empty());
        assert!(falls(100, &|n| if (10..19).contains(&n) { 40 } else { 1 }).is_empty());
        assert!(falls(100, &|n| if n % 3 == 0 { 36 } else { 4 }).is_empty());
        assert!(falls(100, &|_| 0).is_empty());
    }

    #[test]
    fn intervals_with_few_items_are_put_together() {
        let few = |items, depth| Sample { lasted_ns: 1, arrivals: items, items, depth, ..Sample::default() };
        let mut pool = Pool::default();
        assert_eq!(pool.judge(&few(8, 0)), None);
        assert_eq!(pool.judge(&few(8, 0)), None);
        let (all, intervals) = pool.judge(&few(8, 0)).unwrap();
        assert_eq!((all.items, all.lasted_ns, intervals), (24, 3, 3));
        assert_eq!(pool.judge(&few(8, 0)), None);
        assert_eq!(pool.judge(&few(100, 0)).unwrap().0.items, 100, "it says enough alone");
        let judged: Vec<_> = (0..10).filter_map(|_| pool.judge(&few(0, 0))).collect();
        assert_eq!(judged.iter().map(|(_, intervals)| *intervals).collect::<Vec<_>>(), [10]);
        assert!((0..30).all(|_| pool.judge(&few(0, 3)).is_none()), "what is in work is not known yet");
    }

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
