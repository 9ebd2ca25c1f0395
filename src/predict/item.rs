//! What waits for the predict stage: a row, or the place of a series in a model's queue, whose row is replaced when a
//! newer bar comes before it was run.

use crate::domain::{SeriesId, Task};
use parking_lot::Mutex;
use std::cell::{Cell, OnceCell};
use std::sync::Arc;

/// The one row of a series that waits for a model, where only the newest is to be predicted.
///
/// It keeps the place in the queue that its first bar got: whoever is replaced again and again is served no later.
#[derive(Default)]
pub struct Newest(Mutex<Option<Task>>);

impl Newest {
    /// Lets `task` wait instead of the one that waits, which is given back. Where none did, its place has to be
    /// queued. One caller at a time.
    #[must_use]
    pub fn replace(&self, task: Task) -> Option<Task> {
        self.0.lock().replace(task)
    }

    /// Its place in a queue, as one of `series`.
    pub fn place(self: &Arc<Self>, series: SeriesId) -> PredictItem {
        PredictItem { series, newest: Some(Arc::clone(self)), spent: Cell::new(false), task: OnceCell::new() }
    }
}

/// An item of the predict stage.
pub struct PredictItem {
    /// Whose row it is.
    pub series: SeriesId,
    newest: Option<Arc<Newest>>,
    /// Whether it was past its time when it was taken.
    spent: Cell<bool>,
    /// Found out once: a turn that has to be repeated sees the same row.
    task: OnceCell<Option<Task>>,
}

impl From<Task> for PredictItem {
    fn from(task: Task) -> Self {
        Self {
            series: task.series_id,
            newest: None,
            spent: Cell::new(false),
            task: OnceCell::from(Some(task)),
        }
    }
}

impl PredictItem {
    /// Whether it was past its time when it was taken: one that was not is run, if that is soon.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.get()
    }

    /// Notes whether it is past its time.
    pub(super) fn set_spent(&self, spent: bool) {
        self.spent.set(spent);
    }

    /// The row, as it stands when this is asked for the first time; `None` only where its place was queued twice.
    pub fn task(&self) -> Option<&Task> {
        let taken = || self.newest.as_ref().and_then(|newest| newest.0.lock().take());
        self.task.get_or_init(taken).as_ref()
    }
}
