//! Sharing the cores out: where all stages together want more workers than the budget has, those give way that need
//! theirs least; what is left goes to those that made bars wait.

/// By how much shorter of workers another stage must be, before it gets one that is in use.
const INERTIA: f64 = 1.25;

/// What one stage wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// Workers it has.
    pub(super) now: usize,
    /// Workers it wants.
    pub(super) workers: usize,
    /// Workers that it would have use for, if cores are left.
    pub(super) welcome: usize,
    /// Workers it keeps whatever the others want.
    pub(super) least: usize,
    /// How many workers its work keeps busy, now or lately.
    pub(super) load: f64,
}

impl Want {
    /// How short of workers it would be with `workers`: its load and the root of it, which is what keeps waits alike
    /// in stages of different sizes (square-root staffing), for each of them.
    fn short(&self, workers: usize) -> f64 {
        (self.load.max(1e-6) + self.load.max(1e-6).sqrt()) / (workers as f64).max(1e-9)
    }
}

/// Lowers `wants` until they sum to at most `budget`, one worker at a time from the stage that would be the least
/// short of them; nobody below its least.
pub(super) fn fit(wants: &mut [Want], budget: usize) {
    while wants.iter().map(|want| want.workers).sum::<usize>() > budget {
        let left = |want: &Want| {
            let inertia = if want.workers <= want.now { INERTIA } else { 1.0 };
            want.short(want.workers - 1) * inertia
        };
        let can = wants.iter_mut().filter(|want| want.workers > want.least);
        let Some(want) = can.min_by(|a, b| left(a).total_cmp(&left(b))) else { return };
        want.workers -= 1;
    }
}

/// Raises `wants` to what is welcome, as far as `budget` goes, one worker at a time to the stage that is shortest of them.
pub(super) fn spread(wants: &mut [Want], budget: usize) {
    while wants.iter().map(|want| want.workers).sum::<usize>() < budget {
        let now = |want: &Want| want.short(want.workers);
        let can = wants.iter_mut().filter(|want| want.welcome > want.workers);
        let Some(want) = can.max_by(|a, b| now(a).total_cmp(&now(b))) else { return };
        want.workers += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(wants: &[(usize, f64)], budget: usize) -> Vec<usize> {
        let want = |(workers, load): &(usize, f64)| Want {
            now: 0,
            workers: *workers,
            welcome: 0,
            least: 1,
            load: *load,
        };
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

    #[test]
    fn a_worker_in_use_does_not_change_sides_for_a_little_more_load() {
        for (load, expected) in [(1.1, [2, 1]), (1.5, [1, 2])] {
            let want = |now, load| Want { now, workers: 2, welcome: 0, least: 1, load };
            let mut wants = [want(2, 1.0), want(1, load)];
            fit(&mut wants, 3);
            assert_eq!(wants.map(|want| want.workers), expected, "{load}");
        }
    }

    #[test]
    fn what_is_left_goes_where_it_is_missed() {
        let want = |workers, welcome| Want { now: 0, workers, welcome, least: 1, load: 1.0 };
        let mut wants = [want(1, 1), Want { load: 4.0, ..want(2, 20) }, want(1, 3)];
        spread(&mut wants, 8);
        assert_eq!(wants.map(|want| want.workers), [1, 5, 2]);
        spread(&mut wants, 100);
        assert_eq!(wants.map(|want| want.workers), [1, 20, 3]);
    }
}
