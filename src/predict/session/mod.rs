//! A loaded model: from a file that was read once to rows in and values out.

mod artefact;
mod staging;
mod values;
mod watch;

pub use artefact::Artefact;

use super::manifest::Manifest;
use super::runtime::Runtime;
use super::signature::{
    InputPlan, OutputPlan, Port, SignatureError, Source, check_declared, plan_inputs, plan_outputs,
};
use crate::domain::ValueNames;
use ort::session::SessionInputValue;
use ort::session::builder::SessionBuilder;
use staging::Staging;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use watch::{Ended, Watch};

/// How much of the library's messages is passed on: some quote whole C++ signatures.
const MESSAGE_CHARS_MAX: usize = 500;

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
    staging: Vec<Staging>,
    plan: OutputPlan,
    row_len: usize,
    batch_max: usize,
    symbols: Vec<String>,
    sha256: [u8; 32],
}

impl Session {
    /// Loads `artefact` and runs it once, which settles what it really returns. A run that takes longer than
    /// `deadline` is ended, this first one as every later.
    ///
    /// # Errors
    /// A file that ONNX Runtime refuses, inputs and outputs that do not go together with the manifest, a first
    /// run that fails or takes too long.
    pub fn load(
        runtime: &'static Runtime,
        artefact: &Artefact,
        manifest: &Manifest,
        deadline: Duration,
    ) -> Result<Self, ModelError> {
        let refused =
            |detail: &str| ModelError::Refused { path: artefact.path().to_owned(), detail: brief(detail) };
        let inner = open_checked(runtime, artefact)?;
        let (inputs, outputs) = ports(&inner);
        let InputPlan { feeds, batch_max } = plan_inputs(manifest, &inputs)?;
        check_declared(&outputs)?;
        let watch = Watch::new(deadline).map_err(|e| refused(e.message()))?;
        let symbols = feeds.iter().find_map(|feed| match &feed.source {
            Source::SymbolIds(ids) => Some(ids.keys().cloned().collect()),
            Source::Features { .. } => None,
        });
        let nothing = OutputPlan { reads: vec![], names: Arc::from([]), value_index: 0, values_per_row: 0 };
        let mut session = Self {
            inner,
            watch,
            staging: feeds.into_iter().map(|feed| Staging::new(feed, manifest.features.len())).collect(),
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
        let Self { inner, staging, watch, plan, .. } = self;
        let result = match staging.as_slice() {
            [one] => {
                let value = one.value(rows).map_err(model)?;
                watch.begin().map_err(model)?;
                inner.run_with_options([value], watch.options())
            }
            all => {
                let values = all.iter().map(|staging| staging.value(rows)).collect::<ort::Result<Vec<_>>>();
                let values: Vec<SessionInputValue<'_>> = values.map_err(model)?;
                watch.begin().map_err(model)?;
                inner.run_with_options(values.as_slice(), watch.options())
            }
        };
        match (result, watch.over()) {
            // It came in time after all, or too late to be ended.
            (Ok(outputs), _) => read(&outputs, plan, rows),
            (Err(_), Some(Ended::Overdue)) => Err(RunError::Deadline { deadline: watch.deadline() }),
            (Err(_), Some(Ended::Asked)) => Err(RunError::Terminated),
            (Err(e), None) => Err(model(e)),
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

/// The inputs and outputs of a graph as it declares them; it is loaded for that, and not run.
///
/// # Errors
/// When ONNX Runtime refuses it.
pub(super) fn ports_of(runtime: &Runtime, artefact: &Artefact) -> Result<(Vec<Port>, Vec<Port>), ModelError> {
    Ok(ports(&open_checked(runtime, artefact)?))
}

fn ports(inner: &ort::session::Session) -> (Vec<Port>, Vec<Port>) {
    (inner.inputs().iter().map(values::port).collect(), inner.outputs().iter().map(values::port).collect())
}

fn open_checked(runtime: &Runtime, artefact: &Artefact) -> Result<ort::session::Session, ModelError> {
    let refused =
        |detail: &str| ModelError::Refused { path: artefact.path().to_owned(), detail: brief(detail) };
    // Reading the types of exotic graphs can panic in the binding; that must not end the worker.
    catch_unwind(AssertUnwindSafe(|| open(runtime, artefact)))
        .map_err(|_| refused("it has inputs or outputs of an unknown type"))?
        .map_err(|e| refused(e.message()))
}

fn open(runtime: &Runtime, artefact: &Artefact) -> ort::Result<ort::session::Session> {
    let builder = SessionBuilder::new(runtime.environment())?;
    // One thread, the caller's: a prediction must not wait for threads to wake, nor spin while there is none.
    let builder = builder.with_intra_threads(1)?.with_inter_threads(1)?.with_parallel_execution(false)?;
    let builder = builder.with_intra_op_spinning(false)?.with_inter_op_spinning(false)?;
    // The number of rows changes from run to run, a memory pattern would be made for each.
    let builder = builder.with_memory_pattern(false)?.with_log_level(ort::logging::LogLevel::Error)?;
    let mut builder = match artefact.weights_folder() {
        Some(folder) => {
            builder.with_config_entry("session.model_external_initializers_file_folder_path", folder)?
        }
        None => builder,
    };
    builder.commit_from_memory(artefact.bytes())
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
