//! Rules of what happens to outcomes: a store that is away, refuses, hangs or dawdles, and a worker that panics.

use super::{WARM_UP, alone, breaks, ingest, is_healthy, mends, settings};
use crate::service_support::{eventually, market};
use crate::support::cluster::Cluster;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;
use vela::config::{Measure, StoreUrl};
use vela::domain::Outcome;
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides, Settings};

fn with_store(settings: Settings, store: impl Store + 'static) -> Engine {
    let overrides = Overrides { store: Some(Box::new(store)), ..Overrides::default() };
    Engine::start_with(settings, overrides).unwrap()
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
    if !alone("store::a_worker_that_panics_is_critical_until_a_while_has_passed_without") {
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
