//! One turn of the predict stage: which version answers each row, the runs, and what becomes of rows over which a
//! version fails.

use super::{PredictKey, PredictStage};
use crate::alert::Severity;
use crate::domain::{Lane, Outcome, Prediction, Reason, Refusal, Task};
use crate::link::clock;
use crate::predict::catalogue::{Catalogue, CatalogueModel};
use crate::predict::failure::Failure;
use crate::predict::item::PredictItem;
use crate::predict::pool::{Content, Loaded, Loading};
use crate::predict::reuse::reused;
use crate::predict::session::{Row, RunError};
use crate::predict::version::{Standing, Version};
use std::sync::Arc;

/// A row, and who is to answer it.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    task: &'a Task,
    model: &'a Arc<CatalogueModel>,
    version: &'a Arc<Version>,
}

impl Chosen<'_> {
    /// Whether both are answered by the same session.
    fn goes_with(&self, other: &Self) -> bool {
        let (Ok(a), Ok(b)) = (self.version.content(), other.version.content()) else { return false };
        Arc::ptr_eq(&a.slot, &b.slot) && self.version.standing() == other.version.standing()
    }
}

/// What a run leaves to be done: which of the rows, why.
type Left = Vec<(usize, Failure)>;

/// The memory of a turn, empty between two.
#[derive(Default)]
pub(super) struct Scratch {
    chosen: Vec<Chosen<'static>>,
    rows: Vec<Row<'static>>,
    values: Vec<f64>,
    outcomes: Vec<Outcome>,
}

/// A turn over some items of one key.
pub(super) struct Turn<'a> {
    stage: &'a PredictStage,
    key: &'a PredictKey,
    scratch: Scratch,
}

impl<'a> Turn<'a> {
    pub(super) fn new(stage: &'a PredictStage, key: &'a PredictKey, scratch: Scratch) -> Self {
        Self { stage, key, scratch }
    }

    /// Hands on what the turn came to; the memory for the next.
    pub(super) fn hand_over(self) -> Scratch {
        let mut scratch = self.scratch;
        // A full store is waited for here.
        scratch.outcomes.drain(..).for_each(|outcome| (self.stage.deliver)(outcome));
        scratch
    }

    /// Answers `items`, each by the version that is its model's best now.
    pub(super) fn answer_all(&mut self, catalogue: &Catalogue, items: &[PredictItem]) {
        let begin_ns = clock::now_ns();
        let mut chosen: Vec<Chosen<'_>> = reused(std::mem::take(&mut self.scratch.chosen));
        for (item, task) in items.iter().filter_map(|item| Some((item, item.task()?))) {
            let model = catalogue.model(task.model);
            let next = model.and_then(|model| Some(Chosen { task, model, version: model.choose(task)? }));
            if let Some(next) = next.filter(|_| item.is_spent()) {
                self.is_overdue(&next, begin_ns);
                continue;
            }
            if !chosen.first().zip(next.as_ref()).is_some_and(|(first, next)| first.goes_with(next)) {
                self.serve(&chosen);
                chosen.clear();
            }
            match (next, model) {
                (Some(next), _) => chosen.push(next),
                (None, Some(model)) => self.answer(model, task, Vec::new()),
                (None, None) => {
                    let detail = "the model was withdrawn while the bar was on its way".to_owned();
                    self.refuse(task, None, Reason::NoModel, detail);
                }
            }
        }
        self.serve(&chosen);
        self.scratch.chosen = reused(chosen);
    }

    /// Keeps the outcome of `task` until the turn ends: who announces a key carries it, and all outcomes have one, the
    /// store's. Handed on at once it would wait for the rest of a slow model's turn, and everybody's with it.
    fn deliver(&mut self, task: &Task, result: Result<Prediction, Refusal>) {
        self.scratch.outcomes.push(task.outcome(clock::now_ns(), result));
    }

    /// Answers rows by the versions that were chosen for them; all have the same content.
    fn serve(&mut self, chosen: &[Chosen<'_>]) {
        let Some(&Chosen { model, version, .. }) = chosen.first() else { return };
        let Ok(content) = version.content() else { return };
        let left = match self.run_by(model, version, content, chosen) {
            Ok(Some(left)) => left,
            Ok(None) => return chosen.iter().for_each(|chosen| self.hand_on(chosen.task)),
            Err(failure) => (0..chosen.len()).map(|at| (at, failure.clone())).collect(),
        };
        for (at, failure) in left {
            let Chosen { task, model, version } = chosen[at];
            self.blame(model, version, content, &failure);
            self.answer(model, task, vec![(Arc::clone(version), failure)]);
        }
    }

    /// Runs rows by one version, which is tried before where that is due; `None` where it has to be loaded, and not here.
    fn run_by(
        &mut self,
        model: &CatalogueModel,
        version: &Version,
        content: &Content,
        chosen: &[Chosen<'_>],
    ) -> Result<Option<Left>, Failure> {
        let stage = self.stage;
        if version.standing() == Standing::Untried && stage.loading == Loading::Here {
            // Its rows wait here for its check; what comes of it shows when it is run.
            let _ = stage.models.prepare(model, version);
        }
        match version.standing() {
            Standing::Untried => Ok(None),
            Standing::Failed => Err(failure_of(version)),
            Standing::Good | Standing::Unsteady => {
                stage.models.pool.with(content, stage.loading, |loaded| self.run_all(loaded, chosen))
            }
        }
    }

    /// Hands a row to those who may load.
    fn hand_on(&mut self, task: &Task) {
        match &self.key.cold {
            Some(cold) => cold.put(Task::clone(task).into(), task.origin.lane(Lane::Normal)),
            // Whoever may load does not get here.
            None => self.refuse(task, None, Reason::ModelUnavailable, "the session went away".to_owned()),
        }
    }

    /// Runs rows in batches that were seen to give the same bits as alone; what failed is left.
    fn run_all(&mut self, loaded: &mut Loaded, chosen: &[Chosen<'_>]) -> Left {
        let mut left = Left::new();
        let mut from = 0;
        while from < chosen.len() {
            // What was in time when the turn began is run, unless the turn takes long.
            let patience_ns = self.stage.overdue_ns.unwrap_or_default() / 10;
            if self.is_overdue(&chosen[from], clock::now_ns().saturating_sub(patience_ns)) {
                from += 1;
                continue;
            }
            let to = from + loaded.batching.largest_at_most(chosen.len() - from);
            self.run(loaded, (from, to), chosen, &mut left);
            from = to;
        }
        left
    }

    /// Whether a row waited too long to be run; it has its outcome then.
    fn is_overdue(&mut self, &Chosen { task, model, version }: &Chosen<'_>, now_ns: u64) -> bool {
        let Some(waited_ns) = self.stage.overdue(task, now_ns) else { return false };
        let detail = format!(
            "its turn came after {} ms, at most {} ms are allowed (predict.overdue_ms): the model is slower than its bars come",
            waited_ns / 1_000_000,
            self.stage.overdue_ns.unwrap_or_default() / 1_000_000
        );
        if version.content().is_ok_and(|content| content.slot.is_behind()) {
            self.stage.models.alerts.raise(Severity::Warning, "model_behind", &model.name, detail.clone());
        }
        self.refuse(task, Some(model), Reason::Overdue, detail);
        true
    }

    /// Runs a range of the rows at once; where that fails, each alone, so that one bad row costs only itself.
    fn run(
        &mut self,
        loaded: &mut Loaded,
        (from, to): (usize, usize),
        chosen: &[Chosen<'_>],
        left: &mut Left,
    ) {
        let mut rows: Vec<Row<'_>> = reused(std::mem::take(&mut self.scratch.rows));
        rows.extend(chosen[from..to].iter().map(|Chosen { task, version, .. }| {
            // Chosen because it has one.
            let window = version.vector(task).map_or(&[][..], |vector| &vector.values);
            Row { window, symbol: &task.series.symbol }
        }));
        let result = loaded.session.run(&rows, &mut self.scratch.values);
        self.scratch.rows = reused(rows);
        match result {
            Ok(()) => self.read(loaded, (from, to), chosen, left),
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
                    self.run(loaded, (at, at + 1), chosen, left);
                }
            }
            Err(error) => left.push((from, failure(&error))),
        }
    }

    /// Reads what the run of a range came to.
    fn read(&mut self, loaded: &Loaded, (from, to): (usize, usize), chosen: &[Chosen<'_>], left: &mut Left) {
        let names = loaded.session.names();
        let index = loaded.session.value_index();
        let all = std::mem::take(&mut self.scratch.values);
        for (at, values) in (from..to).zip(all.chunks_exact(loaded.session.values_per_row())) {
            if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
                let detail = format!("the model answered {bad}");
                left.push((at, Failure { reason: Reason::OutputNotFinite, detail }));
                continue;
            }
            let Chosen { task, model, version } = chosen[at];
            let prediction = Prediction {
                model: Arc::clone(&model.name),
                version: version.number,
                value: values[index],
                // Where there are more than the one, the outcome owns them.
                outputs: if names.is_empty() { Arc::default() } else { Arc::from(values) },
                names: Arc::clone(&names),
            };
            self.deliver(task, Ok(prediction));
        }
        self.scratch.values = all;
    }

    /// Notes that a version failed over a row; a row at fault costs the version nothing.
    fn blame(&self, model: &CatalogueModel, version: &Version, content: &Content, failure: &Failure) {
        if failure.reason == Reason::UndefinedFeature {
            return;
        }
        if failure.reason == Reason::ModelTimeout || failure.reason == Reason::ModelUnavailable {
            self.stage.models.pool.discard(&content.slot);
        }
        self.stage.models.fail(model, version, failure.clone());
    }

    /// Answers one row by the versions that are left, in turn; `failed` says which were asked, and why they
    /// gave no answer.
    fn answer(&mut self, model: &Arc<CatalogueModel>, task: &Task, mut failed: Vec<(Arc<Version>, Failure)>) {
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
            let tried = self.run_by(model, version, content, &[Chosen { task, model, version }]);
            match tried.map(|left| left.map(|mut left| left.pop())) {
                Ok(None) => return self.hand_on(task),
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

    /// The reason why a row has no prediction.
    pub(super) fn refuse(
        &mut self,
        task: &Task,
        model: Option<&CatalogueModel>,
        reason: Reason,
        detail: String,
    ) {
        let refusal = match model {
            Some(model) => Refusal::of_model(&model.name, reason, detail),
            None => Refusal::new(reason, detail),
        };
        self.deliver(task, Err(refusal));
    }
}

fn failure_of(version: &Version) -> Failure {
    let known = version.failure().map(|failure| (*failure).clone());
    known.unwrap_or_else(|| Failure::unavailable("it has not been tried again yet"))
}

fn failure(error: &RunError) -> Failure {
    let reason = match error {
        RunError::Row { .. } => Reason::UndefinedFeature,
        RunError::Deadline { .. } => Reason::ModelTimeout,
        _ => Reason::ModelFailed,
    };
    Failure { reason, detail: error.to_string() }
}
