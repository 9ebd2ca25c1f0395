//! What the stage knows of a series, as it passes into the process that replaces this one.

use super::{FeatureKey, FeatureRules, Known, Part, SeriesState};
use crate::domain::{Bar, Demand, Outcome, SeriesId, SeriesKey, Task, Timestamp};
use crate::feature::plan::Plan;
use crate::feature::series::{SavedFeatures, SeriesFeatures};
use crate::feature::stage::FeatureStage;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// All that is known of a series but what is demanded of it.
#[derive(Serialize, Deserialize)]
pub struct SavedSeries<'s> {
    parts: Vec<SavedPart<'s>>,
    bars: Vec<(Bar, u32)>,
    withdrawn: Vec<(Timestamp, u32)>,
    /// How many of the series' adjustments are in force.
    adjusted: usize,
}

#[derive(Serialize, Deserialize)]
struct SavedPart<'s> {
    names: Vec<Cow<'s, str>>,
    rows_max: usize,
    features: SavedFeatures<'s>,
}

/// A series that goes on where it was saved, before anything is demanded of it.
pub struct ResumedSeries(SeriesState);

impl FeatureRules {
    /// What a saved series depends on beside the names of its features: under other rules it is another series.
    pub fn fingerprint(&self) -> String {
        format!("{self:?}")
    }

    /// Goes on where a series was saved under the same rules; `None` where that cannot be.
    pub fn resume(&self, series: &SeriesKey, saved: SavedSeries<'_>) -> Option<ResumedSeries> {
        let grid = self.grid(series.timeframe);
        let part = |SavedPart { names, rows_max, features }: SavedPart<'_>| {
            let plan = Plan::new(&names, grid.clone()).ok()?;
            let features =
                SeriesFeatures::new(plan, rows_max, self.revision_bars, self.stability).restore(features)?;
            Some(Part { names: names.iter().map(|name| Arc::from(&**name)).collect(), rows_max, features })
        };
        let parts = saved.parts.into_iter().map(part).collect::<Option<Vec<_>>>()?;
        let known = |(bar, revision)| Known { bar, revision };
        let bars = saved.bars.into_iter().map(known).collect();
        let withdrawn = saved.withdrawn.into();
        let mut adjusting = self.adjustments.of(&series.symbol);
        adjusting.go_on(saved.adjusted);
        let (rules, demands) = (self.clone(), Box::default());
        let state = SeriesState { rules, grid, demands, parts, bars, withdrawn, adjusting, overtaken: 0 };
        (!state.parts.is_empty()).then_some(ResumedSeries(state))
    }
}

impl FeatureStage {
    /// [`FeatureStage::key`] for a series that goes on where it was saved.
    pub fn resumed_key(
        &self,
        (series, id): (Arc<SeriesKey>, SeriesId),
        demands: &[Demand],
        ResumedSeries(mut state): ResumedSeries,
        emit: Box<dyn Fn(Task) + Send + Sync>,
        refuse: Box<dyn Fn(Outcome) + Send + Sync>,
    ) -> FeatureKey {
        state.demand(demands);
        FeatureKey { series, id, state: Mutex::new(state), newest: AtomicU64::new(0), emit, refuse }
    }
}

impl Part {
    fn save(&self) -> SavedPart<'_> {
        SavedPart {
            names: self.names.iter().map(|name| Cow::Borrowed(&**name)).collect(),
            rows_max: self.rows_max,
            features: self.features.save(),
        }
    }
}

impl FeatureKey {
    /// Hands `take` all that is known of the series, of which no bar may be on its way.
    pub fn save<T>(&self, take: impl FnOnce(&SavedSeries<'_>) -> T) -> T {
        let state = self.state.lock();
        let bars = state.bars.iter().map(|known| (known.bar, known.revision)).collect();
        let withdrawn = state.withdrawn.iter().copied().collect();
        let adjusted = state.adjusting.applied();
        take(&SavedSeries { parts: state.parts.iter().map(Part::save).collect(), bars, withdrawn, adjusted })
    }
}
