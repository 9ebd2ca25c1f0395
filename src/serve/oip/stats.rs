//! What callers' inference came to, by model and version, as the protocol's statistics have it.

use crate::predict::Inferred;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often something was done, and how long it took in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spent {
    /// How often.
    pub count: u64,
    /// How long, in ns.
    pub ns: u64,
}

impl Spent {
    fn add(&mut self, ns: u64) {
        self.count += 1;
        self.ns += ns;
    }
}

/// By what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct InferenceStats {
    success: Spent,
    fail: Spent,
    queue: Spent,
    compute_input: Spent,
    compute_infer: Spent,
    compute_output: Spent,
    cache_hit: Spent,
    cache_miss: Spent,
}

/// One version's.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelStats {
    name: String,
    version: String,
    /// When it last answered, in ms since 1970.
    last_inference: u64,
    /// Rows.
    inference_count: u64,
    /// Runs.
    execution_count: u64,
    inference_stats: InferenceStats,
    batch_stats: [(); 0],
}

impl ModelStats {
    fn none(model: &str, version: u32) -> Self {
        Self { name: model.to_owned(), version: version.to_string(), ..Self::default() }
    }
}

/// How long the parts of an answer took, in ns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts {
    /// Reading the request.
    pub input_ns: u64,
    /// Writing the answer.
    pub output_ns: u64,
    /// All of it.
    pub all_ns: u64,
}

/// All versions'.
#[derive(Default)]
pub struct Stats {
    all: Mutex<BTreeMap<String, BTreeMap<u32, ModelStats>>>,
}

impl Stats {
    fn with(&self, model: &str, version: u32, note: impl FnOnce(&mut ModelStats)) {
        let mut all = self.all.lock();
        // Nothing is copied for a model that was asked before: this is on the way of every answer.
        if let Some(known) = all.get_mut(model).and_then(|versions| versions.get_mut(&version)) {
            return note(known);
        }
        let versions = all.entry(model.to_owned()).or_default();
        note(versions.entry(version).or_insert_with(|| ModelStats::none(model, version)));
    }

    /// An answer was given.
    pub fn answered(&self, model: &str, inferred: &Inferred, parts: Parts) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.with(model, inferred.version, |stats| {
            stats.last_inference = now.as_millis() as u64;
            stats.inference_count += inferred.rows as u64;
            stats.execution_count += 1;
            let spent = &mut stats.inference_stats;
            spent.success.add(parts.all_ns);
            spent.queue.add(inferred.queue_ns);
            spent.compute_input.add(parts.input_ns);
            spent.compute_infer.add(inferred.run_ns);
            spent.compute_output.add(parts.output_ns);
        });
    }

    /// None was given.
    pub fn failed(&self, model: &str, version: u32, all_ns: u64) {
        self.with(model, version, |stats| stats.inference_stats.fail.add(all_ns));
    }

    /// Those of one version; all zero where it was never asked.
    pub fn of(&self, model: &str, version: u32) -> ModelStats {
        let all = self.all.lock();
        let known = all.get(model).and_then(|versions| versions.get(&version)).cloned();
        known.unwrap_or_else(|| ModelStats::none(model, version))
    }
}
