//! What the stage knows of a series, as it passes into the process that replaces this one.

use super::terms::Terms;
use super::{FeatureKey, FeatureRules, Known, Part, SeriesState};
use crate::domain::{
    Adjustment, Bar, Demand, Outcome, SeriesAdjustments, SeriesId, SeriesKey, Task, Timestamp,
};
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
    /// The features of the parts, in the terms of so many of the adjustments each.
    terms: Vec<(usize, Vec<SavedFeatures<'s>>)>,
    /// The terms of the newest bar.
    stands: usize,
    adjustments: Cow<'s, [Adjustment]>,
    bars: Vec<(Bar, u32)>,
    withdrawn: Vec<(Timestamp, u32)>,
}

#[derive(Serialize, Deserialize)]
struct SavedPart<'s> {
    names: Vec<Cow<'s, str>>,
    rows_max: usize,
}

/// A series that goes on where it was saved, before anything is demanded of it.
pub struct ResumedSeries(SeriesState);

impl FeatureRules {
    /// Goes on where a series was saved under the same rules; `None` where that cannot be.
    pub fn resume(&self, series: &SeriesKey, saved: SavedSeries<'_>) -> Option<ResumedSeries> {
        let grid = self.grid(series.timeframe);
        let part = |SavedPart { names, rows_max }: SavedPart<'_>| {
            let plan = Plan::new(&names, grid.clone()).ok()?;
            Some(Part { names: names.iter().map(|name| Arc::from(&**name)).collect(), rows_max, plan })
        };
        let parts = saved.parts.into_iter().map(part).collect::<Option<Vec<_>>>()?;
        let terms = |(by, features): (usize, Vec<SavedFeatures<'_>>)| {
            let same = features.len() == parts.len();
            let restored = parts.iter().zip(features).map(|(part, saved)| part.features(self).restore(saved));
            restored.collect::<Option<_>>().filter(|_| same).map(|features| Terms { by, features })
        };
        let terms = saved.terms.into_iter().map(terms).collect::<Option<Vec<_>>>()?;
        let stands = saved.stands;
        if parts.is_empty() || !terms.iter().any(|terms| terms.by == stands) {
            return None;
        }
        let known = |(bar, revision)| Known { bar, revision };
        let mut state = SeriesState {
            rules: self.clone(),
            grid,
            demands: Box::default(),
            parts,
            terms,
            stands,
            peeked: stands,
            adjustments: SeriesAdjustments::new(&saved.adjustments),
            bars: saved.bars.into_iter().map(known).collect(),
            bars_max: 0,
            withdrawn: saved.withdrawn.into(),
            overtaken: 0,
        };
        state.set_bars_max();
        state.set_adjustments(self.adjustments.of(&series.symbol));
        Some(ResumedSeries(state))
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

impl Terms {
    fn save(&self) -> (usize, Vec<SavedFeatures<'_>>) {
        (self.by, self.features.iter().map(SeriesFeatures::save).collect())
    }
}

impl Part {
    fn save(&self) -> SavedPart<'_> {
        SavedPart {
            names: self.names.iter().map(|name| Cow::Borrowed(&**name)).collect(),
            rows_max: self.rows_max,
        }
    }
}

impl FeatureKey {
    /// Hands `take` all that is known of the series, of which no bar may be on its way.
    pub fn save<T>(&self, take: impl FnOnce(&SavedSeries<'_>) -> T) -> T {
        let state = self.state.lock();
        take(&SavedSeries {
            parts: state.parts.iter().map(Part::save).collect(),
            terms: state.terms.iter().map(Terms::save).collect(),
            stands: state.stands,
            adjustments: state.adjustments.all().into(),
            bars: state.bars.iter().map(|known| (known.bar, known.revision)).collect(),
            withdrawn: state.withdrawn.iter().copied().collect(),
        })
    }
}
