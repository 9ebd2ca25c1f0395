//! Where the rows for each model go: one queue for each content, so that models that share it share batches.

use crate::config::Settings;
use crate::control::run_max_ns;
use crate::link::{BatchLimit, Key, KeyOptions, Link, LinkError};
use crate::predict::{Catalogue, CatalogueModel, PredictKey, PredictStage};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The queue of models of which no version can be tried: their rows only get the reason.
const NO_CONTENT: u64 = u64::MAX;

pub(super) type PredictQueue = Arc<Key<PredictStage>>;

/// The queues, by the models' dense numbers; replaced as a whole when the catalogue changes.
pub(super) struct Routes {
    predict: Arc<Link<PredictStage>>,
    loading: Arc<Link<PredictStage>>,
    slots: u32,
    /// Rows a run of a model takes at most, at first and for those that load; and how long it may take, in ns.
    batch: (usize, usize, u64),
    by_model: ArcSwap<Vec<Option<PredictQueue>>>,
    /// The queues that are in use, by the number of the content's slot.
    by_content: Mutex<HashMap<u64, PredictQueue>>,
}

impl Routes {
    /// No routes yet.
    pub(super) fn new(
        predict: &Arc<Link<PredictStage>>,
        loading: &Arc<Link<PredictStage>>,
        settings: &Settings,
    ) -> Self {
        // Where nothing is tuned, nothing is held back either.
        let max = settings.batch_size_max;
        let initial = if settings.controller { settings.batch_size_initial } else { max };
        Self {
            predict: Arc::clone(predict),
            loading: Arc::clone(loading),
            slots: u32::try_from(settings.predict.sessions_per_model_max).unwrap_or(u32::MAX),
            batch: (initial, max, run_max_ns(settings)),
            by_model: ArcSwap::default(),
            by_content: Mutex::default(),
        }
    }

    /// Leads every model of `catalogue` to its queue. Queues that are no longer needed go away once what
    /// waits in them has been run.
    ///
    /// # Errors
    /// When there is no room for a queue; the models it was for have no route then.
    pub(super) fn follow(&self, catalogue: &Catalogue) -> Result<(), LinkError> {
        let mut by_content = self.by_content.lock();
        let mut used = HashMap::with_capacity(by_content.len());
        let mut by_model = vec![None; catalogue.numbers()];
        let mut result = Ok(());
        for model in catalogue.models() {
            let content = content_of(model);
            let known = used.get(&content).or_else(|| by_content.get(&content)).cloned();
            let queue = match known.map_or_else(|| self.queue(), Ok) {
                Ok(queue) => queue,
                Err(error) => {
                    result = Err(error);
                    continue;
                }
            };
            by_model[model.number as usize] = Some(Arc::clone(&queue));
            used.insert(content, queue);
        }
        self.by_model.store(Arc::new(by_model));
        *by_content = used;
        result
    }

    fn queue(&self) -> Result<PredictQueue, LinkError> {
        let (initial, max, run_max_ns) = self.batch;
        let batch = |rows| Arc::new(BatchLimit::new(rows, run_max_ns));
        let cold = PredictKey { cold: None, batch: batch(max) };
        let cold = self.loading.key(cold, KeyOptions::default())?;
        let key = PredictKey { cold: Some(cold), batch: batch(initial) };
        self.predict.key(key, KeyOptions { slots: self.slots, shared: true })
    }

    /// The batch limit of every queue, with the name of a model that it is for.
    pub(super) fn batches(&self, catalogue: &Catalogue) -> Vec<(Arc<str>, Arc<BatchLimit>)> {
        let mut seen = HashSet::new();
        let queue = |model: &CatalogueModel| {
            let batch = Arc::clone(&self.of(model.number)?.data.batch);
            seen.insert(Arc::as_ptr(&batch) as usize).then(|| (Arc::clone(&model.name), batch))
        };
        catalogue.models().iter().map(AsRef::as_ref).filter_map(queue).collect()
    }

    /// The queue of a model, by its dense number, where it has one.
    pub(super) fn of(&self, model: u32) -> Option<PredictQueue> {
        self.by_model.load().get(model as usize).cloned().flatten()
    }
}

/// The content that a model's rows are most likely run with: that of its newest version that can be tried.
fn content_of(model: &CatalogueModel) -> u64 {
    let content = model.versions.iter().find_map(|version| version.content().ok());
    content.map_or(NO_CONTENT, |content| content.slot.number)
}
