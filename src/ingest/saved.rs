//! What the stage knows of a series, as it passes into the process that replaces this one.

use super::rank::RollingValue;
use super::{IngestKey, IngestStage};
use crate::domain::Bar;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::atomic::Ordering;

/// The newest bars of a series, and what it traded.
#[derive(Serialize, Deserialize)]
pub struct SavedOrder<'s> {
    /// Those that were admitted last, the oldest first.
    pub recent: Vec<Bar>,
    value: Cow<'s, RollingValue>,
}

impl IngestKey {
    /// Hands `take` what is known of the series, of which no bar may be on its way.
    pub fn save<T>(&self, take: impl FnOnce(&SavedOrder<'_>) -> T) -> T {
        let state = self.state.lock();
        let recent = state.order.recent().copied().collect();
        take(&SavedOrder { recent, value: Cow::Borrowed(&state.value) })
    }
}

impl IngestStage {
    /// Has a series that took no bar yet go on where it was saved.
    pub fn resume(&self, key: &IngestKey, saved: SavedOrder<'_>) {
        let mut state = key.state.lock();
        state.order.resume(&saved.recent);
        let value = state.value.resume(saved.value.into_owned());
        self.note_value(key, value);
        if let Some(newest) = state.order.newest() {
            key.newest_ms.store(newest.ts.as_millis(), Ordering::Relaxed);
        }
    }
}
