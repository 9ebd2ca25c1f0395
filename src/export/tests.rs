//! Batch is stream: the rows of a table are, bit for bit, what serving computes at each bar; and bars that are
//! refused leave no trace in either.

use super::series::SeriesRows;
use super::{Description, Dtype, ExportError, Row, Rules, Sink};
use crate::domain::{
    Admission, Admitted, Bar, Demand, FeatureSet, GapPolicy, Origin, Place, SeriesId, SeriesKey, Stability,
    Stamps, Task, Timeframe, Timestamp,
};
use crate::feature::{FeatureCache, FeatureRules, FeatureStage, Plan, SeriesFeatures};
use crate::ingest::{Limits, Order, validate};
use crate::link::Stage as _;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::Arc;

const NAMES: [&str; 12] = [
    "ret_1",
    "ema_5",
    "rsi_5",
    "atr_4",
    "macd_3_6_4",
    "bb_pctb_6_2",
    "obv",
    "mfi_4",
    "rv_7",
    "kurt_9",
    "vwap_2@5m",
    "stoch_d_5_2_2",
];

/// What a feed sends besides a good bar.
#[derive(Clone, Copy, Debug)]
enum Noise {
    Nothing,
    NotFinite,
    HighBelowLow,
    NotPositive,
    BetweenMinutes,
    NegativeVolume,
    /// The bar that came so many before.
    Again(usize),
    /// Far behind what can still change.
    Late,
}

/// A good bar: minutes that are missing before it, how the price moves in ticks, what is traded, and noise behind it.
type Step = (u8, [i8; 3], u16, Noise);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let noise = prop_oneof![
        5 => Just(Noise::Nothing),
        1 => Just(Noise::NotFinite),
        1 => Just(Noise::HighBelowLow),
        1 => Just(Noise::NotPositive),
        1 => Just(Noise::BetweenMinutes),
        1 => Just(Noise::NegativeVolume),
        1 => (0..12_usize).prop_map(Noise::Again),
        1 => Just(Noise::Late),
    ];
    let missing = prop_oneof![6 => Just(0_u8), 1 => 1..4_u8, 1 => Just(30)];
    proptest::collection::vec((missing, any::<[i8; 3]>(), any::<u16>(), noise), 1..60)
}

/// The good bars, and all that the feed sends.
fn feed(steps: &[Step]) -> (Vec<Bar>, Vec<Bar>) {
    let (mut good, mut sent) = (Vec::<Bar>::new(), Vec::new());
    let (mut minute, mut ticks) = (27_000_000_i64, 10_000.0);
    for &(missing, moves, traded, noise) in steps {
        minute += 1 + i64::from(missing);
        let [step, up, down] = moves.map(f64::from);
        let (open, close) = (ticks, ticks + step);
        ticks = close;
        let bar = Bar {
            ts: Timestamp::from_secs(minute * 60),
            open: open * 0.01,
            high: (open.max(close) + up.abs()) * 0.01,
            low: (open.min(close) - down.abs()) * 0.01,
            close: close * 0.01,
            volume: f64::from(traded / 3),
        };
        good.push(bar);
        sent.push(bar);
        let next = Bar { ts: Timestamp::from_secs((minute + 1) * 60), ..bar };
        sent.extend(match noise {
            Noise::Nothing => None,
            Noise::NotFinite => Some(Bar { close: f64::NAN, ..next }),
            Noise::HighBelowLow => Some(Bar { high: bar.low * 0.5, ..next }),
            Noise::NotPositive => Some(Bar { low: -1.0, ..next }),
            Noise::BetweenMinutes => Some(Bar { ts: Timestamp::from_secs(minute * 60 + 7), ..bar }),
            Noise::NegativeVolume => Some(Bar { volume: -1.0, ..next }),
            Noise::Again(back) => good.len().checked_sub(back + 1).map(|at| good[at]),
            Noise::Late => Some(Bar { ts: Timestamp::from_secs(26_000_000 * 60), ..bar }),
        });
    }
    (good, sent)
}

/// Every row that is handed on.
#[derive(Default)]
struct Rows(Vec<(Timestamp, Vec<u64>)>);

impl Sink for Rows {
    fn row(&mut self, row: Row<'_>) -> Result<(), ExportError> {
        self.0.push((row.ts, bits(row.values)));
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Description) -> Result<(), ExportError> {
        Ok(())
    }
}

/// What is undefined is the same, whatever its bits.
fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| if x.is_finite() { x.to_bits() } else { f64::NAN.to_bits() }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_table_has_the_bits_of_serving_and_refused_bars_change_nothing(
        steps in steps(),
        revision_bars in 0..10_usize,
        filled in any::<bool>(),
    ) {
        let gaps = if filled { GapPolicy::FillFlat } else { GapPolicy::Skip };
        let features = FeatureRules { gaps, gap_bars_max: 20, revision_bars, ..FeatureRules::default() };
        let plan = Plan::new(&NAMES, features.grid(Timeframe::MINUTE)).unwrap();
        let (good, sent) = feed(&steps);

        // The kernels alone, over the good bars alone.
        let mut state = plan.state();
        let expected: Vec<_> = good
            .iter()
            .map(|bar| {
                state.update(bar);
                (bar.ts, bits(state.values()))
            })
            .collect();

        // Serving: a bar at a time, answered when it comes, with all the feed sends.
        let columns: Vec<usize> = (0..plan.len()).collect();
        let mut order = Order::new(revision_bars);
        let mut series = SeriesFeatures::new(plan.clone(), 1, revision_bars, Stability::Defined);
        let mut served = Vec::new();
        for bar in &sent {
            let limits = Limits { now: None, clock_skew_ms_max: 0, any_price: false };
            let admitted = validate(bar, Timeframe::MINUTE, limits).and_then(|()| order.admit(bar));
            if let Ok(admission) = admitted {
                prop_assert_eq!(admission, Admission::Next);
                prop_assert!(series.take(bar, admission));
                served.push((bar.ts, bits(&series.collect(&columns, 1, false).values)));
            }
        }
        prop_assert_eq!(&served, &expected);

        // A table of the same.
        let key = SeriesKey::new("BTC", Timeframe::MINUTE).unwrap();
        let mut table = Rows::default();
        let rules = Rules { features, ..Rules::default() };
        let mut rows = SeriesRows::new(&key, &plan, &rules, None, (Dtype::F64, false));
        for bar in &sent {
            rows.push(*bar, &mut table).unwrap();
        }
        let tally = rows.finish(&mut table).unwrap();
        prop_assert_eq!(&table.0, &expected);
        prop_assert_eq!(tally.bars, good.len() as u64);
        prop_assert_eq!(tally.refused.values().map(|(n, _, _)| n).sum::<u64>(), (sent.len() - good.len()) as u64);
    }
}

#[test]
fn a_table_over_a_split_that_is_told_is_that_of_history_adjusted_by_hand() {
    let steps: Vec<Step> = (0..300_u32)
        .map(|i| (0, [(i * 7 % 11) as i8 - 5, 3, 2], (i * 31 % 97) as u16, Noise::Nothing))
        .collect();
    let (good, _) = feed(&steps);
    let (at, price, volume) = (200, 1.0 / 3.0, 3.0);
    let scale = |bar: &Bar| {
        let mut bar = *bar;
        let price = crate::domain::PriceChange::Times(price);
        crate::domain::Adjustment { from: good[299].ts, price, volume }.apply(&mut bar);
        bar
    };
    let raw: Vec<Bar> = good[..at].iter().copied().chain(good[at..].iter().map(scale)).collect();
    let by_hand: Vec<Bar> = good.iter().map(scale).collect();
    let plan = Plan::new(&NAMES, Timeframe::MINUTE).unwrap();
    let key = SeriesKey::new("BTC", Timeframe::MINUTE).unwrap();
    let label = "kind=logret,horizon=5".parse().unwrap();
    let table = |bars: &[Bar], adjustments: &str| {
        let adjustments = adjustments.parse().unwrap();
        let features = FeatureRules { adjustments, revision_bars: 8, ..FeatureRules::default() };
        let rules = Rules { features, ..Rules::default() };
        let mut table = Rows::default();
        let mut rows = SeriesRows::new(&key, &plan, &rules, Some(label), (Dtype::F64, false));
        bars.iter().for_each(|bar| rows.push(*bar, &mut table).unwrap());
        rows.finish(&mut table).unwrap();
        table.0
    };
    let told = table(&raw, &format!("BTC {} {price} {volume}", raw[at].ts));
    let (by_hand, as_it_was) = (table(&by_hand, ""), table(&good, ""));
    assert_eq!(told.len(), 300);
    assert_eq!(told[at..], by_hand[at..]);
    // Before it features are those of the old prices, and a label that looks across it sees no fall.
    let features = |rows: &[(Timestamp, Vec<u64>)]| -> Vec<_> {
        rows[..at].iter().map(|(ts, values)| (*ts, values[..NAMES.len()].to_vec())).collect()
    };
    assert_eq!(features(&told), features(&as_it_was));
    for ((_, told), (_, by_hand)) in told[..at].iter().zip(&by_hand) {
        let [told, by_hand] = [told, by_hand].map(|row| f64::from_bits(row[NAMES.len()]));
        assert!((told - by_hand).abs() <= 1e-12, "{told} {by_hand}");
    }
}

/// Averages and coarser bars that look back on more than a series keeps otherwise.
#[test]
fn a_table_over_adjustments_is_bit_for_bit_what_is_served_also_where_features_take_long() {
    let names = ["sma_700", "ema_100", "rsi_5@15m", "obv"];
    let mut bars: Vec<Bar> = crate::feature::tests_support::Market::new(6, 100.0).take(4500).collect();
    let (from, roll) = (bars[3000].ts, bars[3900].ts);
    for bar in &mut bars[3000..] {
        crate::domain::Adjustment { from, price: "0.3".parse().unwrap(), volume: 3.0 }.apply(bar);
    }
    let series = Arc::new(SeriesKey::new("BTC", Timeframe::MINUTE).unwrap());
    let rules = FeatureRules {
        adjustments: format!("BTC {from} 0.3 3, BTC {roll} +1.25 1").parse().unwrap(),
        revision_bars: 8,
        ..FeatureRules::default()
    };
    let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
    let mut table = Rows::default();
    let all = Rules { features: rules.clone(), ..Rules::default() };
    let mut rows = SeriesRows::new(&series, &plan, &all, None, (Dtype::F64, true));
    bars.iter().for_each(|bar| rows.push(*bar, &mut table).unwrap());
    let tally = rows.finish(&mut table).unwrap();
    assert_eq!(tally.adjusted.len(), 2);
    assert_eq!(
        tally.adjusted.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!("{from} 0.3 3"), format!("{roll} +1.25 1")]
    );

    let served: Arc<Mutex<Rows>> = Arc::default();
    let sent = Arc::clone(&served);
    let emit = Box::new(move |task: Task| sent.lock().0.push((task.ts, bits(&task.vector.values))));
    let demand = Demand {
        horizon: 1,
        model: 0,
        name: "m".into(),
        features: FeatureSet::new(names),
        window: 1,
        others: Vec::new(),
        unusable: None,
    };
    let stage = FeatureStage::new(Arc::new(FeatureCache::new(0, 1)), rules, false, Box::new(|_, _| ()));
    let key = stage.key((series, SeriesId(0)), &[demand], emit, Box::new(|_| ()));
    for bar in &bars {
        let (bar, admission, origin) = (*bar, Admission::Next, Origin::Live);
        stage.step(
            &key,
            &[Admitted::Bar { bar, admission, origin, place: Place::default(), stamps: Stamps::default() }],
        );
    }
    assert_eq!(served.lock().0, table.0);
    // None is missing behind an event.
    assert!(table.0.len() as u64 > 4500 - plan.warm_up_bars_max(Stability::Digits4));
    assert!(table.0.windows(2).all(|rows| rows[1].0 == rows[0].0.plus_millis(60_000)));
}
