//! Opening a graph: how ONNX Runtime is set up for it, and what the graph says of itself.

use super::{Artefact, ModelError, brief, values};
use crate::predict::runtime::{Runtime, memory};
use crate::predict::signature::Port;
use ort::session::builder::SessionBuilder;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The library's setting for the largest constant that it works out while it loads, in bytes; versions that do not
/// know it pass it over.
const FOLDED_BYTES_MAX: &str = "optimization.constant_folding_max_output_size_in_bytes";

/// The most names an exporter may have given values of its own, of which more are passed over.
const KEYS_MAX: usize = 200;

/// What a graph says of itself.
pub(in crate::predict) struct Described {
    /// Its inputs as they are declared.
    pub inputs: Vec<Port>,
    /// Its outputs as they are declared.
    pub outputs: Vec<Port>,
    /// What its exporter wrote about it: name and value.
    pub metadata: BTreeMap<String, String>,
}

/// What a graph says of itself; it is loaded for that, and not run.
///
/// # Errors
/// When ONNX Runtime refuses it.
pub(in crate::predict) fn describe(
    runtime: &Runtime,
    artefact: &Artefact,
    memory_bytes_max: usize,
) -> Result<Described, ModelError> {
    let (inner, _) = open(runtime, artefact, memory_bytes_max)?;
    let (inputs, outputs) = ports(&inner);
    Ok(Described { inputs, outputs, metadata: metadata(&inner) })
}

pub(super) fn ports(inner: &ort::session::Session) -> (Vec<Port>, Vec<Port>) {
    (inner.inputs().iter().map(values::port).collect(), inner.outputs().iter().map(values::port).collect())
}

/// What the exporter wrote, as far as it can be read.
fn metadata(inner: &ort::session::Session) -> BTreeMap<String, String> {
    let Ok(found) = inner.metadata() else { return BTreeMap::new() };
    let mut pairs = vec![
        ("producer".to_owned(), found.producer()),
        ("graph".to_owned(), found.name()),
        ("domain".to_owned(), found.domain()),
        ("description".to_owned(), found.description().or_else(|| found.graph_description())),
        // 0 and the largest number there is are what exporters write who know of none.
        ("version".to_owned(), found.version().filter(|v| (1..i64::MAX).contains(v)).map(|v| v.to_string())),
    ];
    // Finding one takes the longer the more there are.
    let keys = found.custom_keys().unwrap_or_default().into_iter().take(KEYS_MAX);
    pairs.extend(keys.map(|key| {
        let value = found.custom(&key);
        (key, value)
    }));
    let told = pairs.into_iter().filter_map(|(key, value)| Some((key, value?)));
    told.filter(|(_, value)| !value.is_empty()).collect()
}

/// Loads a graph; how much memory it keeps for tensors.
pub(super) fn open(
    runtime: &Runtime,
    artefact: &Artefact,
    run_bytes_max: usize,
) -> Result<(ort::session::Session, usize), ModelError> {
    let refused =
        |detail: &str| ModelError::Refused { path: artefact.path().to_owned(), detail: brief(detail) };
    // Its weights are there as they are read, as they are run, and in between.
    let limit_bytes = run_bytes_max.saturating_add(artefact.all_bytes().saturating_mul(4));
    // Reading the types of exotic graphs can panic in the binding; that must not end the worker.
    let opening = || catch_unwind(AssertUnwindSafe(|| commit(runtime, artefact, limit_bytes)));
    let (opened, spent) = memory::within(limit_bytes, opening);
    let opened = opened.map_err(|_| refused("it has inputs or outputs of an unknown type"))?;
    match (opened, spent.refused_bytes) {
        (Ok(session), _) => Ok((session, spent.kept_bytes)),
        (Err(_), Some(asked)) => Err(refused(&format!(
            "it wanted a tensor of {asked} bytes while it was loaded: {} MiB in all are allowed \
             (predict.run_memory_max_mb, and four times its size)",
            limit_bytes >> 20
        ))),
        (Err(e), None) => Err(refused(e.message())),
    }
}

fn commit(
    runtime: &Runtime,
    artefact: &Artefact,
    memory_bytes_max: usize,
) -> ort::Result<ort::session::Session> {
    let builder = SessionBuilder::new(runtime.environment())?;
    // One thread, the caller's: a prediction must not wait for threads to wake, nor spin while there is none.
    let builder = builder.with_intra_threads(1)?.with_inter_threads(1)?.with_parallel_execution(false)?;
    let builder = builder.with_intra_op_spinning(false)?.with_inter_op_spinning(false)?;
    // The number of rows changes from run to run, a memory pattern would be made for each.
    let builder = builder.with_memory_pattern(false)?.with_log_level(ort::logging::LogLevel::Error)?;
    let builder = if runtime.bounds_memory() { builder.with_env_allocators()? } else { builder };
    // What can be worked out beforehand is, in memory that is not counted: each operator has its share of the bound.
    let folded_bytes_max = memory_bytes_max / artefact.operators().max(1);
    let mut builder = builder.with_config_entry(FOLDED_BYTES_MAX, folded_bytes_max.to_string())?;
    if let Some(folder) = artefact.weights_folder() {
        builder =
            builder.with_config_entry("session.model_external_initializers_file_folder_path", folder)?;
    }
    builder.commit_from_memory(artefact.bytes())
}
