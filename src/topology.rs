//! The wiring: the only file that names all four stages, and the only place where links and pools are made.
//!
//! ```text
//! stage     key        a key belongs to        one step takes   full: `put` waits at
//! ───────   ────────   ─────────────────────   ──────────────   ─────────────────────────
//! ingest    series     one worker at a time    1 bar            [ingest]  queue_bars_max
//! feature   series     one worker at a time    1 bar            [feature] queue_bars_max
//! predict   content    one worker a session    a batch          [predict] queue_rows_max
//! loading   content    one worker at a time    a batch          [predict] queue_rows_max
//! persist   the store  one worker at a time    a batch          [persist] queue_rows_max
//! ```
//!
//! Loading belongs to predict: rows whose session is not in memory go on to it, and to the store from there.
//! What a stage refuses goes from there to persist at once, with its reason. Data flows one way, so that no
//! worker ever waits for a stage behind it, and the drain follows the flow.

mod control;
mod line;
mod live;
mod reading;
mod resume;
mod routes;
mod rows;

use crate::alert::Severity;
use crate::config::{FeatureSettings, Settings, Stale};
use crate::domain::{
    AlertEvent, Ask, Dialect, Incoming, Lane, Origin, Outcome, SeriesId, SeriesKey, SymbolPerformance,
};
use crate::feature::{FeatureCache, FeatureRules, FeatureStage, ResumedSeries};
use crate::ingest::{AnyPrice, IngestKey, IngestStage, Ranking};
use crate::link::{Key, KeyOptions, LinkOptions};
use crate::persist::{Ledger, Outlets, PersistKey, PersistStage};
use crate::predict::{Loading, Models, PredictStage};
use crate::store::{Store, StoreError};
pub use control::{control, control_options, place_of};
use crossbeam::channel::Receiver;
pub use line::{Asked, TopologyError};
use line::{Control, Line, line};
use parking_lot::{Mutex, RwLock};
pub use resume::{Resumed, resumed};
use routes::Routes;
use rows::Rows;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The names of the stages, in flow order: threads, metrics and configuration use them.
pub const STAGES: [&str; 4] = ["ingest", "feature", "predict", "persist"];

/// Keys of the persist stage: the store.
const PERSIST_KEYS_MAX: usize = 1;

/// Contents that there may be queues for, counted once for each session that a content may have.
const CONTENTS_MAX: usize = 16_384;

/// Workers that load: so many models can take long to load before others have to wait.
const LOADERS: usize = 2;

/// What the wiring is built from, besides the settings.
pub struct Parts {
    /// What serves, with its sessions.
    pub models: Arc<Models>,
    /// Where outcomes go.
    pub store: Box<dyn Store>,
    /// Whether bars of the future are refused: not for bars of a replay or a simulation.
    pub refuse_future: bool,
    /// Ends when a store that is away is not waited for any longer.
    pub give_up: Receiver<()>,
}

/// The four stages at work.
pub struct Topology {
    ingest: Line<IngestStage>,
    feature: Line<FeatureStage>,
    predict: Line<PredictStage>,
    loading: Line<PredictStage>,
    persist: Line<PersistStage>,
    routes: Arc<Routes>,
    store_key: Arc<Key<PersistStage>>,
    series: RwLock<HashMap<Arc<SeriesKey>, Wired>>,
    series_max: usize,
    dialect: Dialect,
    /// Whether a newer bar takes the place of one that waits for its prediction.
    supersede: bool,
    ranking: Arc<Ranking>,
    cache: Arc<FeatureCache>,
    ledger: Arc<Ledger>,
    outlets: Arc<Outlets>,
    models: Arc<Models>,
}

/// The keys of one series.
struct Wired {
    ingest: Arc<Key<IngestStage>>,
    feature: Arc<Key<FeatureStage>>,
}

impl Topology {
    /// Builds all stages and starts their workers, the consumers before the producers.
    ///
    /// # Errors
    /// When threads cannot be started or there are more models than a stage takes.
    pub fn build(settings: &Settings, parts: Parts) -> Result<Self, TopologyError> {
        let Parts { models, store, refuse_future, give_up } = parts;
        let (ledger, outlets) =
            (Arc::new(Ledger::new(settings.max_latency_ms)), Arc::new(Outlets::default()));
        let cache = Arc::new(FeatureCache::new(settings.feature_cache_size, settings.cache_ttl_seconds));
        let ranking = Arc::new(Ranking::new(live::ranking(settings)));
        let workers_max = settings.workers_max;
        let options = |items_max, keys_max| LinkOptions { items_max, keys_max, workers_max };

        // The four stages and their links, last to first.
        let persist = line(
            STAGES[3],
            PersistStage::new(store, Arc::clone(&ledger), Arc::clone(&outlets), give_up),
            options(settings.persist.queue_rows_max, PERSIST_KEYS_MAX),
            settings,
        )?;
        let store_key = persist.link.key(PersistKey, KeyOptions::default()).map_err(|error| {
            TopologyError::Full { what: "the store".into(), error, setting: "fixed at one" }
        })?;
        // Where time is not this machine's, nothing is late.
        let overdue = Some(settings.predict.overdue_ms).filter(|limit_ms| *limit_ms > 0 && refuse_future);
        let overdue = overdue.map(Duration::from_millis);
        let predict_stage = |loading| {
            let deliver = Box::new(sender_to(&store_key));
            PredictStage::new(Arc::clone(&models), (settings.batch_size_max, overdue), loading, deliver)
        };
        let supersede = settings.priority.stale == Stale::Supersede;
        let rows_max = settings.predict.queue_rows_max;
        let loaders = LinkOptions { items_max: rows_max, keys_max: CONTENTS_MAX, workers_max: LOADERS };
        let loading = line("load", predict_stage(Loading::Here), loaders, settings)?;
        let predict =
            line(STAGES[2], predict_stage(Loading::Elsewhere), options(rows_max, CONTENTS_MAX), settings)?;
        let alerts = Arc::clone(&models.alerts);
        let tell = move |series: &SeriesKey, detail| {
            alerts.raise(Severity::Info, "adjusted", &series.to_string(), detail);
        };
        let feature = line(
            STAGES[1],
            FeatureStage::new(Arc::clone(&cache), feature_rules(settings), supersede, Box::new(tell)),
            options(settings.feature.queue_bars_max, settings.series_max),
            settings,
        )?;
        let skew_ms = i64::try_from(settings.ingest.clock_skew_ms_max).unwrap_or(i64::MAX);
        let ingest = line(
            STAGES[0],
            IngestStage {
                ranking: Arc::clone(&ranking),
                clock_skew_ms_max: refuse_future.then(|| skew_ms.into()),
                revision_bars: settings.ingest.revision_bars,
                clamp_ohlc: settings.ingest.clamp_ohlc,
                any_price: AnyPrice::of(&settings.ingest.any_price_symbols),
            },
            options(settings.ingest.queue_bars_max, settings.series_max),
            settings,
        )?;

        let routes = Routes::new(&predict.link, &loading.link, settings);
        routes.follow(&models.catalogue()).map_err(|error| TopologyError::Full {
            what: "a model".into(),
            error,
            setting: "fewer models, or a smaller predict.sessions_per_model_max",
        })?;
        Ok(Self {
            ingest,
            feature,
            predict,
            loading,
            persist,
            routes: Arc::new(routes),
            store_key,
            series: RwLock::default(),
            series_max: settings.series_max,
            dialect: settings.dialect(),
            supersede,
            ranking,
            cache,
            ledger,
            outlets,
            models,
        })
    }

    /// All lines in flow order.
    fn lines(&self) -> [(&'static str, &dyn Control); 4] {
        [
            (STAGES[0], &self.ingest),
            (STAGES[1], &self.feature),
            (STAGES[2], &self.predict),
            (STAGES[3], &self.persist),
        ]
    }

    /// Wires a series through all four stages: a new one, or one that goes on where it was left.
    fn add_series(
        &self,
        series: &Arc<SeriesKey>,
        id: SeriesId,
        resumed: Option<ResumedSeries>,
    ) -> Result<Wired, TopologyError> {
        let full =
            |error| TopologyError::Full { what: format!("series {series}"), error, setting: "series_max" };
        let standing = self.ranking.register(series);

        let rows = Rows {
            routes: Arc::clone(&self.routes),
            standing: Arc::clone(&standing),
            refuse: Box::new(sender_to(&self.store_key)),
            newest: self.supersede.then(Mutex::default),
        };
        let feature_to_predict = Box::new(move |task| rows.send(task));
        let refuse = || Box::new(sender_to(&self.store_key));
        let catalogue = self.models.catalogue();
        let demands = catalogue.demands(series);
        if demands.is_empty()
            && let Some(hint) = catalogue.spelled_otherwise(series, &self.dialect.aliases)
        {
            tracing::warn!("{hint}");
        }
        let stage = self.feature.link.stage();
        let name = (Arc::clone(series), id);
        let feature_key = match resumed {
            None => stage.key(name, &demands, feature_to_predict, refuse()),
            Some(resumed) => stage.resumed_key(name, &demands, resumed, feature_to_predict, refuse()),
        };
        let feature_key = self.feature.link.key(feature_key, KeyOptions::default()).map_err(full)?;

        let (live, feature) = (Arc::clone(&standing), Arc::clone(&feature_key));
        let ingest_to_feature = Box::new(move |item: crate::domain::Admitted| {
            let lane = item.origin().lane(live.lane());
            feature_key.data.comes(&item);
            feature_key.put(item, lane);
        });
        let ingest_key: IngestKey =
            self.ingest.link.stage().key(Arc::clone(series), standing, ingest_to_feature, refuse());
        let ingest = self.ingest.link.key(ingest_key, KeyOptions::default()).map_err(full)?;
        Ok(Wired { ingest, feature })
    }

    /// Takes up what the catalogue says now: new models get bars, models that are gone get none.
    pub fn follow_models(&self) {
        let catalogue = self.models.catalogue();
        // The queues first: a demand that is new leads to a queue that is there.
        if let Err(error) = self.routes.follow(&catalogue) {
            let detail = format!("{error}; the models beyond it do not serve");
            self.models.alerts.raise(Severity::Error, "models_full", "models", detail);
        }
        // A series that is being wired holds this lock, and sees the catalogue that is in force already.
        for (series, wired) in &*self.series.read() {
            wired.feature.data.set_demands(&catalogue.demands(series));
        }
    }

    fn series(&self, series: &SeriesKey) -> Result<Arc<Key<IngestStage>>, TopologyError> {
        if let Some(wired) = self.series.read().get(series) {
            return Ok(Arc::clone(&wired.ingest));
        }
        let mut all = self.series.write();
        if let Some(wired) = all.get(series) {
            return Ok(Arc::clone(&wired.ingest));
        }
        if all.len() >= self.series_max {
            // Before anything is made for it: a feed of endless new names must not fill the memory.
            let error = crate::link::LinkError { keys_max: self.series_max };
            let what = format!("series {series}");
            return Err(TopologyError::Full { what, error, setting: "series_max" });
        }
        let series = Arc::new(series.clone());
        let wired = self.add_series(&series, SeriesId(all.len() as u32), None)?;
        let key = Arc::clone(&wired.ingest);
        all.insert(series, wired);
        Ok(key)
    }

    /// Puts a bar in; waits while ingest is full. `make` is given once the series is known.
    ///
    /// # Errors
    /// When the series is new and there is room for no more.
    pub fn put_bar(
        &self,
        series: &SeriesKey,
        origin: Origin,
        make: impl FnOnce() -> Incoming,
    ) -> Result<(), TopologyError> {
        let key = self.series(series)?;
        let lane = origin.lane(key.data.lane());
        key.put(make(), lane);
        Ok(())
    }

    /// Whether the first stage has room. Others may take it before the caller does: then putting waits a little.
    pub fn takes_bars(&self) -> bool {
        self.ingest.link.depth() < self.ingest.link.items_max()
    }

    /// Puts a question in, behind the bars of its series; while ingest is full it is waited for, or given up.
    pub fn put_ask(&self, series: &SeriesKey, ask: Ask, stamps: crate::domain::Stamps, wait: bool) -> Asked {
        let Some(key) = self.series.read().get(series).map(|wired| Arc::clone(&wired.ingest)) else {
            return Asked::NoSeries;
        };
        let item = Incoming::Ask { ask, stamps };
        if wait {
            key.put(item, Lane::High);
        } else if key.try_put(item, Lane::High).is_err() {
            return Asked::Full;
        }
        Asked::Taken
    }

    /// All lines as data flows, with what belongs to no stage of its own.
    fn flow(&self) -> [&dyn Control; 5] {
        [&self.ingest, &self.feature, &self.predict, &self.loading, &self.persist]
    }

    /// Waits until everything that was put in has come out, stage after stage; false when `deadline`
    /// passed first. Nothing new may be put in meanwhile.
    pub fn drain(&self, deadline: Instant) -> bool {
        self.flow().iter().all(|line| {
            while line.depth() > 0 {
                if Instant::now() >= deadline {
                    return false;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            true
        })
    }

    /// Ends the workers, in flow order, and makes the store durable.
    ///
    /// # Errors
    /// What the store says.
    pub fn stop(&self) -> Result<(), StoreError> {
        for line in self.flow() {
            line.stop();
        }
        self.persist.link.stage().finish()
    }

    /// What came out.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Stores what the process says of itself; `None` where the store was busy for `patience`.
    pub fn report(
        &self,
        performance: &[SymbolPerformance],
        alerts: &[AlertEvent],
        patience: Duration,
    ) -> Option<Result<(), StoreError>> {
        self.persist.link.stage().report(performance, alerts, patience)
    }

    /// Has the store make durable what it has written; `None` where it was busy for `patience`.
    pub fn settle(&self, patience: Duration) -> Option<Result<(), StoreError>> {
        self.persist.link.stage().settle(patience)
    }

    /// The subscribers.
    pub fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    /// The feature cache.
    pub fn cache(&self) -> &FeatureCache {
        &self.cache
    }
}

/// What holds for features, as configured.
pub fn feature_rules(settings: &Settings) -> FeatureRules {
    let FeatureSettings { gaps, gap_bars_max, ref market_hours, ref adjustments, warm_up, .. } =
        settings.feature;
    let (hours, revision_bars) = (market_hours.clone(), settings.ingest.revision_bars);
    let adjustments = adjustments.clone();
    FeatureRules { gaps, gap_bars_max, hours, adjustments, stability: warm_up, revision_bars }
}

/// The way to the store, from any stage.
fn sender_to(store: &Arc<Key<PersistStage>>) -> impl Fn(Outcome) + Send + Sync + 'static {
    let store = Arc::clone(store);
    move |outcome: Outcome| {
        if outcome.origin == Origin::Provisional {
            // Of a bar that does not exist: only who asked is told.
            return outcome.reply.iter().for_each(|reply| reply(&outcome));
        }
        let lane = outcome.origin.lane(Lane::Normal);
        store.put(outcome, lane);
    }
}
