//! Health and alerts: every rule is broken for real, in a running engine, and seen mended again.

use crate::models_load::put_hanging;
use crate::service_support::{Fed, HEADER, MODELS, eventually, line, market};
use crate::support::cluster::Cluster;
use crate::support::serving::{self, Folder};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;
use vela::alert::Phase;
use vela::config::{Measure, Rules, SourceKind, StoreUrl};
use vela::domain::{Bar, Outcome, Stability};
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides, Settings};

/// Predictions of the repository's models come after so many bars.
const WARM_UP: usize = 70;

/// The rules of these measures alone, with these limits, at once.
fn rules(wanted: &[(Measure, f64)]) -> Rules {
    let rule = |(measure, over): &(Measure, f64)| {
        let mut rule = measure.rule();
        (rule.over, rule.for_s) = (*over, 0);
        (measure.word().to_owned(), rule)
    };
    wanted.iter().map(rule).collect()
}

pub fn settings(wanted: &[(Measure, f64)]) -> Settings {
    let mut settings = Settings::default();
    settings.models.path = MODELS.into();
    settings.models.look_interval_ms = 50;
    settings.source.kind = SourceKind::None;
    settings.store.url = StoreUrl::None;
    settings.feature.warm_up = Stability::Defined;
    settings.health_check_interval = 1;
    settings.alert.rules = rules(wanted);
    settings
}

fn with_store(settings: Settings, store: impl Store + 'static) -> Engine {
    let overrides = Overrides { store: Some(Box::new(store)), ..Overrides::default() };
    Engine::start_with(settings, overrides).unwrap()
}

fn ingest(engine: &Engine, bars: &[Fed]) {
    bars.iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
}

/// Waits until the rule is broken by `subject`, as everybody sees it.
fn breaks(engine: &Engine, code: &str, subject: &str) {
    let broken =
        || engine.active_alerts().into_iter().find(|alert| alert.code == code && alert.subject == subject);
    let alert = eventually(&format!("{code} of {subject} is raised"), broken);
    let report = engine.health();
    let reason = report.reasons.iter().find(|reason| reason.code == code && reason.subject == subject);
    let reason = reason.unwrap_or_else(|| panic!("{code} is missing: {report:?}"));
    assert_eq!(reason.severity, alert.severity.word());
    let expected = match reason.severity {
        "error" => "critical",
        "warning" => "degraded",
        _ => "healthy",
    };
    assert!(report.status.word() == expected || report.status.word() == "critical", "{report:?}");
    assert!(reason.detail.contains("limit "), "the detail says what was measured: {reason:?}");
    let metrics = engine.metrics();
    assert!(metrics.active_alerts.iter().any(|alert| alert.code == code), "{:?}", metrics.active_alerts);
    assert!(metrics.alerts[code] > 0 && metrics.system.last_health_check.is_some());
    assert!(told(engine, code, subject, Phase::Raised) > 0);
}

/// Waits until it is not broken any more.
fn mends(engine: &Engine, code: &str, subject: &str) {
    eventually(&format!("{code} of {subject} is cleared"), || {
        let stands =
            engine.active_alerts().iter().any(|alert| alert.code == code && alert.subject == subject);
        (!stands && told(engine, code, subject, Phase::Cleared) > 0).then_some(())
    });
    let (raised, cleared) =
        (told(engine, code, subject, Phase::Raised), told(engine, code, subject, Phase::Cleared));
    assert_eq!(raised, cleared, "{code} of {subject}");
}

/// How often `engine` told of this.
fn told(engine: &Engine, code: &str, subject: &str, phase: Phase) -> usize {
    let alerts = engine.alerts();
    alerts.iter().filter(|a| a.code == code && a.subject == subject && a.phase == phase).count()
}

/// Waits until nothing is wrong.
fn is_healthy(engine: &Engine) {
    eventually("healthy", || {
        let report = engine.health();
        (report.status.word() == "healthy" && report.reasons.is_empty()).then_some(())
    });
}

/// Runs the test `name` in a process of its own, where nobody else uses memory or processors; true in that process.
fn alone(name: &str) -> bool {
    if std::env::var_os("TEST_RUNS_ALONE").is_some() {
        return true;
    }
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let name = format!("health::{name}");
    let status = command.args([&*name, "--exact", "--nocapture"]).env("TEST_RUNS_ALONE", "1").status();
    assert!(status.unwrap().success(), "{name} fails in a process of its own");
    false
}

/// What a store does with the next batch.
#[derive(Clone, Copy)]
enum Mood {
    Takes,
    /// For 20 ms a batch.
    Dawdles,
    Refuses,
    /// Until it is told to go on.
    Hangs,
}

/// A store in a mood.
struct Moody {
    mood: Arc<AtomicU8>,
    go_on: Receiver<()>,
    stored: Arc<AtomicUsize>,
}

impl Moody {
    fn new(mood: Mood) -> (Self, Arc<AtomicU8>, Sender<()>) {
        let (sender, go_on) = bounded(0);
        let mood = Arc::new(AtomicU8::new(mood as u8));
        (Self { mood: Arc::clone(&mood), go_on, stored: Arc::default() }, mood, sender)
    }
}

impl Store for Moody {
    fn write(&mut self, outcomes: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        match self.mood.load(Ordering::Relaxed) {
            mood if mood == Mood::Dawdles as u8 => std::thread::sleep(Duration::from_millis(20)),
            mood if mood == Mood::Hangs as u8 => drop(self.go_on.recv()),
            mood if mood == Mood::Refuses as u8 => {
                let problem = "made up".to_owned();
                return Err(StoreError { store: "moody".to_owned(), problem, retryable: false });
            }
            _ => {}
        }
        self.stored.fetch_add(outcomes.len(), Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn a_store_that_is_locked_degrades_and_its_rows_are_there_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vela.db");
    let mut settings = settings(&[(Measure::StoreAway, 0.5)]);
    settings.store.url = StoreUrl::Sqlite(path.clone());
    let engine = Engine::start(settings).unwrap();
    assert_eq!(engine.health().status.word(), "healthy");
    let bars = market(2, 10);
    ingest(&engine, &bars[..10]);
    assert!(engine.drain(Duration::from_secs(60)));
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    ingest(&engine, &bars[10..]);
    breaks(&engine, "store_away", "store");
    other.execute_batch("ROLLBACK").unwrap();
    mends(&engine, "store_away", "store");
    is_healthy(&engine);
    let report = engine.stop().unwrap();
    assert_eq!((report.unsaved, report.undrained), (0, 0));
    let count = "SELECT count(*) FROM inference_errors";
    assert_eq!(other.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 60);
    let states = "SELECT group_concat(state || ' ' || severity || ' ' || subject) FROM
                  (SELECT * FROM alerts WHERE code = 'store_away' ORDER BY at)";
    let states: String = other.query_row(states, [], |row| row.get(0)).unwrap();
    assert_eq!(states, "raised warning store,cleared warning store", "the store has the alert too");
}

#[test]
fn a_database_that_is_away_degrades_and_so_does_its_spool_until_both_are_as_before() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&[(Measure::StoreAway, 0.5), (Measure::Spool, 5.0)]);
    settings.store.url = cluster.url().parse().unwrap();
    settings.store.spool_path = folder.path().join("spool");
    settings.store.spool_size_max_mb = 1;
    let StoreUrl::Postgres(url) = &settings.store.url else { unreachable!("set so above") };
    let server = vela::database::Server::new(url, &settings.database).unwrap();
    vela::database::schema::init(&mut server.connect().unwrap(), Vec::new()).unwrap();
    let engine = Engine::start(settings).unwrap();
    let bars = market(4, 200);
    ingest(&engine, &bars[..40]);
    assert!(engine.drain(Duration::from_secs(60)));
    is_healthy(&engine);
    cluster.ctl(&["stop", "-w", "-m", "immediate"]);
    ingest(&engine, &bars[40..]);
    breaks(&engine, "store_away", "store");
    let spool = folder.path().join("spool").display().to_string();
    breaks(&engine, "spool", &spool);
    cluster.ctl(&["start", "-w", "-l", &cluster.log()]);
    mends(&engine, "store_away", "store");
    mends(&engine, "spool", &spool);
    is_healthy(&engine);
    engine.stop().unwrap();
}

#[test]
fn outcomes_that_are_refused_for_good_are_critical_until_others_are_stored() {
    let (store, mood, _) = Moody::new(Mood::Takes);
    let engine = with_store(settings(&[(Measure::Unsaved, 0.0)]), store);
    ingest(&engine, &market(1, 5));
    is_healthy(&engine);
    mood.store(Mood::Refuses as u8, Ordering::Relaxed);
    ingest(&engine, &market(2, 5));
    breaks(&engine, "unsaved", "store");
    mood.store(Mood::Takes as u8, Ordering::Relaxed);
    mends(&engine, "unsaved", "store");
    is_healthy(&engine);
}

#[test]
fn a_stage_that_stands_still_is_critical_and_its_queue_fills() {
    let (store, _, go_on) = Moody::new(Mood::Hangs);
    let mut settings = settings(&[(Measure::Stalled, 1.5), (Measure::Queue, 80.0)]);
    settings.persist.queue_rows_max = 20;
    settings.predict.queue_rows_max = 1000;
    let engine = with_store(settings, store);
    ingest(&engine, &market(3, 20));
    breaks(&engine, "stalled", "persist");
    breaks(&engine, "queue", "persist");
    assert_eq!(engine.health().status.word(), "critical");
    drop(go_on);
    mends(&engine, "stalled", "persist");
    mends(&engine, "queue", "persist");
    is_healthy(&engine);
}

#[test]
fn predictions_that_come_late_degrade_until_they_come_in_time() {
    let (store, mood, _) = Moody::new(Mood::Takes);
    let mut settings = settings(&[(Measure::Latency, 1.0)]);
    settings.max_latency_ms = 15;
    let engine = with_store(settings, store);
    let mut bars = market(4, 20_000);
    let mut later = bars.split_off(4 * WARM_UP).into_iter();
    ingest(&engine, &bars);
    assert!(engine.drain(Duration::from_secs(60)));
    mood.store(Mood::Dawdles as u8, Ordering::Relaxed);
    eventually("latency is raised", || {
        ingest(&engine, &later.by_ref().take(16).collect::<Vec<_>>());
        assert!(engine.drain(Duration::from_secs(60)));
        engine.active_alerts().iter().any(|alert| alert.code == "latency").then_some(())
    });
    breaks(&engine, "latency", "predictions");
    mood.store(Mood::Takes as u8, Ordering::Relaxed);
    // Predictions go on: the share falls, the measure does not merely end.
    eventually("latency is cleared", || {
        ingest(&engine, &later.by_ref().take(4).collect::<Vec<_>>());
        assert!(engine.drain(Duration::from_secs(60)));
        engine.active_alerts().is_empty().then_some(())
    });
    mends(&engine, "latency", "predictions");
}

#[test]
fn a_model_that_is_too_slow_for_the_budget_degrades_until_it_is_quick() {
    let folder = Folder::new();
    // A bar that falls costs it some 8 ms, one that rises nothing.
    folder.version("slow", 1, crate::support::onnx::slow_by(1, 1e5), "").promote("slow", &[1]);
    let mut fed = serving::Fed::with(&folder, |settings| {
        settings.alert.rules = rules(&[(Measure::Latency, 50.0)]);
        settings.health_check_interval = 1;
        settings.max_latency_ms = 15;
        settings.predict.deadline_ms = 30_000;
    });
    let mut close = 100.0;
    eventually("latency is raised", || {
        for _ in 0..40 {
            close *= 0.99;
            fed.put(close);
        }
        assert!(fed.come(40).iter().all(|outcome| outcome.result.is_ok()));
        (!fed.engine.active_alerts().is_empty()).then_some(())
    });
    breaks(&fed.engine, "latency", "predictions");
    eventually("latency is cleared", || {
        for _ in 0..8 {
            close *= 1.01;
            fed.put(close);
            assert!(fed.come(1)[0].result.is_ok());
        }
        fed.engine.active_alerts().is_empty().then_some(())
    });
    mends(&fed.engine, "latency", "predictions");
}

#[test]
fn who_asks_often_gets_the_report_of_a_moment_ago() {
    let engine = Engine::start(settings(&[(Measure::ModelsMissing, 0.0)])).unwrap();
    let first = engine.health_within(Duration::from_secs(3600));
    for _ in 0..100 {
        assert_eq!(engine.health_within(Duration::from_secs(3600)).checked_at, first.checked_at);
    }
    eventually("one that is too old is made anew", || {
        (engine.health_within(Duration::ZERO).checked_at != first.checked_at).then_some(())
    });
}

#[test]
fn bad_bars_degrade_until_bars_are_good_again() {
    let engine = Engine::start(settings(&[(Measure::Errors, 20.0)])).unwrap();
    let mut bars = market(4, 20_000).into_iter();
    eventually("errors are raised", || {
        let mut some: Vec<Fed> = bars.by_ref().take(16).collect();
        some.iter_mut().for_each(|(_, bar)| bar.close = f64::NAN);
        ingest(&engine, &some);
        assert!(engine.drain(Duration::from_secs(60)));
        engine.active_alerts().iter().any(|alert| alert.code == "errors").then_some(())
    });
    breaks(&engine, "errors", "outcomes");
    eventually("errors are cleared", || {
        ingest(&engine, &bars.by_ref().take(16).collect::<Vec<_>>());
        assert!(engine.drain(Duration::from_secs(60)));
        engine.active_alerts().is_empty().then_some(())
    });
    mends(&engine, "errors", "outcomes");
}

#[test]
fn a_feed_that_goes_quiet_while_its_siblings_go_on_degrades() {
    let engine = Engine::start(settings(&[(Measure::FeedQuiet, 3.0)])).unwrap();
    let bars = market(3, 60);
    let quiet = Arc::clone(&bars[1].0);
    let (before, after) = bars.split_at(3 * 30);
    ingest(&engine, before);
    is_healthy(&engine);
    let siblings: Vec<Fed> =
        after.iter().filter(|(series, _)| *series != quiet).take(2 * 5).cloned().collect();
    ingest(&engine, &siblings);
    breaks(&engine, "feed_quiet", &quiet.to_string());
    assert_eq!(engine.health().reasons.len(), 1, "the siblings are well");
    let resumed: Vec<Fed> = after.iter().filter(|(series, _)| *series == quiet).take(5).cloned().collect();
    ingest(&engine, &resumed);
    mends(&engine, "feed_quiet", &quiet.to_string());
    is_healthy(&engine);
}

#[test]
fn a_bad_tick_is_told_until_it_is_corrected_or_newer_bars_came() {
    let engine = Engine::start(settings(&[(Measure::Spike, 20.0)])).unwrap();
    let bars = market(2, 80);
    let (before, after) = bars.split_at(2 * 60);
    let tick = |fed: &Fed| (Arc::clone(&fed.0), Bar { high: fed.1.high * 2.0, ..fed.1 });
    ingest(&engine, before);
    is_healthy(&engine);
    let [first, second] = [&after[0], &after[1]];
    ingest(&engine, &[tick(first), tick(second)]);
    for (series, _) in [first, second] {
        breaks(&engine, "spike", &series.to_string());
    }
    // One is corrected, the other stands and becomes one of many.
    ingest(&engine, std::slice::from_ref(first));
    mends(&engine, "spike", &first.0.to_string());
    assert_eq!(told(&engine, "spike", &second.0.to_string(), Phase::Cleared), 0);
    ingest(&engine, &after[2..2 * 8]);
    assert!(engine.drain(Duration::from_secs(60)));
    assert!(engine.active_alerts().iter().any(|alert| alert.subject == second.0.to_string()));
    ingest(&engine, &after[2 * 8..]);
    mends(&engine, "spike", &second.0.to_string());
    is_healthy(&engine);
}

#[test]
fn feeds_that_all_fall_silent_degrade_until_a_bar_comes() {
    let engine = Engine::start(settings(&[(Measure::Silence, 3.0), (Measure::FeedQuiet, 3.0)])).unwrap();
    let mut at = 1_700_000_000;
    let mut bar = || {
        at += 1;
        let ts = vela::domain::Timestamp::from_secs(at);
        let bar = Bar { ts, open: 1.0, high: 1.0, low: 1.0, close: 1.0, volume: 1.0 };
        for symbol in ["A", "B"] {
            engine.ingest(symbol, "1s".parse().unwrap(), bar).unwrap();
        }
    };
    assert_eq!(engine.health().reasons, [], "nobody said that any would come");
    bar();
    breaks(&engine, "silence", "bars");
    // No series is behind another: it is the only rule that can tell.
    assert_eq!(engine.health().reasons.len(), 1);
    eventually("silence is cleared", || {
        bar();
        engine.active_alerts().is_empty().then_some(())
    });
    mends(&engine, "silence", "bars");
}

#[test]
fn a_source_that_never_brought_a_bar_is_silent_until_its_first_one() {
    let folder = tempfile::tempdir().unwrap();
    let models = Folder::new();
    models.version("m", 1, crate::support::onnx::linear(1, 0.0, 1.0), "");
    let manifest = models.path("m/1/model.toml");
    let toml = std::fs::read_to_string(&manifest).unwrap().replace("\"1m\"", "\"1s\"");
    std::fs::write(manifest, toml).unwrap();
    models.promote("m", &[1]);
    let engine = over(&models, &[(Measure::Silence, 2.0)], |settings| {
        settings.source.kind = SourceKind::Csv;
        settings.source.path = folder.path().to_owned();
    });
    breaks(&engine, "silence", "bars");
    // The feed comes at last.
    let path = folder.path().join("A_1s.csv");
    let mut text = HEADER.to_owned();
    let mut at = 1_700_000_000;
    eventually("silence is cleared", || {
        at += 1;
        let ts = vela::domain::Timestamp::from_secs(at);
        text += &line(&Bar { ts, open: 1.0, high: 1.0, low: 1.0, close: 1.0, volume: 1.0 });
        std::fs::write(&path, &text).unwrap();
        engine.active_alerts().is_empty().then_some(())
    });
    mends(&engine, "silence", "bars");
    assert!(engine.bars() > 0);
    engine.stop().unwrap();
}

fn over(folder: &Folder, wanted: &[(Measure, f64)], change: impl FnOnce(&mut Settings)) -> Engine {
    let mut settings = settings(wanted);
    settings.models.path = folder.path("");
    change(&mut settings);
    Engine::start(settings).unwrap()
}

#[test]
fn an_emptied_models_folder_is_critical_and_an_unreadable_entry_degrades() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    let engine = over(&folder, &[(Measure::ModelsMissing, 0.0), (Measure::ModelsRefused, 0.0)], |_| {});
    is_healthy(&engine);
    std::fs::rename(folder.path("good"), folder.path(".away")).unwrap();
    breaks(&engine, "models_missing", "models");
    assert_eq!(engine.health().status.word(), "critical");
    std::fs::rename(folder.path(".away"), folder.path("good")).unwrap();
    mends(&engine, "models_missing", "models");
    folder.write("bad/promoted", "1\n").write("bad/1/model.toml", "nonsense = 1\n");
    let refused = |engine: &Engine| {
        let report = engine.health();
        report
            .reasons
            .iter()
            .find(|reason| reason.code == "models_refused")
            .map(|reason| reason.subject.clone())
    };
    let subject = eventually("the bad entry is told", || refused(&engine));
    breaks(&engine, "models_refused", &subject);
    // Another model changes: what is wrong with this one is still wrong.
    folder.says_itself("good", 2).promote("good", &[1, 2]);
    eventually("the promotion is followed", || {
        (engine.catalogue().models()[0].versions.len() == 2).then_some(())
    });
    assert!(refused(&engine).is_some());
    std::fs::remove_dir_all(folder.path("bad")).unwrap();
    eventually("nothing is refused", || refused(&engine).is_none().then_some(()));
    is_healthy(&engine);
}

#[test]
fn a_version_that_fails_degrades_and_a_model_without_any_is_critical() {
    let folder = Folder::new();
    folder.says_itself("m", 1).promote("m", &[1]);
    folder.says_itself("n", 1).promote("n", &[1]);
    let engine = over(&folder, &[(Measure::ModelFallback, 0.0), (Measure::ModelDown, 0.0)], |_| {});
    is_healthy(&engine);
    folder.version("m", 2, b"no graph".to_vec(), "").promote("m", &[1, 2]);
    breaks(&engine, "model_fallback", "m");
    let reason = engine.health().reasons.remove(0);
    assert!(reason.detail.contains("version 1 serves; version 2 fails: "), "{reason:?}");
    folder.promote("m", &[1]);
    mends(&engine, "model_fallback", "m");
    is_healthy(&engine);
    folder.version("n", 2, b"no graph".to_vec(), "").promote("n", &[2]);
    // It is tried when it is needed.
    let mut bars = market(1, 20_000).into_iter();
    eventually("it is tried", || {
        ingest(&engine, &bars.by_ref().take(1).collect::<Vec<_>>());
        (!engine.active_alerts().is_empty()).then_some(())
    });
    breaks(&engine, "model_down", "n");
    assert_eq!(engine.health().status.word(), "critical");
    folder.says_itself("n", 2);
    // The corrected files are tried when they are needed, or when their time comes.
    eventually("the corrected version serves", || {
        ingest(&engine, &bars.by_ref().take(1).collect::<Vec<_>>());
        engine.active_alerts().is_empty().then_some(())
    });
    mends(&engine, "model_down", "n");
    is_healthy(&engine);
}

#[test]
fn a_session_whose_creation_hangs_degrades_until_it_ends() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    let wanted = [(Measure::Runtime, 0.0)];
    let engine = over(&folder, &wanted, |settings| settings.predict.load_deadline_ms = 100);
    is_healthy(&engine);
    put_hanging(&folder, "hangs", 7.0, "ELSEWHERE");
    breaks(&engine, "runtime", "onnxruntime");
    mends(&engine, "runtime", "onnxruntime");
}

#[test]
fn memory_beyond_its_share_degrades_until_it_is_given_back() {
    if !alone("memory_beyond_its_share_degrades_until_it_is_given_back") {
        return;
    }
    let mut settings = settings(&[(Measure::Memory, 50.0)]);
    let engine = Engine::start(settings.clone()).unwrap();
    let used_mb = engine.metrics().system.memory_usage_mb;
    engine.stop().unwrap();
    settings.max_memory_mb = 2 * (used_mb as u64 + 100);
    let engine = Engine::start(settings).unwrap();
    is_healthy(&engine);
    let mut block = vec![0_u8; 300 << 20];
    block.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    breaks(&engine, "memory", "max_memory_mb");
    assert!(block.contains(&1));
    drop(block);
    mends(&engine, "memory", "max_memory_mb");
    is_healthy(&engine);
}

#[test]
fn busy_processors_degrade_until_they_rest() {
    if !alone("busy_processors_degrade_until_they_rest") {
        return;
    }
    let engine = Engine::start(settings(&[(Measure::Cpu, 10.0)])).unwrap();
    is_healthy(&engine);
    let (stop, stopped) = bounded::<()>(0);
    let burn = || {
        while stopped.try_recv() == Err(crossbeam::channel::TryRecvError::Empty) {
            std::hint::black_box((0..10_000_u64).sum::<u64>());
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(burn)));
        breaks(&engine, "cpu", "process");
        drop(stop);
    });
    mends(&engine, "cpu", "process");
    is_healthy(&engine);
}

/// A log that panics wherever somebody says this.
struct Panicking(&'static str);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Panicking {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Visit(bool, &'static str);
        impl tracing::field::Visit for Visit {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 |= format!("{value:?}").contains(self.1);
            }
        }
        let mut visit = Visit(false, self.0);
        event.record(&mut visit);
        assert!(!visit.0, "made up");
    }
}

#[test]
fn a_worker_that_panics_is_critical_until_a_while_has_passed_without() {
    use tracing_subscriber::layer::SubscriberExt as _;
    if !alone("a_worker_that_panics_is_critical_until_a_while_has_passed_without") {
        return;
    }
    let log = tracing_subscriber::registry().with(Panicking("stored"));
    tracing::subscriber::set_global_default(log).unwrap();
    let (store, mood, _) = Moody::new(Mood::Refuses);
    let engine = with_store(settings(&[(Measure::Panics, 0.0)]), store);
    ingest(&engine, &market(1, 1));
    breaks(&engine, "panics", "workers");
    mood.store(Mood::Takes as u8, Ordering::Relaxed);
    mends(&engine, "panics", "workers");
    is_healthy(&engine);
}

#[test]
fn a_file_system_that_fills_up_degrades_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        std::process::Command::new(arguments[0]).args(&arguments[1..]).arg(folder.path()).output()
    };
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs"]);
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: this user may not mount a file system");
        return;
    }
    let mut settings = settings(&[(Measure::Disk, 50.0)]);
    settings.log.path = folder.path().join("logs/vela.log");
    let engine = Engine::start(settings).unwrap();
    is_healthy(&engine);
    std::fs::write(folder.path().join("large"), vec![1; 12 << 20]).unwrap();
    breaks(&engine, "disk", "log");
    std::fs::remove_file(folder.path().join("large")).unwrap();
    mends(&engine, "disk", "log");
    is_healthy(&engine);
    engine.stop().unwrap();
    mount(&["umount"]).unwrap();
}

#[test]
fn a_state_that_stays_is_repeated_and_the_newest_alerts_are_kept_only() {
    let folder = Folder::new();
    let engine =
        over(&folder, &[(Measure::ModelsMissing, 0.0)], |settings| settings.alert.repeat_after_s = 1);
    breaks(&engine, "models_missing", "models");
    eventually("it is repeated", || {
        (told(&engine, "models_missing", "models", Phase::Repeated) >= 2).then_some(())
    });
    assert_eq!(told(&engine, "models_missing", "models", Phase::Raised), 1);
    assert_eq!(engine.metrics().alerts["models_missing"], 1, "repetitions are no alerts of their own");
    for n in 0..1000 {
        // Somebody asks all the time: no more alerts for that.
        let report = engine.health();
        assert_eq!(report.reasons.len(), 1, "{n}");
    }
    assert!(engine.alerts().len() <= 256);
    let json = serde_json::to_value(engine.health()).unwrap();
    assert_eq!(json["status"], "critical");
    assert_eq!(json["reasons"][0]["code"], "models_missing");
    let bar = Bar {
        ts: vela::domain::Timestamp::from_secs(0),
        open: 1.0,
        high: 1.0,
        low: 1.0,
        close: 1.0,
        volume: 1.0,
    };
    engine.ingest("X", vela::domain::Timeframe::MINUTE, bar).unwrap();
}

/// Every measure has a test above.
#[test]
fn every_rule_is_broken_and_mended_in_some_test() {
    let text = include_str!("health.rs");
    for measure in Measure::ALL {
        for seen in ["breaks(&engine, ", "mends(&engine, "] {
            let word = measure.word();
            let seen_in_other_words = word == "models_refused" && seen.starts_with("mends");
            assert!(seen_in_other_words || text.contains(&format!("{seen}\"{word}\"")), "{seen}{word}");
        }
    }
    let doc = vela::config::KEYS.iter().find(|key| key.name == "alert.rules").unwrap().doc.join(" ");
    Measure::ALL
        .iter()
        .for_each(|measure| assert!(doc.contains(&format!("\"{}\"", measure.word())), "{doc}"));
}
