//! Health and alerts: every rule is broken for real, in a running engine, and seen mended again.

mod feeds;
mod machine;
mod models;
mod store;

use crate::service_support::{Fed, MODELS, eventually};
use crate::support::serving::Folder;
use std::time::Duration;
use vela::alert::Phase;
use vela::config::{Measure, Rules, SourceKind, StoreUrl};
use vela::domain::{Bar, Stability, Timeframe, Timestamp};
use vela::{Engine, Settings};

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

/// Runs the test `name` of this module in a process of its own, where nobody else uses memory or processors; true in that process.
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

fn over(folder: &Folder, wanted: &[(Measure, f64)], change: impl FnOnce(&mut Settings)) -> Engine {
    let mut settings = settings(wanted);
    settings.models.path = folder.path("");
    change(&mut settings);
    Engine::start(settings).unwrap()
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
    let bar = Bar { ts: Timestamp::from_secs(0), open: 1.0, high: 1.0, low: 1.0, close: 1.0, volume: 1.0 };
    engine.ingest("X", Timeframe::MINUTE, bar).unwrap();
}

/// Every measure has a test in one of the files beside this one.
#[test]
fn every_rule_is_broken_and_mended_in_some_test() {
    let text = concat!(
        include_str!("health/feeds.rs"),
        include_str!("health/machine.rs"),
        include_str!("health/models.rs"),
        include_str!("health/store.rs"),
    );
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
