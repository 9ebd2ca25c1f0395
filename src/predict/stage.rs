//! The predict stage: a batch of rows through one session, one outcome for each; where a version fails, the
//! one promoted before it answers the same rows.

use super::catalogue::CatalogueModel;
use super::item::PredictItem;
use super::models::Models;
use super::pool::{Loaded, Loading};
use super::session::{Row, RunError};
use super::version::{Content, Failure, Standing, Version};
use crate::alert::Severity;
use crate::domain::{Lane, Origin, Outcome, Prediction, Reason, Refusal, Task};
use crate::link::{BatchLimit, Key, Stage, clock};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// Stage 3, and what loads for it: rows whose session is not in memory go on to a second instance of it, whose
/// workers may load, so that nobody else waits for that.
pub struct PredictStage {
    models: Arc<Models>,
    batch_max: usize,
    overdue_ns: Option<u64>,
    loading: Loading,
    deliver: Box<dyn Fn(Outcome) + Send + Sync>,
}

/// What the predict stage keeps for one content: a queue. Which session runs a row is decided when it is run.
pub struct PredictKey {
    /// Where rows go whose session is not in memory; `None` where they may be loaded at once.
    pub cold: Option<Arc<Key<PredictStage>>>,
    /// How many rows a turn takes at most.
    pub batch: Arc<BatchLimit>,
}

/// A task's model and the version that is to answer.
type Chosen<'a> = (&'a Arc<CatalogueModel>, &'a Arc<Version>);

/// What a turn of [`PredictStage::run`] leaves to be done: which task, why.
type Left = Vec<(usize, Failure)>;

impl PredictStage {
    /// A stage that runs batches of at most `batch_max` rows, none of live bars that arrived longer than `overdue`
    /// ago, loads as `loading` says, and hands every outcome to `deliver`.
    pub fn new(
        models: Arc<Models>,
        (batch_max, overdue): (usize, Option<Duration>),
        loading: Loading,
        deliver: Box<dyn Fn(Outcome) + Send + Sync>,
    ) -> Self {
        let overdue_ns = overdue.map(|overdue| overdue.as_nanos() as u64);
        Self { models, batch_max, overdue_ns, loading, deliver }
    }

    /// Keeps the outcome of `task` until the turn ends: who announces a key carries it, and all outcomes have one, the
    /// store's. Handed on at once it would wait for the rest of a slow model's turn, and everybody's with it.
    fn deliver(&self, task: &Task, result: Result<Prediction, Refusal>) {
        OUTCOMES.with_borrow_mut(|outcomes| outcomes.push(task.outcome(clock::now_ns(), result)));
    }

    /// Hands on what the turn came to.
    fn hand_over(&self) {
        // Taken out: a full store is waited for here.
        let mut outcomes = OUTCOMES.take();
        outcomes.drain(..).for_each(|outcome| (self.deliver)(outcome));
        OUTCOMES.set(outcomes);
    }

    /// Answers `tasks`, each by the version that was chosen for it; all have the same content.
    fn serve(&self, key: &PredictKey, chosen: &[Chosen<'_>], tasks: &[&Task]) {
        let Some((model, version)) = chosen.first() else { return };
        let Ok(content) = version.content() else { return };
        if version.standing() == Standing::Untried && self.loading == Loading::Here {
            // Its rows wait here for its check; what comes of it shows when it is run.
            let _ = self.models.prepare(model, version);
        }
        let tried = match version.standing() {
            Standing::Untried => Ok(None),
            Standing::Failed => Err(self.failure_of(version)),
            Standing::Good | Standing::Unsteady => {
                self.models.pool.with(content, self.loading, |loaded| self.run_all(loaded, chosen, tasks))
            }
        };
        let left = match tried {
            Ok(Some(left)) => left,
            Ok(None) => return self.hand_on(key, tasks),
            Err(failure) => (0..tasks.len()).map(|at| (at, failure.clone())).collect(),
        };
        for (at, failure) in left {
            let (model, version) = chosen[at];
            self.blame(model, version, content, &failure);
            self.answer(key, model, tasks[at], vec![(Arc::clone(version), failure)]);
        }
    }

    /// Hands rows to those who may load.
    fn hand_on(&self, key: &PredictKey, tasks: &[&Task]) {
        for task in tasks {
            match &key.cold {
                Some(cold) => cold.put(Task::clone(task).into(), task.origin.lane(Lane::Normal)),
                // Whoever may load does not get here.
                None => self.refuse(task, None, Reason::ModelUnavailable, "the session went away".to_owned()),
            }
        }
    }

    /// Runs `tasks` in batches that were seen to give the same bits as alone; what failed is left.
    fn run_all(&self, loaded: &mut Loaded, chosen: &[Chosen<'_>], tasks: &[&Task]) -> Left {
        let mut left = Left::new();
        VALUES.with_borrow_mut(|out| {
            let mut from = 0;
            while from < tasks.len() {
                if self.is_overdue(chosen[from], tasks[from]) {
                    from += 1;
                    continue;
                }
                let to = from + loaded.batching.largest_at_most(tasks.len() - from);
                self.run(loaded, (from, to), (chosen, tasks), (out, &mut left));
                from = to;
            }
        });
        left
    }

    /// Whether `task` waited too long to be run; it has its outcome then.
    fn is_overdue(&self, (model, version): Chosen<'_>, task: &Task) -> bool {
        let Some(limit_ns) = self.overdue_ns.filter(|_| task.origin == Origin::Live) else { return false };
        let waited_ns = clock::now_ns().saturating_sub(task.stamps.arrived_ns);
        if waited_ns <= limit_ns {
            return false;
        }
        let detail = format!(
            "its turn came after {} ms, at most {} ms are allowed (predict.overdue_ms): the model is slower than its bars come",
            waited_ns / 1_000_000,
            limit_ns / 1_000_000
        );
        if version.content().is_ok_and(|content| content.slot.is_behind()) {
            self.models.alerts.raise(Severity::Warning, "model_behind", &model.name, detail.clone());
        }
        self.refuse(task, Some(model), Reason::Overdue, detail);
        true
    }

    /// Runs a range of the tasks at once; where that fails, each alone, so that one bad row costs only itself.
    fn run(
        &self,
        loaded: &mut Loaded,
        (from, to): (usize, usize),
        (chosen, tasks): (&[Chosen<'_>], &[&Task]),
        (out, left): (&mut Vec<f64>, &mut Left),
    ) {
        let mut rows: Vec<Row<'_>> = Vec::with_capacity(to - from);
        for ((_, version), task) in chosen[from..to].iter().zip(&tasks[from..to]) {
            // Chosen because it has one.
            let window = version.vector(task).map_or(&[][..], |vector| &vector.values);
            rows.push(Row { window, symbol: &task.series.symbol });
        }
        match loaded.session.run(&rows, out) {
            Ok(()) => self.read(loaded, (from, to), (chosen, tasks), (out, left)),
            Err(error @ RunError::Deadline { .. }) => {
                // Each alone would take as long again.
                left.extend((from..to).map(|at| (at, failure(&error))));
            }
            Err(_) if to - from > 1 => {
                for at in from..to {
                    if left.last().is_some_and(|(_, failure)| failure.reason == Reason::ModelTimeout) {
                        let failure = left.last().map(|(_, failure)| failure.clone());
                        left.extend(failure.map(|failure| (at, failure)));
                        continue;
                    }
                    self.run(loaded, (at, at + 1), (chosen, tasks), (out, left));
                }
            }
            Err(error) => left.push((from, failure(&error))),
        }
    }

    fn read(
        &self,
        loaded: &Loaded,
        (from, to): (usize, usize),
        (chosen, tasks): (&[Chosen<'_>], &[&Task]),
        (out, left): (&[f64], &mut Left),
    ) {
        let names = loaded.session.names();
        let index = loaded.session.value_index();
        for (at, values) in (from..to).zip(out.chunks_exact(loaded.session.values_per_row())) {
            if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
                let detail = format!("the model answered {bad}");
                left.push((at, Failure { reason: Reason::OutputNotFinite, detail }));
                continue;
            }
            let (model, version) = chosen[at];
            let outputs = if names.is_empty() { Arc::default() } else { Arc::from(values) };
            self.deliver(
                tasks[at],
                Ok(Prediction {
                    model: Arc::clone(&model.name),
                    version: version.number,
                    value: values[index],
                    outputs,
                    names: Arc::clone(&names),
                }),
            );
        }
    }

    /// Notes that a version failed over a row; a row at fault costs the version nothing.
    fn blame(&self, model: &CatalogueModel, version: &Version, content: &Content, failure: &Failure) {
        if failure.reason == Reason::UndefinedFeature {
            return;
        }
        if failure.reason == Reason::ModelTimeout || failure.reason == Reason::ModelUnavailable {
            self.models.pool.discard(&content.slot);
        }
        self.models.fail(model, version, failure.clone());
    }

    fn failure_of(&self, version: &Version) -> Failure {
        let known = version.failure().map(|failure| (*failure).clone());
        known.unwrap_or_else(|| Failure::unavailable("it has not been tried again yet"))
    }

    /// Answers one task by the versions that are left, in turn; `failed` says which were asked, and why they
    /// gave no answer.
    fn answer(
        &self,
        key: &PredictKey,
        model: &Arc<CatalogueModel>,
        task: &Task,
        mut failed: Vec<(Arc<Version>, Failure)>,
    ) {
        for version in model.in_turn() {
            if failed.iter().any(|(asked, _)| Arc::ptr_eq(asked, version)) {
                continue;
            }
            let (vector, content) = match (version.vector(task), version.content()) {
                (_, Err(failure)) => {
                    failed.push((Arc::clone(version), failure.clone()));
                    continue;
                }
                // The row was made for other versions than those that are promoted now.
                (None, Ok(_)) => continue,
                (Some(vector), Ok(content)) => (vector, content),
            };
            if let Some(index) = vector.undefined {
                let names = content.manifest.features.names();
                let detail = format!("{} is undefined", names[index % names.len()]);
                failed.push((Arc::clone(version), Failure { reason: Reason::UndefinedFeature, detail }));
                continue;
            }
            if version.standing() == Standing::Untried && self.loading == Loading::Here {
                let _ = self.models.prepare(model, version);
            }
            let chosen = [(model, version)];
            let tried = match version.standing() {
                Standing::Untried => Ok(None),
                Standing::Failed => Err(self.failure_of(version)),
                Standing::Good | Standing::Unsteady => {
                    self.models
                        .pool
                        .with(content, self.loading, |loaded| self.run_all(loaded, &chosen, &[task]))
                }
            };
            match tried.map(|left| left.map(|mut left| left.pop())) {
                Ok(None) => return self.hand_on(key, &[task]),
                Ok(Some(None)) => return,
                Ok(Some(Some((_, failure)))) | Err(failure) => {
                    self.blame(model, version, content, &failure);
                    failed.push((Arc::clone(version), failure));
                }
            }
        }
        failed.sort_by_key(|(version, _)| std::cmp::Reverse(version.number));
        let (reason, detail) = match failed.as_slice() {
            [] => (Reason::ModelUnavailable, "its versions changed while the bar was on its way".to_owned()),
            [(_, one)] => (one.reason, one.detail.clone()),
            [(_, newest), ..] => {
                let each = failed.iter().map(|(v, failure)| format!("version {}: {failure}", v.number));
                (newest.reason, each.collect::<Vec<_>>().join("; "))
            }
        };
        self.refuse(task, Some(model), reason, detail);
    }

    fn refuse(&self, task: &Task, model: Option<&CatalogueModel>, reason: Reason, detail: String) {
        let refusal = match model {
            Some(model) => Refusal::of_model(&model.name, reason, detail),
            None => Refusal::new(reason, detail),
        };
        self.deliver(task, Err(refusal));
    }
}

fn failure(error: &RunError) -> Failure {
    let reason = match error {
        RunError::Row { .. } => Reason::UndefinedFeature,
        RunError::Deadline { .. } => Reason::ModelTimeout,
        _ => Reason::ModelFailed,
    };
    Failure { reason, detail: error.to_string() }
}

thread_local! {
    /// Where a worker's runs leave their values.
    static VALUES: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
    /// What a worker's turn has come to so far.
    static OUTCOMES: RefCell<Vec<Outcome>> = const { RefCell::new(Vec::new()) };
}

impl Stage for PredictStage {
    type Key = PredictKey;
    type Item = PredictItem;

    fn batch_max(&self, key: &PredictKey) -> usize {
        key.batch.get()
    }

    fn chunk_max(&self) -> usize {
        self.batch_max
    }

    fn may_be_carried(&self) -> bool {
        // A worker that carried a row on would load for it, and be missing where it belongs.
        self.loading == Loading::Elsewhere
    }

    fn step(&self, key: &PredictKey, items: &[PredictItem]) {
        // A turn that panicked is repeated from its beginning.
        OUTCOMES.with_borrow_mut(Vec::clear);
        let tasks: Vec<&Task> = items.iter().filter_map(PredictItem::task).collect();
        // What is promoted at this moment decides, not what was when the bar came.
        let catalogue = self.models.catalogue.load();
        let mut chosen: Vec<Chosen<'_>> = Vec::with_capacity(tasks.len());
        let mut rest = tasks.as_slice();
        while let Some(first) = rest.first() {
            chosen.clear();
            for task in rest {
                let Some(model) = catalogue.model(task.model) else { break };
                let Some(version) = model.choose(task) else { break };
                let same = |(_, other): &Chosen<'_>| {
                    let (Ok(a), Ok(b)) = (version.content(), other.content()) else { return false };
                    Arc::ptr_eq(&a.slot, &b.slot) && version.standing() == other.standing()
                };
                if chosen.first().is_some_and(|first| !same(first)) {
                    break;
                }
                chosen.push((model, version));
            }
            let (now, later) = rest.split_at(chosen.len().max(1));
            match (chosen.is_empty(), catalogue.model(first.model)) {
                (false, _) => self.serve(key, &chosen, now),
                (true, Some(model)) => self.answer(key, model, first, Vec::new()),
                (true, None) => {
                    let detail = "the model was withdrawn while the bar was on its way".to_owned();
                    self.refuse(first, None, Reason::NoModel, detail);
                }
            }
            rest = later;
        }
        self.hand_over();
    }

    fn turned(&self, key: &PredictKey, rows: usize, service_ns: u64) {
        key.batch.note(rows, service_ns);
    }

    fn panicked(&self, _: &PredictKey, item: &PredictItem, message: &str) {
        let Some(task) = item.task() else { return };
        let catalogue = self.models.catalogue.load();
        let model = catalogue.model(task.model).map(|model| &**model);
        OUTCOMES.with_borrow_mut(Vec::clear);
        self.refuse(task, model, Reason::Panicked, format!("in predict: {message}"));
        self.hand_over();
    }
}
