//! Splits and rolls of one series, around which bars come as they may really come, against a naive model.
//!
//! Bars come next, behind gaps, late, once more with other content, are taken back, or peeked at; other adjustments are
//! told. The model keeps a plain list of what each bar is by now: an answer is what all bars up to it give, adjusted by
//! hand by what is in force when it opens, and replayed.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, Mutex};
use vela::domain::{
    Adjustments, Admission, Admitted, Ask, Bar, Demand, FeatureSet, GapPolicy, Origin, Outcome, Place,
    Reason, SeriesId, SeriesKey, Stability, Stamps, Task, Timeframe, Timestamp,
};
use vela::feature::{FeatureCache, FeatureKey, FeatureRules, FeatureStage, Plan, SeriesFeatures};
use vela::link::Stage;
use vela_fuzz::{place, time_before};

const NAMES: [&str; 6] = ["sma_4", "ema_3", "obv", "ret_1", "atr_2@5m", "stoch_d_5_2_2"];
const OPERATIONS_MAX: usize = 60;
const FIRST_S: i64 = 1_700_000_040;

#[derive(Arbitrary, Debug)]
struct Input {
    fill: bool,
    revision_bars: u8,
    first: u8,
    adjustments: Vec<Event>,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
struct Event {
    half_minutes: u8,
    price: u8,
    added: bool,
    volume: u8,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Next {
        gap: u8,
        shape: [u8; 4],
    },
    Revised {
        ago: u8,
        shape: [u8; 4],
    },
    /// In the place right before a bar, where there is one.
    Late {
        ago: u8,
        shape: [u8; 4],
    },
    Withdrawn {
        ago: u8,
    },
    Peek {
        gap: u8,
        shape: [u8; 4],
    },
    Told {
        adjustments: Vec<Event>,
    },
}

/// The bar of a task or refusal, and its values where they are defined.
type Answer = (Timestamp, Result<Vec<u64>, Reason>);

fn bar(ts: Timestamp, shape: [u8; 4]) -> Bar {
    vela_fuzz::bar(ts, shape.map(|x| 1.0 + f64::from(x) / 64.0), f64::from(shape[1]))
}

fn adjustments(events: &[Event]) -> Adjustments {
    let mut half_minutes = 0;
    let entry = |event: &Event| {
        half_minutes += 1 + i64::from(event.half_minutes);
        let from = Timestamp::from_millis(FIRST_S * 1000 + half_minutes * 30_000);
        let price = match event.added {
            true => format!("{:+}", f64::from(event.price) / 64.0 - 2.0),
            false => format!("{}", f64::from(event.price) / 50.0 + 0.01),
        };
        format!("A {from} {price} {}", f64::from(event.volume) / 30.0 + 0.1)
    };
    let entries: Vec<String> = events.iter().take(5).map(entry).collect();
    entries.join(",").parse().expect("adjustments in their order")
}

fn by_hand(rules: &FeatureRules, bars: &[Bar], peeked: bool) -> Result<Vec<u64>, Reason> {
    let events = rules.adjustments.of("A");
    let newest = bars.last().expect("the bar itself").ts;
    let plan = Plan::new(&NAMES, rules.grid(Timeframe::MINUTE)).expect("names of the catalogue");
    let columns: Vec<usize> = (0..NAMES.len()).collect();
    let mut series = SeriesFeatures::new(plan, 1, 0, rules.stability);
    let warm_up = series.warm_up(&columns, 1);
    let mut past_warm_up = false;
    for bar in bars {
        let mut adjusted = *bar;
        for event in events.all().iter().filter(|event| bar.ts < event.from && event.from <= newest) {
            event.apply(&mut adjusted);
        }
        if peeked {
            past_warm_up = series.is_past(&warm_up);
        }
        assert!(series.take(&adjusted, Admission::Next));
    }
    let vector = series.collect(&columns, 1, false);
    match (past_warm_up || !peeked && series.is_past(&warm_up), vector.undefined) {
        (false, _) => Err(Reason::WarmingUp),
        (true, Some(_)) => Err(Reason::UndefinedFeature),
        (true, None) => Ok(vector.values.iter().map(|x| x.to_bits()).collect()),
    }
}

struct Served {
    stage: FeatureStage,
    key: FeatureKey,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Served {
    fn new(rules: &FeatureRules) -> Self {
        let cache = Arc::new(FeatureCache::new(16, 300));
        let stage = FeatureStage::new(cache, rules.clone(), false, Box::new(|_, _| ()));
        let demand = Demand {
            horizon: 1,
            model: 0,
            name: "m".into(),
            features: FeatureSet::new(NAMES),
            window: 1,
            others: Vec::new(),
            unusable: None,
        };
        let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
        let (tasks, refused) = (Arc::clone(&answers), Arc::clone(&answers));
        let emit = move |task: Task| {
            let values = task.vector.values.iter().map(|x| x.to_bits()).collect();
            tasks.lock().expect("no panic before").push((task.ts, Ok(values)));
        };
        let refuse = move |outcome: Outcome| {
            let reason = outcome.result.expect_err("refused").reason;
            refused.lock().expect("no panic before").push((outcome.ts, Err(reason)));
        };
        let series = Arc::new(SeriesKey::new("A", Timeframe::MINUTE).expect("a symbol"));
        let key = stage.key((series, SeriesId(0)), &[demand], Box::new(emit), Box::new(refuse));
        Self { stage, key, answers }
    }

    fn step(&self, item: Admitted) -> Vec<Answer> {
        self.stage.step(&self.key, &[item]);
        std::mem::take(&mut self.answers.lock().expect("no panic before"))
    }

    fn take(&self, bar: &Bar, admission: Admission) -> Vec<Answer> {
        let (bar, place, stamps) = (*bar, Place::default(), Stamps::default());
        self.step(Admitted::Bar { bar, admission, origin: Origin::Live, place, stamps })
    }
}

fuzz_target!(|input: Input| {
    let mut rules = FeatureRules {
        gaps: if input.fill { GapPolicy::FillFlat } else { GapPolicy::Skip },
        gap_bars_max: if input.fill { 30 } else { 0 },
        adjustments: adjustments(&input.adjustments),
        stability: Stability::Defined,
        revision_bars: usize::from(input.revision_bars % 12),
        ..FeatureRules::default()
    };
    let served = Served::new(&rules);
    let mut bars: Vec<Bar> = Vec::new();
    // Each bar that is taken back makes one less that can still be changed.
    let mut withdrawn = 0;
    let begin =
        (0..input.first % 32).map(|at| Operation::Next { gap: 0, shape: [at, at ^ 0x55, !at, at << 3] });
    for operation in begin.chain(input.operations.into_iter().take(OPERATIONS_MAX)) {
        let next_ts = |gap: u8| {
            let first = Timestamp::from_secs(FIRST_S);
            bars.last().map_or(first, |newest| newest.ts.plus_millis(60_000 * (1 + i64::from(gap % 16))))
        };
        let promised = |ago: usize| ago + withdrawn < rules.revision_bars;
        let (got, from) = match &operation {
            Operation::Next { gap, shape } => {
                let bar = bar(next_ts(*gap), *shape);
                bars.push(bar);
                (served.take(&bar, Admission::Next), bars.len() - 1)
            }
            Operation::Revised { ago, shape } => {
                let Some(at) = place(&bars, (*ago).into()) else { continue };
                let ago = bars.len() - 1 - at;
                let revised = bar(bars[at].ts, *shape);
                let got = served.take(&revised, Admission::Revision);
                if got[0].1 == Err(Reason::Revision) {
                    assert!(!promised(ago), "{operation:?}");
                    continue;
                }
                bars[at] = revised;
                (got, at)
            }
            Operation::Late { ago, shape } => {
                let Some(at) = place(&bars, (*ago).into()) else { continue };
                let Some(ts) = time_before(&bars, at) else { continue };
                let ago = bars.len() - 1 - at;
                let late = bar(ts, *shape);
                let got = served.take(&late, Admission::Late);
                if got[0].1 == Err(Reason::Late) {
                    assert!(!promised(ago), "{operation:?}");
                    continue;
                }
                bars.insert(at, late);
                (got, at)
            }
            Operation::Withdrawn { ago } => {
                let Some(at) = place(&bars, (*ago).into()) else { continue };
                let ago = bars.len() - 1 - at;
                let mut got = served.take(&bars.remove(at), Admission::Withdrawn);
                assert_eq!(got.remove(0).1, Err(Reason::Withdrawn));
                if got.len() < ago {
                    // The series began anew, and nothing is answered anew.
                    assert!(got.is_empty() && !promised(ago), "{operation:?}");
                    continue;
                }
                withdrawn += 1;
                (got, at)
            }
            Operation::Peek { gap, shape } => {
                if bars.is_empty() {
                    continue;
                }
                let forming = bar(next_ts(*gap), *shape);
                let ask = Ask { horizon: None, provisional: Some(forming), reply: Arc::new(|_| ()) };
                let got = served.step(Admitted::Ask { ask, stamps: Stamps::default() });
                bars.push(forming);
                assert_eq!(got, [(forming.ts, by_hand(&rules, &bars, true))], "{operation:?}");
                bars.pop();
                continue;
            }
            Operation::Told { adjustments: told } => {
                rules.adjustments = adjustments(told);
                served.stage.set_adjustments(&rules.adjustments, [&served.key].into_iter());
                continue;
            }
        };
        let expected: Vec<Answer> =
            (from..bars.len()).map(|at| (bars[at].ts, by_hand(&rules, &bars[..=at], false))).collect();
        assert_eq!(got, expected, "{operation:?}");
    }
});
