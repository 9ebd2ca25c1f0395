//! A bar allocates nothing: counted by the allocator itself.

use super::catalogue;
use super::series::SeriesFeatures;
use super::tests_counting::allocations;
use super::tests_support::Market;
use super::{FeatureCache, FeatureRules, FeatureStage, Plan};
use crate::domain::{
    Admission, Admitted, Bar, Demand, Dialect, FeatureSet, Origin, Place, SeriesId, SeriesKey, Stability,
    Stamps, Timeframe,
};
use crate::link::Stage as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 10]))), 1);
}

#[test]
fn a_bar_allocates_nothing_in_any_named_set() {
    let bars: Vec<Bar> = Market::new(5, 100.0).take(20_000).collect();
    for (set, names) in catalogue::SETS {
        let coarser: Vec<String> = names.iter().take(5).map(|name| format!("{name}@15m")).collect();
        let with_coarser: Vec<&str> =
            names.iter().copied().chain(coarser.iter().map(String::as_str)).collect();
        let plan = Plan::new(&with_coarser, Timeframe::MINUTE).unwrap();
        let (mut state, mut snapshot) = (plan.state(), plan.state());
        let mut out = vec![0.0; plan.len()];
        let count = allocations(|| {
            for (i, bar) in bars.iter().enumerate() {
                state.update(bar);
                state.write(&mut out);
                if i % 100 == 0 {
                    snapshot.clone_from(&state);
                }
            }
        });
        assert_eq!(count, 0, "{set}");
        // The same behind the retained bars of a series, changes included.
        let mut series = SeriesFeatures::new(plan, 8, 8, Stability::Digits4);
        let count = allocations(|| {
            for (i, bar) in bars.iter().enumerate() {
                series.take(bar, Admission::Next);
                if i % 50 == 0 {
                    series.take(&Bar { volume: bar.volume + 1.0, ..*bar }, Admission::Revision);
                }
            }
        });
        assert_eq!(count, 0, "{set}, as a series");
    }
}

/// The stage's whole step: kernels, rows, vectors, the cache, a task for each of three models.
#[test]
fn a_bar_allocates_nothing_on_its_way_through_the_stage() {
    for cache_size in [0, 64, 1000] {
        let cache = Arc::new(FeatureCache::new(cache_size, 300));
        let rules = FeatureRules { revision_bars: 8, ..FeatureRules::default() };
        let stage = FeatureStage::new(cache, rules, false, Box::new(|_, _| ()));
        let demand = |horizon, set: &str, window| Demand {
            horizon,
            model: horizon,
            name: format!("h{horizon}").into(),
            features: FeatureSet::new(catalogue::set(set).unwrap()),
            window,
            others: Vec::new(),
            unusable: None,
        };
        let demands = [demand(1, "vela-core-1", 1), demand(2, "vela-core-1", 1), demand(3, "default", 32)];
        let series = Arc::new(SeriesKey::new("BTC", Timeframe::MINUTE).unwrap());
        let tasks = Arc::new(AtomicU64::new(0));
        let emitted = Arc::clone(&tasks);
        let emit = Box::new(move |task: crate::domain::Task| {
            assert!(task.vector.undefined.is_none());
            emitted.fetch_add(1, Ordering::Relaxed);
        });
        let key = stage.key((series, SeriesId(0)), &demands, emit, Box::new(|_| ()));
        // A market that always moves and trades: what is undefined is refused with a text.
        let mut close = 0.0;
        let moves =
            |b: &Bar| b.high > b.low && b.volume > 0.0 && std::mem::replace(&mut close, b.close) != b.close;
        let items: Vec<Admitted> = Market::new(3, 50.0)
            .filter(moves)
            .take(12_000)
            .map(|bar| Admitted::Bar {
                bar,
                admission: Admission::Next,
                origin: Origin::Live,
                place: Place::default(),
                stamps: Stamps::default(),
            })
            .collect();
        let (before, bars) = items.split_at(4000);
        before.iter().for_each(|item| stage.step(&key, std::slice::from_ref(item)));
        let was = tasks.load(Ordering::Relaxed);
        let count = allocations(|| bars.iter().for_each(|item| stage.step(&key, std::slice::from_ref(item))));
        assert_eq!(tasks.load(Ordering::Relaxed) - was, 3 * bars.len() as u64, "rows");
        assert_eq!(count, 0, "a cache of {cache_size}");
    }
}

#[test]
fn a_bar_is_taken_in_the_terms_of_its_feed_without_memory() {
    let dialect =
        Dialect::new("FB META until 2022-06-09T00:00:00Z, BTC/USDT BTCUSDT".parse().unwrap(), 0.0001);
    let [spelled, plain] =
        ["BTC/USDT", "BTCUSDT"].map(|symbol| SeriesKey::new(symbol, Timeframe::MINUTE).unwrap());
    let bars: Vec<Bar> = Market::new(3, 50.0).take(1000).collect();
    let mut renamed = 0;
    let count = allocations(|| {
        for bar in &bars {
            for series in [&spelled, &plain] {
                let (meant, bar) = (dialect.series(series, bar.ts), std::hint::black_box(dialect.bar(*bar)));
                renamed +=
                    usize::from(meant.is_some_and(|meant| meant == plain && bar.ts >= Default::default()));
            }
        }
    });
    assert_eq!((renamed, count), (bars.len(), 0));
}
