//! The feature stage: what it keeps for a series, and its step.

mod demands;

use super::cache::{CacheKey, FeatureCache};
use crate::domain::{
    Admitted, Ask, Bar, Demand, FeatureVector, Origin, Outcome, Place, Reason, Refusal, Reply, SeriesId,
    SeriesKey, Stamps, Task, Timestamp,
};
use crate::link::{Stage, clock};
use demands::{Columns, Demanded, keep};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many bars of one series a turn takes at most.
const BATCH_MAX: usize = 256;

/// Stage 2.
pub struct FeatureStage {
    /// Vectors of recent bars, shared by horizons and callers.
    pub cache: Arc<FeatureCache>,
}

/// What the feature stage keeps for one series.
pub struct FeatureKey {
    series: Arc<SeriesKey>,
    id: SeriesId,
    /// Not contended but when the demands change: the mailbox lets one worker in at a time.
    state: Mutex<SeriesState>,
    emit: Box<dyn Fn(Task) + Send + Sync>,
    refuse: Box<dyn Fn(Outcome) + Send + Sync>,
}

struct SeriesState {
    demands: Box<[Demanded]>,
    /// The names of the columns: those asked for at first, then those asked for later, in turn.
    names: Vec<Arc<str>>,
    columns: Vec<Columns>,
    /// The newest bars.
    bars: VecDeque<Bar>,
    /// The newest rows of all columns, a ring of `rows_max`; `count` rows are filled.
    rows: Box<[f64]>,
    rows_max: usize,
    count: u64,
    newest: Option<Timestamp>,
}

impl FeatureKey {
    /// A new series, for which `demands` are made; `emit` hands tasks on, `refuse` what ends here.
    /// Demands that are `unusable`, or name features that do not exist, are answered with their reason.
    pub fn new(
        (series, id): (Arc<SeriesKey>, SeriesId),
        demands: &[Demand],
        emit: Box<dyn Fn(Task) + Send + Sync>,
        refuse: Box<dyn Fn(Outcome) + Send + Sync>,
    ) -> Self {
        let mut state = SeriesState {
            demands: Box::default(),
            names: Vec::new(),
            columns: Vec::new(),
            bars: VecDeque::new(),
            rows: Box::default(),
            rows_max: 1,
            count: 0,
            newest: None,
        };
        state.demand(demands);
        Self { series, id, state: Mutex::new(state), emit, refuse }
    }

    fn outcome(&self, item: &Item, horizon: u32, (ordinal, of): (u16, u16), refusal: Refusal) -> Outcome {
        Outcome {
            series: Arc::clone(&self.series),
            horizon,
            ts: item.ts,
            place: Place { ordinal, of, ..item.place },
            origin: item.origin,
            stamps: Stamps { featured_ns: clock::now_ns(), ..item.stamps },
            result: Err(refusal),
            reply: item.reply.clone(),
        }
    }
}

/// What is common to everything that one bar or question leads to.
struct Item {
    ts: Timestamp,
    origin: Origin,
    place: Place,
    stamps: Stamps,
    reply: Option<Reply>,
}

impl SeriesState {
    fn update(&mut self, bar: &Bar) {
        keep(&mut self.bars, bar);
        let width = self.names.len();
        let row = (self.count % self.rows_max as u64) as usize * width;
        let row = &mut self.rows[row..row + width];
        self.columns.iter_mut().fold(row, |row, columns| columns.update(bar, row));
        self.count += 1;
        self.newest = Some(bar.ts);
    }

    /// The newest `window` rows of `columns`, the oldest first.
    fn collect(&self, set: u64, columns: &[usize], window: usize) -> FeatureVector {
        let width = self.names.len();
        let mut values = Vec::with_capacity(window * columns.len());
        for back in (0..window as u64).rev() {
            match self.count.checked_sub(back + 1) {
                Some(bar) => {
                    let row = (bar % self.rows_max as u64) as usize * width;
                    values.extend(columns.iter().map(|column| self.rows[row + column]));
                }
                None => values.extend(columns.iter().map(|_| f64::NAN)),
            }
        }
        // Infinity is no more an input than NaN is: models turn both into plausible numbers.
        let undefined = values.iter().position(|value| !value.is_finite());
        FeatureVector { set, values: values.into(), undefined }
    }

    fn why_undefined(&self, demand: &Demand, index: usize) -> Refusal {
        let (row, column) = (index / demand.features.len(), index % demand.features.len());
        let name = &demand.features.names()[column];
        let bars_ago = demand.window - 1 - row;
        let taken = self.count;
        let ago = if bars_ago == 0 { String::new() } else { format!(" {bars_ago} bars ago") };
        let detail = format!("{name} is undefined{ago}; {taken} bars of the series were taken so far");
        Refusal::of_model(&demand.name, Reason::UndefinedFeature, detail)
    }
}

impl FeatureStage {
    /// Sends one item for each of `demands` on its way.
    fn fan_out<'a>(
        &self,
        key: &FeatureKey,
        state: &SeriesState,
        item: &Item,
        demands: impl ExactSizeIterator<Item = &'a Demanded>,
    ) {
        let of = demands.len() as u16;
        for (ordinal, Demanded { demand, columns, others }) in demands.enumerate() {
            let ordinal = ordinal as u16;
            let horizon = demand.horizon;
            if let Some(refusal) = &demand.unusable {
                (key.refuse)(key.outcome(item, horizon, (ordinal, of), refusal.clone()));
                continue;
            }
            let vector = |set: u64, window: usize, columns: &[usize]| {
                let cache_key = CacheKey { series: key.id, ts: item.ts, features: set, window };
                self.cache.get_or_compute(cache_key, || state.collect(set, columns, window))
            };
            let first = vector(demand.features.hash(), demand.window, columns);
            let others = demand.others.iter().zip(others);
            let others: Box<[_]> =
                others.map(|((set, window), columns)| vector(set.hash(), *window, columns)).collect();
            if let Some(index) = first.undefined.filter(|_| others.iter().all(|v| v.undefined.is_some())) {
                let refusal = state.why_undefined(demand, index);
                (key.refuse)(key.outcome(item, horizon, (ordinal, of), refusal));
                continue;
            }
            (key.emit)(Task {
                series: Arc::clone(&key.series),
                series_id: key.id,
                model: demand.model,
                horizon,
                ts: item.ts,
                vector: first,
                others,
                place: Place { ordinal, of, ..item.place },
                origin: item.origin,
                stamps: Stamps { featured_ns: clock::now_ns(), ..item.stamps },
                reply: item.reply.clone(),
            });
        }
    }

    fn answer(&self, key: &FeatureKey, ask: &Ask, stamps: Stamps) {
        let state = key.state.lock();
        let item = Item {
            ts: state.newest.unwrap_or_default(),
            origin: Origin::Asked,
            place: Place::default(),
            stamps,
            reply: Some(Arc::clone(&ask.reply)),
        };
        let horizon = ask.horizon.unwrap_or(0);
        let refuse = |reason, detail: String| {
            (key.refuse)(key.outcome(&item, horizon, (0, 1), Refusal::new(reason, detail)));
        };
        let of_horizon = |d: &&Demanded| d.demand.horizon == horizon;
        let wanted: Vec<&Demanded> = match ask.horizon {
            // Several models may serve a horizon: the first, by name, answers.
            Some(_) => state.demands.iter().find(of_horizon).into_iter().collect(),
            None => state.demands.iter().collect(),
        };
        if state.newest.is_none() {
            refuse(Reason::NoBar, format!("no bar of {} has been taken yet", key.series));
        } else if wanted.is_empty() {
            let mut horizons: Vec<u32> = state.demands.iter().map(|d| d.demand.horizon).collect();
            horizons.dedup();
            let detail =
                format!("no promoted model for {} at horizon {horizon}; there are {horizons:?}", key.series);
            refuse(Reason::NoModel, detail);
        } else {
            self.fan_out(key, &state, &item, wanted.into_iter());
        }
    }
}

impl Stage for FeatureStage {
    type Key = FeatureKey;
    type Item = Admitted;

    fn batch_max(&self, _: &FeatureKey) -> usize {
        BATCH_MAX
    }

    fn chunk_max(&self) -> usize {
        1
    }

    fn step(&self, key: &FeatureKey, items: &[Admitted]) {
        for item in items {
            match item {
                Admitted::Bar { bar, origin, place, stamps } => {
                    let mut state = key.state.lock();
                    state.update(bar);
                    if *origin == Origin::WarmUp {
                        continue;
                    }
                    let item =
                        Item { ts: bar.ts, origin: *origin, place: *place, stamps: *stamps, reply: None };
                    if state.demands.is_empty() {
                        let refusal = Refusal::new(Reason::NoModel, "no promoted model for this series");
                        (key.refuse)(key.outcome(&item, 0, (0, 1), refusal));
                    }
                    self.fan_out(key, &state, &item, state.demands.iter());
                }
                Admitted::Ask { ask, stamps } => self.answer(key, ask, *stamps),
            }
        }
    }

    fn panicked(&self, key: &FeatureKey, item: &Admitted, message: &str) {
        // Whether the kernels took the bar is unknown: they start afresh rather than being half wrong.
        let mut state = key.state.lock();
        state.columns.iter_mut().for_each(Columns::reset);
        state.bars.clear();
        state.count = 0;
        let refusal = Refusal::new(Reason::Panicked, format!("in feature: {message}"));
        let (item, horizon) = match item {
            Admitted::Bar { bar, origin, place, stamps } => {
                (Item { ts: bar.ts, origin: *origin, place: *place, stamps: *stamps, reply: None }, 0)
            }
            Admitted::Ask { ask, stamps } => {
                let reply = Some(Arc::clone(&ask.reply));
                let (ts, place) = (state.newest.unwrap_or_default(), Place::default());
                (Item { ts, origin: Origin::Asked, place, stamps: *stamps, reply }, ask.horizon.unwrap_or(0))
            }
        };
        if item.origin != Origin::WarmUp {
            (key.refuse)(key.outcome(&item, horizon, (0, 1), refusal));
        }
    }
}
