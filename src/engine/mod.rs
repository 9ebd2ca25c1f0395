//! The engine: the library's face.

mod ask;
mod gate;
mod health;
mod intake;
mod live;
mod promoting;
mod reporter;
mod resume;
mod snapshot;
mod stop;
mod tuning;
mod watch;

use crate::config::Settings;
use crate::control::{Controller, Routine, Watchdog};
use crate::domain::{Bar, Origin, Outcome, SeriesKey, Stored, SymbolError, Timeframe, Wanted};
use crate::observe::ProcessProbe;
use crate::persist::Subscription;
use crate::predict::{Catalogue, Keeper, Models};
use crate::source::{Source, SourceError};
use crate::store::{self, Archive, Store, StoreError, Watermark};
use crate::topology::{self, Parts, Topology, TopologyError};
use arc_swap::ArcSwap;
pub use ask::Pending;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use gate::Gate;
use health::Health;
pub use intake::history;
use intake::{Intake, SourceThread};
use parking_lot::Mutex;
pub use promoting::PromoteError;
use reporter::Reporter;
use resume::program;
pub use snapshot::Readings;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
pub use stop::{DRAIN_MAX, StopReport};

/// Why an engine does not start or does not take something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
    /// ONNX Runtime is missing or unusable, or the models folder cannot be read.
    #[error("{0}")]
    Models(#[from] crate::predict::OpenError),
    /// The source cannot be opened.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// The store cannot be opened or written.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Threads or room are missing.
    #[error("{0}")]
    Topology(#[from] TopologyError),
    /// What was handed in has a symbol that cannot be taken.
    #[error("{0}")]
    Symbol(#[from] SymbolError),
    /// A change that the running system does not take up.
    #[error("{0}: takes effect at the next start only: change the configuration file, and start again")]
    NeedsRestart(String),
    /// A change that this process does not take up, whatever its configuration says.
    #[error("log.level: {0}: nothing has changed")]
    LevelFixed(String),
    /// Alerts cannot be sent as configured.
    #[error("{0}")]
    Alerts(String),
    /// The system gives no more threads.
    #[error("no thread for the watchdog, or for what is reported ({0}): raise the thread limit")]
    Thread(std::io::Error),
    /// It was stopped before.
    #[error("the engine has stopped: it takes no more bars")]
    Stopped,
}

/// What an engine is started with instead of what its settings name; `None` leaves it to them.
#[derive(Default)]
pub struct Overrides {
    /// Where bars come from.
    pub source: Option<Box<dyn Source>>,
    /// Where outcomes go.
    pub store: Option<Box<dyn Store>>,
    /// How far each series is done in that store.
    pub watermarks: Vec<Watermark>,
    /// The models.
    pub models: Option<Models>,
    /// What is known of each series, as [`Engine::save_series`] wrote it in a process before this one: they go on there, and
    /// no history is read for them. What is in doubt is not used.
    pub series: Vec<File>,
    /// Take bars that close in the future: a replay's and a simulation's clock is their own.
    pub accept_future: bool,
}

/// A running pipeline: bars in, stored predictions out.
///
/// ```no_run
/// use vela::{Engine, Settings};
/// use vela::domain::{Bar, Timeframe};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut settings = Settings::default();
/// settings.models.path = "models".into();
/// settings.source.kind = vela::config::SourceKind::None; // bars come from this program
/// let engine = Engine::start(settings)?;
/// let stored = engine.subscribe(1024);
///
/// let minute: Timeframe = "1m".parse()?;
/// let ts = "2026-01-31T23:59:00Z".parse()?; // the bar's OPEN time
/// engine.ingest("BTCUSDT", minute, Bar { ts, open: 1.0, high: 2.0, low: 0.5, close: 1.5, volume: 10.0 })?;
///
/// // Pushed: every stored outcome. Pulled: the newest bar's prediction, 5 bars ahead.
/// let pushed = stored.receiver().recv()?;
/// let pulled = engine.predict("BTCUSDT", minute, 5).wait(std::time::Duration::from_millis(100));
/// if let Some(Ok(prediction)) = pulled.map(|outcome| outcome.result) {
///     println!("{} says {} (stored: {:?})", prediction.model, prediction.value, pushed.result);
/// }
/// engine.stop()?;
/// # Ok(())
/// # }
/// ```
pub struct Engine {
    /// In force now.
    settings: Arc<ArcSwap<Settings>>,
    /// What was asked for last: what is in force, and keys that wait for the next start.
    wanted: Mutex<Settings>,
    topology: Arc<Topology>,
    models: Arc<Models>,
    health: Arc<Health>,
    /// Reads what is stored, where the store can be asked.
    archive: Option<Box<dyn Archive>>,
    /// Checks health in turn; ends with the engine's stop.
    checks: Option<Routine>,
    /// Ends with the engine's stop.
    keeper: Mutex<Option<Keeper>>,
    controller: Controller,
    /// Ends when everything has come out.
    reporter: Mutex<Option<Reporter>>,
    intake: Arc<Intake>,
    gate: Gate,
    process: Arc<ProcessProbe>,
    /// Ends with the engine's stop.
    watchdog: Arc<Watchdog>,
    started: Instant,
    source: Mutex<Option<SourceThread>>,
    /// Dropped when the store is not to be waited for any longer.
    patience: Mutex<Option<Sender<()>>>,
    /// Set once it has stopped.
    report: Mutex<Option<StopReport>>,
}

impl Engine {
    /// Starts an engine as `settings` say: store, models, workers, then the source.
    ///
    /// # Errors
    /// When the settings contradict each other, or ONNX Runtime, the models folder, the store or the source
    /// cannot be opened; the text says what to do.
    pub fn start(settings: Settings) -> Result<Self, EngineError> {
        Self::start_with(settings, Overrides::default())
    }

    /// Starts an engine with a source or a store of the caller's own.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_with(settings: Settings, overrides: Overrides) -> Result<Self, EngineError> {
        settings.check()?;
        let Overrides { source, store, watermarks, models, series, accept_future } = overrides;
        let models = match models {
            Some(models) => models,
            None => {
                let models = Models::open(&settings, crate::feature::check, &mut |_| {})?;
                models.preload_some();
                models
            }
        };
        let models = Arc::new(models);
        for problem in models.catalogue().problems() {
            tracing::warn!(%problem, "a model cannot serve");
        }
        let (store, watermarks) = match store {
            Some(store) => (store, watermarks),
            None => store::open(&settings)?,
        };
        let archive = store.archive();
        let resumed = topology::resumed(series, &program(&settings), &settings);
        let source = match source {
            Some(source) => Some(source),
            None => intake::open_source(&settings, &models.catalogue(), &watermarks, &resumed)?,
        };
        let (patience, give_up) = bounded(0);
        let parts = Parts { models: Arc::clone(&models), store, refuse_future: !accept_future, give_up };
        let topology = Arc::new(Topology::build(&settings, parts)?);
        topology.resume(resumed, &settings)?;
        let intake = Arc::new(Intake {
            topology: Arc::clone(&topology),
            next_seq: AtomicU64::new(1),
            bars: AtomicU64::new(0),
        });
        let keeper = (settings.models.look_interval_ms > 0).then(|| {
            let interval = Duration::from_millis(settings.models.look_interval_ms);
            let topology = Arc::clone(&topology);
            let wall_ms = || crate::domain::Timestamp::now().as_millis();
            Keeper::start(Arc::clone(&models), interval, wall_ms, move || topology.follow_models())
        });
        let process = Arc::new(ProcessProbe::default());
        let watched = watch::Parts { topology: Arc::clone(&topology), pool: Arc::clone(&models.pool) };
        let watchdog = watch::start(watched, &process, &models.alerts, &settings)?;
        if source.is_none() {
            intake.takes_bars();
        }
        let controller = topology::control(&topology, &settings);
        let wanted = Mutex::new(settings.clone());
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let reporter = Reporter::start(Arc::clone(&topology), Arc::clone(&models.alerts), &settings)?;
        let health = Arc::new(Health::new(&settings, &topology, &models, (&watchdog, &process)));
        health.webhook.follow(&settings.load().alert).map_err(EngineError::Alerts)?;
        let checks = health::in_turn(&health);
        let source = source.map(|source| SourceThread::start(source, Arc::clone(&intake)));
        Ok(Self {
            settings,
            wanted,
            topology,
            models,
            health,
            archive,
            checks,
            keeper: Mutex::new(keeper),
            controller,
            reporter: Mutex::new(Some(reporter)),
            intake,
            gate: Gate::default(),
            process,
            watchdog,
            started: Instant::now(),
            source: Mutex::new(source),
            patience: Mutex::new(Some(patience)),
            report: Mutex::new(None),
        })
    }

    /// Takes one closed bar; returns once it is in the ingest stage, which waits while that is full. It comes in the
    /// dialect of the feed: an alias of a symbol (`ingest.symbol_aliases`) is as good as the symbol itself, and prices count
    /// `ingest.price_unit`.
    ///
    /// Whether the bar is good is decided there: what is refused becomes an outcome with its reason.
    ///
    /// # Errors
    /// When the symbol is no symbol, the series is new and `series_max` is reached, or the engine was stopped.
    pub fn ingest(&self, symbol: &str, timeframe: Timeframe, bar: Bar) -> Result<(), EngineError> {
        self.ingest_series(&Arc::new(SeriesKey::new(symbol, timeframe)?), bar)
    }

    /// [`Engine::ingest`] for a caller that keeps the series' key: nothing is allocated for its name.
    ///
    /// # Errors
    /// When the series is new and `series_max` is reached, or the engine was stopped.
    pub fn ingest_series(&self, series: &Arc<SeriesKey>, bar: Bar) -> Result<(), EngineError> {
        let _inside = self.gate.enter().ok_or(EngineError::Stopped)?;
        Ok(self.intake.take(series, bar, Origin::Live)?)
    }

    /// [`Engine::ingest_series`] for a caller that must not wait: false while the ingest stage is full.
    ///
    /// # Errors
    /// When the series is new and `series_max` is reached, or the engine was stopped.
    pub fn try_ingest_series(&self, series: &Arc<SeriesKey>, bar: Bar) -> Result<bool, EngineError> {
        let _inside = self.gate.enter().ok_or(EngineError::Stopped)?;
        if !self.topology.takes_bars() {
            return Ok(false);
        }
        self.intake.take(series, bar, Origin::Live)?;
        Ok(true)
    }

    /// Every outcome from now on, once it is stored. A subscriber that leaves `capacity` outcomes unread
    /// misses the next ones (counted), and slows nobody.
    pub fn subscribe(&self, capacity: usize) -> Subscription {
        self.topology.outlets().subscribe(capacity)
    }

    /// Calls `callback` with every outcome from now on, on the persist worker: it must return soon.
    pub fn subscribe_with(&self, callback: impl Fn(&Outcome) + Send + Sync + 'static) {
        self.subscribe_batches(move |outcomes| outcomes.iter().for_each(&callback));
    }

    /// [`Engine::subscribe_with`] for whoever has something to do once for all outcomes that were stored together.
    pub fn subscribe_batches(&self, callback: impl Fn(&[Outcome]) + Send + Sync + 'static) {
        self.topology.outlets().subscribe_with(Box::new(callback));
    }

    /// The newest rows of a series out of the store, read beside its writing; `None` where the store cannot be asked.
    /// Rows that wait in the spool are not among them.
    ///
    /// # Errors
    /// When they cannot be read now.
    pub fn stored(&self, wanted: &Wanted) -> Option<Result<Vec<Stored>, StoreError>> {
        self.archive.as_ref().map(|archive| archive.newest(wanted))
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Whether it takes no more bars: it stops, or has.
    pub fn is_stopping(&self) -> bool {
        self.gate.is_closed()
    }

    /// Which models serve.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.models.catalogue()
    }

    /// Bars taken in so far.
    pub fn bars(&self) -> u64 {
        self.intake.bars.load(Ordering::Relaxed)
    }

    /// Outcomes so far: predictions, and reasons why there is none.
    pub fn outcomes(&self) -> u64 {
        self.topology.ledger().outcomes()
    }

    /// Waits until the source has ended by itself; false when `timeout` passed first. Without a source there
    /// is nothing to wait for.
    pub fn wait_source(&self, timeout: Duration) -> bool {
        let ended = self.source.lock().as_ref().map(|source| source.ended.clone());
        ended.is_none_or(|ended| ended.recv_timeout(timeout) != Err(RecvTimeoutError::Timeout))
    }

    /// Waits until everything that was taken in has come out; false when `timeout` passed first.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.topology.drain(Instant::now() + timeout)
    }
}
