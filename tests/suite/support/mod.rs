//! What the acceptance tests share: reference material, folders of models, runs of the program, seeds.

pub mod axe;
pub mod chromium;
pub mod cluster;
pub mod onnx;
pub mod pgbouncer;
pub mod postgres;
pub mod promtool;
pub mod proxy;
pub mod python;
pub mod serving;
pub mod zoo;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's own models for one-minute bars: horizons 1, 5 and 15 for every symbol.
pub const DEMO_MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models");

/// The reference material beside the repository, if it is there; says so if it is not.
pub fn reference(relative: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(relative);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there", path.display());
    None
}

/// Every `*.csv` of `folder`, by name.
pub fn csv_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "csv")).collect();
    files.sort();
    files
}

/// Symbol and timeframe of a file `SYMBOL_TIMEFRAME.csv`.
pub fn series_of(file: &Path) -> (String, String) {
    let (symbol, timeframe) = file.file_stem().unwrap().to_str().unwrap().rsplit_once('_').unwrap();
    (symbol.to_owned(), timeframe.to_owned())
}

/// The open times of a file of bars, in its order.
pub fn times_of(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().skip(1).map(|line| line.split_once(',').unwrap().0.to_owned()).collect()
}

/// Copies version 1 of a model into `folder` as the promoted version 1 of `name`, with another manifest.
pub fn put_model(folder: &Path, name: &str, from: &Path, files: &[&str], manifest: &str) {
    let version = folder.join(name).join("1");
    std::fs::create_dir_all(&version).unwrap();
    for file in files {
        std::fs::copy(from.join(file), version.join(file)).unwrap();
    }
    std::fs::write(version.join("model.toml"), manifest).unwrap();
    std::fs::write(folder.join(name).join("promoted"), "1\n").unwrap();
}

/// Puts the three demo models that serve every symbol into `folder`, for bars of `timeframe`.
pub fn put_demo_models(folder: &Path, timeframe: &str) {
    for horizon in [1, 5, 15] {
        let from = Path::new(DEMO_MODELS).join(format!("demo-1m-h{horizon}/1"));
        let manifest = std::fs::read_to_string(from.join("model.toml")).unwrap();
        assert!(manifest.contains("timeframe = \"1m\"") && manifest.contains("symbol = \"*\""));
        let manifest = manifest.replace("timeframe = \"1m\"", &format!("timeframe = \"{timeframe}\""));
        put_model(folder, &format!("demo-{timeframe}-h{horizon}"), &from, &["model.onnx"], &manifest);
    }
}

/// Runs `vela replay --json` with `arguments` in `folder`; it must succeed. The summary.
pub fn replay(folder: &Path, arguments: &[&std::ffi::OsStr]) -> serde_json::Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vela"));
    command.arg("replay").arg("--json").args(arguments).current_dir(folder);
    for (name, _) in std::env::vars_os() {
        // The test decides about every setting, but not about where ONNX Runtime is kept.
        if name.to_string_lossy().starts_with("VELA_") && name != "VELA_CACHE_DIR" {
            command.env_remove(name);
        }
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    assert!(!errors.contains("warning"), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A summary's counts of reasons as `name=count` in the order of the names.
pub fn reasons_of(summary: &serde_json::Value) -> String {
    let mut text = String::new();
    for (reason, count) in summary["reasons"].as_object().unwrap() {
        write!(text, "{reason}={count} ").unwrap();
    }
    text.trim_end().to_owned()
}

/// Splitmix64: small, seeded, the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }
}
