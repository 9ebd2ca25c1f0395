//! Around an adjustment, whatever comes in whatever order: every answer is that of history adjusted by hand and replayed.

use crate::domain::{
    Adjustments, Admission, Admitted, Ask, Bar, Demand, FeatureSet, GapPolicy, Origin, Outcome, Place,
    Reason, SeriesId, SeriesKey, Stability, Stamps, Task, Timeframe, Timestamp,
};
use crate::feature::series::SeriesFeatures;
use crate::feature::stage::{FeatureKey, FeatureRules, FeatureStage};
use crate::feature::tests_support::{Feed, Market, Random, Told, bits, told};
use crate::feature::{FeatureCache, Plan};
use crate::link::Stage as _;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

const NAMES: [&str; 7] = ["sma_4", "ema_3", "obv", "ret_1", "macd_3_6_4", "atr_3@5m", "stoch_d_5_2_2"];
const WINDOW: usize = 3;

/// What came of a bar: when it opened, its revision, and its numbers where they are defined.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    ts: Timestamp,
    revision: u32,
    values: Result<Vec<u64>, Reason>,
}

/// A series as the stage serves it.
struct Served {
    stage: FeatureStage,
    key: FeatureKey,
    demands: Vec<Demand>,
    answers: Arc<Mutex<Vec<Answer>>>,
    told: Arc<Mutex<Vec<String>>>,
}

type Ways = (Box<dyn Fn(Task) + Send + Sync>, Box<dyn Fn(Outcome) + Send + Sync>);

fn name() -> (Arc<SeriesKey>, SeriesId) {
    (Arc::new(SeriesKey::new("A", Timeframe::MINUTE).unwrap()), SeriesId(0))
}

fn ways(answers: &Arc<Mutex<Vec<Answer>>>) -> Ways {
    let (tasks, refused) = (Arc::clone(answers), Arc::clone(answers));
    let task = move |task: Task| {
        let (ts, revision, values) = (task.ts, task.revision, Ok(bits(&task.vector.values)));
        tasks.lock().push(Answer { ts, revision, values });
    };
    let refuse = move |outcome: Outcome| {
        let (ts, revision, values) = (outcome.ts, outcome.revision, Err(outcome.result.unwrap_err().reason));
        refused.lock().push(Answer { ts, revision, values });
    };
    (Box::new(task), Box::new(refuse))
}

impl Served {
    fn new(rules: &FeatureRules, names: &[&str]) -> Self {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let tell = Arc::clone(&told);
        let tell = Box::new(move |_: &SeriesKey, detail| tell.lock().push(detail));
        let stage = FeatureStage::new(Arc::new(FeatureCache::new(64, 300)), rules.clone(), false, tell);
        let answers = Arc::new(Mutex::default());
        let demands = vec![Demand {
            horizon: 1,
            model: 0,
            name: "m".into(),
            features: FeatureSet::new(names.iter().copied()),
            window: WINDOW,
            others: Vec::new(),
            unusable: None,
        }];
        let (emit, refuse) = ways(&answers);
        let key = stage.key(name(), &demands, emit, refuse);
        Self { stage, key, demands, answers, told }
    }

    /// What comes of a bar.
    fn take(&self, bar: &Bar, admission: Admission) -> Vec<Answer> {
        let (place, stamps) = (Place::default(), Stamps::default());
        let item = Admitted::Bar { bar: *bar, admission, origin: Origin::Live, place, stamps };
        self.stage.step(&self.key, &[item]);
        std::mem::take(&mut self.answers.lock())
    }

    /// What is answered about the newest bar, or about one that has not closed.
    fn ask(&self, provisional: Option<Bar>) -> Vec<Answer> {
        let ask = Ask { horizon: None, provisional, reply: Arc::new(|_| ()) };
        self.stage.step(&self.key, &[Admitted::Ask { ask, stamps: Stamps::default() }]);
        std::mem::take(&mut self.answers.lock())
    }

    /// The process replaces itself, by one that runs under `rules`.
    fn replace(&mut self, rules: &FeatureRules) {
        let passed = self.key.save(|saved| postcard::to_stdvec(saved).unwrap());
        let resumed = rules.resume(&name().0, postcard::from_bytes(&passed).unwrap()).unwrap();
        let (emit, refuse) = ways(&self.answers);
        let cache = Arc::new(FeatureCache::new(64, 300));
        self.stage = FeatureStage::new(cache, rules.clone(), false, Box::new(|_, _| ()));
        self.key = self.stage.resumed_key(name(), &self.demands, resumed, emit, refuse);
    }
}

/// What the newest of `bars` is answered with: all before it adjusted by hand, and replayed. Where it is `peeked` at, only
/// those before it count as taken.
fn by_hand(rules: &FeatureRules, names: &[&str], bars: &[Bar], peeked: bool) -> Result<Vec<u64>, Reason> {
    let adjustments = rules.adjustments.of("A");
    let newest = bars.last().unwrap().ts;
    let plan = Plan::new(names, rules.grid(Timeframe::MINUTE)).unwrap();
    let columns: Vec<usize> = (0..names.len()).collect();
    let mut series = SeriesFeatures::new(plan, WINDOW, 0, rules.stability);
    let warm_up = series.warm_up(&columns, WINDOW);
    let mut past_warm_up = false;
    for bar in bars {
        let mut adjusted = *bar;
        if peeked {
            past_warm_up = series.is_past(&warm_up);
        }
        for event in adjustments.all() {
            if bar.ts < event.from && event.from <= newest {
                event.apply(&mut adjusted);
            }
        }
        series.take(&adjusted, Admission::Next);
    }
    let vector = series.collect(&columns, WINDOW, false);
    if !(past_warm_up || !peeked && series.is_past(&warm_up)) {
        Err(Reason::WarmingUp)
    } else if vector.undefined.is_some() {
        Err(Reason::UndefinedFeature)
    } else {
        Ok(bits(&vector.values))
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Told(Told),
    Peek {
        ahead: usize,
    },
    Ask,
    Replace,
    /// Other adjustments are told; where so, while the process is replaced.
    Adjust {
        by_replacing: bool,
        seed: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => told(15).prop_map(Step::Told),
        5 => (0..12_usize).prop_map(|ahead| Step::Peek { ahead }),
        1 => Just(Step::Ask),
        1 => Just(Step::Replace),
        1 => (any::<bool>(), any::<u64>())
            .prop_map(|(by_replacing, seed)| Step::Adjust { by_replacing, seed }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Up to four splits and rolls among the first 80 minutes of a market.
fn adjustments(seed: u64) -> Adjustments {
    let mut random = Random(seed);
    let mut entries: Vec<String> = Vec::new();
    let mut minute = 0;
    for _ in 0..random.next() % 5 {
        minute += 1 + random.next() % 30;
        // Also such that no bar opens at the very time.
        let from = Timestamp::from_secs((27_000_000 + minute as i64) * 60 - (random.next() % 2 * 30) as i64);
        let price = match random.next() % 3 {
            0 => format!("{:+}", random.unit() * 4.0 - 2.0),
            _ => format!("{}", 0.1 + random.unit() * 3.0),
        };
        entries.push(format!("A {from} {price} {}", 0.1 + random.unit() * 3.0));
    }
    entries.join(",").parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn around_adjustments_every_answer_is_that_of_history_adjusted_by_hand_and_replayed(
        steps in steps(), seed in any::<u64>(), revision_bars in 1..9_usize, policy in 0..3_u32, first in 0..40_usize,
    ) {
        let (gaps, gap_bars_max) = [(GapPolicy::Skip, 0), (GapPolicy::FillFlat, 30), (GapPolicy::Skip, 10)][policy as usize];
        let mut rules = FeatureRules {
            gaps, gap_bars_max, revision_bars,
            adjustments: adjustments(seed), stability: Stability::Defined, ..FeatureRules::default()
        };
        let mut served = Served::new(&rules, &NAMES);
        let mut feed = Feed::new(seed, revision_bars);
        // How often each bar was answered anew, by its time.
        let mut revisions: HashMap<Timestamp, u32> = HashMap::new();
        let begin = (0..first).map(|_| Step::Told(Told::Next { left_out: 0 }));
        for step in begin.chain(steps) {
            let (got, from) = match step {
                Step::Told(told) => {
                    let Some(said) = feed.say(told) else { continue };
                    let mut got = served.take(&said.bar, said.admission);
                    if let Err(Reason::Revision | Reason::Late) = got[0].values {
                        prop_assert!(!said.promised);
                        continue;
                    }
                    feed.settle(&said);
                    // It has its first answer itself, or is changed as those behind it are.
                    let mut anew = said.at + usize::from(matches!(said.admission, Admission::Next | Admission::Late));
                    if said.admission == Admission::Withdrawn {
                        let revision = revisions.entry(said.bar.ts).or_default();
                        let Answer { revision: answered, values, .. } = got.remove(0);
                        prop_assert_eq!((answered, values), (*revision, Err(Reason::Withdrawn)));
                        *revision += 1;
                        if got.len() < feed.bars.len() - said.at {
                            // The series began anew, and nothing is answered anew.
                            prop_assert!(got.is_empty() && !said.promised);
                            feed.withdrawn -= 1;
                            anew = feed.bars.len();
                        }
                    }
                    for bar in &feed.bars[anew..] {
                        *revisions.entry(bar.ts).or_default() += 1;
                    }
                    // Beyond what is promised the rows that a window looks back on may be gone.
                    if !said.promised { continue }
                    (got, said.at)
                }
                Step::Peek { ahead } => {
                    if feed.bars.is_empty() { continue }
                    let bar = feed.forming(ahead);
                    let got = served.ask(Some(bar));
                    let with = [&feed.bars[..], &[bar]].concat();
                    let values = by_hand(&rules, &NAMES, &with, true);
                    prop_assert_eq!(got, [Answer { ts: bar.ts, revision: 0, values }]);
                    continue;
                }
                Step::Ask => {
                    if feed.bars.is_empty() { continue }
                    (served.ask(None), feed.bars.len() - 1)
                }
                Step::Replace => {
                    served.replace(&rules);
                    continue;
                }
                Step::Adjust { by_replacing, seed } => {
                    rules.adjustments = adjustments(seed);
                    match by_replacing {
                        true => served.replace(&rules),
                        false => served.stage.set_adjustments(&rules.adjustments, [&served.key].into_iter()),
                    }
                    continue;
                }
            };
            let expected: Vec<Answer> = (from..feed.bars.len()).map(|at| {
                let ts = feed.bars[at].ts;
                let revision = revisions.get(&ts).copied().unwrap_or_default();
                Answer { ts, revision, values: by_hand(&rules, &NAMES, &feed.bars[..=at], false) }
            }).collect();
            prop_assert_eq!(got, expected, "{:?}", step);
        }
    }
}

/// Bars over a split, three for one and behind a roll: as they come, and as they would have been without either.
fn over_a_split(bars: usize, at: usize) -> (FeatureRules, Vec<Bar>) {
    let mut bars: Vec<Bar> = Market::new(8, 100.0).take(bars).collect();
    let from = bars[at].ts;
    for bar in &mut bars[at..] {
        for price in [&mut bar.open, &mut bar.high, &mut bar.low, &mut bar.close] {
            *price = *price / 3.0 + 1.5;
        }
        bar.volume *= 3.0;
    }
    let entries = format!("A {} {} 3, A {from} +1.5 1", from.plus_millis(-1), 1.0 / 3.0);
    let rules =
        FeatureRules { adjustments: entries.parse().unwrap(), revision_bars: 8, ..FeatureRules::default() };
    (rules, bars)
}

#[test]
fn features_that_take_long_to_warm_up_go_on_over_an_adjustment() {
    let names = ["sma_1000", "ema_200", "rsi_14@15m", "zscore_20@1h"];
    let (rules, bars) = over_a_split(9000, 7000);
    for stability in [Stability::Defined, Stability::Digits4, Stability::Digits8] {
        let rules = FeatureRules { stability, ..rules.clone() };
        let served = Served::new(&rules, &names);
        let digits = if stability == Stability::Digits8 { 1e-8 } else { 1e-4 };
        for (at, bar) in bars.iter().enumerate() {
            let got = served.take(bar, Admission::Next).remove(0);
            if at < 6990 || at % 97 > 0 && at.abs_diff(7000) > 10 {
                continue;
            }
            let expected = by_hand(&rules, &names, &bars[..=at], false).unwrap();
            let values = got.values.unwrap_or_else(|reason| panic!("bar {at}: {reason:?}"));
            for (i, (found, expected)) in values.iter().zip(&expected).enumerate() {
                let [found, expected] = [*found, *expected].map(f64::from_bits);
                let off = (found - expected).abs() / expected.abs().max(1.0);
                assert!(off <= digits, "bar {at}, {}: {found} instead of {expected}", names[i % names.len()]);
                // What looks back over so many bars and no more is the same to the bit, or but for how it is summed up.
                assert!(i % names.len() > 0 || off <= 1e-12, "bar {at}: {found} {expected}");
            }
        }
        let told = served.told.lock();
        assert!(
            told.len() == 1 && told[0].contains("times 3; from") && told[0].contains("taken +1.5"),
            "{told:?}"
        );
    }
}

#[test]
fn an_adjustment_that_is_told_too_late_for_long_memories_leaves_them_warming_up_and_none_wrong() {
    let names = ["sma_1000"];
    let (rules, bars) = over_a_split(3200, 1500);
    let untold = FeatureRules { adjustments: Adjustments::default(), ..rules.clone() };
    let served = Served::new(&untold, &names);
    bars[..1600].iter().for_each(|bar| drop(served.take(bar, Admission::Next)));
    // 100 bars behind it: what is kept is taken anew, and that is not enough.
    served.stage.set_adjustments(&rules.adjustments, [&served.key].into_iter());
    assert!(served.told.lock()[0].contains("its newest 512 bars were taken anew"));
    for (at, bar) in bars.iter().enumerate().skip(1600) {
        let got = served.take(bar, Admission::Next).remove(0);
        match got.values {
            Err(reason) => {
                assert!(reason == Reason::WarmingUp && at < 1600 + 1000 - 512 + WINDOW, "bar {at}")
            }
            Ok(values) => {
                let expected = by_hand(&rules, &names, &bars[..=at], false).unwrap();
                for (found, expected) in values.iter().zip(&expected) {
                    let [found, expected] = [*found, *expected].map(f64::from_bits);
                    assert!((found - expected).abs() <= 1e-12 * expected, "bar {at}: {found} {expected}");
                }
            }
        }
    }
}

#[test]
fn bars_are_kept_for_an_adjustment_to_come_and_no_longer() {
    let (rules, bars) = over_a_split(3000, 2500);
    let served = Served::new(&rules, &["sma_1000"]);
    let mut kept = Vec::new();
    for bar in &bars {
        served.take(bar, Admission::Next);
        kept.push(served.key.state.lock().bars.len());
    }
    assert_eq!((kept[2499], kept[2500], kept[2999]), (1000 + WINDOW - 1, 512, 512));
    let terms = |at: usize| {
        let served = Served::new(&rules, &["sma_1000"]);
        bars[..at].iter().for_each(|bar| drop(served.take(bar, Admission::Next)));
        served.key.state.lock().terms.len()
    };
    // Beside those in force there are others as long as a bar can change that is answered in them.
    assert_eq!([2500, 2501, 2508, 2520].map(terms), [1, 2, 2, 1]);
}

#[test]
fn adjustments_told_anew_find_the_terms_of_the_bars_that_are_left() {
    let bars: Vec<Bar> = Market::new(5, 100.0).take(12).collect();
    let rules = |entry: String| FeatureRules {
        adjustments: entry.parse().unwrap(),
        revision_bars: 20,
        stability: Stability::Defined,
        ..FeatureRules::default()
    };
    let names = ["ret_1"];
    let before = rules(format!("A {} 0.5 2", bars[1].ts));
    let now = rules(format!("A {} 0.5 2", bars[11].ts));
    let tell = |served: &Served| {
        served.stage.set_adjustments(&now.adjustments, [&served.key].into_iter());
    };
    // The only bar from before the one in force is taken back, and another one is told, to come.
    let served = Served::new(&before, &names);
    bars[..10].iter().for_each(|bar| drop(served.take(bar, Admission::Next)));
    served.take(&bars[0], Admission::Withdrawn);
    tell(&served);
    assert_eq!(served.ask(None)[0].values, by_hand(&now, &names, &bars[1..10], false));
    for at in 10..12 {
        let got = served.take(&bars[at], Admission::Next).remove(0);
        assert_eq!(got.values, by_hand(&now, &names, &bars[1..=at], false), "bar {at}");
    }
    // No bar is left, and there have been terms.
    let served = Served::new(&before, &names);
    bars[..3].iter().for_each(|bar| drop(served.take(bar, Admission::Next)));
    served.key.state.lock().reset();
    tell(&served);
    assert_eq!(served.ask(None)[0].values, Err(Reason::NoBar));
    for at in 3..12 {
        let got = served.take(&bars[at], Admission::Next).remove(0);
        assert_eq!(got.values, by_hand(&now, &names, &bars[3..=at], false), "bar {at}");
    }
}
