//! Revisions, late bars and provisional ones: whatever comes in whatever order, a series is what a fresh start
//! over its bars gives, bit for bit.

use super::Plan;
use super::series::SeriesFeatures;
use super::tests_support::{Feed, Market, Told, bits, told};
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
    Told(Told),
    Peek,
    /// The process replaces itself.
    Replace,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        prop_oneof![10 => told(40).prop_map(Step::Told), 1 => Just(Step::Peek), 1 => Just(Step::Replace)];
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
        let mut feed = Feed::new(seed, revision_bars);
        for step in steps {
            match step {
                Step::Told(told) => {
                    let Some(said) = feed.say(told) else { continue };
                    // Beyond what is promised the rows that a window looks back on may be gone.
                    let taken = match said.admission {
                        Admission::Revision | Admission::Late if said.promised => {
                            change(&mut series, &grid, &feed.with(&said), said.at)?
                        }
                        admission => series.take(&said.bar, admission),
                    };
                    prop_assert!(taken || !said.promised);
                    if taken {
                        feed.settle(&said);
                    }
                }
                Step::Replace => {
                    let passed = postcard::to_stdvec(&series.save()).unwrap();
                    let saved = postcard::from_bytes(&passed).unwrap();
                    series = self::series(&grid, revision_bars).restore(saved).unwrap();
                }
                Step::Peek => {
                    let bar = feed.forming(0);
                    series.peek(&bar);
                    let peeked = bits(&series.collect(&columns(), WINDOW, true).values);
                    let closed = [&feed.bars[..], &[bar]].concat();
                    prop_assert_eq!(peeked, fresh(&grid, &closed));
                }
            }
            prop_assert_eq!(series.newest(), feed.bars.last().map(|bar| bar.ts));
            prop_assert_eq!(bits(&series.collect(&columns(), WINDOW, false).values), fresh(&grid, &feed.bars));
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
