//! `costs`: what a session and a run of each kind cost, and what vela adds to them.

use super::fed::{Fed, SOON};
use super::quantile;
use super::support::zoo::{Model, good_models};
use ort::session::builder::SessionBuilder;
use ort::session::{Session as Bare, SessionInputValue};
use ort::value::Tensor;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use vela::predict::{Artefact, Manifest, Row, RunLimits, Runtime, Session};

const LIMITS: RunLimits = RunLimits { deadline: Duration::from_secs(30), memory_bytes: 256 << 20 };
/// Sessions of one kind that are loaded to see what one takes.
const SESSIONS: usize = 12;
/// Runs of each number of rows, and how long they may take together.
const RUNS: usize = 400;
const RUNS_MAX: Duration = Duration::from_millis(400);
/// Bars of which each is alone in the engine.
const LONE_BARS: usize = 250;
/// Long enough for every thread to park.
const REST: Duration = Duration::from_micros(300);

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The inputs of `rows` rows as the model's `meta.json` has them.
fn bare_inputs(meta: &Value, rows: usize) -> Vec<(String, SessionInputValue<'static>)> {
    let inputs = meta["inputs"].as_array().unwrap().iter();
    inputs
        .map(|input| {
            let declared = input["shape"].as_array().or_else(|| input["declared_shape"].as_array()).unwrap();
            let tail = declared.iter().skip(1).map(|dim| dim.as_i64().unwrap());
            let shape: Vec<i64> = std::iter::once(rows as i64).chain(tail).collect();
            let len = shape.iter().product::<i64>() as usize;
            let value: SessionInputValue<'static> = match input["type"].as_str().unwrap() {
                "tensor(double)" => Tensor::from_array((shape, vec![0.5_f64; len])).unwrap().into(),
                "tensor(int64)" => Tensor::from_array((shape, vec![0_i64; len])).unwrap().into(),
                _ => Tensor::from_array((shape, vec![0.5_f32; len])).unwrap().into(),
            };
            (input["name"].as_str().unwrap().to_owned(), value)
        })
        .collect()
}

fn open_bare(runtime: &Runtime, artefact: &Path) -> Bare {
    let builder = SessionBuilder::new(runtime.environment()).unwrap();
    let builder = builder.with_intra_threads(1).unwrap().with_inter_threads(1).unwrap();
    let builder = builder.with_memory_pattern(false).unwrap();
    builder.with_log_level(ort::logging::LogLevel::Error).unwrap().commit_from_file(artefact).unwrap()
}

/// Runs a graph of one input of 29 features again and again, by the library alone.
pub fn run_for_ever(graph: &Path) {
    let mut bare = open_bare(Runtime::ensure(None, &mut |_| {}).unwrap(), graph);
    loop {
        let input = Tensor::from_array(([1, 29], vec![0.5_f32; 29])).unwrap();
        std::hint::black_box(bare.run(ort::inputs![input]).unwrap().len());
    }
}

/// The medians of `rows` rows through the library alone and through a session, in µs; `None` where it takes one.
fn time_runs(bare: &mut Bare, session: &mut Session, meta: &Value, rows: usize) -> Option<(f64, f64)> {
    if rows > session.batch_max() {
        return None;
    }
    let window = vec![0.5; session.row_len()];
    let symbol = session.symbols().first().cloned().unwrap_or_default();
    let batch = vec![Row { window: &window, symbol: &symbol }; rows];
    let inputs = bare_inputs(meta, rows);
    let views = || inputs.iter().map(|(name, value)| (name.as_str(), value.view())).collect::<Vec<_>>();
    let (mut alone, mut with, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let begin = Instant::now();
    for run in 0..RUNS {
        let views = views();
        let at = Instant::now();
        std::hint::black_box(bare.run(views).unwrap().len());
        let between = Instant::now();
        session.run(&batch, &mut out).unwrap();
        let end = Instant::now();
        // The first ones warm caches up.
        if run >= 5 {
            alone.push((between - at).as_secs_f64() * 1e6);
            with.push((end - between).as_secs_f64() * 1e6);
        }
        if begin.elapsed() > RUNS_MAX && run > 10 {
            break;
        }
    }
    Some((quantile(&mut alone, 0.5), quantile(&mut with, 0.5)))
}

pub fn costs(runtime: &'static Runtime) {
    println!(
        "\na session of each kind: memory and load time of one of {SESSIONS}; p50 of a run, µs: ONNX Runtime alone + what vela's \
         session adds;\nthe engine: p50 from `ingest` to the store of a lone bar, µs, and how much of it is not the run\n"
    );
    println!(
        "{:<26}{:>8}{:>9}{:>9}{:>8}{:>16}{:>16}{:>16}{:>9}{:>8}",
        "kind", "file KB", "kept KB", "RSS KB", "load ms", "1 row", "8 rows", "32 rows", "engine", "own"
    );
    for model in good_models() {
        let folder = tempfile::tempdir().unwrap();
        model.put(folder.path(), "*", "1m");
        let version = folder.path().join(&model.name).join("1");
        let manifest = Manifest::read(&version.join("model.toml")).unwrap();
        let file = version.join("model.onnx");
        let (before, mut loads, mut sessions) = (resident_kib(), Vec::new(), Vec::new());
        for _ in 0..SESSIONS {
            let begin = Instant::now();
            let artefact = Artefact::read(&file).unwrap();
            sessions.push(Session::load(runtime, &artefact, &manifest, LIMITS).unwrap());
            loads.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        let resident = (resident_kib() - before) / SESSIONS as i64;
        let mut session = sessions.pop().unwrap();
        drop(sessions);
        let mut bare = open_bare(runtime, &file);
        let times = [1, 8, 32].map(|rows| time_runs(&mut bare, &mut session, &model.meta, rows));
        let shown = times.map(|times| match times {
            Some((alone, with)) => format!("{alone:.1} {:+.1}", with - alone),
            None => "-".to_owned(),
        });
        let engine = lone_bars(folder.path(), &model);
        let own = times[0].map_or(f64::NAN, |(alone, _)| engine - alone);
        println!(
            "{:<26}{:>8}{:>9}{resident:>9}{:>8.1}{:>16}{:>16}{:>16}{engine:>9.1}{own:>8.1}",
            model.name,
            file.metadata().unwrap().len() / 1000,
            session.kept_bytes() / 1000,
            quantile(&mut loads, 0.5),
            shown[0],
            shown[1],
            shown[2],
        );
    }
}

/// The median time of a lone bar from `ingest` to the store, in µs.
fn lone_bars(models: &Path, model: &Model) -> f64 {
    let symbol = match model.meta["symbol_ids"].as_object() {
        Some(ids) => ids.keys().next().unwrap().rsplit_once('_').unwrap().0.to_owned(),
        None => "BTCUSD".to_owned(),
    };
    let fed = Fed::start(models, &[&symbol], |_| {});
    let mut times = Vec::new();
    for bar in 0..LONE_BARS {
        std::thread::sleep(REST);
        let begin = Instant::now();
        fed.put(0, fed.first + bar as i64);
        let outcome = fed.outcomes.receiver().recv_timeout(SOON).unwrap();
        let took = begin.elapsed();
        if outcome.result.is_ok() {
            times.push(took.as_secs_f64() * 1e6);
        }
    }
    fed.engine.stop().unwrap();
    quantile(&mut times, 0.5)
}
