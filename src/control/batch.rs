//! How many rows a run of one model may take: additive increase, multiplicative decrease, as in Clipper (NSDI 2017).
//!
//! The limit is cut where the 99th percentile of turns is longer than a turn may be: whoever waits for the worker
//! waits that long. It grows by one after every run of good turns that were full, and until it was cut for the first
//! time it doubles (slow start, as in TCP); never beyond what the cost that was seen allows. A limit that nothing
//! reaches is left as it is, and so is one beyond which rows cost hardly less in company: rows that come in the meantime,
//! of busier symbols as well, wait for a turn to end. Where all turns were of one size nothing is known of that: the limit
//! doubles once, and goes back unless it shows that company helps.

use super::cost::{Cost, Line};
use super::{DecisionSeen, DecisionWhy};
use crate::link::BatchReading;

/// What the limit is multiplied by where turns are too long.
const CUT: f64 = 0.9;
/// But no further at once than to this part of it, however long they are.
const CUT_MAX: f64 = 0.5;
/// Good and full turns, one after the other, for one row more.
const GOOD_RUN: u64 = 32;
/// The 99th percentile is above a bound where more than this share of turns is.
const LATE_SHARE: f64 = 0.01;
/// So many turns, or so many late ones, are enough to tell.
const TURNS_MIN: u64 = 20;
const LATE_MIN: u64 = 3;
/// What a turn costs whatever it takes has to be more than this share of it, for a larger one to be of use.
const GAIN: f64 = 0.05;
/// So often it may be unsure whether it is.
const DOUBTS_MAX: u32 = 10;

/// What holds for every model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRules {
    /// The limit that models begin with.
    pub rows_initial: usize,
    /// The largest limit.
    pub rows_max: usize,
    /// How long a turn may take, in ns.
    pub run_max_ns: u64,
}

/// What is remembered of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchState {
    /// Turns that were judged by nobody yet.
    open: BatchReading,
    good_run: u64,
    /// Whether it was ever cut.
    cut: bool,
    /// How often in a row it was not sure that a limit above the first one is of use.
    doubts: u32,
    cost: Cost,
}

impl BatchState {
    /// Takes in what the model's turns of an interval cost under a limit of `rows`; the limit that it should have,
    /// and why, where it is another one.
    #[must_use]
    pub fn step(
        mut self,
        rules: BatchRules,
        rows: usize,
        seen: &BatchReading,
    ) -> (Self, Option<(usize, DecisionWhy, DecisionSeen)>) {
        if seen.turns == 0 {
            return (self, None);
        }
        self.cost.take(seen);
        self.open = add(self.open, seen);
        let BatchReading { turns, late, full, .. } = self.open;
        if turns < TURNS_MIN && late < LATE_MIN {
            return (self, None);
        }
        let line = self.cost.line();
        let judged = DecisionSeen::of_batch(&self.open, line, rules.run_max_ns);
        self.open = BatchReading::default();
        let fits = line.and_then(|line| line.rows_within(rules.run_max_ns as f64)).unwrap_or(f64::MAX);
        if late as f64 > turns as f64 * LATE_SHARE {
            (self.good_run, self.cut) = (0, true);
            let cut = (rows as f64 * CUT).min(fits).max(rows as f64 * CUT_MAX) as usize;
            let cut = cut.clamp(1, rules.rows_max);
            return (self, (cut < rows).then_some((cut, DecisionWhy::RunTooLong, judged)));
        }
        let least = rules.rows_initial.min(rules.rows_max);
        if rows > least && self.is_of_no_use(line, rows / 2) {
            (self.good_run, self.doubts) = (0, 0);
            let back = (rows / 2).max(least);
            return (self, Some((back, DecisionWhy::NoGain, judged)));
        }
        self.good_run += full;
        let grown = match (self.cut, full * 2 >= turns) {
            (false, true) => rows * 2,
            (false, false) => rows,
            (true, _) => rows + (self.good_run / GOOD_RUN) as usize,
        };
        let grown = (grown as f64).min(fits.max(rows as f64)) as usize;
        let grown = grown.min(rules.rows_max);
        self.good_run %= GOOD_RUN;
        let grows = grown > rows && gains(line, rows, least);
        (self, grows.then_some((grown, DecisionWhy::RoomToGrow, judged)))
    }

    /// Whether turns of more than `rows` are known to make rows no cheaper, or were in doubt for long.
    fn is_of_no_use(&mut self, line: Option<Line>, rows: usize) -> bool {
        let Some(line) = line else { return false };
        self.doubts = if line.call_surely_above(GAIN, rows) { 0 } else { self.doubts + 1 };
        self.doubts >= DOUBTS_MAX || line.call_surely_below(GAIN, rows)
    }
}

/// Whether rows cost less in turns of more than `rows`: surely, or nothing is known of it and nothing was tried.
fn gains(line: Option<Line>, rows: usize, least: usize) -> bool {
    line.map_or(rows <= least, |line| line.call_surely_above(GAIN, rows))
}

fn add(a: BatchReading, b: &BatchReading) -> BatchReading {
    BatchReading {
        turns: a.turns + b.turns,
        full: a.full + b.full,
        late: a.late + b.late,
        items: a.items + b.items,
        items_squared: a.items_squared + b.items_squared,
        busy_ns: a.busy_ns + b.busy_ns,
        busy_us_squared: a.busy_us_squared.wrapping_add(b.busy_us_squared),
        items_busy_ns: a.items_busy_ns.wrapping_add(b.items_busy_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::BatchLimit;

    const RULES: BatchRules = BatchRules { rows_initial: 10, rows_max: 100, run_max_ns: 10_000_000 };

    /// A model under control.
    struct Controlled {
        rules: BatchRules,
        limit: BatchLimit,
        state: BatchState,
        before: BatchReading,
    }

    impl Controlled {
        fn new(rules: BatchRules, from: usize) -> Self {
            let limit = BatchLimit::new(from, rules.run_max_ns);
            let before = limit.read();
            Self { rules, limit, state: BatchState::default(), before }
        }

        /// An interval is over; the limit from now on.
        fn judge(&mut self) -> usize {
            let now = self.limit.read();
            let state = std::mem::take(&mut self.state);
            let (next, change) = state.step(self.rules, self.limit.get(), &now.since(&self.before));
            (self.state, self.before) = (next, now);
            change.iter().for_each(|(rows, ..)| self.limit.set(*rows));
            self.limit.get()
        }
    }

    /// Runs a model whose turns take `call + row * n` µs, with `waiting` rows at every turn, for `intervals` of 200
    /// turns; the limits after each.
    fn limits(from: usize, intervals: usize, call_us: u64, row_us: u64, waiting: usize) -> Vec<usize> {
        let mut model = Controlled::new(RULES, from);
        (0..intervals)
            .map(|_| {
                for turn in 0..200 {
                    // Now and then fewer wait, as in life.
                    let rows = if turn % 10 == 0 { 1 } else { waiting.min(model.limit.get()) };
                    model.limit.note(rows, (call_us + row_us * rows as u64) * 1000);
                }
                model.judge()
            })
            .collect()
    }

    #[test]
    fn a_limit_grows_where_batches_are_full_and_help() {
        assert_eq!(limits(10, 6, 100, 5, 1000), [20, 40, 80, 100, 100, 100]);
    }

    #[test]
    fn a_limit_that_nothing_reaches_stays() {
        assert_eq!(limits(10, 20, 100, 5, 4), [10; 20]);
    }

    #[test]
    fn turns_that_take_too_long_cut_it_until_they_do_not() {
        // 500 µs a row: 10 ms are 19 rows beside a call of 500 µs.
        let limits = limits(100, 60, 500, 500, 1000);
        assert!(limits[..10].iter().any(|rows| *rows <= 19), "{limits:?}");
        assert!(limits[10..].iter().all(|rows| (15..=26).contains(rows)), "it keeps near: {limits:?}");
    }

    #[test]
    fn a_model_that_gains_nothing_from_company_is_left_alone() {
        assert_eq!(limits(10, 30, 0, 50, 1000), [10; 30]);
    }

    #[test]
    fn a_limit_grows_no_further_than_company_helps() {
        // At 20 rows the call is 100 of 1100 µs, at 40 of 2100.
        assert_eq!(limits(10, 6, 100, 50, 1000), [20, 40, 40, 40, 40, 40]);
    }

    /// Where the limit is after 100 intervals of 100 turns, which other programs put off for up to 6 ms once in 15 ms of
    /// work, as seen on two cores, and one in `single` of which found one row alone.
    fn limit_beside_others(mut seed: u64, call_us: u64, row_us: u64, single: u64) -> usize {
        let mut random = |below: u64| {
            // SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % below
        };
        let mut model = Controlled::new(BatchRules { run_max_ns: 25_000_000, ..RULES }, 10);
        for _ in 0..100 {
            for _ in 0..100 {
                let rows = if random(single) == 0 { 1 } else { model.limit.get() };
                let work_us = call_us + row_us * rows as u64;
                let put_off_us = if random(15_000) < work_us { random(6000) } else { 0 };
                model.limit.note(rows, (work_us + put_off_us) * 1000);
            }
            model.judge();
        }
        model.limit.get()
    }

    #[test]
    fn other_programs_make_no_model_look_as_if_company_helped_it() {
        for single in [10, 200, 10_000] {
            let limits: Vec<usize> = (0..100).map(|seed| limit_beside_others(seed, 0, 150, single)).collect();
            let grown = limits.iter().filter(|rows| **rows > 10).count();
            assert!(grown <= 5 && limits.iter().all(|rows| *rows <= 20), "one in {single}: {limits:?}");
        }
    }

    #[test]
    fn a_model_that_company_helps_grows_beside_other_programs_too() {
        for single in [10, 200, 10_000] {
            let limits: Vec<usize> =
                (0..100).map(|seed| limit_beside_others(seed, 1000, 20, single)).collect();
            let grown = limits.iter().filter(|rows| **rows >= 40).count();
            assert!(grown >= 95, "one in {single}: {limits:?}");
        }
    }

    #[test]
    fn few_turns_say_nothing_until_they_are_many() {
        let one = BatchReading { turns: 1, full: 1, late: 1, items: 10, ..BatchReading::default() };
        let mut state = BatchState::default();
        for n in 1..=3 {
            let (next, change) = state.step(RULES, 10, &one);
            state = next;
            assert_eq!(change.map(|(rows, ..)| rows), (n == 3).then_some(9), "{n}");
        }
    }
}
