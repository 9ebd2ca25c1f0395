//! Outcomes to store, and what every store that keeps them must hold to.

use super::{Store, Watermark};
use crate::domain::{
    Origin, Outcome, Place, Prediction, Reason, Refusal, SeriesKey, Stamps, Timeframe, Timestamp,
};
use std::sync::Arc;

pub(super) fn series() -> Arc<SeriesKey> {
    Arc::new(SeriesKey::new("A", Timeframe::MINUTE).unwrap())
}

/// The prediction `value` of model `m`, version 3, for the bar that opened `minute` minutes after the epoch.
pub(super) fn predicted(minute: i64, horizon: u32, value: f64) -> Outcome {
    Outcome {
        series: series(),
        horizon,
        ts: Timestamp::from_secs(minute * 60),
        close: 1.0,
        revision: 0,
        place: Place::default(),
        origin: Origin::Live,
        stamps: Stamps::default(),
        result: Ok(Prediction {
            model: "m".into(),
            version: 3,
            value,
            outputs: Arc::new([]),
            names: Arc::new([]),
        }),
        reply: None,
    }
}

/// A refusal for want of a feature.
pub(super) fn refused(minute: i64, horizon: u32) -> Outcome {
    let refusal = Refusal::of_model(&"m".into(), Reason::UndefinedFeature, "rsi_14");
    Outcome { result: Err(refusal), ..predicted(minute, horizon, 0.0) }
}

/// A line for each thing that is stored: `minute horizon value` or `minute horizon reason`, sorted.
pub(super) type Stored = Vec<String>;

/// Runs the contract on an empty store; `read` tells what it holds.
pub(super) fn contract<S: Store>(store: &mut S, read: impl Fn(&S) -> (Stored, Vec<Watermark>)) {
    let at = |minute: i64| vec![(series(), Timestamp::from_secs(minute * 60))];
    store.write(&[], &[]).unwrap();
    assert_eq!(read(store), (vec![], vec![]));

    let batch = [predicted(1, 1, 0.5), refused(1, 2), predicted(2, 1, 1.0 / 3.0)];
    store.write(&batch, &at(2)).unwrap();
    let stored =
        vec!["1 1 0.5".to_owned(), "1 2 undefined_feature".to_owned(), "2 1 0.3333333333333333".to_owned()];
    assert_eq!(read(store), (stored.clone(), at(2)));

    // Again, and with an overlap: nothing changes but the new. A watermark never goes back.
    store.write(&batch, &at(1)).unwrap();
    assert_eq!(read(store), (stored.clone(), at(2)));
    store.write(&[predicted(2, 1, 7.0), predicted(3, 1, 1.5)], &at(3)).unwrap();
    let mut more = stored;
    more.push("3 1 1.5".to_owned());
    assert_eq!(read(store), (more.clone(), at(3)));

    // A watermark alone: a bar without demand moves it too.
    store.write(&[], &at(4)).unwrap();
    assert_eq!(read(store), (more.clone(), at(4)));
    store.finish().unwrap();
    assert_eq!(read(store), (more, at(4)));
}

#[test]
fn the_memory_store_holds_to_the_contract() {
    contract(&mut super::MemoryStore::new(), |store| {
        let mut stored: Stored = store
            .outcomes()
            .lock()
            .iter()
            .map(|outcome| {
                let what = match &outcome.result {
                    Ok(prediction) => prediction.value.to_string(),
                    Err(refusal) => refusal.reason.to_string(),
                };
                format!("{} {} {what}", outcome.ts.as_secs() / 60, outcome.horizon)
            })
            .collect();
        stored.sort();
        (stored, store.watermarks())
    });
}

#[test]
fn a_tee_writes_to_all_and_finishes_all() {
    let (one, two) = (super::MemoryStore::new(), super::MemoryStore::new());
    let mut tee = super::Tee(vec![Box::new(one.clone()), Box::new(super::Null), Box::new(two.clone())]);
    tee.write(&[predicted(1, 1, 0.5)], &[]).unwrap();
    tee.finish().unwrap();
    assert_eq!((one.outcomes().lock().len(), two.outcomes().lock().len()), (1, 1));
}
