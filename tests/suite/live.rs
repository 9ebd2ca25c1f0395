//! The configuration changes while it runs: every key either takes effect or is said to wait for the next start.

use crate::health::settings;
use crate::models_load::put_hanging;
use crate::service_support::{Home, MODELS, eventually, market};
use crate::support::serving::Folder;
use crate::webhook::{next, receive};
use std::collections::BTreeSet;
use std::time::Duration;
use vela::config::{Allowed, Change, KEYS, Key, Measure, Value};
use vela::domain::{Bar, Lane, Outcome, Timeframe, Timestamp};
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides, Settings};

/// Takes a while for every batch.
struct Slow;

impl Store for Slow {
    fn write(&mut self, _: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        std::thread::sleep(Duration::from_millis(10));
        Ok(())
    }
}

/// Another value than the default one, as `--set` writes it.
pub fn other(key: &Key) -> String {
    match (&key.allowed, key.default_value()) {
        (Allowed::Whole(range), Value::Whole(number)) => {
            if number < *range.end() { number + 1 } else { number - 1 }.to_string()
        }
        (Allowed::Fraction(_), Value::Fraction(number)) => (number / 2.0).to_string(),
        (Allowed::Bool, Value::Bool(yes)) => (!yes).to_string(),
        (Allowed::OneOf(words), Value::Text(word)) => {
            (*words.iter().find(|other| **other != word).unwrap()).to_owned()
        }
        (Allowed::PostgresOrEmpty, _) => "postgres://other@127.0.0.1/other".to_owned(),
        (Allowed::Listen, _) => "127.0.0.1:9".to_owned(),
        (Allowed::Store, _) => "sqlite:other.db".to_owned(),
        (Allowed::Hours, _) => "mon 08:00-fri 16:00".to_owned(),
        (Allowed::Events, _) => "AAPL 2020-08-31T13:30:00Z 0.25 4".to_owned(),
        (Allowed::Names, _) => "FB META until 2022-06-09T00:00:00Z".to_owned(),
        (Allowed::Lanes, _) => "XRPUSD=high".to_owned(),
        (Allowed::Rules, _) => "memory.over=80".to_owned(),
        (Allowed::HttpUrlOrEmpty, _) => "http://127.0.0.1:9/".to_owned(),
        _ => "other".to_owned(),
    }
}

fn set(engine: &Engine, key: &str, value: &str) {
    let report = engine.reconfigure_keys(&[(key.to_owned(), value.to_owned())]).unwrap();
    assert_eq!((report.live.as_slice(), report.at_restart.len()), ([key].as_slice(), 0), "{key} = {value}");
}

#[test]
fn every_key_takes_effect_or_is_said_to_wait_for_the_next_start() {
    let mut original = Settings::default();
    original.models.path = MODELS.into();
    original.source.kind = vela::config::SourceKind::None;
    original.store.url = vela::config::StoreUrl::None;
    let engine = Engine::start(original.clone()).unwrap();
    for key in KEYS {
        let mut value = other(key);
        if key.name == "source.kind" {
            value = "csv".to_owned();
        }
        let report = engine.reconfigure_keys(&[(key.name.to_owned(), value.clone())]);
        let report = report.unwrap_or_else(|error| panic!("{} = {value}: {error}", key.name));
        let live = key.change == Change::Live;
        assert_eq!(report.live == [key.name], live, "{report:?}");
        assert_eq!(report.at_restart == [key.name], !live, "{report:?}");
        let in_force = key.value(&engine.settings());
        assert_eq!(in_force != key.value(&original), live, "{} = {in_force:?}", key.name);
        let code = if live { "config_changed" } else { "config_restart" };
        let alerts = engine.alerts();
        let last = alerts.last().unwrap();
        assert!(last.code == code && last.detail.starts_with(key.name), "{last:?}");
        // What waits is known: asked again, it is said again, and taken back it is not.
        let again = engine.reconfigure_keys(&[(key.name.to_owned(), value)]).unwrap();
        assert_eq!(again.at_restart.is_empty(), live);
        engine.reconfigure(original.clone()).unwrap();
        assert_eq!(key.value(&engine.settings()), key.value(&original), "{}", key.name);
        assert!(engine.reconfigure(original.clone()).unwrap().is_empty(), "{}", key.name);
    }
    // It goes on working.
    market(1, 5).iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
    assert!(engine.drain(Duration::from_secs(60)));
    engine.stop().unwrap();
}

#[test]
fn what_is_wrong_changes_nothing_and_says_why() {
    let engine = Engine::start(settings(&[])).unwrap();
    let before = engine.settings();
    for (changes, said) in [
        (
            vec![("max_latency_ms", "7"), ("cache_ttl_seconds", "0")],
            "cache_ttl_seconds = 0: allowed is 1 to 86400 s",
        ),
        (vec![("max_latency_ms", "7"), ("nope", "0")], "nope = 0: unknown key"),
        (vec![("max_latency_ms", "7"), ("priority.high_share", "0.9")], "must not exceed 1 together with"),
        (vec![("alert.webhook_url", "http://h/"), ("alert.webhook_key_path", "/no/such")], "/no/such: "),
    ] {
        let changes: Vec<_> = changes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let error = engine.reconfigure_keys(&changes).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(*engine.settings(), *before);
        let alerts = engine.alerts();
        let last = alerts.last().unwrap();
        assert!(last.code == "config_refused" && last.detail.contains(said), "{last:?}");
    }
    let mut by_hand = (*before).clone();
    (by_hand.max_latency_ms, by_hand.workers_min) = (7, 300);
    assert!(engine.reconfigure(by_hand).is_err());
    assert_eq!(*engine.settings(), *before);
    assert_eq!(engine.metrics().performance.budget_ms, before.max_latency_ms);
}

/// The keys of which this file sees the effect in a running engine or service.
const SEEN: &[&str] = &[
    "max_latency_ms",
    "health_check_interval",
    "cache_ttl_seconds",
    "controller_interval_ms",
    "core_budget",
    "workers_min",
    "model_pool_size",
    "feature_cache_size",
    "ingest.clock_skew_ms_max",
    "priority.high_share",
    "priority.low_share",
    "priority.pinned",
    "predict.load_deadline_ms",
    "feature.adjustments",
    "alert.rules",
    "alert.repeat_after_s",
    "alert.webhook_url",
    "alert.webhook_key_path",
    "alert.webhook_timeout_ms",
    "log.level",
    "log.performance_interval_s",
];

#[test]
fn the_effect_of_every_live_key_is_seen_below() {
    let live: BTreeSet<_> =
        KEYS.iter().filter(|key| key.change == Change::Live).map(|key| key.name).collect();
    assert_eq!(live, SEEN.iter().chain(crate::reexec::SEEN).copied().collect());
}

#[test]
fn latency_cache_priorities_and_clock_skew_change_while_bars_come() {
    let overrides = Overrides { store: Some(Box::new(Slow)), ..Overrides::default() };
    let engine = Engine::start_with(settings(&[]), overrides).unwrap();
    let mut bars = market(10, 400).into_iter();
    let mut feed = |minutes: usize| {
        bars.by_ref()
            .take(10 * minutes)
            .for_each(|(series, bar)| engine.ingest_series(&series, bar).unwrap());
        assert!(engine.drain(Duration::from_secs(60)));
        engine.metrics()
    };
    let before = feed(100);
    assert!(before.performance.late_predictions == 0 && before.feature_cache.total_entries > 100);
    set(&engine, "max_latency_ms", "1");
    let late = feed(5).performance.late_predictions;
    assert!(late > 0, "a store that takes 10 ms makes every prediction late");
    set(&engine, "max_latency_ms", "3600000");
    assert_eq!(feed(5).performance.late_predictions, late);

    set(&engine, "feature_cache_size", "16");
    assert!(engine.metrics().feature_cache.total_entries <= 16);
    assert!(feed(5).feature_cache.total_entries <= 16);
    set(&engine, "cache_ttl_seconds", "1");
    assert_eq!(engine.metrics().feature_cache.ttl_seconds, 1);

    let series: Vec<_> = market(10, 1).into_iter().map(|(series, _)| series).collect();
    let lanes = |wanted: Lane| series.iter().filter(|s| engine.lane(s) == Some(wanted)).count();
    set(&engine, "priority.pinned", &format!("{}=low", series[0].symbol));
    assert_eq!(engine.lane(&series[0]), Some(Lane::Low), "pinned at once");
    assert!(lanes(Lane::Normal) > 0, "{}", lanes(Lane::Normal));
    set(&engine, "priority.low_share", "0");
    assert_eq!(lanes(Lane::Low), 1, "the pinned one");
    set(&engine, "priority.high_share", "1");
    assert_eq!(lanes(Lane::High), 9);

    let half_an_hour = Timestamp::from_millis(Timestamp::now().as_millis() + 1_800_000);
    let ts = Timeframe::MINUTE.open_of(half_an_hour);
    let bar = Bar { ts, open: 1.0, high: 1.0, low: 1.0, close: 1.0, volume: 1.0 };
    let future = |symbol: &str| {
        engine.ingest(symbol, Timeframe::MINUTE, bar).unwrap();
        assert!(engine.drain(Duration::from_secs(60)));
        engine.metrics().reasons.get("future").copied().unwrap_or(0)
    };
    assert_eq!(future("A"), 1);
    set(&engine, "ingest.clock_skew_ms_max", "3600000");
    assert_eq!(future("B"), 1, "it is taken now");

    // What that does to answers: `bars_adjusted.rs`.
    set(&engine, "feature.adjustments", &format!("{} 2020-01-01T00:00:00Z 0.5 2", series[0].symbol));
    assert!(engine.alerts().iter().all(|alert| alert.code != "adjusted"), "from before its first bar");
    set(&engine, "feature.adjustments", &format!("{} {ts} 0.5 2", series[0].symbol));
    assert_eq!(future(&series[0].symbol), 1);
    assert!(engine.alerts().iter().any(|alert| alert.code == "adjusted"));
    engine.stop().unwrap();
}

#[test]
fn the_controller_and_the_pool_hold_to_their_new_bounds() {
    let mut settings = settings(&[]);
    settings.controller_interval_ms = 60_000;
    let engine = Engine::start(settings).unwrap();
    set(&engine, "core_budget", "5");
    let controller = engine.metrics().controller;
    assert_eq!((controller.core_budget, controller.interval_ms), (5, 60_000));
    let workers = || engine.metrics().stages["persist"].workers;
    assert_eq!(engine.set_workers("persist", 1), Some(1));
    assert!(engine.release_workers("persist"));
    set(&engine, "workers_min", "2");
    assert_eq!(workers(), 1, "the next round is a minute away");
    set(&engine, "controller_interval_ms", "20");
    eventually("the controller holds to the new bound, at the new interval", || {
        (workers() >= 2).then_some(())
    });

    let loaded = engine.metrics().model_pool;
    assert!(loaded.loaded >= 3 && loaded.evictions == 0, "{loaded:?}");
    set(&engine, "model_pool_size", "1");
    let mut bars = market(1, 20_000).into_iter();
    eventually("models make room for each other", || {
        bars.by_ref().take(5).for_each(|(series, bar)| engine.ingest_series(&series, bar).unwrap());
        assert!(engine.drain(Duration::from_secs(60)));
        let pool = engine.metrics().model_pool;
        (pool.max_size == 1 && pool.evictions > 2 && pool.loaded <= 1).then_some(())
    });
    engine.stop().unwrap();
}

#[test]
fn a_load_deadline_holds_for_the_next_load() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    let mut settings = settings(&[]);
    settings.models.path = folder.path("");
    settings.predict.load_deadline_ms = 600_000;
    let engine = Engine::start(settings).unwrap();
    set(&engine, "predict.load_deadline_ms", "100");
    put_hanging(&folder, "hangs", 11.0, "ELSEWHERE");
    eventually("it is given up", || {
        engine.alerts().iter().any(|alert| alert.detail.contains("was given up")).then_some(())
    });
}

#[test]
fn rules_the_interval_of_checks_and_the_webhook_change_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&[(Measure::ModelsMissing, 1.0)]);
    settings.models.path = folder.path().to_owned();
    settings.health_check_interval = 86_400;
    let engine = Engine::start(settings).unwrap();
    assert!(engine.metrics().system.last_health_check.is_none());
    set(&engine, "health_check_interval", "1");
    eventually("it is checked", || engine.metrics().system.last_health_check);
    assert_eq!(engine.health().reasons, []);

    let (first, second) = (receive(&[200]), receive(&[0, 200]));
    set(&engine, "alert.webhook_url", &first.url);
    set(&engine, "alert.repeat_after_s", "1");
    set(&engine, "alert.rules", "models_refused.enabled=false,memory.enabled=false,disk.enabled=false");
    let is_raised = |json: &serde_json::Value| json["code"] == "models_missing" && json["phase"] == "raised";
    eventually("it is raised", || is_raised(&next(&first).json()).then_some(()));
    eventually("it is repeated after the new pause", || {
        (next(&first).json()["phase"] == "repeated").then_some(())
    });
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "k\n").unwrap();
    set(&engine, "alert.webhook_key_path", key.path().to_str().unwrap());
    set(&engine, "alert.webhook_timeout_ms", "50");
    set(&engine, "alert.webhook_url", &second.url);
    // The first request is never answered: the second can only come because the new limit holds.
    let (one, again) = (next(&second), next(&second));
    assert_eq!(one.body, again.body);
    assert!(again.header("x-vela-signature").is_some());
    set(&engine, "alert.rules", "models_missing.enabled=false,memory.enabled=false,disk.enabled=false");
    eventually("the rule that is off is cleared", || engine.active_alerts().is_empty().then_some(()));
    engine.stop().unwrap();
}

#[test]
fn the_file_is_followed_by_itself_and_on_sighup_and_a_bad_one_is_refused_with_line_and_reason() {
    let home = Home::new();
    let configure = |more: &str| home.configure(&format!("source.path = \"vela.db\"\n{more}"));
    configure("log.level = \"error\"\nlog.performance_interval_s = 86400\n");
    let log = || std::fs::read_to_string(home.path("logs/infer_realtime.log")).unwrap_or_default();
    let says = |what: &str| eventually(what, || log().contains(what).then_some(()));
    drop(crate::service_support::Table::create(&home.database()));
    let service = home.run();
    assert!(!log().contains("performance"));
    configure("log.level = \"info\"\nlog.performance_interval_s = 1\n");
    // Both: lines of this level, and every second.
    says("latency_p99_us");
    configure("log.level = \"info\"\nlog.performance_interval_s = 1\nalert.rules.cpu.over = -3\n");
    says("vela.toml:");
    says("alert.rules.cpu.over = -3: allowed is a number from 0");
    says("everything stays as it was");
    configure("database.pool_size = 7\nlog.level = \"info\"\nlog.performance_interval_s = 2\n");
    says("database.pool_size takes effect at the next start");
    says("log.performance_interval_s changed, and is in effect");
    let told = |log: &str| log.matches("database.pool_size takes effect at the next start").count();
    let before = told(&log());
    service.signal("HUP");
    eventually("it is read again on SIGHUP", || (told(&log()) > before).then_some(()));
    // A file that is being written begins empty: that is no wish for every default.
    home.write("vela.toml", "");
    std::thread::sleep(std::time::Duration::from_secs(1));
    configure("database.pool_size = 7\nlog.level = \"info\"\nhealth_check_interval = 33\n");
    says("health_check_interval");
    assert!(!log().contains("models.path"), "the empty file was taken up");
    // Whoever reads a pipe waits for its writer: nobody does, and it can still be stopped.
    std::fs::remove_file(home.path("vela.toml")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(home.path("vela.toml")).status().unwrap();
    assert!(made.success());
    service.signal("HUP");
    says("it is no regular file, and is read at a start only");
    service.stop();
}
