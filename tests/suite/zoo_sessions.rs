//! Every model of the zoo: the good ones give what Python's ONNX Runtime gave, the broken ones a clear error.

// A test that cannot go on has failed; the helpers here are no `#[test]` themselves.
#![allow(clippy::unwrap_used)]

mod broken;
mod good;

use crate::support::onnx;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vela::predict::{Artefact, Manifest, ModelError, Row, RunError, RunLimits, Runtime, Session};

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
