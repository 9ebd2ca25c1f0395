//! The feature stage: what it keeps for a series, and its step.

use super::cache::{CacheKey, FeatureCache};
use super::plan::{Plan, PlanState};
use crate::domain::{
    Admitted, Ask, Bar, Demand, FeatureVector, Origin, Outcome, Place, Reason, Refusal, Reply, SeriesId,
    SeriesKey, Stamps, Task, Timestamp,
};
use crate::link::{Stage, clock};
use parking_lot::Mutex;
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
    demands: Box<[Demanded]>,
    /// Never contended: the mailbox lets one worker in at a time.
    state: Mutex<SeriesState>,
    emit: Box<dyn Fn(Task) + Send + Sync>,
    refuse: Box<dyn Fn(Outcome) + Send + Sync>,
}

/// A demand, and where its features stand among the series' columns.
struct Demanded {
    demand: Demand,
    columns: Box<[usize]>,
}

struct SeriesState {
    plan: Plan,
    kernels: PlanState,
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
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut rows_max = 1;
        let demanded = demands.iter().cloned().map(|mut demand| {
            if let Err(error) = Plan::new(demand.features.names(), series.timeframe) {
                let refusal = Refusal::of_model(&demand.name, Reason::ModelUnavailable, error.to_string());
                demand.unusable.get_or_insert(refusal);
            }
            let usable: &[Arc<str>] = if demand.unusable.is_some() { &[] } else { demand.features.names() };
            rows_max = rows_max.max(demand.window);
            let column_of = |name: &Arc<str>| {
                names.iter().position(|known| known == name).unwrap_or_else(|| {
                    names.push(Arc::clone(name));
                    names.len() - 1
                })
            };
            let columns = usable.iter().map(column_of).collect();
            Demanded { demand, columns }
        });
        let demands = demanded.collect();
        // Every name was accepted above, so all of them together are.
        #[allow(clippy::expect_used)]
        let plan = Plan::new(&names, series.timeframe).expect("names that were accepted one by one");
        let kernels = plan.state();
        let rows = vec![f64::NAN; rows_max * names.len()].into();
        let state = SeriesState { plan, kernels, rows, rows_max, count: 0, newest: None };
        Self { series, id, demands, state: Mutex::new(state), emit, refuse }
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
        self.kernels.update(bar);
        let width = self.plan.names().len();
        let row = (self.count % self.rows_max as u64) as usize * width;
        self.kernels.write(&mut self.rows[row..row + width]);
        self.count += 1;
        self.newest = Some(bar.ts);
    }

    /// The newest `window` rows of `columns`, the oldest first.
    fn collect(&self, columns: &[usize], window: usize) -> FeatureVector {
        let width = self.plan.names().len();
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
        FeatureVector { values: values.into(), undefined }
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
        for (ordinal, Demanded { demand, columns }) in demands.enumerate() {
            let ordinal = ordinal as u16;
            let horizon = demand.horizon;
            if let Some(refusal) = &demand.unusable {
                (key.refuse)(key.outcome(item, horizon, (ordinal, of), refusal.clone()));
                continue;
            }
            let cache_key = CacheKey {
                series: key.id,
                ts: item.ts,
                features: demand.features.hash(),
                window: demand.window,
            };
            let vector = self.cache.get_or_compute(cache_key, || state.collect(columns, demand.window));
            if let Some(index) = vector.undefined {
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
                vector,
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
            Some(_) => key.demands.iter().find(of_horizon).into_iter().collect(),
            None => key.demands.iter().collect(),
        };
        if state.newest.is_none() {
            refuse(Reason::NoBar, format!("no bar of {} has been taken yet", key.series));
        } else if wanted.is_empty() {
            let mut horizons: Vec<u32> = key.demands.iter().map(|d| d.demand.horizon).collect();
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
                    if key.demands.is_empty() {
                        let refusal = Refusal::new(Reason::NoModel, "no promoted model for this series");
                        (key.refuse)(key.outcome(&item, 0, (0, 1), refusal));
                    }
                    self.fan_out(key, &state, &item, key.demands.iter());
                }
                Admitted::Ask { ask, stamps } => self.answer(key, ask, *stamps),
            }
        }
    }

    fn panicked(&self, key: &FeatureKey, item: &Admitted, message: &str) {
        // Whether the kernels took the bar is unknown: they start afresh rather than being half wrong.
        let mut state = key.state.lock();
        state.kernels = state.plan.state();
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
