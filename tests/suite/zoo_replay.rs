//! Real exports through the whole program: what `vela replay` writes is what ONNX Runtime answered in Python.
//!
//! A model's `expected.npz` has the outputs for 500 bars of the file it was tried on, computed from feature values
//! that another program wrote down. Here the program gets nothing but the bars and the models.

use crate::support::zoo::{Model, good_models};
use crate::support::{reference, replay, series_of, times_of};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::Read as _;
use std::path::Path;

/// How far an output may be from the expected one, relative to the larger of it and 1.
const TOLERANCE: f64 = 1e-5;

/// What a model must answer for one bar.
struct Expected {
    ts: String,
    /// By the column of the file of predictions.
    columns: Vec<(String, f64)>,
}

/// An array of an `npz`: its values, and how many there are in a row.
struct Array {
    values: Vec<f64>,
    width: usize,
}

/// What `model` must answer for bars of the `file_index`-th file it was tried on, whose open times are `times`.
fn expected_of(model: &Model, file_index: usize, times: &[String]) -> Vec<Expected> {
    let Model { name: model_name, meta, folder } = model;
    let mut npz = npyz::npz::NpzArchive::open(folder.join("expected.npz")).unwrap();
    let rows = array(&mut npz, "rows").unwrap().values;
    let said = stored_times(&mut npz);
    let files = array(&mut npz, "file_index").map(|array| array.values);
    let score = (&meta["score"]["output"], &meta["score"]["column"]);

    let mut arrays: Vec<Array> = Vec::new();
    // The name of a column of predictions, and where its values are.
    let mut columns: Vec<(String, usize, usize)> = Vec::new();
    let mut value = None;
    for output in meta["outputs"].as_array().unwrap() {
        let name = output["name"].as_str().unwrap();
        // Its answers for rows alone, where those depend on the rows beside them.
        let alone = array(&mut npz, &format!("out1_{name}"));
        let Some(array) = alone.or_else(|| array(&mut npz, &format!("out_{name}"))) else {
            assert_eq!(output["type"], "tensor(string)", "{model_name}: `{name}` is not in the npz");
            continue;
        };
        for column in 0..array.width {
            let named = match (output["type"] == "tensor(int64)", array.width) {
                (true, _) => "label".to_owned(),
                (false, 1) => name.to_owned(),
                (false, _) => format!("p_{column}"),
            };
            columns.push((named, arrays.len(), column));
            if *score.0 == name && *score.1 == column {
                value = Some(("value".to_owned(), arrays.len(), column));
            }
        }
        arrays.push(array);
    }
    if columns.len() == 1 {
        // The only one has no column of its own.
        columns.clear();
    }
    columns.push(value.unwrap());

    let of_file = |i: &usize| files.as_ref().is_none_or(|files| files[*i] as usize == file_index);
    let of_row = |i: usize| {
        let ts = times[rows[i] as usize].clone();
        assert_eq!(ts, said[i], "{model_name}: row {i}");
        let cell = |(name, array, column): &(String, usize, usize)| {
            let Array { values, width } = &arrays[*array];
            (name.clone(), values[i * width + column])
        };
        Expected { ts, columns: columns.iter().map(cell).collect() }
    };
    (0..rows.len()).filter(of_file).map(of_row).collect()
}

type Npz = npyz::npz::NpzArchive<std::io::BufReader<std::fs::File>>;

fn array(npz: &mut Npz, name: &str) -> Option<Array> {
    let array = npz.by_name(name).unwrap()?;
    let width = array.shape().iter().skip(1).product::<u64>() as usize;
    assert!(width == 1 || array.order() == npyz::Order::C, "{name} is stored by columns");
    let descr = array.dtype().descr();
    let values = match descr.trim_matches('\'') {
        "<f4" => array.into_vec::<f32>().unwrap().into_iter().map(f64::from).collect(),
        "<f8" => array.into_vec::<f64>().unwrap(),
        "<i8" => array.into_vec::<i64>().unwrap().into_iter().map(|n| n as f64).collect(),
        _ => return None,
    };
    Some(Array { values, width })
}

/// The array `ts`: texts of 20 characters of 4 bytes, which the crate does not read.
fn stored_times(npz: &mut Npz) -> Vec<String> {
    let array = npz.by_name("ts").unwrap().unwrap();
    assert_eq!(array.dtype().descr().trim_matches('\''), "<U20");
    let mut bytes = Vec::new();
    array.into_inner().read_to_end(&mut bytes).unwrap();
    bytes
        .chunks_exact(80)
        .map(|text| text.iter().step_by(4).map(|byte| char::from(*byte)).collect())
        .collect()
}

/// The predictions of a run: by model and open time, the cells by column.
struct Predictions {
    columns: HashMap<String, usize>,
    rows: HashMap<(String, String), Vec<String>>,
}

impl Predictions {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
        let columns: HashMap<String, usize> =
            lines.next().unwrap().into_iter().enumerate().map(|(i, name)| (name, i)).collect();
        let mut rows = HashMap::new();
        for cells in lines {
            let key = (cells[columns["model"]].clone(), cells[columns["ts"]].clone());
            let twice = rows.insert(key, cells);
            assert!(twice.is_none(), "twice: {twice:?}");
        }
        Self { columns, rows }
    }
}

/// What became of one model.
#[derive(Default)]
struct Comparison {
    rows: usize,
    values: usize,
    /// The largest error, relative to the larger of the expected value and 1.
    worst: f64,
    wrong: Vec<String>,
}

fn compare(model: &Model, expected: &[Expected], predictions: &Predictions) -> Comparison {
    let mut comparison = Comparison::default();
    for Expected { ts, columns } in expected {
        let Some(cells) = predictions.rows.get(&(model.name.clone(), ts.clone())) else {
            comparison.wrong.push(format!("{ts}: no prediction"));
            continue;
        };
        comparison.rows += 1;
        for (name, theirs) in columns {
            let cell = predictions.columns.get(name).map_or("", |column| &cells[*column]);
            let Ok(ours) = cell.parse::<f64>() else {
                comparison.wrong.push(format!("{ts}: column `{name}` has `{cell}`, expected {theirs}"));
                continue;
            };
            comparison.values += 1;
            let error = (ours - theirs).abs() / theirs.abs().max(1.0);
            comparison.worst = comparison.worst.max(error);
            let allowed = if name == "label" { 0.0 } else { TOLERANCE };
            if error > allowed || error.is_nan() {
                comparison.wrong.push(format!("{ts}: column `{name}` is {ours}, expected {theirs}"));
            }
        }
        // A cell that no output of this model has is empty.
        for (name, column) in predictions.columns.iter().filter(|(_, column)| **column > 6) {
            if !columns.iter().any(|(expected, _)| expected == name) && !cells[*column].is_empty() {
                comparison.wrong.push(format!("{ts}: column `{name}` has `{}`", cells[*column]));
            }
        }
    }
    comparison
}

#[test]
fn every_good_model_answers_through_replay_as_onnx_runtime_does_in_python() {
    let models = good_models();
    let mut by_data: BTreeMap<&str, Vec<(usize, &Model)>> = BTreeMap::new();
    for model in &models {
        let data = model.data();
        if data.is_empty() {
            println!("skipped: {} has no bars that can be replayed", model.name);
        }
        for (file_index, file) in data {
            by_data.entry(file).or_default().push((file_index, model));
        }
    }
    let mut faults = Vec::new();
    let mut compared = BTreeSet::new();
    for (file, models) in by_data {
        let Some(data) = reference(file) else { continue };
        let (times, (symbol, timeframe)) = (times_of(&data), series_of(&data));
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("models");
        let mut expected = Vec::new();
        for (file_index, model) in models {
            model.put(&folder, &symbol, &timeframe);
            expected.push((model, expected_of(model, file_index, &times)));
        }
        // Bars before the first that is expected only warm the features up.
        let all = || expected.iter().flat_map(|(_, rows)| rows);
        let from = all().map(|row| row.ts.as_str()).min().unwrap();
        let out = work.path().join("predictions.csv");
        let summary = replay(
            work.path(),
            &[
                OsStr::new("--bars"),
                data.as_os_str(),
                OsStr::new("--models"),
                folder.as_os_str(),
                OsStr::new("--out"),
                out.as_os_str(),
                OsStr::new("--from"),
                OsStr::new(from),
            ],
        );
        let predictions = Predictions::read(&out);
        let live = times.iter().filter(|ts| ts.as_str() >= from).count();
        println!("{file}: {} models, {live} bars from {from}, {} s", expected.len(), summary["seconds"]);
        assert_eq!(summary["bars"], times.len(), "{file}");
        assert_eq!(summary["reasons"], serde_json::json!({}), "{file}");
        assert_eq!(predictions.rows.len(), live * expected.len(), "{file}: a row for each bar and model");
        for (model, expected) in expected {
            let Comparison { rows, values, worst, wrong } = compare(model, &expected, &predictions);
            println!(
                "  {:<26} {rows:>4} rows {values:>5} values, worst {worst:.1e}, {} beyond tolerance",
                model.name,
                wrong.len()
            );
            compared.insert(&model.name);
            if rows != expected.len() || !wrong.is_empty() {
                faults.push(format!("{} on {file}: {:#?}", model.name, &wrong[..wrong.len().min(10)]));
            }
        }
    }
    println!("{} of {} good models compared", compared.len(), models.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
