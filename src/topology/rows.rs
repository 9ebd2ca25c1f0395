//! The way of a series' rows to the models' queues.

use super::routes::Routes;
use crate::domain::{Origin, Outcome, Reason, Refusal, Task};
use crate::ingest::Standing;
use crate::predict::Newest;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Takes the rows of one series on.
pub(super) struct Rows {
    pub(super) routes: Arc<Routes>,
    pub(super) standing: Arc<Standing>,
    /// To the store, for what ends here.
    pub(super) refuse: Box<dyn Fn(Outcome) + Send + Sync>,
    /// What waits for each model, by its dense number, where newer bars supersede older ones. Never contended: a
    /// series has one feature worker at a time.
    pub(super) newest: Option<Mutex<HashMap<u32, Arc<Newest>>>>,
}

impl Rows {
    pub(super) fn send(&self, task: Task) {
        let lane = task.origin.lane(self.standing.lane());
        let Some(queue) = self.routes.of(task.model) else { return (self.refuse)(without_route(&task)) };
        let Some(newest) = self.newest.as_ref().filter(|_| task.origin == Origin::Live) else {
            return queue.put(task.into(), lane);
        };
        let newest = Arc::clone(newest.lock().entry(task.model).or_default());
        let series = task.series_id;
        match newest.replace(task) {
            None => queue.put(newest.place(series), lane),
            Some(older) => (self.refuse)(superseded(&older)),
        }
    }
}

/// The outcome of a row for a model that has no queue.
fn without_route(task: &Task) -> Outcome {
    let refusal = Refusal::new(Reason::ModelUnavailable, "the model was withdrawn, or there are too many");
    task.outcome(task.stamps.featured_ns, Err(refusal))
}

/// The outcome of a row that was not run because a newer one came.
fn superseded(task: &Task) -> Outcome {
    task.outcome(task.stamps.featured_ns, Err(Refusal::superseded()))
}
