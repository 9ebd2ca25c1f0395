//! Rules of the bars that come: bad ones, a feed that goes quiet, all of them silent, a bad tick.

use super::{breaks, ingest, is_healthy, mends, over, settings, told};
use crate::service_support::{Fed, HEADER, eventually, line, market};
use crate::support::{onnx, serving::Folder};
use std::sync::Arc;
use std::time::Duration;
use vela::Engine;
use vela::alert::Phase;
use vela::config::{Measure, SourceKind};
use vela::domain::{Bar, Timestamp};

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
        let ts = Timestamp::from_secs(at);
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
    models.version("m", 1, onnx::linear(1, 0.0, 1.0), "");
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
        let ts = Timestamp::from_secs(at);
        text += &line(&Bar { ts, open: 1.0, high: 1.0, low: 1.0, close: 1.0, volume: 1.0 });
        std::fs::write(&path, &text).unwrap();
        engine.active_alerts().is_empty().then_some(())
    });
    mends(&engine, "silence", "bars");
    assert!(engine.bars() > 0);
    engine.stop().unwrap();
}
