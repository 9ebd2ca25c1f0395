//! Revisions, late bars and provisional ones: whatever comes in whatever order, a series is what a fresh start
//! over its bars gives, bit for bit.

use super::Plan;
use super::series::SeriesFeatures;
use super::tests_support::{Market, Random, bits};
use crate::domain::{Admission, Bar, GapPolicy, Grid, Stability, Timeframe};
use proptest::prelude::*;

const NAMES: [&str; 9] =
    ["ret_1", "sma_7", "rsi_5", "macd_3_6_4", "obv", "stoch_d_5_2_2", "atr_3@5m", "vwap_2@15m", "mfi_4"];
const WINDOW: usize = 4;

fn columns() -> Vec<usize> {
    (0..NAMES.len()).collect()
}

fn series(grid: &Grid, revision_bars: usize) -> SeriesFeatures {
    let plan = Plan::new(&NAMES, grid.clone()).unwrap();
    SeriesFeatures::new(plan, WINDOW, revision_bars, Stability::Defined)
}

/// The newest rows of a series that saw `bars` in order and unchanged.
fn fresh(grid: &Grid, bars: &[Bar]) -> Vec<u64> {
    let mut series = series(grid, 0);
    bars.iter().for_each(|bar| assert!(series.take(bar, Admission::Next)));
    bits(&series.collect(&columns(), WINDOW, false).values)
}

/// Changes `series` by a bar that was put into `bars` at `at`: every bar from it on gives what a series gives that saw
/// those up to it, and no later one. False where it came too late.
fn change(series: &mut SeriesFeatures, grid: &Grid, bars: &[Bar], at: usize) -> Result<bool, TestCaseError> {
    let Some(anew) = series.rewind(&bars[at]) else { return Ok(false) };
    prop_assert_eq!(anew, bars.len() - at);
    for behind in (0..anew).rev() {
        series.retake(behind);
        let expected = fresh(grid, &bars[..bars.len() - behind]);
        prop_assert_eq!(
            bits(&series.collect(&columns(), WINDOW, false).values),
            expected,
            "{} behind",
            behind
        );
    }
    Ok(true)
}

/// What happens to a series next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Next {
        missing: usize,
    },
    Revise {
        back: usize,
    },
    Late {
        back: usize,
    },
    Withdraw {
        back: usize,
    },
    Peek,
    /// The process replaces itself.
    Replace,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_usize).prop_map(|missing| Step::Next { missing }),
        1 => Just(Step::Next { missing: 40 }),
        2 => (0..12_usize).prop_map(|back| Step::Revise { back }),
        2 => (1..12_usize).prop_map(|back| Step::Late { back }),
        2 => (0..12_usize).prop_map(|back| Step::Withdraw { back }),
        1 => Just(Step::Peek),
        1 => Just(Step::Replace),
    ];
    proptest::collection::vec(step, 1..70)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn changes_leave_a_series_as_if_its_bars_had_come_so_from_the_start(
        steps in steps(), seed in any::<u64>(), revision_bars in 1..9_usize, policy in 0..4_u32,
    ) {
        let policy_of = [(GapPolicy::Skip, 0), (GapPolicy::FillFlat, 30), (GapPolicy::Skip, 20), (GapPolicy::Reset, 0)];
        let (policy, gap_bars_max) = policy_of[policy as usize];
        let grid = Grid { policy, gap_bars_max, ..Timeframe::MINUTE.into() };
        let mut series = series(&grid, revision_bars);
        let mut market = Market::new(seed, 10.0);
        let mut random = Random(seed);
        // The bars as they should have come, and those that were skipped and may come late.
        let (mut bars, mut missing): (Vec<Bar>, Vec<Bar>) = (Vec::new(), Vec::new());
        // Each bar that is withdrawn makes one less that can still be changed, until others come.
        let mut withdrawn = 0;
        for step in steps {
            match step {
                Step::Next { missing: skipped } => {
                    missing.extend(market.by_ref().take(skipped));
                    let bar = market.next().unwrap();
                    prop_assert!(series.take(&bar, Admission::Next));
                    bars.push(bar);
                }
                Step::Revise { back } => {
                    let Some(at) = bars.len().checked_sub(back + 1) else { continue };
                    let mut changed = bars.clone();
                    let bar = &mut changed[at];
                    bar.close = bar.low + (bar.high - bar.low) * random.unit();
                    bar.volume += 1.0;
                    // Beyond what is promised the rows that a window looks back on may be gone.
                    let taken = match back + withdrawn < revision_bars {
                        true => change(&mut series, &grid, &changed, at)?,
                        false => series.take(&changed[at], Admission::Revision),
                    };
                    // At least the newest `revision_bars` can change; how many more is not promised.
                    prop_assert!(taken || back + withdrawn >= revision_bars);
                    if taken {
                        bars = changed;
                    }
                }
                Step::Late { back } => {
                    let Some(from) = bars.len().checked_sub(back + 1) else { continue };
                    let between = bars[from].ts..bars[from + 1].ts;
                    let Some(found) = missing.iter().position(|bar| between.contains(&bar.ts)) else { continue };
                    let mut changed = bars.clone();
                    changed.insert(from + 1, missing[found]);
                    let taken = match back + withdrawn <= revision_bars {
                        true => change(&mut series, &grid, &changed, from + 1)?,
                        false => series.take(&missing[found], Admission::Late),
                    };
                    prop_assert!(taken || back + withdrawn > revision_bars);
                    if taken {
                        missing.remove(found);
                        bars = changed;
                    }
                }
                Step::Replace => {
                    let passed = postcard::to_stdvec(&series.save()).unwrap();
                    let saved = postcard::from_bytes(&passed).unwrap();
                    series = self::series(&grid, revision_bars).restore(saved).unwrap();
                }
                Step::Withdraw { back } => {
                    let Some(at) = bars.len().checked_sub(back + 1) else { continue };
                    if withdrawn == revision_bars {
                        continue;
                    }
                    let taken = series.take(&bars[at], Admission::Withdrawn);
                    prop_assert!(taken || back + withdrawn >= revision_bars);
                    if taken {
                        withdrawn += 1;
                        missing.push(bars.remove(at));
                    }
                }
                Step::Peek => {
                    let bar = market.clone().next().unwrap();
                    series.peek(&bar);
                    let peeked = bits(&series.collect(&columns(), WINDOW, true).values);
                    let mut closed = bars.clone();
                    closed.push(bar);
                    prop_assert_eq!(peeked, fresh(&grid, &closed));
                }
            }
            prop_assert_eq!(series.newest(), bars.last().map(|bar| bar.ts));
            prop_assert_eq!(bits(&series.collect(&columns(), WINDOW, false).values), fresh(&grid, &bars));
        }
    }
}

#[test]
fn nothing_changes_where_nothing_is_retained() {
    let grid = Timeframe::MINUTE.into();
    let mut series = series(&grid, 0);
    let bars: Vec<Bar> = Market::new(4, 10.0).take(30).collect();
    bars.iter().for_each(|bar| assert!(series.take(bar, Admission::Next)));
    assert!(!series.take(&Bar { volume: 5.0, ..bars[29] }, Admission::Revision));
    assert_eq!(bits(&series.collect(&columns(), WINDOW, false).values), fresh(&grid, &bars));
}

#[test]
fn a_series_that_was_reset_is_as_new() {
    let grid = Timeframe::MINUTE.into();
    let mut series = series(&grid, 3);
    let bars: Vec<Bar> = Market::new(4, 10.0).take(90).collect();
    bars[..50].iter().for_each(|bar| assert!(series.take(bar, Admission::Next)));
    series.reset();
    bars[50..].iter().for_each(|bar| assert!(series.take(bar, Admission::Next)));
    assert_eq!(bits(&series.collect(&columns(), WINDOW, false).values), fresh(&grid, &bars[50..]));
    let changed = Bar { volume: 7.0, ..bars[88] };
    assert!(series.take(&changed, Admission::Revision));
    let as_it_should = [&bars[50..88], &[changed, bars[89]]].concat();
    assert_eq!(bits(&series.collect(&columns(), WINDOW, false).values), fresh(&grid, &as_it_should));
}

#[test]
fn every_family_goes_on_to_the_bit_where_it_was_saved() {
    let names: Vec<String> =
        super::catalogue::FAMILIES.iter().map(super::catalogue::Family::example).collect();
    let coarser = names.iter().map(|name| format!("{name}@15m"));
    let names: Vec<String> = names.iter().cloned().chain(coarser).collect();
    let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
    let new = || SeriesFeatures::new(plan.clone(), WINDOW, 3, Stability::Defined);
    let all: Vec<usize> = (0..names.len()).collect();
    let bars: Vec<Bar> = Market::new(9, 10.0).take(2000).collect();
    let (mut whole, mut passed_on) = (new(), new());
    for (at, bar) in bars.iter().enumerate() {
        if at % 97 == 0 {
            let passed = postcard::to_stdvec(&passed_on.save()).unwrap();
            passed_on = new().restore(postcard::from_bytes(&passed).unwrap()).unwrap();
        }
        assert!(whole.take(bar, Admission::Next) && passed_on.take(bar, Admission::Next));
        let [expected, found] = [&whole, &passed_on].map(|series| series.collect(&all, WINDOW, false).values);
        assert_eq!(bits(&found), bits(&expected), "bar {at}");
    }
}

#[test]
fn what_was_saved_of_other_features_is_refused() {
    let grid = Grid::from(Timeframe::MINUTE);
    let mut saved = series(&grid, 3);
    Market::new(4, 10.0).take(50).for_each(|bar| assert!(saved.take(&bar, Admission::Next)));
    let passed = postcard::to_stdvec(&saved.save()).unwrap();
    let other = |names: &[&str], timeframe: &str, window| {
        let plan = Plan::new(names, timeframe.parse::<Timeframe>().unwrap()).unwrap();
        let series = SeriesFeatures::new(plan, window, 3, Stability::Defined);
        series.restore(postcard::from_bytes(&passed).unwrap()).is_some()
    };
    assert!(other(&NAMES, "1m", WINDOW));
    assert!(!other(&NAMES[1..], "1m", WINDOW));
    assert!(!other(&NAMES, "1m", WINDOW + 1));
    assert!(!other(&NAMES, "30s", WINDOW), "its own bars were others");
    let longer = NAMES.map(|name| if name == "sma_7" { "sma_8" } else { name });
    assert!(!other(&longer, "1m", WINDOW), "its window is another");
}
