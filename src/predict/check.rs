//! Trying a version before it is promoted, and describing a bare graph: what `vela models check` and
//! `inspect` print.

use super::golden::{self, GoldenReport};
use super::manifest::Manifest;
use super::pool::{PoolLimits, in_time};
use super::probe::probe;
use super::runtime::Runtime;
use super::session::{Artefact, Described, Row, Session, describe};
use super::signature::{Element, MEDIANS, Port, Shape, check_names, shown};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of the runs that are timed.
const TIMED_ROWS: [usize; 3] = [1, 8, 32];
/// How often each is timed; the fastest counts, the others say more about the neighbours.
const TIMED_RUNS: usize = 50;
/// How long timing one number of rows may take.
const TIMING_MAX: Duration = Duration::from_millis(500);
/// The most features that are written out by number for a graph that names none.
const WIDTH_MAX: i64 = 10_000;

/// What a version was found to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CheckReport {
    /// Whether it may serve.
    pub passed: bool,
    /// Why not, where it may not.
    pub error: Option<String>,
    /// Size of the graph's file, in bytes.
    pub file_bytes: u64,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// The inputs as the graph declares them.
    pub inputs: Vec<String>,
    /// The outputs as the graph declares them.
    pub outputs: Vec<String>,
    /// What its exporter wrote about it: name and value.
    pub metadata: BTreeMap<String, String>,
    /// The names of a row's values; the prediction alone where there is one.
    pub values: Vec<String>,
    /// Which of them is the prediction.
    pub value: usize,
    /// What the golden rows came to; absent where there are none, or they are not reproduced.
    pub golden: Option<GoldenReport>,
    /// The batch sizes that may be used: the largest, and how many.
    pub batch_max: usize,
    /// How many batch sizes may be used.
    pub batch_sizes: usize,
    /// Why these.
    pub batching: String,
    /// From the file's bytes to the first answer, in ms.
    pub load_ms: f64,
    /// The fastest run of so many rows, in µs; a number of rows that it is not run with is left out.
    pub runs_us: Vec<(usize, f64)>,
    /// What its session keeps in memory for tensors, in bytes: weights in the order they are run in, constants.
    pub kept_bytes: usize,
    /// How much the process's resident memory grew while it was loaded and run, in KiB: a hint, since the
    /// system gives memory in pieces. Absent where that cannot be read.
    pub resident_kib: Option<i64>,
}

/// Tries the version in `folder` as it would be tried before it serves, within the same limits; nothing is promoted.
pub fn check(runtime: &'static Runtime, folder: &Path, limits: PoolLimits) -> CheckReport {
    let mut report = CheckReport::default();
    let tried = try_version(runtime, folder, limits, &mut report);
    report.passed = tried.is_ok();
    report.error = tried.err();
    report
}

fn try_version(
    runtime: &'static Runtime,
    folder: &Path,
    PoolLimits { batch_max, run: limits, load_deadline, .. }: PoolLimits,
    report: &mut CheckReport,
) -> Result<(), String> {
    let manifest = Manifest::read(&folder.join(super::registry::MANIFEST_FILE)).map_err(|e| e.to_string())?;
    let manifest = Arc::new(manifest);
    let before_kib = resident_kib();
    let artefact = Artefact::read(&folder.join(super::registry::MODEL_FILE)).map_err(|e| e.to_string())?;
    let artefact = Arc::new(artefact);
    report.file_bytes = artefact.size();
    report.sha256 = artefact.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
    let graph = Arc::clone(&artefact);
    let described = in_time(load_deadline, move || describe(runtime, &graph, limits.memory_bytes))?;
    if let Ok(described) = described {
        report.inputs = described.inputs.iter().map(text).collect();
        report.outputs = described.outputs.iter().map(text).collect();
        report.metadata = described.metadata;
    }
    let begin = Instant::now();
    let known = Arc::clone(&manifest);
    let loaded = in_time(load_deadline, move || Session::load(runtime, &artefact, &known, limits))?;
    let mut session = loaded.map_err(|error| error.to_string())?;
    report.load_ms = begin.elapsed().as_secs_f64() * 1e3;
    report.kept_bytes = session.kept_bytes();
    report.values = session.names().iter().map(ToString::to_string).collect();
    report.value = session.value_index();
    if let Some(golden_file) = super::registry::golden_file(folder) {
        let replayed = golden::replay(&mut session, &golden_file, manifest.tolerance);
        report.golden = Some(replayed.map_err(|error| error.to_string())?);
    }
    let batching = probe(&mut session, &manifest, batch_max);
    report.batch_max = batching.largest_at_most(batch_max);
    report.batch_sizes = batching.sizes.len();
    report.batching = batching.reason.clone();
    for rows in TIMED_ROWS {
        if batching.sizes.contains(&rows) {
            report.runs_us.push((rows, time(&mut session, rows)?));
        }
    }
    report.resident_kib = resident_kib().zip(before_kib).map(|(after, before)| after - before);
    Ok(())
}

fn text(port: &Port) -> String {
    format!("{}: {}", shown(&port.name), port.shape)
}

/// The fastest run of `rows` rows, in µs.
fn time(session: &mut Session, rows: usize) -> Result<f64, String> {
    let window = vec![0.5; session.row_len()];
    let symbol = session.symbols().first().cloned().unwrap_or_default();
    let rows = vec![Row { window: &window, symbol: &symbol }; rows];
    let (mut out, mut fastest, all) = (Vec::new(), Duration::MAX, Instant::now());
    for _ in 0..TIMED_RUNS {
        let begin = Instant::now();
        session.run(&rows, &mut out).map_err(|error| format!("a run of {} rows: {error}", rows.len()))?;
        fastest = fastest.min(begin.elapsed());
        if all.elapsed() > TIMING_MAX {
            break;
        }
    }
    Ok(fastest.as_secs_f64() * 1e6)
}

fn resident_kib() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find(|line| line.starts_with("VmRSS"))?.split_whitespace().nth(1)?.parse().ok()
}

/// What a bare graph declares, and a first `model.toml` for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// Size of the file, in bytes.
    pub file_bytes: u64,
    /// The inputs: name and type.
    pub inputs: Vec<String>,
    /// The outputs: name and type.
    pub outputs: Vec<String>,
    /// What its exporter wrote about it: name and value.
    pub metadata: BTreeMap<String, String>,
    /// A `model.toml` to begin with: what the graph does not say stands in it to be filled in.
    pub manifest: String,
}

/// Looks at the graph in the file at `path`; it is loaded, not run.
///
/// # Errors
/// When it cannot be read or loaded, or not in time.
pub fn inspect(runtime: &'static Runtime, path: &Path, limits: PoolLimits) -> Result<Inspection, String> {
    let artefact = Artefact::read(path).map_err(|error| error.to_string())?;
    let file_bytes = artefact.size();
    let described =
        in_time(limits.load_deadline, move || describe(runtime, &artefact, limits.run.memory_bytes))?;
    let Described { inputs, outputs, metadata } = described.map_err(|error| error.to_string())?;
    // What nobody can write into a manifest has none.
    [&inputs, &outputs]
        .into_iter()
        .try_for_each(|ports| check_names(ports))
        .map_err(|error| error.to_string())?;
    Ok(Inspection {
        file_bytes,
        inputs: inputs.iter().map(text).collect(),
        outputs: outputs.iter().map(text).collect(),
        metadata,
        manifest: first_manifest(&inputs, &outputs),
    })
}

/// The dimensions of a tensor.
fn dims(port: &Port) -> &[i64] {
    match &port.shape {
        Shape::Tensor(_, dims) => dims,
        _ => &[],
    }
}

/// Whether a port takes whole numbers: those of symbols, features never are.
fn is_whole(port: &Port) -> bool {
    matches!(&port.shape, Shape::Tensor(element, _) if element.to_string().starts_with("int"))
}

/// A manifest that fits what is declared, as far as that goes.
fn first_manifest(inputs: &[Port], outputs: &[Port]) -> String {
    let fed: Vec<&Port> = inputs.iter().filter(|port| !is_whole(port)).collect();
    let columns = fed.len() > 1 && fed.iter().all(|port| matches!(dims(port), [_, 1]));
    // Parts of a row that lie side by side: who exported it knows which is which, this is a beginning.
    let parts = fed.len() > 1 && !columns && fed.iter().all(|port| matches!(dims(port), [_, 1..=WIDTH_MAX]));
    let wide = fed.iter().max_by_key(|port| (dims(port).len(), dims(port).last().copied()));
    let (window, width) = match wide.map(|port| dims(port)) {
        _ if parts => (1, fed.iter().filter_map(|port| dims(port).last()).sum()),
        Some([_, window, width]) => (*window, *width),
        Some([_, width]) => (1, *width),
        _ => (1, -1),
    };
    let features: Vec<String> = match (columns, usize::try_from(width)) {
        (true, _) => fed.iter().map(|port| format!("    {:?},\n", port.name)).collect(),
        (false, Ok(_)) if width > WIDTH_MAX => vec![format!("    \"feature_0\", # of {width}\n")],
        (false, Ok(width)) => (0..width).map(|at| format!("    \"feature_{at}\",\n")).collect(),
        (false, Err(_)) => vec!["    \"feature_0\", # the graph declares no width\n".to_owned()],
    };
    // A label comes first in many exports, and is no prediction; of quantiles the middle one is.
    let is_label = |port: &Port| port.name.contains("label");
    let is_median = |port: &&Port| MEDIANS.contains(&port.name.to_ascii_lowercase().as_str());
    let median = outputs.iter().find(is_median).filter(|_| outputs.len() > 1);
    let value = median.or_else(|| outputs.iter().find(|port| !is_label(port))).or(outputs.first());
    let classes = value.is_some_and(|port| {
        matches!(port.shape, Shape::Maps(..)) || (port.name.contains("prob") && dims(port).last() != Some(&1))
    });
    let mut text = String::from("symbol = \"*\"         # or \"BTCUSDT\", or [\"BTCUSDT\", \"ETHUSDT\"]\n");
    text += "timeframe = \"1m\"     # the bars it was trained on\nhorizon = 1          # bars ahead that it predicts\n";
    text += &format!(
        "features = [         # in the order in which it was trained; `vela features` lists names\n{}]\n",
        features.concat()
    );
    let window = if window < 1 { 1 } else { window };
    text += &format!("window = {window}\n");
    let kind = match (classes, median) {
        (true, _) => "classification",
        (false, Some(_)) => "quantiles",
        (false, None) => "regression",
    };
    text += &format!("kind = {kind:?}\n");
    if let [one] = inputs {
        text += &format!("input = {:?}\n", one.name);
    }
    if let Some(value) = value {
        text += &format!("\n[output]\nvalue = {:?}\n", value.name);
        match (&value.shape, classes) {
            (Shape::Maps(Element::Text, _), _) => {
                text +=
                    "# class = \"…\"        # the name of the class whose probability is the prediction\n";
            }
            (Shape::Maps(..), _) => {
                text += "class = 1            # the class whose probability is the prediction\n";
            }
            (_, true) => text += "column = 1           # the class whose probability is the prediction\n",
            (Shape::Tensor(_, dims), _) => {
                let count = dims.iter().skip(1).try_fold(1_i64, |n, dim| n.checked_mul(*dim)).unwrap_or(-1);
                if count > 1 {
                    text += &format!("column = 0           # of {count}: which of them is the prediction\n");
                }
            }
            _ => {}
        }
    }
    if inputs.len() > 1 {
        let mut from = 0;
        for port in inputs {
            text += &format!("\n[[input]]            # {}\nname = {:?}\n", port.shape, port.name);
            if is_whole(port) {
                text += "symbol_ids = { BTCUSDT = 0 }\n";
            } else if columns {
                text += &format!("features = [{:?}]\n", port.name);
            } else if parts && let Some(width) = dims(port).last() {
                let own: Vec<String> = (from..from + width).map(|at| format!("\"feature_{at}\"")).collect();
                text += &format!("features = [{}]\n", own.join(", "));
                from += width;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, element: Element, dims: &[i64]) -> Port {
        Port { name: name.to_owned(), shape: Shape::Tensor(element, dims.to_vec()) }
    }

    #[test]
    fn a_first_manifest_says_what_the_graph_leaves_open() {
        let (float, whole) = (Element::F32, Element::I32);
        let text = |inputs: &[Port], outputs: &[Port]| {
            let text = first_manifest(inputs, outputs);
            assert!(Manifest::parse(&text, Path::new("model.toml")).is_ok(), "{text}");
            text
        };
        let one = [port("y", float.clone(), &[-1, 1])];
        // Several values a row, and none of them a class.
        let rows = [port("x", float.clone(), &[-1, 8])];
        assert!(text(&rows, &[port("y", float.clone(), &[-1, 5])]).contains("column = 0           # of 5"));
        assert!(text(&rows, &[port("y", float.clone(), &[-1, 4, 1])]).contains("# of 4"));
        assert!(!text(&rows, &one).contains("column"));
        // A symbol's number is no feature, however it is laid out.
        let numbered = [port("x", float.clone(), &[-1, 8]), port("id", whole, &[-1, 1])];
        let said = text(&numbered, &one);
        assert!(said.contains("feature_7") && said.contains("name = \"id\"\nsymbol_ids"), "{said}");
        // Parts of a row each get their own.
        let parts = [port("a", float.clone(), &[-1, 5]), port("b", float, &[-1, 3])];
        let said = text(&parts, &one);
        assert!(said.contains("\"feature_7\",\n]"), "{said}");
        assert!(
            said.ends_with("name = \"b\"\nfeatures = [\"feature_5\", \"feature_6\", \"feature_7\"]\n"),
            "{said}"
        );
    }
}
