//! The wiring: the only file that names all four stages, and the only place where links and pools are made.
//!
//! ```text
//! stage     key        a key belongs to        one step takes   full: `put` waits at
//! ───────   ────────   ─────────────────────   ──────────────   ─────────────────────────
//! ingest    series     one worker at a time    1 bar            [ingest]  queue_bars_max
//! feature   series     one worker at a time    1 bar            [feature] queue_bars_max
//! predict   artefact   one worker a session    a batch          [predict] queue_rows_max
//! persist   the store  one worker at a time    a batch          [persist] queue_rows_max
//! ```
//!
//! What a stage refuses goes from there to persist at once, with its reason. Data flows one way, so that no
//! worker ever waits for a stage behind it, and the drain follows the flow.

use crate::config::{FeatureSettings, Settings};
use crate::domain::{Ask, Incoming, Lane, Origin, Outcome, SeriesId, SeriesKey, Task};
use crate::feature::{FeatureCache, FeatureRules, FeatureStage};
use crate::ingest::{IngestKey, IngestStage, Ranking, RankingOptions};
use crate::link::{Key, KeyOptions, LinkOptions};
use crate::persist::{Ledger, Outlets, PersistKey, PersistStage};
use crate::predict::{Catalogue, Pool, PredictKey, PredictStage};
use crate::store::{Store, StoreError};
use crossbeam::channel::Receiver;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod line;

pub use line::StageReading;
use line::{Control, Line, line};

/// The names of the stages, in flow order: threads, metrics and configuration use them.
pub const STAGES: [&str; 4] = ["ingest", "feature", "predict", "persist"];

/// Keys of the persist stage: the store.
const PERSIST_KEYS_MAX: usize = 1;

/// What the wiring is built from, besides the settings.
pub struct Parts {
    /// Which models serve which series.
    pub catalogue: Arc<Catalogue>,
    /// Their sessions.
    pub pool: Arc<Pool>,
    /// Where outcomes go.
    pub store: Box<dyn Store>,
    /// Whether bars of the future are refused: not for bars of a replay or a simulation.
    pub refuse_future: bool,
    /// Ends when a store that is away is not waited for any longer.
    pub give_up: Receiver<()>,
}

/// Why a topology cannot be built or extended.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The system gives no more threads.
    #[error("the {stage} workers cannot be started ({error}): lower workers_max or raise the thread limit")]
    Threads {
        /// Which stage.
        stage: &'static str,
        /// What rayon said.
        error: rayon::ThreadPoolBuildError,
    },
    /// A stage has as many keys as it can have.
    #[error("{what} cannot be added: {error} ({setting})")]
    Full {
        /// What was to be added.
        what: String,
        /// What the link said.
        error: crate::link::LinkError,
        /// Which setting bounds it.
        setting: &'static str,
    },
}

/// The four stages at work.
pub struct Topology {
    ingest: Line<IngestStage>,
    feature: Line<FeatureStage>,
    predict: Line<PredictStage>,
    persist: Line<PersistStage>,
    /// Where the work for each model goes, by the model's dense number.
    model_keys: Arc<[Arc<Key<PredictStage>>]>,
    store_key: Arc<Key<PersistStage>>,
    series: RwLock<HashMap<Arc<SeriesKey>, Arc<Key<IngestStage>>>>,
    series_max: usize,
    ranking: Arc<Ranking>,
    cache: Arc<FeatureCache>,
    ledger: Arc<Ledger>,
    outlets: Arc<Outlets>,
    catalogue: Arc<Catalogue>,
}

impl Topology {
    /// Builds all stages and starts their workers, the consumers before the producers.
    ///
    /// # Errors
    /// When threads cannot be started or there are more models than a stage takes.
    pub fn build(settings: &Settings, parts: Parts) -> Result<Self, TopologyError> {
        let Parts { catalogue, pool, store, refuse_future, give_up } = parts;
        let (ledger, outlets) =
            (Arc::new(Ledger::new(settings.max_latency_ms)), Arc::new(Outlets::default()));
        let cache = Arc::new(FeatureCache::new(settings.feature_cache_size, settings.cache_ttl_seconds));
        let ranking = Arc::new(Ranking::new(RankingOptions {
            high_share: settings.priority.high_share,
            low_share: settings.priority.low_share,
            window_bars: settings.priority.window_bars,
            pinned: settings.priority.pinned.clone(),
        }));
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
        let refuse = sender_to(&store_key);
        let predict = line(
            STAGES[2],
            PredictStage::new(
                Arc::clone(&catalogue),
                Arc::clone(&pool),
                settings.batch_size_max,
                Box::new(refuse),
            ),
            options(settings.predict.queue_rows_max, pool.artefacts().max(1)),
            settings,
        )?;
        let feature = line(
            STAGES[1],
            FeatureStage { cache: Arc::clone(&cache), rules: feature_rules(settings) },
            options(settings.feature.queue_bars_max, settings.series_max),
            settings,
        )?;
        let skew_ms = i64::try_from(settings.ingest.clock_skew_ms_max).unwrap_or(i64::MAX);
        let ingest = line(
            STAGES[0],
            IngestStage {
                ranking: Arc::clone(&ranking),
                clock_skew_ms_max: refuse_future.then_some(skew_ms),
                revision_bars: settings.ingest.revision_bars,
                clamp_ohlc: settings.ingest.clamp_ohlc,
            },
            options(settings.ingest.queue_bars_max, settings.series_max),
            settings,
        )?;

        let artefact_keys: Vec<_> = (0..pool.artefacts())
            .map(|artefact| {
                predict.link.key(PredictKey { artefact }, KeyOptions::default()).map_err(|error| {
                    TopologyError::Full { what: "a model".into(), error, setting: "fixed at one a file" }
                })
            })
            .collect::<Result<_, _>>()?;
        let model_keys =
            catalogue.models().iter().map(|model| Arc::clone(&artefact_keys[model.artefact])).collect();
        Ok(Self {
            ingest,
            feature,
            predict,
            persist,
            model_keys,
            store_key,
            series: RwLock::default(),
            series_max: settings.series_max,
            ranking,
            cache,
            ledger,
            outlets,
            catalogue,
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

    /// Wires a new series through all four stages.
    fn add_series(
        &self,
        series: &Arc<SeriesKey>,
        id: SeriesId,
    ) -> Result<Arc<Key<IngestStage>>, TopologyError> {
        let full =
            |error| TopologyError::Full { what: format!("series {series}"), error, setting: "series_max" };
        let standing = self.ranking.register(series);

        let (keys, live) = (Arc::clone(&self.model_keys), Arc::clone(&standing));
        let feature_to_predict = Box::new(move |task: Task| {
            let lane = task.origin.lane(live.lane());
            keys[task.model as usize].put(task, lane);
        });
        let refuse = || Box::new(sender_to(&self.store_key));
        let demands = self.catalogue.demands(series);
        let stage = self.feature.link.stage();
        let feature_key = stage.key((Arc::clone(series), id), &demands, feature_to_predict, refuse());
        let feature_key = self.feature.link.key(feature_key, KeyOptions::default()).map_err(full)?;

        let live = Arc::clone(&standing);
        let ingest_to_feature = Box::new(move |item: crate::domain::Admitted| {
            let lane = item.origin().lane(live.lane());
            feature_key.put(item, lane);
        });
        let ingest_key: IngestKey =
            self.ingest.link.stage().key(Arc::clone(series), standing, ingest_to_feature, refuse());
        self.ingest.link.key(ingest_key, KeyOptions::default()).map_err(full)
    }

    fn series(&self, series: &Arc<SeriesKey>) -> Result<Arc<Key<IngestStage>>, TopologyError> {
        if let Some(key) = self.series.read().get(series) {
            return Ok(Arc::clone(key));
        }
        let mut all = self.series.write();
        if let Some(key) = all.get(series) {
            return Ok(Arc::clone(key));
        }
        if all.len() >= self.series_max {
            // Before anything is made for it: a feed of endless new names must not fill the memory.
            let error = crate::link::LinkError { keys_max: self.series_max };
            let what = format!("series {series}");
            return Err(TopologyError::Full { what, error, setting: "series_max" });
        }
        let key = self.add_series(series, SeriesId(all.len() as u32))?;
        all.insert(Arc::clone(series), Arc::clone(&key));
        Ok(key)
    }

    /// Puts a bar in; waits while ingest is full. `make` is given once the series is known.
    ///
    /// # Errors
    /// When the series is new and there is room for no more.
    pub fn put_bar(
        &self,
        series: &Arc<SeriesKey>,
        origin: Origin,
        make: impl FnOnce() -> Incoming,
    ) -> Result<(), TopologyError> {
        let key = self.series(series)?;
        let lane = origin.lane(key.data.lane());
        key.put(make(), lane);
        Ok(())
    }

    /// Puts a question in, behind the bars of its series; false when no bar of that series ever came.
    pub fn put_ask(&self, series: &SeriesKey, ask: Ask, stamps: crate::domain::Stamps) -> bool {
        let key = self.series.read().get(series).cloned();
        let known = key.is_some();
        if let Some(key) = key {
            key.put(Incoming::Ask { ask, stamps }, Lane::High);
        }
        known
    }

    /// Changes how many workers a stage has; returns what it has now, `None` for an unknown stage.
    pub fn set_width(&self, stage: &str, width: usize) -> Option<usize> {
        self.lines().iter().find(|(name, _)| *name == stage).map(|(_, line)| line.set_width(width))
    }

    /// Every stage at this moment, in flow order.
    pub fn read(&self) -> Vec<StageReading> {
        let read = |(name, line): &(&'static str, &dyn Control)| StageReading {
            name,
            depth: line.depth(),
            workers: line.width(),
            meter: line.read(),
        };
        self.lines().iter().map(read).collect()
    }

    /// Waits until everything that was put in has come out, stage after stage; false when `deadline`
    /// passed first. Nothing new may be put in meanwhile.
    pub fn drain(&self, deadline: Instant) -> bool {
        self.lines().iter().all(|(_, line)| {
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
        for (_, line) in self.lines() {
            line.stop();
        }
        self.persist.link.stage().finish()
    }

    /// What came out.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Outcomes that the store did not take.
    pub fn unsaved(&self) -> u64 {
        self.persist.link.stage().unsaved()
    }

    /// The subscribers.
    pub fn outlets(&self) -> &Outlets {
        &self.outlets
    }

    /// The feature cache.
    pub fn cache(&self) -> &FeatureCache {
        &self.cache
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.series.read().len()
    }
}

/// What holds for features, as configured.
pub fn feature_rules(settings: &Settings) -> FeatureRules {
    let FeatureSettings { gaps, gap_bars_max, ref market_hours, warm_up, .. } = settings.feature;
    let (hours, revision_bars) = (market_hours.clone(), settings.ingest.revision_bars);
    FeatureRules { gaps, gap_bars_max, hours, stability: warm_up, revision_bars }
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
