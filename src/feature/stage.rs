//! The feature stage: a bar in, one row for each model that is asked of its series.

use super::cache::{CacheKey, FeatureCache};
use super::plan::{Plan, WarmUp};
use super::series::SeriesFeatures;
use crate::domain::{
    Admission, Admitted, Ask, Bar, Demand, GapPolicy, Grid, MarketHours, Origin, Outcome, Place, Reason,
    Refusal, Reply, SeriesId, SeriesKey, Stability, Stamps, Task, Timeframe, Timestamp,
};
use crate::link::{Stage, clock};
use parking_lot::Mutex;
use std::sync::Arc;

/// How many bars of one series a turn takes at most.
const BATCH_MAX: usize = 256;

/// What holds for the features of every series.
#[derive(Clone, Debug, Default)]
pub struct FeatureRules {
    /// What a gap inside the market's hours does.
    pub gaps: GapPolicy,
    /// The longest gap over which features go on; 0: however long.
    pub gap_bars_max: u64,
    /// When bars are expected.
    pub hours: MarketHours,
    /// How free of the beginning of its series a feature has to be before a model reads it.
    pub stability: Stability,
    /// How many of a series' newest bars can change after they closed.
    pub revision_bars: usize,
}

impl FeatureRules {
    /// How the time of a series is cut.
    pub fn grid(&self, timeframe: Timeframe) -> Grid {
        let Self { gaps, gap_bars_max, ref hours, .. } = *self;
        Grid { timeframe, policy: gaps, gap_bars_max, hours: hours.clone() }
    }

    /// How many bars of a series a model takes until it may predict; 0 where its features do not exist.
    pub fn warm_up_bars(&self, timeframe: Timeframe, demand: &Demand) -> u64 {
        let plan = Plan::new(demand.features.names(), self.grid(timeframe));
        plan.map_or(0, |plan| plan.warm_up_bars_max(self.stability) + demand.window as u64 - 1)
    }
}

/// Stage 2.
pub struct FeatureStage {
    /// Vectors of recent bars, shared by horizons and callers.
    pub cache: Arc<FeatureCache>,
    /// What holds for every series.
    pub rules: FeatureRules,
}

/// What the feature stage keeps for one series.
pub struct FeatureKey {
    series: Arc<SeriesKey>,
    id: SeriesId,
    demands: Box<[Demanded]>,
    /// Never contended: the mailbox lets one worker in at a time.
    state: Mutex<SeriesFeatures>,
    emit: Box<dyn Fn(Task) + Send + Sync>,
    refuse: Box<dyn Fn(Outcome) + Send + Sync>,
}

/// A demand, and where its features stand among the series' columns.
struct Demanded {
    demand: Demand,
    columns: Box<[usize]>,
    warm_up: WarmUp,
}

/// What is common to everything that one bar or question leads to.
struct Item {
    ts: Timestamp,
    revision: u32,
    origin: Origin,
    place: Place,
    stamps: Stamps,
    reply: Option<Reply>,
}

impl FeatureKey {
    fn outcome(&self, item: &Item, horizon: u32, refusal: Refusal) -> Outcome {
        Outcome {
            series: Arc::clone(&self.series),
            horizon,
            ts: item.ts,
            revision: item.revision,
            place: item.place,
            origin: item.origin,
            stamps: Stamps { featured_ns: clock::now_ns(), ..item.stamps },
            result: Err(refusal),
            reply: item.reply.clone(),
        }
    }
}

impl FeatureStage {
    /// A new series, for which `demands` are made; `emit` hands tasks on, `refuse` what ends here.
    /// Demands that are `unusable`, or name features that do not exist, are answered with their reason.
    pub fn key(
        &self,
        (series, id): (Arc<SeriesKey>, SeriesId),
        demands: &[Demand],
        emit: Box<dyn Fn(Task) + Send + Sync>,
        refuse: Box<dyn Fn(Outcome) + Send + Sync>,
    ) -> FeatureKey {
        let grid = self.rules.grid(series.timeframe);
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut rows_max = 1;
        let demanded = demands.iter().cloned().map(|mut demand| {
            if let Err(error) = Plan::new(demand.features.names(), grid.clone()) {
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
            Demanded { demand, columns, warm_up: WarmUp::default() }
        });
        let mut demands: Box<[Demanded]> = demanded.collect();
        // Every name was accepted above, so all of them together are.
        #[allow(clippy::expect_used)]
        let plan = Plan::new(&names, grid.clone()).expect("names that were accepted one by one");
        let FeatureRules { revision_bars, stability, .. } = self.rules;
        let features = SeriesFeatures::new(plan, rows_max, revision_bars, stability);
        for Demanded { demand, columns, warm_up } in &mut demands {
            *warm_up = features.warm_up(columns, demand.window);
        }
        FeatureKey { series, id, demands, state: Mutex::new(features), emit, refuse }
    }

    /// Sends one item for each of `demands` on its way; their ordinals follow on the item's.
    fn fan_out<'a>(
        &self,
        key: &FeatureKey,
        features: &SeriesFeatures,
        item: &mut Item,
        demands: impl Iterator<Item = &'a Demanded>,
    ) {
        for demanded in demands {
            match self.task(key, features, item, demanded) {
                Ok(task) => (key.emit)(task),
                Err(refusal) => (key.refuse)(key.outcome(item, demanded.demand.horizon, refusal)),
            }
            item.place.ordinal += 1;
        }
    }

    fn task(
        &self,
        key: &FeatureKey,
        features: &SeriesFeatures,
        item: &Item,
        Demanded { demand, columns, warm_up }: &Demanded,
    ) -> Result<Task, Refusal> {
        if let Some(refusal) = &demand.unusable {
            return Err(refusal.clone());
        }
        let refuse = |reason, detail| Err(Refusal::of_model(&demand.name, reason, detail));
        if !features.is_past(warm_up) {
            return refuse(Reason::WarmingUp, features.warming_up(columns, demand.window));
        }
        let provisional = item.origin == Origin::Provisional;
        let collect = || features.collect(columns, demand.window, provisional);
        let vector = if provisional {
            Arc::new(collect())
        } else {
            let key = CacheKey {
                series: key.id,
                ts: item.ts,
                revision: item.revision,
                features: demand.features.hash(),
                window: demand.window,
            };
            self.cache.get_or_compute(key, collect)
        };
        if let Some(index) = vector.undefined {
            return refuse(Reason::UndefinedFeature, features.undefined(columns, demand.window, index));
        }
        Ok(Task {
            series: Arc::clone(&key.series),
            series_id: key.id,
            model: demand.model,
            horizon: demand.horizon,
            ts: item.ts,
            revision: item.revision,
            vector,
            place: item.place,
            origin: item.origin,
            stamps: Stamps { featured_ns: clock::now_ns(), ..item.stamps },
            reply: item.reply.clone(),
        })
    }

    fn bar(&self, key: &FeatureKey, bar: &Bar, admission: Admission, mut item: Item) {
        let mut features = key.state.lock();
        let taken = features.take(bar, admission);
        if item.origin == Origin::WarmUp {
            return;
        }
        let demands = key.demands.len() as u16;
        let refuse = |item: &Item, refusal| (key.refuse)(key.outcome(item, 0, refusal));
        item.revision = features.revision();
        if !taken {
            item.place.of = 1;
            let detail = "it is older than the bars that can still be changed";
            let reason = if admission == Admission::Late { Reason::Late } else { Reason::Revision };
            return refuse(&item, Refusal::new(reason, detail));
        }
        let newest = features.newest().unwrap_or(bar.ts);
        if bar.ts == newest {
            item.place.of = demands.max(1);
            if demands == 0 {
                refuse(&item, Refusal::new(Reason::NoModel, "no promoted model for this series"));
            }
        } else {
            item.place.of = demands + 1;
            let detail = format!("it was put in its place; the newest bar, of {newest}, is answered anew");
            refuse(&item, Refusal::new(Reason::Superseded, detail));
            item.place.ordinal += 1;
            item.ts = newest;
        }
        self.fan_out(key, &features, &mut item, key.demands.iter());
    }

    fn answer(&self, key: &FeatureKey, ask: &Ask, stamps: Stamps) {
        let mut features = key.state.lock();
        let provisional = ask.provisional.as_ref();
        let mut item = Item {
            ts: provisional.map(|bar| bar.ts).or(features.newest()).unwrap_or_default(),
            revision: if provisional.is_some() { 0 } else { features.revision() },
            origin: ask.origin(),
            place: Place { of: 1, ..Place::default() },
            stamps,
            reply: Some(Arc::clone(&ask.reply)),
        };
        let horizon = ask.horizon.unwrap_or(0);
        let refuse = |reason, detail: String| {
            (key.refuse)(key.outcome(&item, horizon, Refusal::new(reason, detail)));
        };
        let of_horizon = |d: &&Demanded| d.demand.horizon == horizon;
        let wanted: Vec<&Demanded> = match ask.horizon {
            // Several models may serve a horizon: the first, by name, answers.
            Some(_) => key.demands.iter().find(of_horizon).into_iter().collect(),
            None => key.demands.iter().collect(),
        };
        if features.newest().is_none() {
            return refuse(Reason::NoBar, format!("no bar of {} has been taken yet", key.series));
        }
        if wanted.is_empty() {
            let mut horizons: Vec<u32> = key.demands.iter().map(|d| d.demand.horizon).collect();
            horizons.dedup();
            let detail =
                format!("no promoted model for {} at horizon {horizon}; there are {horizons:?}", key.series);
            return refuse(Reason::NoModel, detail);
        }
        if let Some(bar) = provisional {
            features.peek(bar);
        }
        item.place.of = wanted.len() as u16;
        self.fan_out(key, &features, &mut item, wanted.into_iter());
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
                Admitted::Bar { bar, admission, .. } => self.bar(key, bar, *admission, Item::of(item)),
                Admitted::Ask { ask, stamps } => self.answer(key, ask, *stamps),
            }
        }
    }

    fn panicked(&self, key: &FeatureKey, item: &Admitted, message: &str) {
        // Whether the kernels took the bar is unknown: they start afresh rather than being half wrong.
        let mut features = key.state.lock();
        features.reset();
        let mut about = Item::of(item);
        about.place.of = 1;
        let mut horizon = 0;
        if let Admitted::Ask { ask, .. } = item {
            about.ts = features.newest().unwrap_or_default();
            horizon = ask.horizon.unwrap_or(0);
        }
        if about.origin != Origin::WarmUp {
            let refusal = Refusal::new(Reason::Panicked, format!("in feature: {message}"));
            (key.refuse)(key.outcome(&about, horizon, refusal));
        }
    }
}

impl Item {
    fn of(item: &Admitted) -> Self {
        let (ts, origin, place, stamps, reply) = match item {
            Admitted::Bar { bar, origin, place, stamps, .. } => (bar.ts, *origin, *place, *stamps, None),
            Admitted::Ask { ask, stamps } => {
                let reply = Some(Arc::clone(&ask.reply));
                (Timestamp::default(), ask.origin(), Place::default(), *stamps, reply)
            }
        };
        Self { ts, revision: 0, origin, place, stamps, reply }
    }
}
