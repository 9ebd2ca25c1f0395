//! What models ask of a series, and how that changes while bars come.
//!
//! What is asked for at the same time is computed together: a *part*, with kernels, rows and snapshots of its
//! own. Later demands that a part covers read it; others get a new part, which starts from the bars that the
//! series has kept, so that a model that is promoted while the engine runs need not wait for its features to
//! warm up. Parts that are there go on untouched, bit for bit, and stay: a rollback finds them. A recursive
//! feature that starts so knows as many bars as are kept, as after a start with that much history; where it
//! takes more to settle, its rows are refused until then, and a version that reads other features answers.

mod saved;

use super::super::plan::{Plan, WarmUp};
use super::super::series::SeriesFeatures;
use super::{FeatureKey, FeatureRules};
use crate::domain::{
    Adjusting, Bar, Demand, FeatureSet, FeatureVector, Grid, Reason, Refusal, SeriesKey, Timestamp,
};
pub use saved::{ResumedSeries, SavedSeries};
use std::collections::VecDeque;
use std::sync::Arc;

/// How many bars a series keeps at least: for features that are asked for later, and to be taken anew by an adjustment;
/// 48 bytes each.
pub const BARS_KEPT: usize = 512;

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
    features: SeriesFeatures,
}

/// What the feature stage knows of one series.
pub(super) struct SeriesState {
    rules: FeatureRules,
    grid: Grid,
    pub(super) demands: Box<[Demanded]>,
    /// Never empty: the first knows every bar since the series began.
    parts: Vec<Part>,
    /// The newest bars, as they stand by now.
    bars: VecDeque<Known>,
    /// Bars that were withdrawn, and their next revision: should one come all the same, it is another answer.
    withdrawn: VecDeque<(Timestamp, u32)>,
    /// Splits and the like, and how many of them the bars that are kept are adjusted by.
    adjusting: Adjusting,
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
    /// A part for features that were accepted one by one; it has seen `bars`.
    fn new(
        names: Vec<Arc<str>>,
        rows_max: usize,
        state: (&FeatureRules, &Grid),
        bars: &VecDeque<Known>,
    ) -> Self {
        let (rules, grid) = state;
        #[allow(clippy::expect_used)]
        let plan = Plan::new(&names, grid.clone()).expect("names that were accepted one by one");
        let mut features = SeriesFeatures::new(plan, rows_max, rules.revision_bars, rules.stability);
        bars.iter().for_each(|known| features.take_next(&known.bar));
        Self { names: names.into(), rows_max, features }
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
            bars: VecDeque::new(),
            withdrawn: VecDeque::new(),
            adjusting: rules.adjustments.of(&series.symbol),
            overtaken: 0,
        };
        state.demand(demands);
        if state.parts.is_empty() {
            state.add_part(Vec::new(), 1);
        }
        state
    }

    fn add_part(&mut self, names: Vec<Arc<str>>, rows_max: usize) {
        self.parts.push(Part::new(names, rows_max, (&self.rules, &self.grid), &self.bars));
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
            let Part { names, features, .. } = &self.parts[part];
            let column = |name: &Arc<str>| names.iter().position(|known| known == name);
            let columns: Box<[usize]> = set.names().iter().filter_map(column).collect();
            let warm_up = features.warm_up(&columns, window);
            Some(Reading { set: set.hash(), window, part, columns, warm_up })
        };
        let demanded = demands.into_iter().map(|demand| {
            let readings = readings_of(&demand).filter_map(reading).collect();
            Demanded { demand, readings }
        });
        self.demands = demanded.collect();
    }

    /// Takes in a bar that is newer than all before; its revision, which is 0 where it never was withdrawn.
    pub(super) fn take_next(&mut self, bar: &Bar) -> u32 {
        self.adjust(bar.ts);
        let bar = &self.adjusting.adjusted(bar);
        self.parts.iter_mut().for_each(|part| part.features.take_next(bar));
        if self.bars.len() >= BARS_KEPT.max(self.rules.revision_bars) {
            self.bars.pop_front();
        }
        let revision = self.first_revision(bar.ts);
        self.bars.push_back(Known { bar: *bar, revision });
        revision
    }

    /// Where a split or the like comes in force with a bar that opens at `ts`: takes the bars that are kept anew, adjusted.
    fn adjust(&mut self, ts: Timestamp) {
        let Some(events) = self.adjusting.due(ts) else { return };
        for known in &mut self.bars {
            events.iter().for_each(|event| event.apply(&mut known.bar));
        }
        self.begin_anew();
    }

    /// Begins anew from the bars that are kept.
    fn begin_anew(&mut self) {
        for part in &mut self.parts {
            part.features.reset();
            self.bars.iter().for_each(|known| part.features.take_next(&known.bar));
        }
    }

    /// The revision of a bar that is not there.
    fn first_revision(&self, ts: Timestamp) -> u32 {
        self.withdrawn.iter().rev().find(|(known, _)| *known == ts).map_or(0, |(_, next)| *next)
    }

    /// Takes a bar out. Gives it, its revision, and how many bars are to be taken anew, those behind it; where it is older
    /// than what can be changed, the series begins anew from the bars that are kept, and none is answered anew. `None`
    /// where it is not there.
    pub(super) fn withdraw(&mut self, ts: Timestamp) -> Option<(Bar, u32, usize)> {
        let at = self.bars.binary_search_by_key(&ts, |known| known.bar.ts).ok()?;
        let Known { bar, revision } = self.bars.remove(at)?;
        if self.withdrawn.len() == WITHDRAWN_KEPT {
            self.withdrawn.pop_front();
        }
        self.withdrawn.push_back((ts, revision + 1));
        if !self.parts.iter().all(|part| part.features.reaches(ts)) {
            self.begin_anew();
            return Some((bar, revision, 0));
        }
        self.bars.range_mut(at..).for_each(|known| known.revision += 1);
        let anew = self.parts.iter_mut().map(|part| part.features.withdraw(ts)).last().flatten();
        Some((bar, revision, anew.unwrap_or(0)))
    }

    /// Goes back to before a changed or late bar. Returns how many bars are to be taken anew, it and those behind it;
    /// `None`, and nothing changed, where it comes too late.
    pub(super) fn rewind(&mut self, bar: &Bar) -> Option<usize> {
        if !self.parts.iter().all(|part| part.features.reaches(bar.ts)) {
            return None;
        }
        let bar = &self.adjusting.adjusted(bar);
        let anew = self.parts.iter_mut().map(|part| part.features.rewind(bar)).last().flatten()?;
        let revision = self.first_revision(bar.ts);
        let at = self.bars.partition_point(|known| known.bar.ts < bar.ts);
        self.bars.range_mut(at..).for_each(|known| known.revision += 1);
        match self.bars.get_mut(at).filter(|known| known.bar.ts == bar.ts) {
            Some(known) => known.bar = *bar,
            None => self.bars.insert(at, Known { bar: *bar, revision }),
        }
        Some(anew)
    }

    /// Takes the bar anew that has `behind` newer ones, and says which it is; after a rewind each is taken, the oldest
    /// first. What is collected then is what a replay gives at this bar.
    pub(super) fn retake(&mut self, behind: usize) -> (Bar, u32) {
        self.parts.iter_mut().for_each(|part| part.features.retake(behind));
        self.stands(behind)
    }

    /// The bar that has `behind` newer ones, and how often it has been answered anew.
    pub(super) fn stands(&self, behind: usize) -> (Bar, u32) {
        let known = self.bars.iter().rev().nth(behind);
        known.map_or_else(|| (Bar::UNKNOWN, 0), |known| (known.bar, known.revision))
    }

    /// How many outcomes a bar that is predicted has.
    pub(super) fn outcomes_per_bar(&self) -> u32 {
        self.demands.len().max(1) as u32
    }

    /// The open time of the newest bar.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.parts[0].features.newest()
    }

    /// Sets the newest bar's answers aside for what would be, if `bar` closed as it is now.
    pub(super) fn peek(&mut self, bar: &Bar) {
        self.adjust(bar.ts);
        self.parts.iter_mut().for_each(|part| part.features.peek(bar));
    }

    /// Writes what a reading gives into `vector`, which is of its size: of what was peeked at, if `provisional`.
    /// Undefined while it warms up.
    pub(super) fn write(&self, reading: &Reading, provisional: bool, vector: &mut FeatureVector) {
        let Reading { set, window, ref columns, ref warm_up, part } = *reading;
        let features = &self.parts[part].features;
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
    pub(super) fn why(&self, reading: &Reading, index: usize) -> (Reason, String) {
        let Reading { window, ref columns, ref warm_up, part, .. } = *reading;
        let features = &self.parts[part].features;
        if features.is_past(warm_up) {
            (Reason::UndefinedFeature, features.undefined(columns, window, index))
        } else {
            (Reason::WarmingUp, features.warming_up(columns, window))
        }
    }

    /// Forgets all bars.
    pub(super) fn reset(&mut self) {
        self.parts.iter_mut().for_each(|part| part.features.reset());
        self.bars.clear();
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
}
