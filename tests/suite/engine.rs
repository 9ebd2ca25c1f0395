//! The library's face: what goes in, what comes out, what is counted, how it ends.

use crate::bars::settings;
use crate::service_support::{Fed, OUTCOMES_PER_BAR, eventually, market};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use vela::config::StoreUrl;
use vela::domain::{Bar, Outcome, Reason, Timeframe, Timestamp};
use vela::observe::Metrics;
use vela::source::{Poll, Source, SourceBar, SourceError};
use vela::store::{MemoryStore, Store, StoreError, Watermark};
use vela::{Engine, Overrides, Settings};

const SOON: Duration = Duration::from_secs(60);

fn with_store(store: impl Store + 'static) -> Engine {
    let overrides = Overrides { store: Some(Box::new(store)), ..Overrides::default() };
    Engine::start_with(settings(), overrides).unwrap()
}

fn ingest(engine: &Engine, bars: &[Fed]) {
    bars.iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
}

fn sum(reasons: &BTreeMap<&'static str, u64>) -> u64 {
    reasons.values().sum()
}

/// What tells an outcome from all others.
fn identity(outcome: &Outcome) -> (String, Timestamp, u32) {
    (outcome.series.to_string(), outcome.ts, outcome.horizon)
}

/// Every outcome of `bars` is there exactly once.
fn assert_all_once(outcomes: &[Outcome], bars: &[Fed]) {
    let distinct: BTreeSet<_> = outcomes.iter().map(identity).collect();
    assert_eq!(
        (distinct.len(), outcomes.len()),
        (bars.len() * OUTCOMES_PER_BAR, bars.len() * OUTCOMES_PER_BAR)
    );
}

#[test]
fn bars_come_out_as_outcomes_that_are_all_counted() {
    let store = MemoryStore::new();
    let stored = store.outcomes();
    let engine = with_store(store);
    let pushed = engine.subscribe(100_000);
    let called = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&called);
    engine.subscribe_with(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let bars = market(6, 120);
    ingest(&engine, &bars);
    assert!(engine.drain(SOON));
    let outcomes: Vec<Outcome> = pushed.receiver().try_iter().collect();
    assert_all_once(&outcomes, &bars);
    assert_eq!(pushed.missed(), 0);
    assert_eq!(called.load(Ordering::Relaxed), outcomes.len() as u64);
    let in_order: Vec<_> = stored.lock().iter().map(identity).collect();
    assert_eq!(
        in_order,
        outcomes.iter().map(identity).collect::<Vec<_>>(),
        "subscribers see the order of storing"
    );

    let metrics = engine.metrics();
    assert!(metrics.alerts.is_empty(), "{:?}", metrics.alerts);
    let Metrics { performance, system, model_pool, feature_cache, stages, stage_order, .. } = metrics.clone();
    let Metrics { reasons, symbols, .. } = metrics;
    let predicted = outcomes.iter().filter(|outcome| outcome.result.is_ok()).count() as u64;
    assert_eq!(performance.total_bars, bars.len() as u64);
    assert_eq!(performance.total_predictions, predicted);
    assert_eq!(performance.total_predictions + sum(&reasons), (bars.len() * OUTCOMES_PER_BAR) as u64);
    assert_eq!(reasons.keys().copied().collect::<Vec<_>>(), ["warming_up"]);
    let error_rate = sum(&reasons) as f64 / outcomes.len() as f64;
    assert!((performance.error_rate - error_rate).abs() < 1e-12);
    assert!(performance.avg_latency_ms > 0.0 && performance.avg_latency_ms <= performance.max_latency_ms);
    assert!(performance.latency.p50 <= performance.latency.p99 && performance.uptime_s > 0.0);
    assert_eq!((performance.unsaved, performance.late_predictions), (0, 0));
    assert!(system.memory_usage_mb > 1.0);
    assert_eq!((model_pool.total_models, system.models_loaded as u64), (4, model_pool.loads));
    assert_eq!(model_pool.failures, 0);
    let by_model: u64 = model_pool.models.values().map(|model| model.predictions_count).sum();
    let by_symbol: u64 = symbols.values().map(|symbol| symbol.predictions_count).sum();
    assert_eq!((by_model, by_symbol), (predicted, predicted));
    assert_eq!(symbols.len(), 6);
    assert_eq!(stage_order, ["ingest", "feature", "predict", "persist"]);
    let items = ["ingest", "feature", "predict", "persist"].map(|stage| stages[stage].items);
    assert_eq!(items, [bars.len() as u64, bars.len() as u64, predicted, outcomes.len() as u64]);
    assert!(stages.values().all(|stage| stage.depth == 0 && stage.panics == 0 && stage.workers > 0));
    assert!((0.0..=100.0).contains(&feature_cache.hit_rate_percent) && feature_cache.total_entries > 0);
    let json = serde_json::to_value(engine.metrics()).unwrap();
    for key in
        ["performance", "store", "system", "model_pool", "feature_cache", "stages", "reasons", "symbols"]
    {
        assert!(json[key].is_object(), "{key}: {json}");
    }
}

#[test]
fn questions_get_the_newest_bar_or_the_reason_why_not() {
    let engine = Engine::start(settings()).unwrap();
    let pushed = engine.subscribe(100_000);
    let bars = market(3, 100);
    ingest(&engine, &bars);
    // Behind the bars that were taken before: nothing has to be waited for.
    let minute = Timeframe::MINUTE;
    let asked = [
        ("BTCUSD", minute, 5),
        ("SOLUSD", minute, 15),
        ("BTCUSD", minute, 7),
        ("NOSUCH", minute, 5),
        ("BTCUSD", "5m".parse().unwrap(), 5),
        ("NO SUCH", minute, 5),
    ];
    let answers: Vec<Outcome> =
        engine.predict_many(&asked).iter().map(|pending| pending.wait(SOON).unwrap()).collect();
    assert!(engine.drain(SOON));
    let pushed: Vec<Outcome> = pushed.receiver().try_iter().collect();
    let newest = bars.last().unwrap().1.ts;
    for (answer, (symbol, _, horizon)) in answers.iter().zip(asked).take(2) {
        let answered = answer.result.as_ref().unwrap();
        let of_bar = pushed.iter().find(|outcome| {
            outcome.place.seq > 0 && identity(outcome) == (format!("{symbol} 1m"), newest, horizon)
        });
        let of_bar = of_bar.unwrap().result.as_ref().unwrap();
        assert_eq!(answered.value.to_bits(), of_bar.value.to_bits());
        assert_eq!((answer.ts, &answered.model), (newest, &of_bar.model));
    }
    let reasons: Vec<_> = answers[2..].iter().map(|answer| answer.result.clone().unwrap_err()).collect();
    assert_eq!(reasons[0].reason, Reason::NoModel);
    assert!(
        reasons[0].detail.contains("horizon 7") && reasons[0].detail.contains("[1, 5, 15]"),
        "{}",
        reasons[0]
    );
    for (refusal, name) in reasons[1..].iter().zip(["NOSUCH 1m", "BTCUSD 5m", "`NO SUCH`"]) {
        assert_eq!(refusal.reason, Reason::NoBar);
        assert!(refusal.detail.contains(name), "{refusal}");
    }
    assert!(engine.ingest("NO SUCH", minute, bars[0].1).unwrap_err().to_string().contains("`NO SUCH`"));
}

#[test]
fn bars_that_are_refused_come_out_with_their_reason() {
    let engine = Engine::start(settings()).unwrap();
    let pushed = engine.subscribe(100_000);
    let bars = market(1, 100);
    ingest(&engine, &bars);
    let newest = bars[99].1;
    let next = Bar { ts: newest.ts.plus_millis(60_000), ..newest };
    let far = Timestamp::from_secs(4_102_444_800);
    let refused = [
        (Bar { close: f64::NAN, ..next }, Reason::NotFinite),
        (Bar { low: 0.0, ..next }, Reason::PriceNotPositive),
        (Bar { volume: -1.0, ..next }, Reason::NegativeVolume),
        (Bar { high: next.low / 2.0, ..next }, Reason::HighBelowLow),
        (Bar { close: next.high * 2.0, ..next }, Reason::OutsideRange),
        (Bar { ts: next.ts.plus_millis(1), ..next }, Reason::Unaligned),
        (Bar { ts: far, ..next }, Reason::Future),
        (newest, Reason::Duplicate),
        (Bar { volume: bars[20].1.volume + 1.0, ..bars[80].1 }, Reason::Revision),
        (bars[0].1, Reason::Late),
    ];
    for (bar, _) in refused {
        engine.ingest("BTCUSD", Timeframe::MINUTE, bar).unwrap();
    }
    assert!(engine.drain(SOON));
    let outcomes: Vec<Outcome> =
        pushed.receiver().try_iter().filter(|outcome| outcome.horizon == 0).collect();
    let found: Vec<_> = outcomes.iter().map(|outcome| outcome.result.as_ref().unwrap_err().reason).collect();
    assert_eq!(found, refused.map(|(_, reason)| reason));
    let metrics = engine.metrics();
    for (_, reason) in refused {
        assert_eq!(metrics.reasons[reason.code()], 1);
    }
    let outcomes = bars.len() * OUTCOMES_PER_BAR + refused.len();
    assert_eq!(metrics.performance.total_predictions + sum(&metrics.reasons), outcomes as u64);
}

/// A store that does to each batch what a function says, before it keeps it.
struct Trouble<F> {
    kept: MemoryStore,
    each: F,
}

impl<F: FnMut(&[Outcome]) -> Result<(), StoreError> + Send> Store for Trouble<F> {
    fn write(&mut self, outcomes: &[Outcome], watermarks: &[Watermark]) -> Result<(), StoreError> {
        (self.each)(outcomes)?;
        self.kept.write(outcomes, watermarks)
    }
}

fn trouble(retryable: bool) -> StoreError {
    StoreError { store: "test".into(), problem: "made up".into(), retryable }
}

#[test]
fn a_store_that_fails_or_panics_now_and_then_loses_nothing() {
    for panics in [false, true] {
        let kept = MemoryStore::new();
        let mut calls = 0;
        let each = move |_: &[Outcome]| {
            calls += 1;
            match calls % 3 {
                1 => Ok(()),
                _ if panics => panic!("made up"),
                _ => Err(trouble(true)),
            }
        };
        let engine = with_store(Trouble { kept: kept.clone(), each });
        let bars = market(3, 100);
        for minute in bars.chunks(3) {
            ingest(&engine, minute);
            // One batch a minute at least, however slow or fast.
            assert!(engine.drain(SOON));
        }
        assert_eq!(engine.stop().unwrap().unsaved, 0);
        assert_all_once(&kept.outcomes().lock(), &bars);
        assert!(kept.watermarks().iter().all(|(_, ts)| *ts == bars.last().unwrap().1.ts));
        let metrics = engine.metrics();
        assert_eq!(metrics.stages["persist"].panics, 0);
        assert_eq!(metrics.performance.total_predictions + sum(&metrics.reasons), 900);
    }
}

#[test]
fn a_row_that_can_never_be_stored_costs_itself_alone_and_is_tried_again_at_the_next_start() {
    for panics in [false, true] {
        let kept = MemoryStore::new();
        let bars = market(3, 100);
        let (series, bar) = bars[3 * 50 + 1].clone();
        let poison = (series.to_string(), bar.ts, 5);
        let each =
            move |outcomes: &[Outcome]| match outcomes.iter().any(|outcome| identity(outcome) == poison) {
                true if panics => panic!("made up"),
                true => Err(trouble(false)),
                false => Ok(()),
            };
        let engine = with_store(Trouble { kept: kept.clone(), each });
        ingest(&engine, &bars);
        assert!(engine.drain(SOON));
        assert_eq!(engine.stop().unwrap().unsaved, 1);
        assert_eq!(kept.outcomes().lock().len(), bars.len() * OUTCOMES_PER_BAR - 1);
        for (of, ts) in kept.watermarks() {
            if of == series {
                assert!(ts < bar.ts, "the next start would not see the bar at {}", bar.ts);
            } else {
                assert_eq!(ts, bars.last().unwrap().1.ts);
            }
        }
    }
}

/// A stop gives a store up that is away. Where it comes back a moment later, nothing that was given up may be hidden
/// by a watermark behind it.
#[test]
fn what_was_given_up_is_not_hidden_by_what_was_stored_after_it() {
    let kept = MemoryStore::new();
    let bars = market(1, 50);
    let first = bars[0].1.ts;
    let each = move |outcomes: &[Outcome]| match outcomes.iter().any(|outcome| outcome.ts == first) {
        true => Err(trouble(true)),
        false => Ok(()),
    };
    let engine = with_store(Trouble { kept: kept.clone(), each });
    ingest(&engine, &bars);
    let unsaved = engine.stop().unwrap().unsaved;
    assert!(unsaved >= OUTCOMES_PER_BAR as u64);
    assert_eq!(kept.outcomes().lock().len() as u64 + unsaved, (bars.len() * OUTCOMES_PER_BAR) as u64);
    assert_eq!(kept.watermarks(), []);
}

#[test]
fn a_slow_subscriber_misses_and_a_panicking_one_harms_nobody() {
    let engine = with_store(MemoryStore::new());
    let slow = engine.subscribe(4);
    engine.subscribe_with(|_| panic!("made up"));
    let whole = engine.subscribe(100_000);
    let bars = market(2, 100);
    ingest(&engine, &bars);
    assert!(engine.drain(SOON));
    let outcomes = bars.len() * OUTCOMES_PER_BAR;
    assert_eq!((slow.receiver().len(), slow.missed()), (4, outcomes as u64 - 4));
    assert_eq!((whole.receiver().len(), whole.missed()), (outcomes, 0));
    let metrics = engine.metrics();
    assert_eq!(metrics.performance.total_predictions + sum(&metrics.reasons), outcomes as u64);
    assert_eq!(metrics.performance.unsaved, 0);
}

/// Bars that never end, and a mark that lives as long as the source does.
struct Endless(Vec<Fed>, usize, #[allow(dead_code)] Arc<()>);

impl Source for Endless {
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
        let minute = (self.1 / self.0.len()) as i64;
        let (series, bar) = &self.0[self.1 % self.0.len()];
        let bar = Bar { ts: bar.ts.plus_millis(minute * 60_000), ..*bar };
        bars.push(SourceBar { series: Arc::clone(series), bar, origin: vela::domain::Origin::Live });
        self.1 += 1;
        Ok(Poll::Ready)
    }
}

/// A store with a mark that lives as long as the workers do.
struct Marked(MemoryStore, #[allow(dead_code)] Arc<()>);

impl Store for Marked {
    fn write(&mut self, outcomes: &[Outcome], watermarks: &[Watermark]) -> Result<(), StoreError> {
        self.0.write(outcomes, watermarks)
    }
}

#[test]
fn stop_may_be_called_again_and_drop_ends_every_thread() {
    for stops in 0..3 {
        let mark = Arc::new(());
        let kept = MemoryStore::new();
        let overrides = Overrides {
            source: Some(Box::new(Endless(market(4, 1), 0, Arc::clone(&mark)))),
            store: Some(Box::new(Marked(kept.clone(), Arc::clone(&mark)))),
            ..Overrides::default()
        };
        let engine = Engine::start_with(settings(), overrides).unwrap();
        let subscription = engine.subscribe(10);
        eventually("outcomes", || (engine.outcomes() > 100).then_some(()));
        assert!(!engine.wait_source(Duration::ZERO));
        for _ in 0..stops {
            let report = engine.stop().unwrap();
            assert_eq!((report.undrained, report.unsaved, report.source_error), (0, 0, None));
            assert_eq!(engine.outcomes(), engine.bars() * OUTCOMES_PER_BAR as u64);
        }
        drop(engine);
        // The rest of what was delivered can be read, then it ends.
        subscription.receiver().iter().for_each(drop);
        eventually("the end of source and workers", || (Arc::strong_count(&mark) == 1).then_some(()));
        let outcomes = kept.outcomes();
        assert_eq!(outcomes.lock().len() % (OUTCOMES_PER_BAR), 0, "everything that was taken in is stored");
    }
}

/// Ends with an error, or by panicking, after some bars.
struct Ends(Option<bool>, Vec<Fed>);

impl Source for Ends {
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
        let origin = vela::domain::Origin::Live;
        bars.extend(self.1.drain(..).map(|(series, bar)| SourceBar { series, bar, origin }));
        match self.0 {
            _ if !bars.is_empty() => Ok(Poll::Ready),
            Some(true) => panic!("made up"),
            Some(false) => Err(SourceError::Row { place: "here".into(), problem: "made up".into() }),
            None => Ok(Poll::End),
        }
    }
}

/// A source that waits for room, because everything is full behind a store that is away, must not hold a stop up.
#[test]
fn a_stop_does_not_wait_for_ever_where_everything_is_full_behind_a_store_that_is_away() {
    let bars = market(2, 200);
    let mut settings = settings();
    settings.ingest.queue_bars_max = 10;
    settings.feature.queue_bars_max = 10;
    settings.predict.queue_rows_max = 10;
    settings.persist.queue_rows_max = 10;
    let overrides = Overrides {
        source: Some(Box::new(Ends(None, bars.clone()))),
        store: Some(Box::new(Trouble { kept: MemoryStore::new(), each: |_: &[Outcome]| Err(trouble(true)) })),
        ..Overrides::default()
    };
    let engine = Arc::new(Engine::start_with(settings, overrides).unwrap());
    eventually("everything is full", || (engine.metrics().stages["ingest"].depth == 10).then_some(()));
    let (ended, wait) = crossbeam::channel::bounded(1);
    let stopping = Arc::clone(&engine);
    std::thread::spawn(move || ended.send(stopping.stop().unwrap()));
    let Ok(report) = wait.recv_timeout(SOON) else {
        // It would be waited for again when it is dropped.
        std::mem::forget(engine);
        panic!("the stop does not end");
    };
    assert_eq!((report.undrained, report.source_error), (0, None));
    assert_eq!(report.unsaved, (bars.len() * OUTCOMES_PER_BAR) as u64, "what was taken in is accounted for");
}

#[test]
fn a_source_that_ends_is_told_and_what_it_gave_is_stored() {
    for (how, said) in [(None, None), (Some(false), Some("here: made up")), (Some(true), Some("panicked"))] {
        let bars = market(2, 50);
        let kept = MemoryStore::new();
        let overrides = Overrides {
            source: Some(Box::new(Ends(how, bars.clone()))),
            store: Some(Box::new(kept.clone())),
            ..Overrides::default()
        };
        let engine = Engine::start_with(settings(), overrides).unwrap();
        assert!(engine.wait_source(SOON));
        let error = engine.stop().unwrap().source_error;
        assert_eq!(error.is_some(), said.is_some());
        assert!(error.unwrap_or_default().contains(said.unwrap_or_default()));
        assert_all_once(&kept.outcomes().lock(), &bars);
    }
}

#[test]
fn more_series_than_allowed_are_refused_and_the_others_go_on() {
    let settings = Settings { series_max: 2, ..settings() };
    let engine = Engine::start(settings).unwrap();
    let bars = market(3, 10);
    for (series, bar) in &bars {
        let taken = engine.ingest_series(series, *bar);
        if &*series.symbol == "SOLUSD" {
            let error = taken.unwrap_err().to_string();
            assert!(["SOLUSD 1m", "series_max", "2"].iter().all(|word| error.contains(word)), "{error}");
        } else {
            taken.unwrap();
        }
    }
    assert!(engine.drain(SOON));
    assert_eq!((engine.bars(), engine.outcomes()), (20, 60));
    let refused = engine.predict("SOLUSD", Timeframe::MINUTE, 5).wait(SOON).unwrap();
    assert_eq!(refused.result.unwrap_err().reason, Reason::NoBar);
}

#[test]
fn workers_change_within_their_bounds_while_bars_flow() {
    let kept = MemoryStore::new();
    let overrides = Overrides { store: Some(Box::new(kept.clone())), ..Overrides::default() };
    let settings = Settings { workers_max: 4, ..settings() };
    let engine = Engine::start_with(settings, overrides).unwrap();
    let bars = market(6, 200);
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| ingest(&engine, &bars));
        for round in 0.. {
            for stage in ["ingest", "feature", "predict", "persist"] {
                assert_eq!(
                    engine.set_workers(stage, [0, 1, 3, 4, 1000][round % 5]),
                    Some([1, 1, 3, 4, 4][round % 5])
                );
            }
            if feeder.is_finished() {
                break;
            }
        }
    });
    assert_eq!(engine.set_workers("nosuch", 2), None);
    assert_eq!(engine.set_workers("predict", 3), Some(3));
    assert_eq!(engine.metrics().stages["predict"].workers, 3);
    engine.stop().unwrap();
    assert_all_once(&kept.outcomes().lock(), &bars);
    assert_eq!(engine.set_workers("predict", 2), Some(0), "there are none after the end");
}

#[test]
fn what_cannot_be_started_says_why() {
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        Engine::start(settings).err().map(|error| error.to_string()).unwrap_or_default()
    };
    type Change = Box<dyn Fn(&mut Settings)>;
    let cases: [(Change, &[&str]); 4] = [
        (Box::new(|s| s.workers_min = 9), &["workers_min", "9"]),
        (Box::new(|s| s.models.path = "/nowhere/models".into()), &["/nowhere/models", "models.path"]),
        (Box::new(|s| s.store.url = StoreUrl::Sqlite("/proc/vela.db".into())), &["/proc/vela.db", "open"]),
        (Box::new(|s| s.batch_size_initial = 0), &["batch_size_initial", "0"]),
    ];
    for (change, words) in &cases {
        let error = refused(change);
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
}

#[test]
fn after_the_end_nothing_is_taken_and_nobody_waits() {
    let engine = Engine::start(settings()).unwrap();
    let bars = market(1, 30);
    ingest(&engine, &bars);
    engine.stop().unwrap();
    let (series, bar) = &bars[0];
    let error = engine.ingest_series(series, *bar).unwrap_err().to_string();
    assert!(error.contains("stopped"), "{error}");
    let answer = engine.predict("BTCUSD", Timeframe::MINUTE, 5).wait(SOON).expect("an answer at once");
    assert_eq!(answer.result.unwrap_err().reason, Reason::Stopping);
    assert_eq!(engine.bars(), 30);
}
