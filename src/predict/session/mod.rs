//! A loaded model: from a file that was read once to rows in and values out.

mod artefact;
mod open;
mod staging;
mod tensors;
mod values;
mod watch;

pub use artefact::Artefact;
pub(super) use open::{Described, describe};
pub use tensors::{Tensor, TensorData};

use super::manifest::Manifest;
use super::reuse::reused;
use super::runtime::{Runtime, memory};
use super::signature::{
    InputPlan, OutputPlan, Port, SignatureError, Source, check_declared, check_names, plan_inputs,
    plan_outputs,
};
use crate::domain::ValueNames;
use ort::session::SessionInputValue;
use staging::Staging;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use watch::{Ended, Watch};

/// How much of the library's messages is passed on: some quote whole C++ signatures.
const MESSAGE_CHARS_MAX: usize = 500;

/// What one run of a model may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// How long it may take.
    pub deadline: Duration,
    /// How much memory it may take for tensors at a time, in bytes.
    pub memory_bytes: usize,
}

/// One row: what a model is asked about one bar of one symbol.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// `window * features` values of the manifest, the oldest bar first; every one finite.
    pub window: &'a [f64],
    /// The symbol, for models that take its number.
    pub symbol: &'a str,
}

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file could not be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file, or one with its weights, is not as it must be.
    #[error("`{}`: {detail}", path.display())]
    File {
        /// The model's file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// ONNX Runtime does not take the model.
    #[error("ONNX Runtime refuses `{}`: {detail}", path.display())]
    Refused {
        /// The model's file.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
    /// Its inputs and outputs do not go together with its manifest.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its first run failed.
    #[error("the first run failed: {0}")]
    FirstRun(RunError),
}

/// Why a run gave no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// No rows, or more than the model takes at once: a defect of the caller.
    #[error("a run of {rows} rows, 1 to {max} are possible")]
    Rows {
        /// How many were given.
        rows: usize,
        /// How many are possible.
        max: usize,
    },
    /// A row that must not be run; the others of the batch can be run without it.
    #[error("row {row}: {detail}")]
    Row {
        /// Which row of the batch, from 0.
        row: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// The model failed.
    #[error("ONNX Runtime: {0}")]
    Model(String),
    /// It answered in another shape than when it was loaded.
    #[error("output `{output}`: {detail}")]
    Output {
        /// The output's name.
        output: String,
        /// What came.
        detail: String,
    },
    /// It took longer than a run may, and was ended.
    #[error("the run took longer than {} ms and was ended (predict.deadline_ms)", deadline.as_millis())]
    Deadline {
        /// How long a run may take.
        deadline: Duration,
    },
    /// It asked for more memory than a run may take.
    #[error(
        "the run wanted a tensor of {asked_bytes} bytes: it may take {} MiB in all (predict.run_memory_max_mb)",
        limit_bytes >> 20
    )]
    Memory {
        /// How much it asked for when it was refused, in bytes.
        asked_bytes: usize,
        /// How much a run may take, in bytes.
        limit_bytes: usize,
    },
    /// It was ended from outside.
    #[error("the run was ended")]
    Terminated,
}

/// Ends the run of a session from another thread.
#[derive(Clone)]
pub struct Terminator(Arc<Watch>);

impl Terminator {
    /// Ends the run that is going on, between two of its operators; a run that starts later is not affected.
    pub fn terminate(&self) {
        self.0.end();
    }
}

/// A model that is loaded, checked and warm. One owner at a time: ONNX Runtime's `Run` is not safe to share.
pub struct Session {
    inner: ort::session::Session,
    watch: Arc<Watch>,
    memory_bytes_max: usize,
    kept_bytes: usize,
    staging: Vec<Staging>,
    /// Where several inputs are put together for a run; empty between two.
    inputs: Vec<SessionInputValue<'static>>,
    plan: OutputPlan,
    row_len: usize,
    batch_max: usize,
    symbols: Vec<String>,
    sha256: [u8; 32],
}

impl Session {
    /// Loads `artefact` and runs it once, which settles what it really returns. A run that costs more than
    /// `limits` say is ended, this first one as every later.
    ///
    /// # Errors
    /// A file that ONNX Runtime refuses, inputs and outputs that do not go together with the manifest, a first
    /// run that fails or takes too long.
    pub fn load(
        runtime: &'static Runtime,
        artefact: &Artefact,
        manifest: &Manifest,
        limits: RunLimits,
    ) -> Result<Self, ModelError> {
        let refused =
            |detail: &str| ModelError::Refused { path: artefact.path().to_owned(), detail: brief(detail) };
        let (inner, kept_bytes) = open::open(runtime, artefact, limits.memory_bytes)?;
        let (inputs, outputs) = open::ports(&inner);
        check_names(&inputs)?;
        check_names(&outputs)?;
        let InputPlan { feeds, batch_max } = plan_inputs(manifest, &inputs)?;
        check_declared(&outputs)?;
        let watch = Watch::new(limits.deadline).map_err(|e| refused(e.message()))?;
        let symbols = feeds.iter().find_map(|feed| match &feed.source {
            Source::SymbolIds(ids) => Some(ids.keys().cloned().collect()),
            Source::Features { .. } => None,
        });
        let nothing = OutputPlan { reads: vec![], names: Arc::from([]), value_index: 0, values_per_row: 0 };
        let mut session = Self {
            inner,
            watch,
            memory_bytes_max: limits.memory_bytes,
            kept_bytes,
            staging: feeds.into_iter().map(|feed| Staging::new(feed, manifest.features.len())).collect(),
            inputs: Vec::new(),
            plan: nothing,
            row_len: manifest.row_len(),
            batch_max,
            symbols: symbols.unwrap_or_default(),
            sha256: artefact.sha256(),
        };
        let returned = session.first_run().map_err(ModelError::FirstRun)?;
        session.plan = plan_outputs(manifest, &returned)?;
        Ok(session)
    }

    /// Runs one row and says what came back.
    fn first_run(&mut self) -> Result<Vec<Port>, RunError> {
        let window = vec![0.5; self.row_len];
        let symbol = self.symbols.first().cloned().unwrap_or_default();
        self.stage(&[Row { window: &window, symbol: &symbol }])?;
        self.invoke(1, |outputs, _, _| {
            Ok(outputs.iter().map(|(name, value)| values::returned(name, &value)).collect())
        })
    }

    /// Runs `rows` at once and writes `rows * values_per_row` values to `out`, row after row; `out` is
    /// emptied first. Values that are not finite are passed on as they are.
    ///
    /// # Errors
    /// As [`RunError`] lists; `out` is empty then.
    pub fn run(&mut self, rows: &[Row<'_>], out: &mut Vec<f64>) -> Result<(), RunError> {
        out.clear();
        self.stage(rows)?;
        let result = self.invoke(rows.len(), |outputs, plan, rows| values::read(outputs, plan, rows, out));
        if result.is_err() {
            out.clear();
        }
        result
    }

    /// Checks `rows` and lays them out as the inputs want them.
    fn stage(&mut self, rows: &[Row<'_>]) -> Result<(), RunError> {
        // An empty batch makes ONNX Runtime end the whole process on some graphs.
        if rows.is_empty() || rows.len() > self.batch_max {
            return Err(RunError::Rows { rows: rows.len(), max: self.batch_max });
        }
        for (i, row) in rows.iter().enumerate() {
            if row.window.len() != self.row_len {
                let detail = format!("it has {} values, the model takes {}", row.window.len(), self.row_len);
                return Err(RunError::Row { row: i, detail });
            }
        }
        self.staging.iter_mut().try_for_each(|staging| staging.fill(rows))
    }

    /// Runs what is staged and hands the outputs to `read`.
    fn invoke<T>(
        &mut self,
        rows: usize,
        read: impl FnOnce(&ort::session::SessionOutputs<'_>, &OutputPlan, usize) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        let model = |e: ort::Error| RunError::Model(brief(e.message()));
        let Self { inner, staging, inputs, watch, plan, memory_bytes_max, .. } = self;
        let limit_bytes = *memory_bytes_max;
        let (result, spent) = match staging.as_slice() {
            [one] => {
                let value = one.value(rows).map_err(model)?;
                let _long = watch.begin().map_err(model)?;
                memory::within(limit_bytes, || inner.run_with_options([value], watch.options()))
            }
            all => {
                let mut values: Vec<SessionInputValue<'_>> = reused(std::mem::take(inputs));
                for staging in all {
                    values.push(staging.value(rows).map_err(model)?);
                }
                let _long = watch.begin().map_err(model)?;
                let done = memory::within(limit_bytes, || {
                    inner.run_with_options(values.as_slice(), watch.options())
                });
                *inputs = reused(values);
                done
            }
        };
        match (result, watch.over()) {
            // It came in time after all, or too late to be ended.
            (Ok(outputs), _) => read(&outputs, plan, rows),
            (Err(_), Some(Ended::Overdue)) => Err(RunError::Deadline { deadline: watch.deadline() }),
            (Err(_), Some(Ended::Asked)) => Err(RunError::Terminated),
            (Err(e), None) => Err(match spent.refused_bytes {
                Some(asked_bytes) => RunError::Memory { asked_bytes, limit_bytes },
                None => model(e),
            }),
        }
    }

    /// The names of a row's values, in order; empty when there is only one.
    pub fn names(&self) -> ValueNames {
        Arc::clone(&self.plan.names)
    }

    /// Which value of a row is the prediction.
    pub fn value_index(&self) -> usize {
        self.plan.value_index
    }

    /// Values of a row; at least 1.
    pub fn values_per_row(&self) -> usize {
        self.plan.values_per_row
    }

    /// The most rows a run can have: 1 for a model exported for one row, else `usize::MAX`.
    pub fn batch_max(&self) -> usize {
        self.batch_max
    }

    /// The symbols it knows, where it takes a symbol's number; else none.
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// What it keeps in memory for tensors, in bytes: weights, in the order that is fastest to run, and constants.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Values of a row's window.
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// The artefact's SHA-256.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// What ends its runs from another thread.
    pub fn terminator(&self) -> Terminator {
        Terminator(Arc::clone(&self.watch))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("plan", &self.plan)
            .field("batch_max", &self.batch_max)
            .finish_non_exhaustive()
    }
}

fn brief(message: &str) -> String {
    if message.chars().count() <= MESSAGE_CHARS_MAX {
        return message.to_owned();
    }
    // The head says what failed, the tail says why.
    let (head, tail) = (MESSAGE_CHARS_MAX / 3, MESSAGE_CHARS_MAX * 2 / 3);
    let skipped = message.chars().count() - tail;
    message.chars().take(head).chain(" … ".chars()).chain(message.chars().skip(skipped)).collect()
}
