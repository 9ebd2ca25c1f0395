//! The good models give what Python's ONNX Runtime gave: alone, in batches, and from eight threads at once.

use super::{compare, expected, load, manifest, manifest_text, models, rows, run, zoo};
use std::path::Path;
use std::time::Instant;
use vela::predict::{Batching, Manifest, probe};

#[test]
fn good_models_give_what_python_gave_alone_and_in_batches() {
    let Some(zoo) = zoo() else { return };
    for (name, meta) in models(&zoo, true) {
        let (manifest, features) = manifest(&meta, "");
        let started = Instant::now();
        let mut session = load(&zoo, &name, &manifest).unwrap_or_else(|e| panic!("{name}: {e}"));
        let loaded = started.elapsed();
        let started = Instant::now();
        let batching = probe::probe(&mut session, &manifest, 100);
        let probed = started.elapsed();
        let rows = rows(&zoo, &name, &meta, &features, manifest.window);
        let prefix = if meta["kind"] == "torch_mlp_int8" { "out1_" } else { "out_" };
        let expected = expected(&zoo, &name, &meta, prefix);

        let names: Vec<String> = session.names().iter().map(ToString::to_string).collect();
        let wanted: Vec<String> = expected.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, if wanted.len() == 1 { vec![] } else { wanted }, "{name}");
        let score = meta["score"]["output"].as_str().unwrap();
        let column = meta["score"]["column"].as_u64().unwrap();
        let value = names.get(session.value_index()).cloned().unwrap_or_else(|| score.to_owned());
        assert!(value == score || value == format!("p_{column}"), "{name}: {value}");

        let alone: Vec<f64> =
            rows.iter().flat_map(|row| run(&mut session, std::slice::from_ref(row))).collect();
        assert_eq!(alone.len(), rows.len() * session.values_per_row());
        compare(&name, &alone, &expected);
        // Real rows, where the probe had made-up ones.
        for &size in &batching.sizes {
            let chunks = rows.chunks_exact(size).take(4);
            let together: Vec<f64> = chunks.flat_map(|rows| run(&mut session, rows)).collect();
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let same = bits(&together) == bits(&alone[..together.len()]);
            assert!(same, "{name}: batches of {size} differ from alone");
        }
        println!("{name}: load {loaded:.1?}, probe {probed:.1?}: {}", batching.reason);
        let singular = batching.sizes == [1];
        let known = ["torch_mlp_int8", "torch_fixed_batch1"].contains(&meta["kind"].as_str().unwrap());
        assert!(singular || !known, "{name}: {batching:?}");
    }
}

#[test]
fn approximate_batches_are_close_and_a_batch_of_one_export_never_batches() {
    let Some(zoo) = zoo() else { return };
    for (name, meta) in models(&zoo, true).into_iter().filter(|(_, m)| m["kind"] != "torch_mlp_int8") {
        let (text, features) = manifest_text(&meta);
        let text = format!("batching = \"approximate\"\n{text}");
        let manifest = Manifest::parse(&text, Path::new("model.toml")).unwrap();
        let mut session = load(&zoo, &name, &manifest).unwrap();
        let batching: Batching = probe::probe(&mut session, &manifest, 100);
        if meta["kind"] == "torch_fixed_batch1" {
            assert_eq!((batching.sizes, session.batch_max()), (vec![1], 1));
            continue;
        }
        assert_eq!(batching.largest_at_most(100), 100, "{name}");
        let rows = rows(&zoo, &name, &meta, &features, manifest.window);
        let together: Vec<f64> = rows.chunks(100).flat_map(|rows| run(&mut session, rows)).collect();
        compare(&name, &together, &expected(&zoo, &name, &meta, "out_"));
    }
}

#[test]
fn every_good_model_answers_alike_from_eight_threads_at_once() {
    let Some(zoo) = zoo() else { return };
    for (name, meta) in models(&zoo, true) {
        let (manifest, features) = manifest(&meta, "");
        let rows = &rows(&zoo, &name, &meta, &features, manifest.window)[..64];
        let prefix = if meta["kind"] == "torch_mlp_int8" { "out1_" } else { "out_" };
        let mut expected = expected(&zoo, &name, &meta, prefix);
        expected.iter_mut().for_each(|(_, values)| values.truncate(rows.len()));
        let mut first = load(&zoo, &name, &manifest).unwrap();
        let alone: Vec<f64> =
            rows.iter().flat_map(|row| run(&mut first, std::slice::from_ref(row))).collect();
        let sizes = probe::probe(&mut first, &manifest, 32).sizes;
        let largest = sizes.last().copied().unwrap_or(1);
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (zoo, name, manifest, alone, expected) = (&zoo, &name, &manifest, &alone, &expected);
                // A session each, loaded at the same time; every other thread runs batches.
                scope.spawn(move || {
                    let mut session = load(zoo, name, manifest).unwrap();
                    let size = if thread % 2 == 0 { 1 } else { largest };
                    for _ in 0..3 {
                        let chunks = rows.chunks_exact(size);
                        let values: Vec<f64> = chunks.flat_map(|rows| run(&mut session, rows)).collect();
                        assert_eq!(bits(&values), bits(&alone[..values.len()]), "{name}, batches of {size}");
                        if values.len() == alone.len() {
                            compare(name, &values, expected);
                        }
                    }
                });
            }
        });
    }
}
