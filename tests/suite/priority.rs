//! Who goes first when there is more work than workers, and what becomes of bars that were overtaken.

use crate::support::onnx;
use crate::support::serving::{Fed, Folder, SOON};
use std::collections::BTreeMap;
use std::sync::Arc;
use vela::config::Stale;
use vela::domain::{Bar, Lane, Outcome, Reason, SeriesKey, Timeframe, Timestamp};

fn series(name: &str) -> Arc<SeriesKey> {
    Arc::new(SeriesKey::new(name, Timeframe::MINUTE).unwrap())
}

/// A price that falls by a hundredth every minute, which costs the model some 20 ms.
fn falling(minute: i64) -> Bar {
    let (ts, close) =
        (Timestamp::from_secs(1_700_000_040 + 60 * minute), 100.0 * 0.99_f64.powi(minute as i32));
    Bar { ts, open: close, high: close, low: close, close, volume: 1.0 }
}

#[test]
fn a_newer_bar_takes_the_place_of_one_that_waits_and_the_features_see_both() {
    let folder = Folder::new();
    folder.version("m", 1, onnx::slow_by(1, 1e5), "").promote("m", &[1]);
    let fed = Fed::with(&folder, |settings| {
        settings.priority.stale = Stale::Supersede;
        settings.predict.deadline_ms = 30_000;
    });
    assert!(fed.engine.drain(SOON));
    fed.outcomes.receiver().try_iter().for_each(drop);
    let all: Vec<Arc<SeriesKey>> = (0..8).map(|n| series(&format!("S{n}"))).collect();
    let minutes = 50;
    for minute in 0..minutes {
        all.iter().for_each(|series| fed.engine.ingest_series(series, falling(minute)).unwrap());
    }
    assert!(fed.engine.drain(SOON));
    let outcomes: Vec<Outcome> = fed.outcomes.receiver().try_iter().collect();
    assert_eq!(outcomes.len(), all.len() * minutes as usize, "each bar has its one outcome");
    let mut superseded = 0;
    for outcome in &outcomes {
        match &outcome.result {
            // Every bar before it went through the features, also those that were not predicted.
            Ok(prediction) => assert!((prediction.value + 0.01).abs() < 1e-6, "{outcome:?}"),
            // The first bar has no return: it warms up, unless it was overtaken before that was seen.
            Err(refusal) if outcome.ts == falling(0).ts => {
                superseded += u64::from(refusal.reason == Reason::Superseded);
            }
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::Superseded, "{refusal}");
                assert_ne!(outcome.ts, falling(minutes - 1).ts, "nothing newer came");
                superseded += 1;
            }
        }
    }
    assert!(superseded > 0, "no bar came while another waited");
    assert_eq!(fed.engine.metrics().reasons["superseded"], superseded);
    println!("{superseded} of {} were superseded", outcomes.len());
    fed.engine.stop().unwrap();
}

#[test]
fn of_a_model_that_all_share_the_busiest_symbols_go_first_and_the_others_after_them() {
    let folder = Folder::new();
    folder.version("m", 1, onnx::slow_by(1, 1e5), "").promote("m", &[1]);
    let quiet: Vec<Arc<SeriesKey>> = (0..40).map(|n| series(&format!("QUIET{n}"))).collect();
    let busy = series("BUSY");
    let fed = Fed::with(&folder, |settings| {
        settings.predict.deadline_ms = 30_000;
        (settings.batch_size_initial, settings.batch_size_max) = (1, 1);
        let lane = |series: &Arc<SeriesKey>| (series.symbol.to_string(), Lane::Low);
        settings.priority.pinned = quiet.iter().map(lane).collect::<BTreeMap<_, _>>();
        settings.priority.pinned.insert("BUSY".into(), Lane::High);
    });
    let ingest = |series: &Arc<SeriesKey>, minute| fed.engine.ingest_series(series, falling(minute)).unwrap();
    quiet.iter().chain([&busy]).for_each(|series| ingest(series, 0));
    assert!(fed.engine.drain(SOON));
    fed.outcomes.receiver().try_iter().for_each(drop);
    // The quiet ones are all there before the busy one comes.
    quiet.iter().chain([&busy]).for_each(|series| ingest(series, 1));
    assert!(fed.engine.drain(SOON));
    let order: Vec<String> =
        fed.outcomes.receiver().try_iter().map(|outcome| outcome.series.symbol.to_string()).collect();
    assert_eq!(order.len(), 41, "nobody is forgotten");
    let place = order.iter().position(|symbol| symbol == "BUSY").unwrap();
    assert!(place < 20, "it came {place} of 41: {order:?}");
    fed.engine.stop().unwrap();
}
