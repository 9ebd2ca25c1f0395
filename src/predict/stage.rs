//! The predict stage: a batch of rows through one artefact's session, one outcome for each.

use super::catalogue::Catalogue;
use super::pool::{Loaded, Pool};
use super::session::{Row, RunError};
use crate::domain::{Outcome, Prediction, Reason, Refusal, Stamps, Task, ValueNames};
use crate::link::{Stage, clock};
use std::cell::RefCell;
use std::sync::Arc;

/// Stage 3.
pub struct PredictStage {
    catalogue: Arc<Catalogue>,
    pool: Arc<Pool>,
    batch_max: usize,
    deliver: Box<dyn Fn(Outcome) + Send + Sync>,
}

/// What the predict stage keeps for one artefact: its number, the session is the pool's.
pub struct PredictKey {
    /// The dense number of the artefact.
    pub artefact: usize,
}

impl PredictStage {
    /// A stage that runs batches of at most `batch_max` rows and hands every outcome to `deliver`.
    pub fn new(
        catalogue: Arc<Catalogue>,
        pool: Arc<Pool>,
        batch_max: usize,
        deliver: Box<dyn Fn(Outcome) + Send + Sync>,
    ) -> Self {
        Self { catalogue, pool, batch_max, deliver }
    }

    fn deliver(&self, task: &Task, result: Result<Prediction, Refusal>) {
        (self.deliver)(Outcome {
            series: Arc::clone(&task.series),
            horizon: task.horizon,
            ts: task.ts,
            place: task.place,
            origin: task.origin,
            stamps: Stamps { predicted_ns: clock::now_ns(), ..task.stamps },
            result,
            reply: task.reply.clone(),
        });
    }

    fn refuse(&self, task: &Task, reason: Reason, detail: String) {
        let model = &self.catalogue.models()[task.model as usize];
        self.deliver(task, Err(Refusal::of_model(&model.name, reason, detail)));
    }

    /// Runs `tasks` at once; where that fails, each alone, so that one bad row costs only itself.
    fn run(&self, loaded: &mut Loaded, tasks: &[Task], out: &mut Vec<f64>) {
        let mut rows: Vec<Row<'_>> = Vec::with_capacity(tasks.len());
        rows.extend(tasks.iter().map(|t| Row { window: &t.vector.values, symbol: &t.series.symbol }));
        match loaded.session.run(&rows, out) {
            Ok(()) => self.read(loaded, tasks, out),
            Err(_) if tasks.len() > 1 => {
                for task in tasks {
                    self.run(loaded, std::slice::from_ref(task), out);
                }
            }
            Err(error) => {
                let reason = match error {
                    RunError::Row { .. } => Reason::UndefinedFeature,
                    RunError::Deadline { .. } => Reason::ModelTimeout,
                    _ => Reason::ModelFailed,
                };
                tasks.iter().for_each(|task| self.refuse(task, reason, error.to_string()));
            }
        }
    }

    fn read(&self, loaded: &Loaded, tasks: &[Task], out: &[f64]) {
        let names: ValueNames = loaded.session.names();
        let index = loaded.session.value_index();
        for (task, values) in tasks.iter().zip(out.chunks_exact(loaded.session.values_per_row())) {
            if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
                self.refuse(task, Reason::OutputNotFinite, format!("the model answered {bad}"));
                continue;
            }
            let model = &self.catalogue.models()[task.model as usize];
            let outputs = if names.is_empty() { Arc::default() } else { Arc::from(values) };
            self.deliver(
                task,
                Ok(Prediction {
                    model: Arc::clone(&model.name),
                    version: model.version,
                    value: values[index],
                    outputs,
                    names: Arc::clone(&names),
                }),
            );
        }
    }
}

thread_local! {
    /// Where a worker's runs leave their values.
    static VALUES: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

impl Stage for PredictStage {
    type Key = PredictKey;
    type Item = Task;

    fn batch_max(&self, _: &PredictKey) -> usize {
        self.batch_max
    }

    fn chunk_max(&self) -> usize {
        self.batch_max
    }

    fn step(&self, key: &PredictKey, tasks: &[Task]) {
        let result = self.pool.with(key.artefact, |loaded| {
            VALUES.with_borrow_mut(|out| {
                let mut rest = tasks;
                while !rest.is_empty() {
                    // Only in batches that were seen to give the same bits as alone.
                    let (batch, after) = rest.split_at(loaded.batching.largest_at_most(rest.len()));
                    self.run(loaded, batch, out);
                    rest = after;
                }
            });
        });
        if let Err(error) = result {
            tasks.iter().for_each(|task| self.refuse(task, Reason::ModelUnavailable, error.to_string()));
        }
    }

    fn panicked(&self, _: &PredictKey, task: &Task, message: &str) {
        self.refuse(task, Reason::Panicked, format!("in predict: {message}"));
    }
}
