//! Sharing the cores out: where all stages together want more workers than the budget has, those give way that need
//! theirs least.

/// What one stage wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// Workers it wants.
    pub(super) workers: usize,
    /// Workers it keeps whatever the others want.
    pub(super) least: usize,
    /// How many workers its work keeps busy.
    pub(super) load: f64,
}

/// Lowers `wants` until they sum to at most `budget`, one worker at a time from the stage whose workers would still
/// be the least busy; nobody below its least.
pub(super) fn fit(wants: &mut [Want], budget: usize) {
    while wants.iter().map(|want| want.workers).sum::<usize>() > budget {
        // A stage that would be left without workers is asked last of all.
        let busy = |want: &Want| want.load.max(f64::EPSILON) / (want.workers as f64 - 1.0).max(1e-9);
        let can = wants.iter_mut().filter(|want| want.workers > want.least);
        let Some(want) = can.min_by(|a, b| busy(a).total_cmp(&busy(b))) else { return };
        want.workers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(wants: &[(usize, f64)], budget: usize) -> Vec<usize> {
        let want = |(workers, load): &(usize, f64)| Want { workers: *workers, least: 1, load: *load };
        let mut wants: Vec<Want> = wants.iter().map(want).collect();
        fit(&mut wants, budget);
        wants.iter().map(|want| want.workers).collect()
    }

    #[test]
    fn the_least_busy_give_way_and_nobody_loses_the_last_worker() {
        assert_eq!(fitted(&[(2, 0.1), (3, 2.0), (3, 2.0)], 8), [2, 3, 3], "it fits");
        assert_eq!(fitted(&[(2, 0.1), (3, 2.0), (3, 2.0)], 7), [1, 3, 3]);
        assert_eq!(fitted(&[(8, 5.6), (8, 2.8)], 6), [4, 2], "in proportion to the load");
        assert_eq!(fitted(&[(4, 0.0), (1, 0.0), (1, 0.0)], 1), [1, 1, 1]);
    }
}
