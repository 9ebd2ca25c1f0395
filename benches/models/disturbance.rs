//! `disturbance`: what models do to each other.

use super::fed::{BARS_PER_SECOND, Fed, SOON, WATCHED};
use super::quantile;
use super::support::onnx;
use super::support::zoo::{Model, broken_models, good_models};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the undisturbed and the disturbed engines take turns.
const ROUNDS: usize = 4;
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
    /// A program that has nothing to do with vela runs the very slow model: as busy, and as hard on caches and memory.
    Beside,
}

const CASES: [(&str, By); 7] = [
    ("undisturbed", By::Nothing),
    ("the very slow model beside them, ended after 1 s", By::SlowEnded),
    ("the very slow model beside them, never ended", By::SlowAllowed),
    ("a version promoted or rolled back all the time", By::Flips),
    ("floor: another program keeps a core busy", By::Busy),
    ("floor: another program runs the very slow model", By::Beside),
    ("undisturbed, once more", By::Nothing),
];

pub fn disturbance() {
    println!(
        "\n{} models over {} series, {BARS_PER_SECOND} bars/s, {ROUNDS} rounds of {WATCHED:?}; `ingest` to predicted, ms\n",
        OTHERS.len(),
        SYMBOLS.len()
    );
    println!(
        "{:<50}{:>8}{:>8}{:>8}{:>8}{:>8}{:>12}",
        "the other models", "p50", "p99", "p99.9", "max", "count", "median p99"
    );
    let mut all: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); CASES.len()];
    for _ in 0..ROUNDS {
        for (case, (latencies, p99s)) in all.iter_mut().enumerate() {
            // In a process of its own: what a round leaves behind, rows of the slow model above all, ends with it.
            let program = std::env::current_exe().unwrap();
            let output = Command::new(program).args(["round", &case.to_string()]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            let mut round: Vec<f64> = text.lines().map(|line| line.parse().unwrap()).collect();
            p99s.push(quantile(&mut round, 0.99));
            latencies.extend(round);
        }
    }
    for ((name, _), (latencies, p99s)) in CASES.iter().zip(&mut all) {
        let count = latencies.len();
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| quantile(latencies, share));
        let by_round: Vec<String> = p99s.iter().map(|p99| format!("{p99:.2}")).collect();
        let median = (quantile(p99s, 0.499) + quantile(p99s, 0.501)) / 2.0;
        println!(
            "{name:<50}{p50:>8.3}{p99:>8.3}{p999:>8.3}{max:>8.2}{count:>8}{median:>12.3}   by round: {}",
            by_round.join(", ")
        );
    }
}

/// One round of a case, in a process of its own: its latencies, one a line.
pub fn round_of(case: usize) {
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
    let busy = match by {
        By::Busy => Some(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap()),
        By::Beside => {
            let graph = slow.folder.join("model.onnx");
            let program = std::env::current_exe().unwrap();
            Some(Command::new(program).arg("hog").arg(graph).spawn().unwrap())
        }
        _ => None,
    };
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
