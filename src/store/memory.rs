//! A store in memory, for tests and for programs that use the library and want the outcomes themselves.

use super::{Store, StoreError, Watermark};
use crate::domain::{Outcome, SeriesKey, Timestamp};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What makes an outcome the same as another: series, horizon, bar and revision, model, and version or reason.
type Key = (Arc<SeriesKey>, u32, (Timestamp, u32), Option<Arc<str>>, Result<u32, &'static str>);

/// Keeps every outcome, in the order of writing; grows without bound.
#[derive(Clone, Default)]
pub struct MemoryStore {
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    watermarks: Arc<Mutex<HashMap<Arc<SeriesKey>, Timestamp>>>,
    seen: HashSet<Key>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The outcomes, which go on growing while the store is written to.
    pub fn outcomes(&self) -> Arc<Mutex<Vec<Outcome>>> {
        Arc::clone(&self.outcomes)
    }

    /// How far each series is done, in the order of symbol and timeframe.
    pub fn watermarks(&self) -> Vec<Watermark> {
        let mut all: Vec<_> =
            self.watermarks.lock().iter().map(|(series, ts)| (Arc::clone(series), *ts)).collect();
        all.sort();
        all
    }
}

fn key(outcome: &Outcome) -> Key {
    let (model, what) = match &outcome.result {
        Ok(prediction) => (Some(Arc::clone(&prediction.model)), Ok(prediction.version)),
        Err(refusal) => (refusal.model.clone(), Err(refusal.reason.code())),
    };
    (Arc::clone(&outcome.series), outcome.horizon, (outcome.ts, outcome.revision), model, what)
}

impl Store for MemoryStore {
    fn write(&mut self, outcomes: &[Outcome], watermarks: &[Watermark]) -> Result<(), StoreError> {
        let new = outcomes.iter().filter(|outcome| self.seen.insert(key(outcome))).cloned();
        self.outcomes.lock().extend(new);
        let mut known = self.watermarks.lock();
        for (series, ts) in watermarks {
            let watermark = known.entry(Arc::clone(series)).or_insert(*ts);
            *watermark = (*watermark).max(*ts);
        }
        Ok(())
    }
}
