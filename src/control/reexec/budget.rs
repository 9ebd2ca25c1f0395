//! How often a process may replace itself: a defect that fills the memory at once must not become a loop.

use std::time::Duration;

/// The longest pause before a copy begins to work.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// So many, in so long a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Replacements at most.
    pub restarts_max: usize,
    /// Within this long.
    pub window: Duration,
    /// What the copy waits before it begins to work: nothing the first time within the window, this the second
    /// time, twice as long each further time, at most a minute.
    pub pause: Duration,
}

/// Whether it may do so once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Yes; the copy waits first.
    After(Duration),
    /// No: there were so many already.
    Never {
        /// Within the window.
        restarts: usize,
    },
}

impl Budget {
    /// Decides at `now_ms`, when there were replacements at the times `past_ms`.
    pub fn next(&self, past_ms: &[u64], now_ms: u64) -> Next {
        let restarts = self.within(past_ms, now_ms).count();
        if restarts >= self.restarts_max {
            return Next::Never { restarts };
        }
        let Some(doublings) = restarts.checked_sub(1) else { return Next::After(Duration::ZERO) };
        let factor = 1_u32.checked_shl(doublings.min(31) as u32).unwrap_or(u32::MAX);
        Next::After(self.pause.saturating_mul(factor).min(PAUSE_MAX))
    }

    /// Those of `past_ms` that still count. A clock that was set back makes none of them count for longer.
    pub fn within<'a>(&self, past_ms: &'a [u64], now_ms: u64) -> impl Iterator<Item = u64> + 'a {
        let window_ms = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX);
        let counts = move |at: &u64| now_ms.checked_sub(*at).is_some_and(|age| age < window_ms);
        past_ms.iter().copied().filter(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_as_a_table() {
        let budget =
            Budget { restarts_max: 4, window: Duration::from_secs(600), pause: Duration::from_secs(1) };
        let seconds = |s: u64| Next::After(Duration::from_secs(s));
        // Times of those before, in s; now; what is decided.
        let cases: [(&[u64], u64, Next); 9] = [
            (&[], 1000, seconds(0)),
            (&[999], 1000, seconds(1)),
            (&[990, 999], 1000, seconds(2)),
            (&[980, 990, 999], 1000, seconds(4)),
            (&[970, 980, 990, 999], 1000, Next::Never { restarts: 4 }),
            // The oldest has left the window.
            (&[970, 980, 990, 999], 1570, seconds(4)),
            (&[970, 980, 990, 999], 1599, seconds(0)),
            (&[970, 980, 990, 999], 1598, seconds(1)),
            // The clock was set back: what lies ahead is no reason.
            (&[970, 980, 990, 999], 100, seconds(0)),
        ];
        for (past, now, expected) in cases {
            let past: Vec<u64> = past.iter().map(|s| s * 1000).collect();
            assert_eq!(budget.next(&past, now * 1000), expected, "{past:?} at {now}");
        }
        let never = Budget { restarts_max: 0, ..budget };
        assert_eq!(never.next(&[], 0), Next::Never { restarts: 0 });
        let many = Budget { restarts_max: 1000, ..budget };
        assert_eq!(many.next(&[1; 900], 2), seconds(60), "it grows no longer than to a minute");
        let unpaused = Budget { restarts_max: 1000, pause: Duration::ZERO, ..budget };
        assert_eq!(unpaused.next(&[1; 900], 2), seconds(0));
    }
}
