//! What happened between two looks: the counts of a running vela only grow.

/// Counts since `before`; all of `now` where a restart began them anew.
pub(super) fn difference(now: &[u64], before: &[u64]) -> Vec<u64> {
    let restarted = now.len() != before.len() || now.iter().zip(before).any(|(now, before)| now < before);
    if restarted {
        return now.to_vec();
    }
    now.iter().zip(before).map(|(now, before)| now - before).collect()
}

/// The quantile `q` of bucket counts in µs, between the bounds of its bucket by proportion.
pub(super) fn quantile(bounds_us: &[f64], counts: &[u64], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    let mut left = q * total as f64;
    for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let count = *count as f64;
        if left <= count {
            let last = bounds_us.len().checked_sub(1)?;
            let low = at.checked_sub(1).map_or(0.0, |below| bounds_us[below.min(last)]);
            let high = bounds_us[at.min(last)];
            return Some(low + (high - low) * left / count);
        }
        left -= count;
    }
    None
}

/// Counts a second, `seconds` after `before`.
pub(super) fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    if seconds <= 0.0 { 0.0 } else { now.checked_sub(before).unwrap_or(now) as f64 / seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_difference_and_a_restart_begins_anew() {
        assert_eq!(difference(&[3, 5], &[1, 5]), [2, 0]);
        assert_eq!(difference(&[1, 0], &[3, 5]), [1, 0]);
        assert_eq!(difference(&[1, 0], &[]), [1, 0]);
        assert_eq!(rate(150, 100, 2.0), 25.0);
        assert_eq!(rate(50, 100, 2.0), 25.0);
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let bounds = [1.0, 2.0, 4.0];
        assert_eq!(quantile(&bounds, &[0, 0, 0, 0], 0.5), None);
        assert_eq!(quantile(&bounds, &[0, 10, 0, 0], 0.5), Some(1.5));
        assert_eq!(quantile(&bounds, &[0, 50, 50, 0], 0.99), Some(2.0 + 2.0 * 0.98));
        assert_eq!(quantile(&bounds, &[0, 0, 0, 7], 0.5), Some(4.0), "longer than all bounds");
    }
}
