//! Every model of the zoo: the good ones give what Python's ONNX Runtime gave, the broken ones a clear error.

// A test that cannot go on has failed; the helpers here are no `#[test]` themselves.
#![allow(clippy::unwrap_used)]

use crate::support::onnx;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vela::predict::{
    Artefact, Batching, Manifest, ModelError, Row, RunError, RunLimits, Runtime, Session, probe,
};

/// More than any run of the zoo costs, the very slow model's too.
const LIMITS: RunLimits = RunLimits { deadline: Duration::from_secs(30), memory_bytes: 256 << 20 };

fn zoo() -> Option<PathBuf> {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/zoo/models");
    if !zoo.is_dir() {
        println!("skipped: {} is not there", zoo.display());
        return None;
    }
    Some(zoo)
}

fn runtime() -> &'static Runtime {
    let mut seen = BTreeSet::new();
    let mut progress = |p| {
        if seen.insert(format!("{p:?}")) {
            println!("{p:?}");
        }
    };
    Runtime::ensure(None, &mut progress).unwrap()
}

fn models(zoo: &Path, good: bool) -> Vec<(String, Value)> {
    let mut models = Vec::new();
    for entry in std::fs::read_dir(zoo).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path().join("meta.json")).unwrap();
        let meta: Value = serde_json::from_str(&text).unwrap();
        if meta["good"] == good {
            models.push((entry.file_name().into_string().unwrap(), meta));
        }
    }
    models.sort_by(|a, b| a.0.cmp(&b.0));
    models
}

/// An array of an `expected.npz`; `None` where it is missing or holds no numbers.
fn array(zoo: &Path, model: &str, name: &str) -> Option<(Vec<usize>, Vec<f64>)> {
    let mut npz = npyz::npz::NpzArchive::open(zoo.join(model).join("expected.npz")).unwrap();
    let file = npz.by_name(name).unwrap()?;
    let shape: Vec<usize> = file.shape().iter().map(|n| *n as usize).collect();
    let by_column = file.order() == npyz::Order::Fortran && shape.len() == 2;
    let data = numbers(file)?;
    if by_column {
        let (rows, columns) = (shape[0], shape[1]);
        let turned = (0..rows * columns).map(|i| data[i % columns * rows + i / columns]).collect();
        return Some((shape, turned));
    }
    Some((shape, data))
}

fn numbers<R: std::io::Read>(file: npyz::NpyFile<R>) -> Option<Vec<f64>> {
    let file = match file.try_data::<f32>() {
        Ok(data) => return Some(data.map(|v| f64::from(v.unwrap())).collect()),
        Err(file) => file,
    };
    let file = match file.try_data::<f64>() {
        Ok(data) => return Some(data.map(Result::unwrap).collect()),
        Err(file) => file,
    };
    Some(file.try_data::<i64>().ok()?.map(|v| v.unwrap() as f64).collect())
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The `model.toml` that somebody would write for the model.
fn manifest_text(meta: &Value) -> (String, Vec<String>) {
    let mut features = texts(&meta["features"]);
    let own = features.clone();
    let mut tail = String::new();
    let context = texts(&meta["context_features"]);
    if !context.is_empty() {
        tail += &format!("[[input]]\nname = \"sequence\"\nfeatures = {own:?}\n");
        tail += &format!("[[input]]\nname = \"context\"\nfeatures = {context:?}\nwindow = 1\n");
        features.extend(context.into_iter().filter(|name| !own.contains(name)));
    }
    if let Some(ids) = meta["symbol_ids"].as_object() {
        let ids: Vec<String> = ids.iter().map(|(symbol, id)| format!("{symbol} = {id}")).collect();
        tail += &format!("[[input]]\nname = \"symbol_id\"\nsymbol_ids = {{ {} }}\n", ids.join(", "));
    }
    let window = meta["seq_len"].as_u64().unwrap_or(1);
    let head =
        format!("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = {}\nwindow = {window}\n", meta["horizon"]);
    (format!("{head}features = {features:?}\n{tail}"), features)
}

fn manifest(meta: &Value, more: &str) -> (Manifest, Vec<String>) {
    let (text, features) = manifest_text(meta);
    (Manifest::parse(&(text + more), Path::new("model.toml")).unwrap(), features)
}

fn load(zoo: &Path, name: &str, manifest: &Manifest) -> Result<Session, ModelError> {
    Session::load(runtime(), &Artefact::read(&zoo.join(name).join("model.onnx"))?, manifest, LIMITS)
}

/// The rows that the feeds of `expected.npz` stand for, with their symbols.
fn rows(zoo: &Path, name: &str, meta: &Value, features: &[String], window: usize) -> Vec<(Vec<f64>, String)> {
    let own = texts(&meta["features"]);
    let context = texts(&meta["context_features"]);
    let mut rows: Vec<(Vec<f64>, String)> = Vec::new();
    for input in meta["inputs"].as_array().unwrap() {
        let input = input["name"].as_str().unwrap();
        let (shape, data) = array(zoo, name, &format!("in_{input}")).unwrap();
        rows.resize(shape[0], (vec![0.0; window * features.len()], String::new()));
        let per_row = data.len() / shape[0];
        let columns: Vec<&str> = match input {
            "symbol_id" => vec![],
            "context" => context.iter().map(String::as_str).collect(),
            one if per_row == 1 && features.iter().any(|f| f == one) => vec![one],
            _ => own.iter().map(String::as_str).collect(),
        };
        for (row, values) in rows.iter_mut().zip(data.chunks_exact(per_row)) {
            if columns.is_empty() {
                let ids: BTreeMap<i64, &String> = meta["symbol_ids"]
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(s, id)| (id.as_i64().unwrap(), s))
                    .collect();
                row.1 = ids[&(values[0] as i64)].clone();
                continue;
            }
            let bars = per_row / columns.len();
            for (i, value) in values.iter().enumerate() {
                let feature = features.iter().position(|f| f == columns[i % columns.len()]).unwrap();
                let bar = window - bars + i / columns.len();
                row.0[bar * features.len() + feature] = *value;
            }
        }
    }
    rows
}

/// What each row must give: (name, values) of every output value, in the order of the names.
fn expected(zoo: &Path, name: &str, meta: &Value, prefix: &str) -> Vec<(String, Vec<f64>)> {
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for output in meta["outputs"].as_array().unwrap() {
        let (kind, output) = (output["type"].as_str().unwrap(), output["name"].as_str().unwrap());
        let Some((shape, data)) = array(zoo, name, &format!("{prefix}{output}")) else { continue };
        let columns = data.len() / shape[0];
        for column in 0..columns {
            let column_name = match columns {
                1 => output.to_owned(),
                _ => format!("p_{column}"),
            };
            let data = data.iter().skip(column).step_by(columns).copied().collect();
            if kind == "tensor(int64)" {
                labels.push(("label".to_owned(), data))
            } else {
                values.push((column_name, data))
            }
        }
    }
    values.extend(labels);
    values
}

fn run(session: &mut Session, rows: &[(Vec<f64>, String)]) -> Vec<f64> {
    let rows: Vec<Row<'_>> = rows.iter().map(|(window, symbol)| Row { window, symbol }).collect();
    let mut out = Vec::new();
    session.run(&rows, &mut out).unwrap();
    out
}

fn compare(name: &str, values: &[f64], expected: &[(String, Vec<f64>)]) {
    for (column, (output, expected)) in expected.iter().enumerate() {
        for (row, b) in expected.iter().enumerate() {
            let a = values[row * values.len() / expected.len() + column];
            assert!(
                (a - b).abs() <= 1e-5 * b.abs().max(1.0),
                "{name} {output} row {row}: {a} instead of {b}"
            );
        }
    }
}

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
fn the_status_shows_the_library_that_serves() {
    let loaded = runtime();
    let status = vela::predict::runtime::status(None);
    assert_eq!(status.chosen.unwrap().path.canonicalize().unwrap(), loaded.path());
    assert_eq!(status.places.len(), 6);
    assert!(std::ptr::eq(Runtime::load(loaded.path()).unwrap(), loaded));
    let other = tempfile::NamedTempFile::new().unwrap();
    let error = Runtime::load(other.path()).unwrap_err().to_string();
    assert!(error.contains("already loaded") && error.contains("restart"), "{error}");
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
fn rows_that_must_not_run_never_do() {
    let Some(zoo) = zoo() else { return };
    for (name, meta) in models(&zoo, true) {
        let (manifest, _) = manifest(&meta, "");
        let mut session = load(&zoo, &name, &manifest).unwrap();
        let symbol = session.symbols().first().cloned().unwrap_or_default();
        let mut out = vec![1.0];
        // On LSTM and GRU graphs an empty batch would end the process.
        assert!(matches!(session.run(&[], &mut out), Err(RunError::Rows { rows: 0, .. })), "{name}");
        assert!(out.is_empty());
        let mut window = vec![0.5; manifest.row_len()];
        let short = Row { window: &window[1..], symbol: &symbol };
        assert!(matches!(session.run(&[short], &mut out), Err(RunError::Row { row: 0, .. })), "{name}");
        if !symbol.is_empty() {
            let unknown = Row { window: &window, symbol: "NOBODY" };
            let error = session.run(&[unknown], &mut out).unwrap_err().to_string();
            assert!(error.contains("NOBODY"), "{name}: {error}");
        }
        for bad in [f64::NAN, f64::INFINITY] {
            let last = manifest.row_len() - 1;
            window[last] = bad;
            let error = session.run(&[Row { window: &window, symbol: &symbol }], &mut out).unwrap_err();
            assert!(matches!(error, RunError::Row { row: 0, .. }) && out.is_empty(), "{name}: {error}");
        }
    }
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

/// A protobuf field that holds bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

#[test]
fn a_graph_of_half_precision_is_fed_and_read() {
    // `y = Identity(x)`, both float16 (element type 10) of [N, 2].
    let port = |name: &[u8]| {
        let dims = [field(1, &field(2, b"N")), field(1, &[1 << 3, 2])].concat();
        let tensor = [vec![1 << 3, 10], field(2, &dims)].concat();
        [field(1, name), field(2, &field(1, &tensor))].concat()
    };
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Identity")].concat();
    let graph = [field(1, &node), field(2, b"g"), field(11, &port(b"x")), field(12, &port(b"y"))].concat();
    let model = [vec![1 << 3, 8], field(7, &graph), field(8, &[2 << 3, 17])].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, model).unwrap();
    let text =
        "symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"a\", \"b\"]\n[output]\ncolumn = 0\n";
    let manifest = Manifest::parse(text, Path::new("model.toml")).unwrap();
    let mut session = Session::load(runtime(), &Artefact::read(&path).unwrap(), &manifest, LIMITS).unwrap();
    // 0.1 has no exact half; 2049 lies between two and goes to the even one.
    let row = (vec![0.1, 2049.0], String::new());
    assert_eq!(run(&mut session, &[row.clone(), row])[..2], [0.0999755859375, 2048.0]);
    let large = Row { window: &[0.0, 70_000.0], symbol: "" };
    let error = session.run(&[large], &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("feature 1 is 70000"), "{error}");
}

#[test]
fn a_run_that_takes_longer_than_its_deadline_is_ended_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let text = "symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"a\"]\nbatching = \"off\"\n";
    let manifest = Manifest::parse(text, Path::new("model.toml")).unwrap();
    let deadline = Duration::from_millis(60);
    let limits = RunLimits { deadline, ..LIMITS };
    let load = |model: Vec<u8>| {
        std::fs::write(&path, model).unwrap();
        Session::load(runtime(), &Artefact::read(&path).unwrap(), &manifest, limits).unwrap()
    };
    let mut slow = load(onnx::slow_when_negative(1));
    let mut quick = load(onnx::linear(1, 2.0, 1.0));
    let row = |window| Row { window, symbol: "" };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Beside it another session runs without a pause: none of its runs may be ended.
        scope.spawn(|| {
            let mut out = Vec::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                quick.run(&[row(&[3.0])], &mut out).unwrap();
                assert_eq!(out, [7.0]);
            }
        });
        let mut out = Vec::new();
        for _ in 0..5 {
            let started = Instant::now();
            assert_eq!(slow.run(&[row(&[-1.0])], &mut out), Err(RunError::Deadline { deadline }));
            let took = started.elapsed();
            // The lower bound is exact; the upper one leaves room for a busy machine.
            assert!(took >= deadline && took < Duration::from_secs(5), "{took:?}");
            // The session lives, and the next run has the whole deadline.
            slow.run(&[row(&[5.0])], &mut out).unwrap();
            assert_eq!(out, [5.0]);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let row = [row(&[-1.0])];
    // The run by which a model is tried has the deadline as well.
    let Some(zoo) = zoo() else { return };
    let (name, meta) =
        models(&zoo, false).into_iter().find(|(_, m)| m["kind"] == "broken_very_slow").unwrap();
    let (text, _) = manifest_text(&meta);
    let manifest = Manifest::parse(&text, Path::new("model.toml")).unwrap();
    let artefact = Artefact::read(&zoo.join(name).join("model.onnx")).unwrap();
    let error = Session::load(runtime(), &artefact, &manifest, limits).err().unwrap().to_string();
    assert!(error.contains("longer than 60 ms"), "{error}");
    assert!(slow.run(&row, &mut Vec::new()).is_err());
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
