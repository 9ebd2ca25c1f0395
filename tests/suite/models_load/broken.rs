//! Models that want more memory than they may have, and the broken ones of the zoo: each fails alone and says why.

use crate::support::serving::{Fed, Folder, SOON, START};
use crate::support::zoo::{broken_models, good_models};
use crate::support::{Random, onnx, put_model};
use std::collections::BTreeMap;
use vela::domain::{Bar, Outcome, Reason, Timestamp};

#[test]
fn a_model_that_wants_too_much_memory_fails_alone_and_before_it_has_it() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    // Tensors that no machine has: whoever made them would be ended, and this test with it.
    for (model, graph) in [
        ("answers", onnx::grows(1, 1 << 40, false)),
        ("inside", onnx::grows(1, 1 << 40, true)),
        ("loading", onnx::folds(1, 1 << 40)),
        // 1.6 GB, which there may well be: it is not folded while it is loaded, and refused when it is run.
        ("folded", onnx::folds(1, 400_000_000)),
    ] {
        folder.version(model, 1, graph, "").promote(model, &[1]);
    }
    let mut fed = Fed::start(&folder);
    for n in 0..20 {
        fed.put(100.0 + f64::from(n));
        for outcome in fed.come(5) {
            match outcome.result {
                Ok(prediction) => assert_eq!(&*prediction.model, "good"),
                Err(refusal) => {
                    assert_eq!(refusal.reason, Reason::ModelUnavailable, "{refusal}");
                    assert!(refusal.detail.contains("predict.run_memory_max_mb"), "{refusal}");
                }
            }
        }
    }
    assert_eq!(fed.engine.metrics().model_pool.models["good"].predictions_count, 20);
    fed.engine.stop().unwrap();
}

#[test]
fn every_broken_model_of_the_zoo_fails_alone_and_says_why() {
    let broken = broken_models();
    let Some(good) = good_models().into_iter().find(|model| model.name == "torch_mlp_a") else { return };
    let folder = Folder::new();
    good.put(&folder.path(""), "*", "1m");
    let features = &good.meta["features"];
    for model in &broken {
        let toml = format!("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = {features}\n");
        put_model(&folder.path(""), &model.name, &model.folder, &["model.onnx"], &toml);
    }
    let expected: BTreeMap<&str, (Reason, &str)> = BTreeMap::from([
        ("broken_empty_output", (Reason::ModelUnavailable, "holds no value")),
        ("broken_external_missing", (Reason::ModelUnavailable, "`weights.bin`, which is missing")),
        ("broken_f64_invalid_export", (Reason::ModelUnavailable, "TreeEnsembleRegressor")),
        ("broken_huge_output", (Reason::ModelUnavailable, "more than 4096 values a row")),
        ("broken_nan_output", (Reason::OutputNotFinite, "answered NaN")),
        ("broken_opset_too_new", (Reason::ModelUnavailable, "Opset 99")),
        ("broken_random_bytes", (Reason::ModelUnavailable, "protobuf")),
        ("broken_string_input", (Reason::ModelUnavailable, "string")),
        ("broken_truncated", (Reason::ModelUnavailable, "protobuf")),
        ("broken_unknown_op", (Reason::ModelUnavailable, "MagicSignal")),
        ("broken_very_slow", (Reason::ModelTimeout, "longer than 200 ms")),
        ("broken_wrong_declared_shape", (Reason::ModelUnavailable, "column = 0 to 2")),
        ("broken_wrong_width", (Reason::ModelUnavailable, "it takes 26")),
        ("broken_zero_bytes", (Reason::ModelUnavailable, "is empty")),
    ]);
    let Fed { engine, outcomes, series, next, .. } =
        Fed::with(&folder, |settings| settings.predict.deadline_ms = 200);
    let (mut random, mut close) = (Random(3), 100.0);
    let mut bar = |minute: i64| {
        let open = close;
        let mut step = |most: f64| (random.next() % 1000) as f64 / 1000.0 * most;
        close *= 0.99 + step(0.02);
        let (high, low) = (open.max(close) + step(0.5), open.min(close) - step(0.5));
        let ts = Timestamp::from_secs(START + 60 * minute);
        Bar { ts, open, high, low, close, volume: 1.0 + step(10.0) }
    };
    let bars = 600;
    for minute in next..next + bars {
        engine.ingest_series(&series, bar(minute)).unwrap();
    }
    assert!(engine.drain(SOON));
    let mut seen: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    for outcome in outcomes.receiver().try_iter() {
        let model = match &outcome.result {
            Ok(prediction) => &prediction.model,
            Err(refusal) if refusal.reason == Reason::WarmingUp => continue,
            Err(refusal) => refusal.model.as_ref().unwrap_or_else(|| panic!("{refusal}")),
        };
        seen.entry(model.to_string()).or_default().push(outcome);
    }
    let answered = seen["torch_mlp_a"].len();
    assert!(answered > 100, "{answered}");
    assert!(seen["torch_mlp_a"].iter().all(|outcome| outcome.result.is_ok()));
    for model in &broken {
        let outcomes = &seen[&model.name];
        assert_eq!(outcomes.len(), answered, "{}: each bar has its prediction or its reason", model.name);
        for outcome in outcomes {
            match (expected.get(model.meta["kind"].as_str().unwrap()), &outcome.result) {
                (Some((reason, part)), Err(refusal)) => {
                    assert_eq!(refusal.reason, *reason, "{refusal}");
                    assert!(refusal.detail.contains(part), "{refusal}");
                }
                // It works one row at a time, and is run so.
                (None, Ok(_)) => assert_eq!(model.meta["kind"], "broken_reshape_fixed"),
                (_, result) => panic!("{}: {result:?}", model.name),
            }
        }
    }
    // Who is batched and why shows in the metrics.
    let models = engine.metrics().model_pool.models;
    assert_eq!(models["torch_mlp_a"].batch_rows_max, Some(100), "{:?}", models["torch_mlp_a"]);
    let fixed = models.iter().find(|(name, _)| name.starts_with("broken_reshape_fixed")).unwrap().1;
    assert_eq!(fixed.batch_rows_max, Some(1));
    assert!(fixed.batching.as_ref().unwrap().contains("a batch of 2 fails"), "{fixed:?}");
    assert_eq!((fixed.version, fixed.standing, fixed.loaded), (Some(1), Some("good"), Some(true)));
    let empty = models.iter().find(|(name, _)| name.starts_with("broken_zero_bytes")).unwrap().1;
    assert!(empty.failure.as_ref().unwrap().contains("is empty"), "{empty:?}");
    engine.stop().unwrap();
}

#[test]
fn a_run_gets_the_memory_that_is_configured_and_no_more() {
    let folder = Folder::new();
    // 40 MB at a time, a row.
    folder.version("m", 1, onnx::grows(1, 10_000_000, true), "").promote("m", &[1]);
    for (run_memory_max_mb, enough) in [(64, true), (32, false)] {
        let mut fed = Fed::with(&folder, |settings| {
            settings.predict.run_memory_max_mb = run_memory_max_mb;
            settings.predict.deadline_ms = 30_000;
        });
        for _ in 0..3 {
            assert_eq!(
                fed.bar(true).result.is_ok(),
                enough,
                "{run_memory_max_mb}: {:?}",
                fed.engine.alerts()
            );
        }
        fed.engine.stop().unwrap();
    }
}
