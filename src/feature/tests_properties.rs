//! What holds of every plan over every market: in runs as bar by bar, peeked at as taken, saved as never stopped. To the bit,
//! over random names, parameters, gaps and prices.

use super::catalogue::FAMILIES;
use super::tests_support::{Market, Random, bits};
use super::{Batch, Plan};
use crate::domain::{Bar, GapPolicy, Grid, Stability, Timeframe, Timestamp};
use proptest::prelude::*;

/// A plan and the bars that it takes.
#[derive(Clone, Debug)]
struct Case {
    names: Vec<String>,
    policy: GapPolicy,
    gap_bars_max: u64,
    bars: Vec<Bar>,
    seed: u64,
}

impl Case {
    fn plan(&self) -> Plan {
        let Self { policy, gap_bars_max, .. } = *self;
        Plan::new(&self.names, Grid { policy, gap_bars_max, ..Timeframe::MINUTE.into() }).unwrap()
    }

    /// What the plan says after each bar.
    fn rows(&self) -> Vec<Vec<u64>> {
        let mut state = self.plan().state();
        let row = |bar| {
            state.update(bar);
            bits(state.values())
        };
        self.bars.iter().map(row).collect()
    }
}

/// One of all families, of random periods, some longer than what a window folds in one run, over the series' own bars or
/// coarser ones.
fn name() -> impl Strategy<Value = String> {
    let periods = proptest::array::uniform4(prop_oneof![6 => 1..40_u32, 1 => 120..300_u32]);
    (0..FAMILIES.len(), periods, prop_oneof![4 => Just(""), 1 => Just("@5m"), 1 => Just("@1h")]).prop_map(
        |(family, periods, coarser)| {
            let family = &FAMILIES[family];
            let mut name = family.name.to_owned();
            for (parameter, n) in family.parameters.iter().zip(periods) {
                let n = f64::from(n).clamp(parameter.min, parameter.max);
                name += &if parameter.whole { format!("_{n}") } else { format!("_{n}.5") };
            }
            // What has an order (fast and slow) is refused in some; the default is taken then.
            let known = Plan::new(&[&name], Timeframe::MINUTE).is_ok();
            format!("{}{coarser}", if known { name } else { family.example() })
        },
    )
}

fn cases() -> impl Strategy<Value = Case> {
    let policies =
        [(GapPolicy::Skip, 0), (GapPolicy::Skip, 9), (GapPolicy::FillFlat, 30), (GapPolicy::Reset, 0)];
    let level = prop_oneof![Just(0.0), Just(1e-8), Just(1.0), Just(1e9)];
    let count = prop_oneof![6 => 1..200_usize, 1 => 600..900_usize];
    (proptest::collection::vec(name(), 1..6), 0..policies.len(), level, count, any::<u64>()).prop_map(
        move |(names, policy, level, count, seed)| {
            let mut random = Random(seed);
            let mut away = 0;
            let there = |_: &Bar| {
                away = match away {
                    0 if random.chance(0.01) => 45,
                    0 => 0,
                    n => n - 1,
                };
                away == 0 && !random.chance(0.1)
            };
            let bars = Market::new(seed, level).filter(there).take(count).collect();
            let (policy, gap_bars_max) = policies[policy];
            Case { names, policy, gap_bars_max, bars, seed }
        },
    )
}

/// The bar that may stand behind `bars`: as it might close yet.
fn forming(bars: &[Bar], random: &mut Random) -> Bar {
    let last = bars[bars.len() - 1];
    let close = last.low + (last.high - last.low) * random.unit();
    let ts = last.ts.as_millis() + 60_000 * (1 + i64::from(random.chance(0.2)) * 7);
    Bar { ts: Timestamp::from_millis(ts), open: last.close, close, ..last }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn runs_of_bars_give_what_bars_one_by_one_give(case in cases()) {
        let (plan, rows) = (case.plan(), case.rows());
        let warm_up = plan.warm_up(&[0], 1, Stability::Defined);
        let (mut batch, mut random, mut done) = (Batch::new(&plan), Random(case.seed), 0);
        while done < case.bars.len() {
            let taken = 1 + random.next() as usize % (case.bars.len() - done);
            let mut given = Vec::new();
            batch.update(&case.bars[done..done + taken], &warm_up, |_, row, _| given.push(bits(row)));
            prop_assert_eq!(&given[..], &rows[done..done + taken]);
            done += taken;
        }
    }

    #[test]
    fn a_peek_says_what_an_update_of_a_copy_says_and_changes_nothing(case in cases()) {
        let (plan, rows) = (case.plan(), case.rows());
        let (mut state, mut random, mut said) = (plan.state(), Random(case.seed), vec![0.0; plan.len()]);
        for (at, bar) in case.bars.iter().enumerate() {
            state.update(bar);
            prop_assert_eq!(&bits(state.values()), &rows[at]);
            let next = forming(&case.bars[..=at], &mut random);
            let mut copy = state.clone();
            copy.update(&next);
            state.peek(&next, &mut said);
            prop_assert_eq!(bits(&said), bits(copy.values()));
        }
    }

    #[test]
    fn what_was_saved_goes_on_as_if_it_had_never_stopped(case in cases()) {
        let (plan, rows) = (case.plan(), case.rows());
        let (mut state, mut random) = (plan.state(), Random(case.seed));
        for (bar, row) in case.bars.iter().zip(&rows) {
            if random.chance(0.1) {
                let saved = postcard::to_stdvec(&state.save()).unwrap();
                state = plan.restore(postcard::from_bytes(&saved).unwrap()).unwrap();
            }
            state.update(bar);
            prop_assert_eq!(&bits(state.values()), row);
        }
    }
}
