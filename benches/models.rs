//! What models cost, and what they do to each other: `cargo bench --bench models`, or the command `perf/models`.
//!
//! - `costs`: for each kind of the zoo the memory and the time of a session, a run of 1, 8 and 32 rows by ONNX Runtime
//!   alone, what a session of vela adds to it (laying rows out, reading values), and what the whole engine adds to one
//!   bar: wake-up, order, features, queues, until its prediction is at the store.
//! - `disturbance`: how late the predictions of other models are while a very slow one runs without a pause, and
//!   while versions are promoted and rolled back all the time, in turn with an undisturbed engine.
//!
//! What is compared is timed in turn, round after round, so that the machine's moods meet all alike. A regression
//! here means that every prediction is later, or that one model's owner pays for another's.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/suite/support/mod.rs"]
mod support;

use ort::session::builder::SessionBuilder;
use ort::session::{Session as Bare, SessionInputValue};
use ort::value::Tensor;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::zoo::{Model, broken_models, good_models};
use support::{Random, onnx};
use vela::config::{SourceKind, StoreUrl};
use vela::domain::{Bar, Outcome, SeriesKey, Timeframe, Timestamp};
use vela::persist::Subscription;
use vela::predict::{Artefact, Manifest, Row, RunLimits, Runtime, Session};
use vela::{Engine, Settings};

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
/// How often the undisturbed and the disturbed engines take turns, and how long each is watched.
const ROUNDS: usize = 3;
const WATCHED: Duration = Duration::from_secs(2);
/// Bars a second while they are watched, over all series.
const BARS_PER_SECOND: u32 = 400;
const START: i64 = 60_000_000;
const SOON: Duration = Duration::from_secs(60);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [round, case] = words.as_slice()
        && round == "round"
    {
        return round_of(case.parse().unwrap());
    }
    let wanted = |word: &str| words.is_empty() || words.iter().any(|one| one == word);
    let runtime = Runtime::ensure(None, &mut |_| {}).unwrap();
    println!("ONNX Runtime {}", runtime.version().unwrap_or("?"));
    if wanted("costs") {
        costs(runtime);
    }
    if wanted("disturbance") {
        disturbance();
    }
}

/// The value below which `share` of the values lie.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

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

fn costs(runtime: &'static Runtime) {
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

/// An engine whose series have had the bars that features need.
struct Fed {
    engine: Arc<Engine>,
    outcomes: Subscription,
    series: Vec<Arc<SeriesKey>>,
    /// The first minute that is free.
    first: i64,
}

impl Fed {
    fn start(models: &Path, symbols: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.models.path = models.to_owned();
        settings.source.kind = SourceKind::None;
        settings.store.url = StoreUrl::None;
        change(&mut settings);
        let engine = Arc::new(Engine::start(settings).unwrap());
        let outcomes = engine.subscribe(1 << 20);
        let key = |symbol: &&str| Arc::new(SeriesKey::new(symbol, Timeframe::MINUTE).unwrap());
        // Enough for the slowest feature; many series take their time over it.
        let first = if symbols.len() == 1 { 1_200 } else { 700 };
        let fed = Self { engine, outcomes, series: symbols.iter().map(key).collect(), first };
        for minute in 0..fed.first {
            (0..fed.series.len()).for_each(|series| fed.put(series, minute));
        }
        assert!(fed.engine.drain(SOON));
        fed.outcomes.receiver().try_iter().for_each(drop);
        fed
    }

    fn put(&self, series: usize, minute: i64) {
        // A walk that does not depend on when it is asked for.
        let price = |minute: i64| {
            let mut random = Random((minute as u64) << 8 | series as u64);
            100.0 + 5.0 * (minute as f64 / 40.0).sin() + (random.next() % 1000) as f64 / 2000.0
        };
        let (open, close) = (price(minute - 1), price(minute));
        let ts = Timestamp::from_secs(START + 60 * minute);
        let (high, low) = (open.max(close) + 0.3, open.min(close) - 0.2);
        let bar = Bar { ts, open, high, low, close, volume: 10.0 + (minute % 17) as f64 };
        self.engine.ingest_series(&self.series[series], bar).unwrap();
    }

    /// Bars at a steady pace for [`WATCHED`], from minute `from` on; the latencies of models that `counts`, in ms.
    fn watch(&self, from: i64, counts: impl Fn(&str) -> bool) -> Watched {
        let (begin, pause) = (Instant::now(), Duration::from_secs(1) / BARS_PER_SECOND);
        let mut watched = Watched::default();
        let mut bars = 0_u32;
        while begin.elapsed() < WATCHED {
            // By the schedule, not by when the last one was done: what is late is late.
            std::thread::sleep((begin + pause * bars).saturating_duration_since(Instant::now()));
            let series = bars as usize % self.series.len();
            self.put(series, from + i64::from(bars) / self.series.len() as i64);
            bars += 1;
            self.outcomes.receiver().try_iter().for_each(|outcome| watched.note(&outcome, &counts));
        }
        std::thread::sleep(Duration::from_millis(300));
        self.outcomes.receiver().try_iter().for_each(|outcome| watched.note(&outcome, &counts));
        watched.bars = i64::from(bars);
        watched
    }
}

#[derive(Default)]
struct Watched {
    bars: i64,
    latencies_ms: Vec<f64>,
    /// Of the models that do not count.
    others: u64,
}

impl Watched {
    fn note(&mut self, outcome: &Outcome, counts: impl Fn(&str) -> bool) {
        match &outcome.result {
            Ok(prediction) if counts(&prediction.model) => {
                let late_ns = outcome.stamps.predicted_ns - outcome.stamps.arrived_ns;
                self.latencies_ms.push(late_ns as f64 / 1e6);
            }
            _ => self.others += 1,
        }
    }
}

const SYMBOLS: [&str; 20] = [
    "S00", "S01", "S02", "S03", "S04", "S05", "S06", "S07", "S08", "S09", "S10", "S11", "S12", "S13", "S14",
    "S15", "S16", "S17", "S18", "S19",
];
const OTHERS: [&str; 4] = ["torch_mlp_a", "lgbm_clf_zipmap_a", "xgb_reg_a", "mlp_skl_reg_a"];

/// A folder of the models that are not to be disturbed.
fn others() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let models = good_models();
    for model in models.iter().filter(|model| OTHERS.contains(&model.name.as_str())) {
        model.put(folder.path(), "*", "1m");
    }
    folder
}

fn put_version(folder: &Path, model: &str, version: u32, graph: &[u8], features: &str) {
    let at = folder.join(model).join(version.to_string());
    std::fs::create_dir_all(&at).unwrap();
    std::fs::write(at.join("model.onnx"), graph).unwrap();
    let toml = format!("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = {features}\n");
    std::fs::write(at.join("model.toml"), toml).unwrap();
}

fn promote(folder: &Path, model: &str, list: &str) {
    let fresh = folder.join(model).join(".promoted.new");
    std::fs::write(&fresh, list).unwrap();
    std::fs::rename(fresh, folder.join(model).join("promoted")).unwrap();
}

/// What an engine is disturbed by.
#[derive(Clone, Copy)]
enum By {
    Nothing,
    /// The very slow model, whose runs take longer than they may: it is tried, ended, and left alone for a while.
    SlowEnded,
    /// The very slow model, whose runs may take as long as they do: there is always one.
    SlowAllowed,
    /// Promotions and rollbacks, without a pause.
    Flips,
    /// A program that has nothing to do with vela keeps one core busy: what a model that computes costs whoever shares
    /// the machine with it.
    Busy,
}

const CASES: [(&str, By); 6] = [
    ("undisturbed", By::Nothing),
    ("the very slow model beside them, ended after 1 s", By::SlowEnded),
    ("the very slow model beside them, never ended", By::SlowAllowed),
    ("a version promoted or rolled back all the time", By::Flips),
    ("floor: another program keeps a core busy", By::Busy),
    ("undisturbed, once more", By::Nothing),
];

fn disturbance() {
    println!(
        "\n{} models over {} series, {BARS_PER_SECOND} bars/s, {ROUNDS} rounds of {WATCHED:?}; `ingest` to predicted, ms\n",
        OTHERS.len(),
        SYMBOLS.len()
    );
    println!("{:<50}{:>8}{:>8}{:>8}{:>8}{:>8}", "the other models", "p50", "p99", "p99.9", "max", "count");
    let mut all: Vec<(Vec<f64>, Vec<String>)> = vec![Default::default(); CASES.len()];
    for _ in 0..ROUNDS {
        for (case, (latencies, p99s)) in all.iter_mut().enumerate() {
            // In a process of its own: what a round leaves behind, rows of the slow model above all, ends with it.
            let program = std::env::current_exe().unwrap();
            let output = Command::new(program).args(["round", &case.to_string()]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            let mut round: Vec<f64> = text.lines().map(|line| line.parse().unwrap()).collect();
            p99s.push(format!("{:.2}", quantile(&mut round, 0.99)));
            latencies.extend(round);
        }
    }
    for ((name, _), (latencies, p99s)) in CASES.iter().zip(&mut all) {
        let count = latencies.len();
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| quantile(latencies, share));
        let p99s = p99s.join(", ");
        println!("{name:<50}{p50:>8.3}{p99:>8.3}{p999:>8.3}{max:>8.2}{count:>8}   p99 by round: {p99s}");
    }
}

/// One round of a case, in a process of its own: its latencies, one a line.
fn round_of(case: usize) {
    let slow = broken_models().into_iter().find(|model| model.name.starts_with("broken_very_slow"));
    let Some(slow) = slow else { return };
    let latencies = disturbed(CASES[case].1, &slow);
    let text: Vec<String> = latencies.iter().map(f64::to_string).collect();
    println!("{}", text.join("\n"));
    // What waits for the slow model is not waited for: it may be hours.
    std::process::exit(0);
}

/// The latencies of the other models over one round, in ms.
fn disturbed(by: By, slow: &Model) -> Vec<f64> {
    let folder = others();
    let counts = |name: &str| OTHERS.contains(&name);
    if matches!(by, By::SlowEnded | By::SlowAllowed) {
        let graph = std::fs::read(slow.folder.join("model.onnx")).unwrap();
        // For one of the series: as many rows as it can never run.
        put_version(folder.path(), "slow", 1, &graph, &slow.meta["features"].to_string());
        promote(folder.path(), "slow", "1\n");
    }
    if matches!(by, By::Flips) {
        put_version(folder.path(), "flips", 1, &onnx::linear(1, 0.0, 1.0), "[\"ret_1\"]");
        put_version(folder.path(), "flips", 2, &onnx::linear(1, 0.0, 2.0), "[\"ret_1\"]");
        promote(folder.path(), "flips", "1\n");
    }
    let fed = {
        // Its rows of the bars that warm up would take it hours: it comes when they are through.
        let aside = folder.path().join(".slow");
        let is_slow = folder.path().join("slow").is_dir();
        if is_slow {
            std::fs::rename(folder.path().join("slow"), &aside).unwrap();
        }
        let fed = Fed::start(folder.path(), &SYMBOLS, |settings| {
            settings.models.look_interval_ms = 50;
            if matches!(by, By::SlowAllowed) {
                settings.predict.deadline_ms = 60_000;
            }
        });
        if is_slow {
            std::fs::rename(&aside, folder.path().join("slow")).unwrap();
            let begin = Instant::now();
            while fed.engine.catalogue().models().len() <= OTHERS.len() {
                assert!(begin.elapsed() < SOON);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        fed
    };
    let busy = matches!(by, By::Busy)
        .then(|| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap());
    // As long again before it counts: sessions are loaded, the slow one runs.
    fed.watch(fed.first, counts);
    let done = AtomicBool::new(false);
    let watched = std::thread::scope(|scope| {
        if matches!(by, By::Flips) {
            scope.spawn(|| {
                for list in ["1\n2\n", "1\n"].iter().cycle() {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    promote(folder.path(), "flips", list);
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
        }
        let watched = fed.watch(fed.first + 1_000, counts);
        done.store(true, Ordering::Relaxed);
        watched
    });
    assert_eq!(
        watched.latencies_ms.len() as i64,
        watched.bars * OTHERS.len() as i64,
        "a prediction for each"
    );
    if let Some(mut busy) = busy {
        busy.kill().unwrap();
        busy.wait().unwrap();
    }
    std::mem::forget(fed);
    watched.latencies_ms
}
