//! The predict stage: a batch of rows through one session, one outcome for each; where a version fails, the
//! one promoted before it answers the same rows.

mod turn;

use super::item::PredictItem;
use super::models::Models;
use super::pool::Loading;
use crate::domain::{Origin, Outcome, Reason, Task};
use crate::link::{BatchLimit, Key, Stage};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use turn::{Scratch, Turn};

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

    /// How long a row of a live bar has waited at `now_ns`, in ns, where that is too long.
    fn overdue(&self, task: &Task, now_ns: u64) -> Option<u64> {
        let limit_ns = self.overdue_ns.filter(|_| task.origin == Origin::Live)?;
        let waited_ns = now_ns.saturating_sub(task.stamps.arrived_ns);
        (waited_ns > limit_ns).then_some(waited_ns)
    }

    /// A turn in this thread's memory.
    fn turn(&self, key: &PredictKey, work: impl FnOnce(&mut Turn<'_>)) {
        // A turn that panics takes it along, with what it came to so far: it is repeated from its beginning.
        let mut turn = Turn::new(self, key, SCRATCH.take());
        work(&mut turn);
        SCRATCH.set(turn.hand_over());
    }
}

thread_local! {
    /// What turns are worked out in, kept from turn to turn.
    static SCRATCH: Cell<Scratch> = Cell::default();
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
        // What is promoted at this moment decides, not what was when the bar came.
        let catalogue = self.models.catalogue.load();
        self.turn(key, |turn| turn.answer_all(&catalogue, items));
    }

    fn is_spent(&self, item: &PredictItem, now_ns: u64) -> bool {
        let spent =
            self.overdue_ns.is_some() && item.task().is_some_and(|task| self.overdue(task, now_ns).is_some());
        item.set_spent(spent);
        spent
    }

    fn series(&self, item: &PredictItem) -> u32 {
        item.series.0
    }

    fn turned(&self, key: &PredictKey, rows: usize, service_ns: u64) {
        key.batch.note(rows, service_ns);
    }

    fn panicked(&self, key: &PredictKey, item: &PredictItem, message: &str) {
        let Some(task) = item.task() else { return };
        let catalogue = self.models.catalogue.load();
        let model = catalogue.model(task.model).map(|model| &**model);
        let detail = format!("in predict: {message}");
        self.turn(key, |turn| turn.refuse(task, model, Reason::Panicked, detail));
    }
}
