//! How many workers each stage should have: a pure function of what an interval saw.
//!
//! - **Load.** `c = ceil(λ·S/ρ)`: arrivals a second times seconds a piece are the workers kept busy (Little); at
//!   ρ = 0.7 a wait is about twice the service time, at 0.9 nine times.
//! - **Bursts.** Bars close together. A wait of `W` behind `c` workers is `W·c` of work that came at once: at least
//!   `W·c / D` workers drain the largest of the last minutes within the `D` that a bar may wait here.
//! - **Spare cores.** A thread that waits costs nothing, an item that waits is late. What the budget has left goes to
//!   the stages where more came at once than is done soon, and, where one item's work is long enough for the next to be
//!   late, as far as few items find all workers busy: the load and twice its root (square-root staffing).
//! - **Correction.** Where the 99th percentile of waits is above `D` all the same, one more.
//! - **Fast up, slow down.** More at once; fewer only after several intervals that all needed fewer, and then as many
//!   as the neediest of them. Fewer is judged at a lower ρ, so that a load between two widths does not flap.
//! - **A load that ended is no burst.** What waited under a load that lasted says nothing about bursts: it is forgotten
//!   once that load has fallen.
//! - **No step in the dark.** Intervals with few samples are judged together; where those are few after all, only how
//!   busy the workers were counts, not how long was waited. An interval in which the stage mostly waited for the next
//!   one changes nothing: more workers would wait with it.

use super::budget::{Want, fit, spread};
use super::memory::{Fall, Peaks, Pool};
use super::sample::Sample;
use super::{DecisionSeen, DecisionWhy};
use std::cmp::Ordering;

/// How busy workers may be, for more of them: ρ.
const BUSY_UP: f64 = 0.7;
/// How busy they would have to be with fewer, for fewer of them.
const BUSY_DOWN: f64 = 0.6;
/// Intervals between two changes of a stage at least.
const DWELL: u64 = 2;
/// Intervals that all need fewer workers, before there are fewer.
const DOWN_AFTER: u64 = 8;
/// A stage that waited for the next one for more than this share of its turns is not the one that is slow.
const BLOCKED_SHARE: f64 = 0.2;
/// How much of the largest load of the last minute counts where cores are shared.
const LATELY: f64 = 0.6;
/// Waits up to this many times an item's work, or up to this many ns, are no burst.
const WAIT_OF_WORK: f64 = 4.0;
const WAIT_NONE_NS: f64 = 1e6;
/// Workers beyond the load in roots of it, for more and for fewer of them.
const SPARE_UP: f64 = 2.0;
const SPARE_DOWN: f64 = 3.0;
/// No fewer workers while the 99th percentile of waits is above this share of what it may be.
const COMFORTABLE: f64 = 0.25;

/// What the controller holds to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How far apart decisions are, in ms.
    pub interval_ms: u64,
    /// The most workers of all stages together whose workers compute.
    pub core_budget: usize,
    /// The stages, in flow order.
    pub stages: Vec<StageRules>,
}

/// What holds for one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRules {
    /// The fewest workers.
    pub workers_min: usize,
    /// The most workers.
    pub workers_max: usize,
    /// Whether its workers compute, rather than wait for others.
    pub cpu_bound: bool,
    /// How long an item may wait for a worker, at the 99th percentile, in ns.
    pub wait_max_ns: u64,
}

/// What the controller remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    stages: Vec<StageState>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct StageState {
    /// Work that waited at once, in workers times ns; bars of a minute come in bursts a minute apart.
    peaks: Peaks<60_000>,
    /// Workers that were kept busy: what sharing the cores goes by, so that a pause gives nothing away.
    loads: Peaks<20_000>,
    /// Whether a load that lasted has ended.
    fall: Fall,
    /// Intervals that said too little to be judged alone.
    pool: Pool,
    /// Whether it ever had anything to do: before that nothing is known of it.
    worked: bool,
    changed_ms: Option<u64>,
    low: Option<Low>,
}

/// Since when fewer workers would do, and how many at most in that time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Low {
    since_ms: u64,
    most: usize,
}

/// A change of one stage's workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which stage, by its place in the flow.
    pub stage: usize,
    /// Workers it has.
    pub from: usize,
    /// Workers it is to have.
    pub to: usize,
    /// Why.
    pub why: DecisionWhy,
    /// What it saw.
    pub seen: DecisionSeen,
}

/// What a stage should have if it were alone.
struct Wish {
    workers: usize,
    /// And so many if cores are left.
    welcome: usize,
    why: DecisionWhy,
    load: f64,
    /// The same, or most of what it was lately.
    share: f64,
}

/// Decides at `now_ms`, on any clock that goes forward; `seen` has a sample for each of the rules' stages.
#[must_use]
pub fn decide(rules: &Rules, mut state: State, seen: &[Sample], now_ms: u64) -> (State, Vec<Change>) {
    state.stages.resize_with(rules.stages.len(), StageState::default);
    let each = rules.stages.iter().zip(&mut state.stages).zip(seen);
    let wishes: Vec<Wish> =
        each.map(|((stage, known), sample)| known.wish(stage, sample, rules.interval_ms, now_ms)).collect();
    // Cores are shared out among those who compute; what is set by hand is set, and gone from the budget.
    let shares = |n: usize| rules.stages[n].cpu_bound && !seen[n].pinned;
    let by_hand = |n: &usize| rules.stages[*n].cpu_bound && seen[*n].pinned;
    let taken: usize = (0..wishes.len()).filter(by_hand).map(|n| seen[n].workers).sum();
    let sharing: Vec<usize> = (0..wishes.len()).filter(|n| shares(*n)).collect();
    let want = |n: &usize| Want {
        now: seen[*n].workers,
        workers: wishes[*n].workers,
        welcome: wishes[*n].welcome,
        least: rules.stages[*n].workers_min.max(1),
        load: wishes[*n].share,
    };
    let mut wants: Vec<Want> = sharing.iter().map(want).collect();
    let budget = rules.core_budget.saturating_sub(taken);
    fit(&mut wants, budget);
    spread(&mut wants, budget);

    let mut changes = Vec::new();
    for (n, wish) in wishes.into_iter().enumerate() {
        let fitted = sharing.iter().position(|other| *other == n).map(|at| wants[at].workers);
        let to = fitted.unwrap_or(wish.workers.max(wish.welcome));
        let sample = &seen[n];
        if to == sample.workers || sample.pinned {
            continue;
        }
        let why = match to.cmp(&wish.workers) {
            Ordering::Less => DecisionWhy::CoreBudget,
            Ordering::Equal => wish.why,
            Ordering::Greater => DecisionWhy::Spare,
        };
        let known = &mut state.stages[n];
        (known.changed_ms, known.low, known.pool) = (Some(now_ms), None, Pool::default());
        let wait_max_ns = rules.stages[n].wait_max_ns;
        let seen = DecisionSeen::of_stage(sample, wish.load, wait_max_ns);
        changes.push(Change { stage: n, from: sample.workers, to, why, seen });
    }
    (state, changes)
}

impl StageState {
    fn wish(&mut self, rules: &StageRules, seen: &Sample, interval_ms: u64, now_ms: u64) -> Wish {
        let now = seen.workers;
        let least = rules.workers_min.max(1);
        // Workers that find no key to be in are no help.
        let most = rules.workers_max.min(seen.parallel).max(least);
        let held = now.clamp(least, rules.workers_max.max(least));
        self.loads.note(seen.load(), now_ms);
        let share = seen.load().max(self.loads.max(now_ms) * LATELY);
        let mut wish = Wish { workers: held, welcome: 0, why: DecisionWhy::Bounds, load: seen.load(), share };
        self.worked |= seen.items > 0;
        let held_up = seen.blocked_ns as f64 > (seen.busy_ns + seen.blocked_ns) as f64 * BLOCKED_SHARE;
        if !self.worked || held_up {
            (self.low, self.pool) = (None, Pool::default());
            return wish;
        }
        let fell = self.fall.note(seen);
        if fell {
            self.peaks = Peaks::default();
        }
        if seen.items > 0 {
            self.peaks.note(seen.wait_p99_ns as f64 * now as f64, now_ms);
        }
        let Some((judged, intervals)) = self.pool.judge(seen) else { return wish };
        wish.load = judged.load();
        let (wait, wait_max) = (judged.wait_p99_ns as f64, rules.wait_max_ns.max(1) as f64);
        let peak = self.peaks.max(now_ms);
        let burst = (peak / wait_max).ceil() as usize;
        let by_load = (wish.load / BUSY_UP).ceil() as usize;
        let corrected = if wait > wait_max { now + 1 } else { 0 };
        let mut reasons =
            [(corrected, DecisionWhy::QueueWait), (burst, DecisionWhy::Burst), (by_load, DecisionWhy::Load)];
        let reasons = if judged.is_telling() { &mut reasons[..] } else { &mut reasons[2..] };
        let (up, why) =
            reasons.iter().max_by_key(|(workers, _)| *workers).copied().unwrap_or((now, DecisionWhy::Load));
        let up = up.clamp(least, most);
        let dwelt = self.changed_ms.is_none_or(|then| now_ms.saturating_sub(then) >= DWELL * interval_ms);
        let work = judged.busy_ns as f64 / judged.items.max(1) as f64;
        let noticed = (work * WAIT_OF_WORK).max(WAIT_NONE_NS).min(wait_max);
        let at_once = (peak / noticed).ceil() as usize;
        let staffed = |roots: f64| match work < WAIT_NONE_NS {
            true => 0,
            false => (wish.load + roots * wish.load.sqrt()).ceil() as usize,
        };
        let (welcome, enough) = (at_once.max(staffed(SPARE_UP)).min(most), at_once.max(staffed(SPARE_DOWN)));
        if dwelt && judged.is_telling() {
            wish.welcome = welcome;
        }
        if up > now {
            self.low = None;
            return if dwelt { Wish { workers: up, why, ..wish } } else { wish };
        }
        let with_room = (wish.load / BUSY_DOWN).ceil() as usize;
        let held = if wait > wait_max * COMFORTABLE { now.min(most) } else { 0 };
        let down = with_room.max(burst).max(held).max(enough).clamp(least, most);
        if down >= now {
            self.low = None;
            return wish;
        }
        let seen_for = if fell { intervals.max(Fall::INTERVALS) } else { intervals };
        let since_ms = now_ms.saturating_sub(seen_for * interval_ms);
        let low = self.low.get_or_insert(Low { since_ms, most: down });
        low.most = low.most.max(down);
        if dwelt && now_ms.saturating_sub(low.since_ms) >= DOWN_AFTER * interval_ms {
            return Wish { workers: low.most, why: DecisionWhy::LessLoad, ..wish };
        }
        wish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rules(stages: usize, core_budget: usize) -> Rules {
        let stage = StageRules { workers_min: 1, workers_max: 8, cpu_bound: true, wait_max_ns: SECOND / 2 };
        Rules { interval_ms: 1000, core_budget, stages: vec![stage; stages] }
    }

    /// A second in which work for `load` workers came.
    fn busy(workers: usize, load: f64) -> Sample {
        let items = 10_000;
        let busy_ns = (load * SECOND as f64) as u64;
        let wait_p99_ns = 1000;
        Sample {
            workers,
            parallel: 100,
            lasted_ns: SECOND,
            arrivals: items,
            items,
            busy_ns,
            wait_p99_ns,
            ..Sample::default()
        }
    }

    /// Runs one stage over samples made from its width; the widths after each.
    fn widths(from: usize, seconds: usize, mut sample: impl FnMut(usize, usize) -> Sample) -> Vec<usize> {
        let (rules, mut state, mut width) = (rules(1, 100), State::default(), from);
        (0..seconds)
            .map(|n| {
                let (next, changes) =
                    decide(&rules, std::mem::take(&mut state), &[sample(n, width)], n as u64 * 1000);
                state = next;
                changes.iter().for_each(|change| width = change.to);
                width
            })
            .collect()
    }

    #[test]
    fn more_load_gets_workers_at_once_and_less_load_takes_them_after_a_while() {
        let load = |n: usize| if (5..15).contains(&n) { 2.6 } else { 0.5 };
        let widths = widths(1, 30, |n, width| busy(width, load(n)));
        assert_eq!(widths[..5], [1; 5]);
        assert_eq!(widths[5..22], [4; 17], "ceil(2.6 / 0.7), until the eighth interval behind the load");
        assert_eq!(widths[22..], [1; 8]);
    }

    #[test]
    fn a_load_between_two_widths_does_not_flap() {
        // 2.1 is exactly three workers at 0.7.
        let widths = widths(2, 60, |n, width| busy(width, if n % 2 == 0 { 2.09 } else { 2.11 }));
        let changes = widths.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 1, "{widths:?}");
    }

    #[test]
    fn a_burst_is_remembered_while_little_comes_between() {
        // Each minute 600 bars of 10 ms at once: six seconds of work, to be drained within half a second.
        let widths = widths(1, 300, |n, width| match n % 60 {
            0 => {
                let wait_p99_ns = 6 * SECOND / width as u64;
                Sample { arrivals: 600, items: 600, busy_ns: 6 * SECOND, wait_p99_ns, ..busy(width, 0.0) }
            }
            _ => busy(width, 0.1),
        });
        assert!(widths[1..].iter().all(|width| *width == 8), "{widths:?}");
    }

    #[test]
    fn of_few_items_only_how_busy_the_workers_were_counts() {
        let few = |items, load| move |_, width| Sample { arrivals: items, items, ..busy(width, load) };
        let late = |_, width| Sample { wait_p99_ns: 60 * SECOND, ..few(1, 0.1)(0, width) };
        assert_eq!(widths(3, 50, late), [3; 50], "one that waited long is no reason");
        assert_eq!(widths(3, 9, few(1, 2.6)), [3; 9]);
        assert_eq!(*widths(3, 10, few(1, 2.6)).last().unwrap(), 4);
        assert_eq!(*widths(1, 3, few(8, 2.6)).last().unwrap(), 6, "three seconds tell: 2.6 + 2 * 1.6");
        assert_eq!(*widths(3, 10, few(1, 0.05)).last().unwrap(), 1);
        assert_eq!(widths(3, 50, few(0, 0.0)), [3; 50], "nothing is known of a stage that never worked");
    }

    #[test]
    fn a_stage_held_up_by_the_next_changes_nothing() {
        let held = |width| Sample { blocked_ns: SECOND, wait_p99_ns: 60 * SECOND, ..busy(width, 0.9) };
        assert_eq!(widths(3, 50, |_, width| held(width)), [3; 50]);
    }

    #[test]
    fn what_waited_under_a_load_that_ended_is_no_burst() {
        for after in [0.5, 0.05, 0.0] {
            let widths = widths(1, 80, |n, width| match n {
                0..60 => Sample { wait_p99_ns: SECOND, ..busy(width, 5.4) },
                _ if after == 0.0 => Sample { arrivals: 0, items: 0, ..busy(width, 0.0) },
                _ => busy(width, after),
            });
            assert_eq!(widths[59], 8);
            assert!(widths[70..].iter().all(|width| *width == 1), "{after}: {widths:?}");
        }
    }

    #[test]
    fn workers_that_find_no_key_are_not_asked_for() {
        let hot = |width| Sample { parallel: 2, wait_p99_ns: 60 * SECOND, ..busy(width, 5.0) };
        assert_eq!(*widths(1, 20, |_, width| hot(width)).last().unwrap(), 2);
    }

    #[test]
    fn stages_that_compete_share_the_budget_and_give_way_at_once() {
        let rules = rules(3, 6);
        let seen = [busy(2, 0.1), busy(2, 1.3), busy(2, 4.0)];
        let (_, changes) = decide(&rules, State::default(), &seen, 0);
        let to: Vec<_> = changes.iter().map(|change| (change.stage, change.to, change.why)).collect();
        assert_eq!(to, [(0, 1, DecisionWhy::CoreBudget), (2, 3, DecisionWhy::CoreBudget)]);
        // What is set by hand stays, and counts.
        let seen = [Sample { pinned: true, ..busy(3, 0.1) }, busy(1, 0.1), busy(1, 4.0)];
        let (_, changes) = decide(&rules, State::default(), &seen, 0);
        assert_eq!(changes.iter().map(|change| (change.stage, change.to)).collect::<Vec<_>>(), [(2, 2)]);
    }

    proptest::proptest! {
        #[test]
        fn no_sample_whatever_leads_out_of_bounds(
            samples in proptest::collection::vec(
                (0..20_u64, 0..200_000_u64, 0..50_000_000_000_u64, 0..50_000_000_000_u64, 0..100_000_000_000_u64),
                1..80,
            ),
        ) {
            let rules = rules(2, 7);
            let (mut state, mut widths, mut changed) = (State::default(), [2, 2], [None; 2]);
            for (n, (parallel, items, busy_ns, blocked_ns, wait_p99_ns)) in samples.into_iter().enumerate() {
                let sample = |workers, flip: u64| Sample {
                    workers,
                    parallel: parallel as usize,
                    lasted_ns: SECOND,
                    arrivals: items * flip,
                    items,
                    busy_ns,
                    blocked_ns,
                    wait_p99_ns,
                    ..Sample::default()
                };
                let seen = [sample(widths[0], 1), sample(widths[1], n as u64 % 3)];
                let (next, changes) = decide(&rules, state, &seen, n as u64 * 1000);
                state = next;
                for change in changes {
                    proptest::prop_assert!((1..=8).contains(&change.to) && change.to != change.from);
                    // Giving way to another stage may not wait; everything else does.
                    let since = changed[change.stage].map_or(u64::MAX, |then: u64| n as u64 - then);
                    proptest::prop_assert!(since >= 2 || change.to < change.from, "{since}");
                    changed[change.stage] = Some(n as u64);
                    widths[change.stage] = change.to;
                }
                proptest::prop_assert!(widths.iter().sum::<usize>() <= 7);
            }
        }
    }
}
