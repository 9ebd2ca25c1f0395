//! The pool of sessions, step by step: who gets one, who waits, who goes.

use crate::support::onnx;
use crossbeam::channel::bounded;
use std::sync::Arc;
use std::time::Duration;
use vela::Settings;
use vela::predict::{CatalogueModel, Loading, Models, PoolReading, Row};

/// A folder of `count` models, and its models opened with `change`d settings.
fn open(count: u32, change: impl FnOnce(&mut Settings)) -> (tempfile::TempDir, Models) {
    let folder = tempfile::tempdir().unwrap();
    for model in 0..count {
        let version = folder.path().join(format!("m{model}/1"));
        std::fs::create_dir_all(&version).unwrap();
        std::fs::write(version.join("model.onnx"), onnx::linear(1, 0.0, model as f32)).unwrap();
        // The last one is pinned.
        let pinned = model + 1 == count && count > 2;
        let toml = format!(
            "symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"ret_1\"]\npinned = {pinned}\n"
        );
        std::fs::write(version.join("model.toml"), toml).unwrap();
        std::fs::write(folder.path().join(format!("m{model}/promoted")), "1\n").unwrap();
    }
    let mut settings = Settings::default();
    settings.models.path = folder.path().into();
    change(&mut settings);
    let models = Models::open(&settings, vela::feature::check, &mut |_| {}).unwrap();
    (folder, models)
}

fn model(models: &Models, at: usize) -> Arc<CatalogueModel> {
    Arc::clone(&models.catalogue().models()[at])
}

/// What the model at `at` answers; `None` where it is not in memory and may not be loaded.
fn ask(models: &Models, at: usize, loading: Loading) -> Option<f64> {
    let model = model(models, at);
    let answer = models.pool.with(model.version().content().unwrap(), loading, |loaded| {
        let mut out = Vec::new();
        loaded.session.run(&[Row { window: &[0.5], symbol: "" }], &mut out).unwrap();
        out[0]
    });
    answer.unwrap()
}

#[test]
fn a_session_is_loaded_once_however_many_ask_and_only_by_those_who_may() {
    let (_folder, models) = open(1, |_| {});
    assert_eq!(ask(&models, 0, Loading::Elsewhere), None);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(ask(&models, 0, Loading::Here), Some(0.0)));
        }
    });
    assert_eq!(ask(&models, 0, Loading::Elsewhere), Some(0.0));
    let PoolReading { loaded, loads, file_bytes, .. } = models.pool.read();
    assert_eq!((loaded, loads), (1, 1));
    assert!(file_bytes > 50);
}

#[test]
fn the_least_recently_used_goes_but_never_one_in_use_nor_a_pinned_one() {
    let (_folder, models) = open(4, |settings| settings.model_pool_size = 2);
    let loaded = |at: usize| model(&models, at).version().content().unwrap().slot.is_loaded();
    let all = || (0..4).map(loaded).collect::<Vec<_>>();
    ask(&models, 3, Loading::Here);
    ask(&models, 0, Loading::Here);
    ask(&models, 1, Loading::Here);
    assert_eq!(all(), [false, true, false, true], "the pinned one was used least recently, and stays");
    // Both are held: who comes waits, and the bound holds.
    let ((held, is_held), (done, may_go)) = (bounded(2), bounded::<()>(0));
    std::thread::scope(|scope| {
        for at in [1, 3] {
            let (models, held, may_go) = (&models, held.clone(), may_go.clone());
            scope.spawn(move || {
                let model = model(models, at);
                let content = model.version().content().unwrap();
                models.pool.with(content, Loading::Here, |_| {
                    held.send(()).unwrap();
                    // Ends when the other side is dropped.
                    let _ = may_go.recv();
                })
            });
        }
        (0..2).for_each(|_| is_held.recv().unwrap());
        let waiting = scope.spawn(|| ask(&models, 2, Loading::Here));
        // Something that must not happen can only be waited for.
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        assert_eq!(models.pool.read().loaded, 2);
        drop(done);
        assert_eq!(waiting.join().unwrap(), Some(2.0));
    });
    assert_eq!(models.pool.read().loaded_peak, 2);
}

#[test]
fn a_hot_model_gets_further_sessions_as_far_as_there_is_room() {
    for (sessions_max, expected) in [(1, 1), (2, 2)] {
        let (_folder, models) = open(1, |settings| settings.predict.sessions_per_model_max = sessions_max);
        let ((held, is_held), (done, may_go)) = (bounded(1), bounded::<()>(0));
        std::thread::scope(|scope| {
            let (pool, first) = (&models, model(&models, 0));
            scope.spawn(move || {
                let content = first.version().content().unwrap();
                pool.pool.with(content, Loading::Here, |_| {
                    held.send(()).unwrap();
                    let _ = may_go.recv();
                })
            });
            is_held.recv().unwrap();
            let second = scope.spawn(|| ask(&models, 0, Loading::Here));
            if sessions_max == 1 {
                std::thread::sleep(Duration::from_millis(50));
                assert!(!second.is_finished(), "one session, one owner");
                drop(done);
                second.join().unwrap();
            } else {
                // It does not wait for the first.
                assert_eq!(second.join().unwrap(), Some(0.0));
                drop(done);
            }
        });
        assert_eq!(models.pool.read().loaded, expected);
        drop(models);
    }
}
