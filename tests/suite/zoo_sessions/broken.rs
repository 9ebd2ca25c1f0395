//! The broken models give a clear error, or serve as soon as their `model.toml` says what is missing.

use super::{LIMITS, load, manifest, models, run, runtime, zoo};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use vela::predict::{Artefact, Manifest, Row, RunError, Session, probe};

#[test]
fn broken_models_give_a_clear_error_and_the_process_stays_up() {
    let Some(zoo) = zoo() else { return };
    let refusals = BTreeMap::from([
        ("broken_empty_output", "no value"),
        ("broken_external_missing", "weights.bin"),
        ("broken_f64_invalid_export", "TreeEnsembleRegressor"),
        ("broken_huge_output", "4096"),
        ("broken_opset_too_new", "opset"),
        ("broken_random_bytes", "Protobuf"),
        ("broken_string_input", "string"),
        ("broken_truncated", "Protobuf"),
        ("broken_unknown_op", "MagicSignal"),
        ("broken_wrong_declared_shape", "column = 0 to 2"),
        ("broken_wrong_width", "it takes 26"),
        ("broken_zero_bytes", "empty"),
    ]);
    for (name, meta) in models(&zoo, false) {
        let (manifest, features) = manifest(&meta, "");
        let kind = meta["kind"].as_str().unwrap();
        let row = (vec![0.5; features.len()], String::new());
        if let Some(expected) = refusals.get(kind) {
            let error =
                load(&zoo, &name, &manifest).err().unwrap_or_else(|| panic!("{name} loads")).to_string();
            assert!(error.to_lowercase().contains(&expected.to_lowercase()), "{name}: {error}");
            assert!(error.len() < 900, "{name}: {error}");
            println!("{name}: {error}");
            continue;
        }
        match kind {
            "broken_nan_output" => {
                let mut session = load(&zoo, &name, &manifest).unwrap();
                assert!(run(&mut session, &[row]).iter().all(|v| v.is_nan()));
                assert!(probe::probe(&mut session, &manifest, 8).sizes.len() > 1);
            }
            "broken_reshape_fixed" => {
                let mut session = load(&zoo, &name, &manifest).unwrap();
                let batching = probe::probe(&mut session, &manifest, 100);
                assert_eq!(batching.sizes, [1], "{}", batching.reason);
                assert!(run(&mut session, &[row])[0].is_finite());
            }
            "broken_very_slow" => slow(&mut load(&zoo, &name, &manifest).unwrap(), &manifest, &row),
            other => panic!("nothing is expected of {other}"),
        }
    }
}

/// A run that takes seconds is ended by its terminator, and the session works on.
fn slow(session: &mut Session, manifest: &Manifest, row: &(Vec<f64>, String)) {
    let terminator = session.terminator();
    let row = Row { window: &row.0, symbol: "" };
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            terminator.terminate();
        });
        assert_eq!(session.run(&[row], &mut Vec::new()), Err(RunError::Terminated));
    });
    assert!(started.elapsed().as_millis() < 1000, "{:?}", started.elapsed());
    let batching = probe::probe(session, manifest, 100);
    assert!(batching.reason.contains("too slow"), "{}", batching.reason);
}

#[test]
fn a_column_that_is_named_makes_an_ambiguous_model_serve() {
    let Some(zoo) = zoo() else { return };
    let Some((name, meta)) =
        models(&zoo, false).into_iter().find(|(_, m)| m["kind"] == "broken_wrong_declared_shape")
    else {
        return;
    };
    let (manifest, features) = manifest(&meta, "[output]\ncolumn = 1\n");
    let mut session = load(&zoo, &name, &manifest).unwrap();
    assert_eq!((session.value_index(), session.values_per_row()), (1, 3));
    assert_eq!(run(&mut session, &[(vec![0.5; features.len()], String::new())]).len(), 3);
}

#[test]
fn weights_beside_the_model_are_found_and_count_for_its_hash() {
    let Some(zoo) = zoo() else { return };
    let Some((name, meta)) =
        models(&zoo, false).into_iter().find(|(_, m)| m["kind"] == "broken_external_missing")
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.onnx");
    std::fs::copy(zoo.join(name).join("model.onnx"), &model).unwrap();
    let (manifest, features) = manifest(&meta, "");
    let row = (vec![1.0; features.len()], String::new());
    let mut seen = Vec::new();
    for weight in [0.5_f32, 0.25] {
        let weights: Vec<u8> = (0..256).flat_map(|_| weight.to_le_bytes()).collect();
        std::fs::write(folder.path().join("weights.bin"), weights).unwrap();
        let artefact = Artefact::read(&model).unwrap();
        let mut session = Session::load(runtime(), &artefact, &manifest, LIMITS).unwrap();
        seen.push((artefact.sha256(), run(&mut session, std::slice::from_ref(&row))));
    }
    assert_ne!(seen[0].0, seen[1].0);
    assert_ne!(seen[0].1, seen[1].1);
    assert_eq!(seen[0].1[0], features.len() as f64 * 0.5);
}
