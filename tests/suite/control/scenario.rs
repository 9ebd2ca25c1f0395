//! A scenario of the controller's simulation, as its file says it.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    #[serde(skip)]
    pub name: String,
    pub seed: u64,
    pub seconds: f64,
    pub cores: usize,
    pub series: usize,
    /// Rows of series `n` go to model `n % models`.
    pub models: usize,
    pub max_latency_ms: u64,
    pub workers_max: usize,
    pub cost: Cost,
    #[serde(default)]
    pub slow: Option<Slow>,
    pub load: Vec<Load>,
    #[serde(default)]
    pub stall: Vec<Stall>,
    pub expect: Expect,
}

/// What each piece of work takes, in µs on a core of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    pub ingest: f64,
    pub feature: f64,
    pub predict_call: f64,
    pub predict_row: f64,
    pub persist_call: f64,
    pub persist_row: f64,
}

/// One model that costs more.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    pub model: usize,
    pub call: f64,
    pub row: f64,
}

/// Bars at a rate that goes from one value to another, and bursts of all series at once.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    pub from: f64,
    pub to: f64,
    #[serde(default)]
    pub per_s: f64,
    /// The rate at the end; the same as `per_s` where it is left out.
    pub per_s_end: Option<f64>,
    #[serde(default)]
    pub burst: usize,
    #[serde(default)]
    pub burst_every: f64,
    /// Costs of stages in this stretch, as multiples.
    #[serde(default)]
    pub feature_times: Option<f64>,
    #[serde(default)]
    pub predict_times: Option<f64>,
}

/// The store does not answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    pub from: f64,
    pub to: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    pub p99_ms: f64,
    /// Changes of workers, of all stages together.
    pub changes: usize,
    /// Changes of one stage within the last half of the run.
    #[serde(default)]
    pub changes_late: Option<usize>,
    #[serde(default)]
    pub workers: Vec<Workers>,
    /// Batch limits of models at the end.
    #[serde(default)]
    pub batch: BTreeMap<String, [usize; 2]>,
}

/// How many workers a stage may have in a stretch of time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workers {
    pub stage: String,
    pub from: f64,
    pub to: f64,
    pub allowed: [usize; 2],
}

/// All scenarios of a folder, by name.
pub fn read_all(folder: &Path) -> Vec<Scenario> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let mut scenario: Scenario =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        scenario.name = path.file_stem().unwrap().to_string_lossy().into_owned();
        scenario
    };
    files.iter().map(read).collect()
}
