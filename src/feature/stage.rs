//! The feature stage: a bar in, one row for each model that is asked of its series.

mod demands;
mod rules;

use super::cache::{CacheKey, FeatureCache};
use crate::domain::{
    Adjustments, Admission, Admitted, Ask, Bar, Demand, FeatureVector, Origin, Outcome, Place, Reason,
    Refusal, Reply, SeriesId, SeriesKey, Stamps, Task,
};
use crate::link::{Stage, clock};
use demands::{Demanded, SeriesState};
pub use demands::{ResumedSeries, SavedSeries, bars_kept_to_adjust};
use parking_lot::{Mutex, RwLock};
pub use rules::FeatureRules;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bars of one series a turn takes at most.
const BATCH_MAX: usize = 256;

/// How many bars of a series in a row are not predicted because a newer one waits here already: then one is, so that also
/// a series of which always one waits is predicted.
const OVERTAKEN_MAX: u32 = 15;

/// Tells a person what adjustments did to a series.
pub type Tell = Box<dyn Fn(&SeriesKey, String) + Send + Sync>;

/// Stage 2.
pub struct FeatureStage {
    /// Vectors of recent bars, shared by horizons and callers.
    cache: Arc<FeatureCache>,
    /// What holds for series that are new.
    rules: RwLock<FeatureRules>,
    /// Whether a newer live bar takes the place of one that was not predicted: where both wait here, no row is made of
    /// the older.
    supersede: bool,
    /// Tells a person what adjustments did to a series.
    tell: Tell,
}

/// What the feature stage keeps for one series.
pub struct FeatureKey {
    series: Arc<SeriesKey>,
    id: SeriesId,
    /// Not contended but when the demands change: the mailbox lets one worker in at a time.
    state: Mutex<SeriesState>,
    /// The `series_seq` of the newest live bar that was put in.
    newest: AtomicU64,
    emit: Box<dyn Fn(Task) + Send + Sync>,
    refuse: Box<dyn Fn(Outcome) + Send + Sync>,
}

/// What is common to everything that one bar or question leads to.
struct Item {
    bar: Bar,
    revision: u32,
    origin: Origin,
    place: Place,
    stamps: Stamps,
    reply: Option<Reply>,
    /// Whether its rows would only be superseded.
    overtaken: bool,
}

impl FeatureKey {
    /// Notes that `item` is about to be put in.
    pub fn comes(&self, item: &Admitted) {
        if let Admitted::Bar { admission: Admission::Next, origin: Origin::Live, place, .. } = item {
            self.newest.store(place.series_seq, Ordering::Relaxed);
        }
    }

    fn outcome(&self, item: &Item, horizon: u32, refusal: Refusal) -> Outcome {
        Outcome {
            series: Arc::clone(&self.series),
            horizon,
            ts: item.bar.ts,
            close: item.bar.close,
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
    /// A stage whose series follow `rules`; `supersede`: where a newer live bar of a series waits here already, no row is
    /// made of the older. `tell` is given what a person should know of a series: what its adjustments did.
    pub fn new(cache: Arc<FeatureCache>, rules: FeatureRules, supersede: bool, tell: Tell) -> Self {
        Self { cache, rules: RwLock::new(rules), supersede, tell }
    }

    /// What a saved series depends on: [`FeatureRules::fingerprint`].
    pub fn fingerprint(&self) -> String {
        self.rules.read().fingerprint()
    }

    /// Series take up `adjustments` from now on, those of `keys` from their next bar on.
    pub fn set_adjustments<'a>(&self, adjustments: &Adjustments, keys: impl Iterator<Item = &'a FeatureKey>) {
        self.rules.write().adjustments.clone_from(adjustments);
        for key in keys {
            let Some(bars) = key.set_adjustments(adjustments) else { continue };
            // What was found of its newest bar is no longer what would be.
            self.cache.clear();
            let detail = "adjustments changed that were in force already";
            (self.tell)(
                &key.series,
                format!("{detail}: its newest {bars} bars were taken anew, what was answered before stays"),
            );
        }
    }

    /// A new series, for which `demands` are made; `emit` hands tasks on, `refuse` what ends here.
    /// Demands that are `unusable`, or name features that do not exist, are answered with their reason.
    pub fn key(
        &self,
        (series, id): (Arc<SeriesKey>, SeriesId),
        demands: &[Demand],
        emit: Box<dyn Fn(Task) + Send + Sync>,
        refuse: Box<dyn Fn(Outcome) + Send + Sync>,
    ) -> FeatureKey {
        let state = Mutex::new(SeriesState::new(&self.rules.read(), &series, demands));
        FeatureKey { series, id, state, newest: AtomicU64::new(0), emit, refuse }
    }

    /// Sends one item for each of `demands` on its way; their ordinals follow on the item's.
    fn fan_out<'a>(
        &self,
        key: &FeatureKey,
        state: &SeriesState,
        item: &mut Item,
        demands: impl Iterator<Item = &'a Demanded>,
    ) {
        for demanded in demands {
            match self.task(key, state, item, demanded) {
                Ok(task) => (key.emit)(task),
                Err(refusal) => (key.refuse)(key.outcome(item, demanded.demand.horizon, refusal)),
            }
            item.place.ordinal += 1;
        }
    }

    fn task(
        &self,
        key: &FeatureKey,
        state: &SeriesState,
        item: &Item,
        Demanded { demand, readings }: &Demanded,
    ) -> Result<Task, Refusal> {
        if let Some(refusal) = &demand.unusable {
            return Err(refusal.clone());
        }
        if item.overtaken {
            return Err(Refusal::superseded());
        }
        let provisional = item.origin == Origin::Provisional;
        let vector = |reading| {
            let write = |vector: &mut FeatureVector| state.write(reading, provisional, vector);
            if provisional {
                let mut vector = FeatureVector::undefined(reading.len());
                write(&mut vector);
                return Arc::new(vector);
            }
            let (series, ts, revision) = (key.id, item.bar.ts, item.revision);
            let key = CacheKey { series, ts, revision, features: reading.set, window: reading.window };
            self.cache.get_or_compute(key, reading.len(), write)
        };
        let Some((own, others)) = readings.split_first() else {
            let detail = "the model reads no features";
            return Err(Refusal::of_model(&demand.name, Reason::ModelUnavailable, detail));
        };
        let first = vector(own);
        let others: Box<[_]> = others.iter().map(vector).collect();
        // A version that reads something else may stand in where the newest cannot be asked.
        if let Some(index) = first.undefined.filter(|_| others.iter().all(|v| v.undefined.is_some())) {
            let (reason, detail) = state.why(own, provisional, index);
            return Err(Refusal::of_model(&demand.name, reason, detail));
        }
        Ok(Task {
            series: Arc::clone(&key.series),
            series_id: key.id,
            model: demand.model,
            horizon: demand.horizon,
            ts: item.bar.ts,
            close: item.bar.close,
            revision: item.revision,
            vector: first,
            others,
            place: item.place,
            origin: item.origin,
            stamps: Stamps { featured_ns: clock::now_ns(), ..item.stamps },
            reply: item.reply.clone(),
        })
    }

    fn bar(&self, key: &FeatureKey, bar: &Bar, admission: Admission, mut item: Item) {
        let mut state = key.state.lock();
        match admission {
            Admission::Next => {
                let (revision, in_force) = state.take_next(bar);
                item.revision = revision;
                if let Some(what) = in_force.filter(|_| item.origin != Origin::WarmUp) {
                    (self.tell)(&key.series, what);
                }
                item.overtaken =
                    self.supersede && item.origin == Origin::Live && state.is_overtaken(key, item.place);
                item.place.of = state.outcomes_per_bar();
                return self.predict(key, &state, &mut item);
            }
            Admission::Withdrawn => {
                let Some((bar, revision, anew)) = state.withdraw(bar.ts) else {
                    item.place.of = 1;
                    let refusal = Refusal::new(Reason::Withdrawn, "its source does not have it");
                    return (key.refuse)(key.outcome(&item, 0, refusal));
                };
                (item.bar, item.revision) = (bar, revision);
                let anew = anew.unwrap_or_else(|| {
                    // Whoever asks for the newest bar is not to be told what was said of it before.
                    self.cache.clear();
                    0
                });
                item.place.of = 1 + anew as u32 * state.outcomes_per_bar();
                let detail =
                    "its source does not have it: it is taken back, and the bars behind it are answered anew";
                (key.refuse)(key.outcome(&item, 0, Refusal::new(Reason::Withdrawn, detail)));
                item.place.ordinal = 1;
                return self.answer_anew(key, &mut state, item, anew);
            }
            Admission::Revision | Admission::Late => {}
        }
        let Some(anew) = state.rewind(bar) else {
            item.place.of = 1;
            let detail = "it is older than the bars that can still be changed";
            let reason = if admission == Admission::Late { Reason::Late } else { Reason::Revision };
            if item.origin != Origin::WarmUp {
                (key.refuse)(key.outcome(&item, 0, Refusal::new(reason, detail)));
            }
            return;
        };
        item.place.of = anew as u32 * state.outcomes_per_bar();
        self.answer_anew(key, &mut state, item, anew);
    }

    /// Answers the newest `anew` bars once more, the oldest first.
    fn answer_anew(&self, key: &FeatureKey, state: &mut SeriesState, mut item: Item, anew: usize) {
        let origin = item.origin;
        for behind in (0..anew).rev() {
            (item.bar, item.revision) = state.retake(behind);
            // The newest bar is what callers wait for: the others go after it.
            item.origin = if behind > 0 && origin == Origin::Live { Origin::CatchUp } else { origin };
            self.predict(key, state, &mut item);
        }
    }

    /// Sends what is demanded of a bar on its way, unless it only warms up.
    fn predict(&self, key: &FeatureKey, state: &SeriesState, item: &mut Item) {
        if item.origin == Origin::WarmUp {
            return;
        }
        if state.demands.is_empty() {
            let refusal = Refusal::new(Reason::NoModel, "no promoted model for this series");
            (key.refuse)(key.outcome(item, 0, refusal));
            item.place.ordinal += 1;
        }
        self.fan_out(key, state, item, state.demands.iter());
    }

    fn answer(&self, key: &FeatureKey, ask: &Ask, stamps: Stamps) {
        let mut state = key.state.lock();
        let provisional = ask.provisional.as_ref();
        let (bar, revision) = provisional.map_or_else(|| state.stands(0), |bar| (*bar, 0));
        let mut item = Item {
            bar,
            revision,
            origin: ask.origin(),
            place: Place { of: 1, ..Place::default() },
            stamps,
            reply: Some(Arc::clone(&ask.reply)),
            overtaken: false,
        };
        if let Some(bar) = provisional {
            state.peek(bar);
        }
        let horizon = ask.horizon.unwrap_or(0);
        let refuse = |reason, detail: String| {
            (key.refuse)(key.outcome(&item, horizon, Refusal::new(reason, detail)));
        };
        let of_horizon = |d: &&Demanded| d.demand.horizon == horizon;
        let wanted: Vec<&Demanded> = match ask.horizon {
            // Several models may serve a horizon: the first, by name, answers.
            Some(_) => state.demands.iter().find(of_horizon).into_iter().collect(),
            None => state.demands.iter().collect(),
        };
        if state.newest().is_none() {
            return refuse(Reason::NoBar, format!("no bar of {} has been taken yet", key.series));
        }
        if wanted.is_empty() {
            let mut horizons: Vec<u32> = state.demands.iter().map(|d| d.demand.horizon).collect();
            horizons.dedup();
            let detail =
                format!("no promoted model for {} at horizon {horizon}; there are {horizons:?}", key.series);
            return refuse(Reason::NoModel, detail);
        }
        item.place.of = wanted.len() as u32;
        self.fan_out(key, &state, &mut item, wanted.into_iter());
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
        let mut state = key.state.lock();
        state.reset();
        let mut about = Item::of(item);
        about.place.of = 1;
        let mut horizon = 0;
        if let Admitted::Ask { ask, .. } = item {
            about.bar = state.stands(0).0;
            horizon = ask.horizon.unwrap_or(0);
        }
        if about.origin != Origin::WarmUp {
            let refusal = Refusal::new(Reason::Panicked, format!("in feature: {message}"));
            (key.refuse)(key.outcome(&about, horizon, refusal));
        }
    }
}

impl SeriesState {
    /// Whether a newer live bar of the series than that at `place` waits here; not too often in a row.
    fn is_overtaken(&mut self, key: &FeatureKey, place: Place) -> bool {
        let overtaken =
            key.newest.load(Ordering::Relaxed) > place.series_seq && self.overtaken < OVERTAKEN_MAX;
        self.overtaken = if overtaken { self.overtaken + 1 } else { 0 };
        overtaken
    }
}

impl Item {
    fn of(item: &Admitted) -> Self {
        let (bar, origin, place, stamps, reply) = match item {
            Admitted::Bar { bar, origin, place, stamps, .. } => (*bar, *origin, *place, *stamps, None),
            Admitted::Ask { ask, stamps } => {
                let reply = Some(Arc::clone(&ask.reply));
                (Bar::UNKNOWN, ask.origin(), Place::default(), *stamps, reply)
            }
        };
        Self { bar, revision: 0, origin, place, stamps, reply, overtaken: false }
    }
}
