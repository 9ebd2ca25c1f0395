//! Rules of the models: none, refused ones, a version that fails, one too slow, a session that hangs.

use super::{breaks, ingest, is_healthy, mends, over, rules};
use crate::models_load::put_hanging;
use crate::service_support::{eventually, market};
use crate::support::onnx;
use crate::support::serving::{Fed, Folder};
use vela::Engine;
use vela::config::Measure;

#[test]
fn a_model_that_is_too_slow_for_the_budget_degrades_until_it_is_quick() {
    let folder = Folder::new();
    // A bar that falls costs it some 8 ms, one that rises nothing.
    folder.version("slow", 1, onnx::slow_by(1, 1e5), "").promote("slow", &[1]);
    let mut fed = Fed::with(&folder, |settings| {
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
