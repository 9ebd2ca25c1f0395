//! What models ask of a series, and how that changes while bars come.
//!
//! What is asked for at the same time is computed together: a *part*, with kernels, rows and snapshots of its
//! own. Later demands that a part covers read it; others get a new part, which starts from the bars that the
//! series has kept, so that a model that is promoted while the engine runs need not wait for its features to
//! warm up. Parts that are there go on untouched, bit for bit, and stay: a rollback finds them. A recursive
//! feature that starts so knows as many bars as are kept, as after a start with that much history; where it
//! takes more to settle, its rows are refused until then, and a version that reads other features answers.

mod saved;
mod terms;
#[cfg(test)]
mod tests;

use super::super::plan::{Plan, WarmUp};
use super::super::series::SeriesFeatures;
use super::{FeatureKey, FeatureRules};
use crate::domain::{
    Adjustments, Bar, Demand, FeatureSet, FeatureVector, Grid, Reason, Refusal, SeriesAdjustments, SeriesKey,
    Stability, Timestamp,
};
pub use saved::{ResumedSeries, SavedSeries};
use std::collections::VecDeque;
use std::sync::Arc;
use terms::Terms;

/// How many bars a series keeps at least, for features that are asked for later; 56 bytes each.
const BARS_KEPT: usize = 512;

/// How many bars a series keeps while an adjustment is to come: the features of `plan`, over windows of `window` bars, go on
/// behind it as if the bars had always been as it says, but for what no longer depends on older ones.
pub fn bars_kept_to_adjust(plan: &Plan, rules: &FeatureRules, window: usize) -> usize {
    // What is read as soon as it is defined is not to jump either.
    let stability = if rules.stability == Stability::Defined { Stability::Digits4 } else { rules.stability };
    let bars = plan.warm_up_bars_over(window, stability);
    usize::try_from(bars).unwrap_or(usize::MAX).max(BARS_KEPT).max(rules.revision_bars)
}

/// How many bars that were withdrawn are remembered.
const WITHDRAWN_KEPT: usize = 64;

/// One set of features over so many bars, and where it is found.
pub(super) struct Reading {
    /// The hash of the feature set.
    pub(super) set: u64,
    pub(super) window: usize,
    part: usize,
    columns: Box<[usize]>,
    warm_up: WarmUp,
}

impl Reading {
    /// How many values it gives.
    pub(super) fn len(&self) -> usize {
        self.window * self.columns.len()
    }
}

/// A demand, and what it reads: its own set first, then those of versions that may have to stand in.
pub(super) struct Demanded {
    pub(super) demand: Demand,
    /// Empty where the demand is unusable.
    pub(super) readings: Box<[Reading]>,
}

/// Features that were asked for at the same time.
struct Part {
    names: Box<[Arc<str>]>,
    rows_max: usize,
    plan: Plan,
}

/// What the feature stage knows of one series.
pub(super) struct SeriesState {
    rules: FeatureRules,
    grid: Grid,
    pub(super) demands: Box<[Demanded]>,
    /// Never empty: the first knows every bar since the series began.
    parts: Vec<Part>,
    /// The features of the parts: in the terms of the newest bar, and in others that are still or already needed, in
    /// their order. One without adjustments has one.
    terms: Vec<Terms>,
    /// The terms of the bar that is answered, of which the features stand at it: the newest one's, when nothing is.
    stands: usize,
    /// The terms of the bar that was peeked at.
    peeked: usize,
    adjustments: SeriesAdjustments,
    /// The newest bars, as they came, or changed since; and how many there may be.
    bars: VecDeque<Known>,
    bars_max: usize,
    /// Bars that were withdrawn, and their next revision: should one come all the same, it is another answer.
    withdrawn: VecDeque<(Timestamp, u32)>,
    /// How many bars in a row were not predicted because a newer one waited.
    pub(super) overtaken: u32,
}

/// A bar that was taken.
struct Known {
    bar: Bar,
    /// How often it has been answered anew.
    revision: u32,
}

impl Part {
    /// A part for features that were accepted one by one.
    fn new(names: Vec<Arc<str>>, rows_max: usize, grid: &Grid) -> Self {
        #[allow(clippy::expect_used)]
        let plan = Plan::new(&names, grid.clone()).expect("names that were accepted one by one");
        Self { names: names.into(), rows_max, plan }
    }

    /// Its features before the first bar.
    fn features(&self, rules: &FeatureRules) -> SeriesFeatures {
        SeriesFeatures::new(self.plan.clone(), self.rows_max, rules.revision_bars, rules.stability)
    }

    fn covers(&self, set: &FeatureSet, window: usize) -> bool {
        self.rows_max >= window && set.names().iter().all(|name| self.names.contains(name))
    }
}

impl SeriesState {
    pub(super) fn new(rules: &FeatureRules, series: &SeriesKey, demands: &[Demand]) -> Self {
        let grid = rules.grid(series.timeframe);
        let mut state = Self {
            rules: rules.clone(),
            grid,
            demands: Box::default(),
            parts: Vec::new(),
            terms: vec![Terms::default()],
            stands: 0,
            peeked: 0,
            adjustments: rules.adjustments.of(&series.symbol),
            bars: VecDeque::new(),
            bars_max: BARS_KEPT,
            withdrawn: VecDeque::new(),
            overtaken: 0,
        };
        state.demand(demands);
        if state.parts.is_empty() {
            state.add_part(Vec::new(), 1);
        }
        state
    }

    fn add_part(&mut self, names: Vec<Arc<str>>, rows_max: usize) {
        let part = Part::new(names, rows_max, &self.grid);
        for at in 0..self.terms.len() {
            let features = self.begun(&part, self.terms[at].by);
            self.terms[at].features.push(features);
        }
        self.parts.push(part);
        self.set_bars_max();
    }

    /// Takes up `demands`. Those that are `unusable`, or name features that do not exist, are answered with
    /// their reason.
    fn demand(&mut self, demands: &[Demand]) {
        let mut demands = demands.to_vec();
        let (mut names, mut rows_max): (Vec<Arc<str>>, usize) = (Vec::new(), 1);
        for demand in &mut demands {
            if let Err(error) = Plan::new(demand.features.names(), self.grid.clone()) {
                let refusal = Refusal::of_model(&demand.name, Reason::ModelUnavailable, error.to_string());
                demand.unusable.get_or_insert(refusal);
            }
            demand.others.retain(|(set, _)| Plan::new(set.names(), self.grid.clone()).is_ok());
            for (set, window) in readings_of(demand) {
                if !self.parts.iter().any(|part| part.covers(set, window)) {
                    rows_max = rows_max.max(window);
                    let new = set.names().iter().filter(|name| !names.contains(name));
                    let new: Vec<Arc<str>> = new.cloned().collect();
                    names.extend(new);
                }
            }
        }
        if !names.is_empty() {
            self.add_part(names, rows_max);
        }
        let reading = |(set, window): (&FeatureSet, usize)| {
            let part = self.parts.iter().position(|part| part.covers(set, window))?;
            let Part { names, plan, .. } = &self.parts[part];
            let column = |name: &Arc<str>| names.iter().position(|known| known == name);
            let columns: Box<[usize]> = set.names().iter().filter_map(column).collect();
            let warm_up = plan.warm_up(&columns, window, self.rules.stability);
            Some(Reading { set: set.hash(), window, part, columns, warm_up })
        };
        let demanded = demands.into_iter().map(|demand| {
            let readings = readings_of(&demand).filter_map(reading).collect();
            Demanded { demand, readings }
        });
        self.demands = demanded.collect();
    }

    /// How many outcomes a bar that is predicted has.
    pub(super) fn outcomes_per_bar(&self) -> u32 {
        self.demands.len().max(1) as u32
    }

    /// Writes what a reading gives into `vector`, which is of its size: of what was peeked at, if `provisional`.
    /// Undefined while it warms up.
    pub(super) fn write(&self, reading: &Reading, provisional: bool, vector: &mut FeatureVector) {
        let Reading { set, window, ref columns, ref warm_up, part } = *reading;
        let features = &self.answering(provisional).features[part];
        vector.set = set;
        vector.undefined = match features.is_past(warm_up) {
            true => features.write(columns, window, provisional, &mut vector.values),
            false => {
                vector.values.fill(f64::NAN);
                Some(0)
            }
        };
    }

    /// Why a reading gave nothing at `index`.
    pub(super) fn why(&self, reading: &Reading, provisional: bool, index: usize) -> (Reason, String) {
        let Reading { window, ref columns, ref warm_up, part, .. } = *reading;
        let features = &self.answering(provisional).features[part];
        if features.is_past(warm_up) {
            (Reason::UndefinedFeature, features.undefined(columns, window, index))
        } else {
            (Reason::WarmingUp, features.warming_up(columns, window))
        }
    }
}

/// The sets that a demand reads, with their windows; none where it is unusable.
fn readings_of(demand: &Demand) -> impl Iterator<Item = (&FeatureSet, usize)> {
    let own = demand.unusable.is_none().then_some((&demand.features, demand.window));
    let others = demand.others.iter().filter(|_| demand.unusable.is_none());
    own.into_iter().chain(others.map(|(set, window)| (set, *window)))
}

impl FeatureKey {
    /// Replaces what is demanded of the series, from its next bar on; returns whether it was something else.
    pub fn set_demands(&self, demands: &[Demand]) -> bool {
        let mut state = self.state.lock();
        if state.demands.iter().map(|demanded| &demanded.demand).eq(demands) {
            return false;
        }
        state.demand(demands);
        true
    }

    /// Replaces the adjustments of the series by those among `all`, from its next bar on. Where some that were in force
    /// already change, the bars that are kept are taken anew: how many these are.
    pub fn set_adjustments(&self, all: &Adjustments) -> Option<usize> {
        self.state.lock().set_adjustments(all.of(&self.series.symbol))
    }
}
