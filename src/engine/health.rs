//! Health: what every part says of itself, put together, judged every `health_check_interval` and on demand.

use super::Engine;
use crate::alert::{Alert, Alerts, Standing};
use crate::config::{Measure, Settings, SourceKind, StoreUrl};
use crate::control::health::{HealthReport, ModelSeen, Observation, StageSeen, Totals, Usage};
use crate::control::webhook::Webhook;
use crate::control::{Examiner, Routine, Watchdog};
use crate::domain::{Reason, Timestamp};
use crate::observe::{FileSystem, ProcessProbe, ProcessUsage, cpu_time, this_process};
use crate::predict::{CatalogueModel, Models, Standing as VersionStanding};
use crate::topology::Topology;
use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looks after an engine; shared with the thread that does so in turn.
pub(super) struct Health {
    pub(super) alerts: Arc<Alerts>,
    pub(super) webhook: Webhook,
    settings: Arc<ArcSwap<Settings>>,
    topology: Arc<Topology>,
    models: Arc<Models>,
    examiner: Mutex<Examiner>,
    watchdog: Arc<Watchdog>,
    probe: Arc<ProcessProbe>,
    /// The newest report, and when it was made.
    newest: ArcSwapOption<(Instant, HealthReport)>,
    started: Instant,
    /// What the process had used when this began.
    cpu_before: Duration,
}

impl Health {
    pub(super) fn new(
        settings: &Arc<ArcSwap<Settings>>,
        topology: &Arc<Topology>,
        models: &Arc<Models>,
        (watchdog, probe): (&Arc<Watchdog>, &Arc<ProcessProbe>),
    ) -> Self {
        let alerts = Arc::clone(&models.alerts);
        Self {
            webhook: Webhook::new(Arc::clone(&alerts), this_process()),
            alerts,
            settings: Arc::clone(settings),
            topology: Arc::clone(topology),
            models: Arc::clone(models),
            examiner: Mutex::default(),
            watchdog: Arc::clone(watchdog),
            probe: Arc::clone(probe),
            newest: ArcSwapOption::empty(),
            started: Instant::now(),
            cpu_before: cpu_time(),
        }
    }

    /// Checks now.
    fn check(&self, in_turn: bool) -> HealthReport {
        self.judge(&mut self.examiner.lock(), in_turn)
    }

    fn judge(&self, examiner: &mut Examiner, in_turn: bool) -> HealthReport {
        let settings = self.settings.load();
        let seen = self.observe(&settings);
        let repeat_after = Duration::from_secs(settings.alert.repeat_after_s);
        let rules = &settings.alert.rules;
        let report = examiner.check((&seen, rules), (&self.alerts, repeat_after), in_turn);
        self.newest.store(Some(Arc::new((Instant::now(), report.clone()))));
        report
    }

    /// When it was checked last, and what came of it.
    pub(super) fn newest(&self) -> Option<HealthReport> {
        self.newest.load().as_ref().map(|newest| newest.1.clone())
    }

    /// The newest report, if it is younger than `age`; one of this moment otherwise, for all who wait for it.
    fn within(&self, age: Duration) -> HealthReport {
        let young = || {
            let newest = self.newest.load();
            newest.as_ref().filter(|newest| newest.0.elapsed() <= age).map(|newest| newest.1.clone())
        };
        young().unwrap_or_else(|| {
            let mut examiner = self.examiner.lock();
            young().unwrap_or_else(|| self.judge(&mut examiner, false))
        })
    }

    fn observe(&self, settings: &Settings) -> Observation {
        let topology = &self.topology;
        let ledger = topology.ledger();
        let (total, late) = ledger.total();
        let readings = topology.read();
        let failures = Reason::ALL.iter().filter(|reason| reason.is_failure());
        let stages = readings.iter().map(|stage| StageSeen {
            name: stage.name,
            depth: stage.depth,
            depth_max: stage.items_max,
        });
        let catalogue = self.models.catalogue();
        let refused = catalogue.problems().iter();
        let store = topology.store();
        let series = topology.newest_bars();
        let measured = |measure| settings.alert.rules.values().any(|r| r.enabled && r.measure == measure);
        let spikes = if measured(Measure::Spike) { topology.spikes() } else { Vec::new() };
        let spikes = spikes.into_iter().map(|(series, spike)| (series, spike.ts, spike.ranges)).collect();
        let expected = match series.iter().map(|(series, _)| series.timeframe).min() {
            None if settings.source.kind != SourceKind::None => {
                catalogue.models().iter().map(|model| model.manifest.timeframe).min()
            }
            seen => seen,
        };
        Observation {
            totals: Totals {
                bars: readings[0].meter.items,
                live: total.latencies,
                late,
                outcomes: total.predictions + total.refusals,
                failures: failures.map(|reason| ledger.count(*reason)).sum(),
                panics: readings.iter().map(|stage| stage.meter.panics).sum(),
                unsaved: topology.unsaved(),
                cpu: cpu_time().saturating_sub(self.cpu_before),
                at: self.started.elapsed(),
            },
            stages: stages.collect(),
            standstill: self.watchdog.standstill(),
            series,
            spikes,
            hours: settings.feature.market_hours.clone(),
            expected,
            now: Timestamp::now(),
            models: catalogue.models().iter().map(seen).collect(),
            models_refused: refused.map(|one| (one.path.display().to_string(), one.detail.clone())).collect(),
            sessions_hanging: self.models.pool.read().hanging,
            store_away: store.away,
            spool: (store.spool_bytes_max > 0).then(|| Usage {
                subject: settings.store.spool_path.display().to_string(),
                used: store.spool_bytes as f64,
                limit: store.spool_bytes_max as f64,
            }),
            memory: memory(&self.probe.look(), settings),
            processors: std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64),
            disks: disks(settings),
        }
    }
}

/// How a model stands: which version answers, and which should and cannot.
fn seen(model: &Arc<CatalogueModel>) -> ModelSeen {
    let able = |standing| matches!(standing, VersionStanding::Good | VersionStanding::Untried);
    let serving = model.version();
    let serves = able(serving.standing()).then_some(serving.number);
    let before = model.versions.iter().take_while(|version| !Arc::ptr_eq(version, serving));
    let candidates: Vec<_> = match serves {
        Some(_) => before.collect(),
        None => model.versions.iter().collect(),
    };
    let failing = candidates.into_iter().filter(|version| !able(version.standing())).map(|version| {
        let why =
            version.failure().map_or_else(|| "it has not been tried again".into(), |f| f.detail.clone());
        (version.number, why)
    });
    ModelSeen { name: model.name.to_string(), serves, failing: failing.collect() }
}

/// Memory against each limit that there is.
fn memory(usage: &ProcessUsage, settings: &Settings) -> Vec<Usage> {
    let of = |subject: &str, used, limit| Usage { subject: subject.to_owned(), used, limit };
    let cgroup = usage.cgroup.and_then(|cgroup| Some((cgroup.memory_mb, cgroup.memory_max_mb?)));
    let cgroup = cgroup.map(|(used, limit)| of("control group", used, limit));
    let own = of("max_memory_mb", usage.memory_mb, settings.max_memory_mb as f64);
    [own].into_iter().chain(cgroup).collect()
}

/// The file systems that must not fill up.
fn disks(settings: &Settings) -> Vec<Usage> {
    let log = Some(settings.log.path.as_path()).filter(|path| !path.as_os_str().is_empty());
    let (store, spool) = match &settings.store.url {
        StoreUrl::None => (None, None),
        StoreUrl::Sqlite(path) => (Some(path.as_path()), None),
        StoreUrl::Postgres(_) => (None, Some(settings.store.spool_path.as_path())),
    };
    let usage = |(subject, path): (&str, Option<&Path>)| {
        let FileSystem { used_mb, size_mb } = FileSystem::of(path?)?;
        Some(Usage { subject: subject.to_owned(), used: used_mb, limit: size_mb })
    };
    [("log", log), ("store", store), ("spool", spool)].into_iter().filter_map(usage).collect()
}

/// Starts to check in turn, at the interval in force.
pub(super) fn in_turn(health: &Arc<Health>) -> Option<Routine> {
    let (of, health) = (Arc::clone(health), Arc::clone(health));
    let interval = move || Duration::from_secs(of.settings.load().health_check_interval);
    let failed =
        |error| tracing::error!(%error, "the system gives no thread: health is checked on demand only");
    Routine::start("vela-health", interval, move || drop(health.check(true))).map_err(failed).ok()
}

impl Engine {
    /// Checks now how well it is, by the rules of the configuration; what is wrong is alerted.
    pub fn health(&self) -> HealthReport {
        self.health.check(false)
    }

    /// How well it was at the last check, which is at most `age` ago; checked now where that is longer ago. For whoever
    /// asks often, or is one of many who ask.
    pub fn health_within(&self, age: Duration) -> HealthReport {
        self.health.within(age)
    }

    /// The newest alerts, the oldest of them first.
    pub fn alerts(&self) -> Vec<Alert> {
        self.models.alerts.recent()
    }

    /// The alerts whose cause is not over: those of the rules that are broken now.
    pub fn active_alerts(&self) -> Vec<Standing> {
        self.models.alerts.standing()
    }
}
