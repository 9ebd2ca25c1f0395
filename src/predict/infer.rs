//! Inference by callers: a named model over tensors of theirs, beside the pipeline and never in its way.
//!
//! Its sessions are its own, so that a bar neither waits for a caller's run nor loses its session to it; which version
//! answers is decided as it is for bars. What a caller's tensors do to a version changes nothing of how it stands.

use super::catalogue::CatalogueModel;
use super::failure::Failure;
use super::models::Models;
use super::pool::{Content, Loaded, Loading, Pool, PoolLimits, Slot, Slots};
use super::session::{RunError, Tensor};
use super::signature::{Port, Shape};
use super::version::{Standing, Version};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// There is no such model, or no such version among the promoted ones, or a caller unloaded it.
    #[error("{0}")]
    Unknown(String),
    /// The tensors are not what the model takes.
    #[error("{0}")]
    Tensors(String),
    /// No version of it can answer now.
    #[error("{0}")]
    Unavailable(String),
    /// The run took longer than `predict.deadline_ms`.
    #[error("{0}")]
    Deadline(String),
    /// The model failed, or answered NaN or infinity.
    #[error("{0}")]
    Failed(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// The version that answered.
    pub version: u32,
    /// Its outputs, in the graph's order.
    pub outputs: Vec<Tensor>,
    /// Rows that were run.
    pub rows: usize,
    /// From the call until a session was there, in ns.
    pub queue_ns: u64,
    /// The run, in ns.
    pub run_ns: u64,
}

/// What a version takes and gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// Its inputs.
    pub inputs: Vec<Port>,
    /// Its outputs.
    pub outputs: Vec<Port>,
    /// Rows of a run at most; 1 where the graph was exported for one.
    pub rows_max: usize,
}

/// Where a content is run for callers.
struct Place {
    /// Of its sessions, which are none of the engine's.
    slot: Arc<Slot>,
    /// Known once the first of them is there.
    described: OnceLock<Arc<Described>>,
}

/// The models of an engine, for callers.
pub struct Inference {
    models: Arc<Models>,
    pool: Pool,
    /// By the number of the content's place in the engine.
    places: Mutex<HashMap<u64, Arc<Place>>>,
    /// Models that a caller took away; the pipeline keeps them.
    unloaded: Mutex<HashSet<String>>,
}

impl Inference {
    /// For `models`, with at most `sessions_max` sessions of its own.
    pub fn new(models: Arc<Models>, sessions_max: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = Arc::new(Slots::new((2 * cores).clamp(2, 16).min(sessions_max)));
        let limits = PoolLimits { sessions_max, ..models.pool.limits() };
        let pool = Pool::new(models.pool.runtime(), slots, limits);
        Self { models, pool, places: Mutex::default(), unloaded: Mutex::default() }
    }

    /// The model of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn model(&self, name: &str) -> Result<Arc<CatalogueModel>, InferError> {
        let catalogue = self.models.catalogue();
        let models = catalogue.models();
        let at = models.binary_search_by(|model| (*model.name).cmp(name));
        at.map(|at| Arc::clone(&models[at])).map_err(|_| {
            InferError::Unknown(format!("there is no model `{name}`, or none of its versions is promoted"))
        })
    }

    /// Whether a version of the model, or that one, can be asked.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn ready(&self, name: &str, version: Option<u32>) -> Result<(), InferError> {
        let model = self.model(name)?;
        self.loaded(name)?;
        let versions = versions(&model, version)?;
        let able = |version: &&Arc<Version>| version.standing() != Standing::Failed;
        versions.iter().any(able).then_some(()).ok_or_else(|| unable(versions[0]))
    }

    fn loaded(&self, name: &str) -> Result<(), InferError> {
        if self.unloaded.lock().contains(name) {
            let detail =
                format!("`{name}` was unloaded: POST /v2/repository/models/{name}/load brings it back");
            return Err(InferError::Unknown(detail));
        }
        Ok(())
    }

    /// Has the model ready to answer.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn load(&self, name: &str) -> Result<(), InferError> {
        self.model(name)?;
        self.unloaded.lock().remove(name);
        self.describe(name, None).map(drop)
    }

    /// Gives the model's sessions back, and answers for it no more until it is loaded. Bars are predicted all the same.
    ///
    /// # Errors
    /// When there is no such model.
    pub fn unload(&self, name: &str) -> Result<(), InferError> {
        let model = self.model(name)?;
        self.unloaded.lock().insert(name.to_owned());
        for version in &model.versions {
            let Ok(content) = version.content() else { continue };
            let place = self.places.lock().remove(&content.slot.number);
            if let Some(place) = place {
                self.pool.discard(&place.slot);
            }
        }
        Ok(())
    }

    /// What a version takes and gives: that one, or the one that answers.
    ///
    /// # Errors
    /// Why that cannot be said.
    pub fn describe(&self, name: &str, version: Option<u32>) -> Result<Arc<Described>, InferError> {
        self.loaded(name)?;
        let model = self.model(name)?;
        let mut first = None;
        for version in versions(&model, version)? {
            match self.with(&model, version, None, |described, _| Arc::clone(described)) {
                Ok(described) => return Ok(described),
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        Err(first.unwrap_or_else(|| InferError::Unavailable(format!("`{name}` has no version"))))
    }

    /// Runs `inputs` by version `version` of a model, or by the one that answers for bars, and where that fails by the
    /// one promoted before it. A session that is busy is waited for until `timeout` is over, where there is one.
    ///
    /// # Errors
    /// Why there is no answer; that of the newest version asked.
    pub fn run(
        &self,
        name: &str,
        version: Option<u32>,
        inputs: &[Tensor],
        timeout: Option<Duration>,
    ) -> Result<Inferred, InferError> {
        let begin = Instant::now();
        let until = timeout.and_then(|timeout| begin.checked_add(timeout));
        self.loaded(name)?;
        let model = self.model(name)?;
        let mut first = None;
        for version in versions(&model, version)? {
            let run = |described: &Arc<Described>, loaded: &mut Loaded| {
                let queue_ns = begin.elapsed().as_nanos() as u64;
                let rows = fit(described, inputs)?;
                let at = Instant::now();
                let outputs = loaded.session.infer(inputs).map_err(|error| failed(&error))?;
                let run_ns = at.elapsed().as_nanos() as u64;
                for tensor in &outputs {
                    if let Some(at) = tensor.data.first_not_finite() {
                        let name = &tensor.name;
                        let detail =
                            format!("the model answered NaN or infinity: output `{name}`, value {at}");
                        return Err(InferError::Failed(detail));
                    }
                }
                Ok(Inferred { version: version.number, outputs, rows, queue_ns, run_ns })
            };
            match self.with(&model, version, until, run).and_then(|result| result) {
                Ok(inferred) => return Ok(inferred),
                // No other version is asked what this one cannot be: the tensors are at fault.
                Err(error @ InferError::Tensors(_)) => return Err(first.unwrap_or(error)),
                Err(error) => {
                    if let (InferError::Deadline(_), Ok(content)) = (&error, version.content()) {
                        // What being ended did to the session is not known.
                        self.pool.discard(&self.place(content).slot);
                    }
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| InferError::Unavailable(format!("`{name}` has no version"))))
    }

    /// Gives `work` a session of a version, and what is known of it.
    fn with<T>(
        &self,
        model: &CatalogueModel,
        version: &Version,
        until: Option<Instant>,
        work: impl FnOnce(&Arc<Described>, &mut Loaded) -> T,
    ) -> Result<T, InferError> {
        let unavailable = |failure: &Failure| InferError::Unavailable(failure.to_string());
        let content = version.content().map_err(unavailable)?;
        if version.standing() == Standing::Untried {
            self.models.prepare(model, version).map_err(|failure| unavailable(&failure))?;
        }
        if version.standing() == Standing::Failed {
            return Err(unable(version));
        }
        let place = self.place(content);
        let own = Content { slot: Arc::clone(&place.slot), ..content.clone() };
        let given = self.pool.with(&own, until.map_or(Loading::Here, Loading::Until), |loaded| {
            let described = place.described.get_or_init(|| Arc::new(self.describe_session(loaded)));
            work(described, loaded)
        });
        let given = given.map_err(|failure| unavailable(&failure))?;
        given.ok_or_else(|| {
            InferError::Unavailable("no session was free before the request's `timeout` was over".to_owned())
        })
    }

    /// Where `content` is run.
    fn place(&self, content: &Content) -> Arc<Place> {
        if let Some(known) = self.places.lock().get(&content.slot.number) {
            return Arc::clone(known);
        }
        let catalogue = self.models.catalogue();
        let versions = catalogue.models().iter().flat_map(|model| &model.versions);
        let promoted: HashSet<u64> =
            versions.filter_map(|version| Some(version.content().ok()?.slot.number)).collect();
        let mut places = self.places.lock();
        // What is promoted no more takes its sessions with it.
        places.retain(|number, _| promoted.contains(number));
        let fresh =
            || Arc::new(Place { slot: self.pool.slots().apart(&content.slot), described: OnceLock::new() });
        Arc::clone(places.entry(content.slot.number).or_insert_with(fresh))
    }

    fn describe_session(&self, loaded: &Loaded) -> Described {
        let session = &loaded.session;
        let rows_max = session.batch_max().min(self.pool.limits().batch_max);
        Described { inputs: session.input_ports(), outputs: session.output_ports(), rows_max }
    }
}

/// Why a version that failed does not answer.
fn unable(version: &Version) -> InferError {
    let failure = version.failure().map(|failure| failure.to_string());
    InferError::Unavailable(failure.unwrap_or_else(|| "it cannot be loaded".to_owned()))
}

/// The versions to be asked, in turn.
fn versions(model: &CatalogueModel, version: Option<u32>) -> Result<Vec<&Arc<Version>>, InferError> {
    let Some(number) = version else { return Ok(model.in_turn()) };
    let found = model.versions.iter().find(|version| version.number == number);
    found.map(|version| vec![version]).ok_or_else(|| {
        let promoted: Vec<String> = model.versions.iter().map(|version| version.number.to_string()).collect();
        let (name, promoted) = (&model.name, promoted.join(", "));
        InferError::Unknown(format!("version {number} of `{name}` is not promoted: {promoted} are"))
    })
}

/// How many rows `inputs` have, where they are what `described` takes.
fn fit(described: &Described, inputs: &[Tensor]) -> Result<usize, InferError> {
    let wrong = |detail: String| Err(InferError::Tensors(detail));
    let names =
        || described.inputs.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>().join(", ");
    if let Some(tensor) =
        inputs.iter().find(|tensor| described.inputs.iter().all(|port| port.name != tensor.name))
    {
        return wrong(format!("there is no input `{}`: {} are there", tensor.name, names()));
    }
    let mut rows = None;
    for Port { name, shape } in &described.inputs {
        let mut given = inputs.iter().filter(|tensor| tensor.name == *name);
        let (Some(tensor), None) = (given.next(), given.next()) else {
            return wrong(format!("the input `{name}` has to be given, once: {} are taken", names()));
        };
        let Shape::Tensor(element, dims) = shape else {
            return wrong(format!("the input `{name}` is no tensor"));
        };
        if tensor.data.element() != *element {
            return wrong(format!("input `{name}`: {shape} is taken, {} was sent", tensor.data.element()));
        }
        let fits = tensor.shape.len() == dims.len()
            && tensor.shape.iter().zip(dims).all(|(have, want)| *have >= 1 && (*want < 0 || have == want));
        if !fits {
            return wrong(format!("input `{name}`: {shape} is taken, the shape {:?} was sent", tensor.shape));
        }
        let count = tensor.shape.iter().try_fold(1_i64, |n, dim| n.checked_mul(*dim));
        if count != i64::try_from(tensor.data.len()).ok() {
            let have = tensor.data.len();
            return wrong(format!("input `{name}`: {have} values do not fill the shape {:?}", tensor.shape));
        }
        if let Some(at) = tensor.data.first_not_finite() {
            return wrong(format!(
                "input `{name}`: value {at} is NaN or infinite, which models turn into plausible numbers"
            ));
        }
        let of_this = tensor.shape.first().copied().unwrap_or(1);
        if *rows.get_or_insert(of_this) != of_this {
            return wrong(format!("input `{name}` has {of_this} rows, another has others"));
        }
    }
    let rows = usize::try_from(rows.unwrap_or(1)).unwrap_or(usize::MAX);
    if rows > described.rows_max {
        return wrong(format!("{rows} rows: at most {} are run at once", described.rows_max));
    }
    Ok(rows)
}

fn failed(error: &RunError) -> InferError {
    match error {
        RunError::Deadline { .. } => InferError::Deadline(error.to_string()),
        RunError::Rows { .. } | RunError::Row { .. } => InferError::Tensors(error.to_string()),
        _ => InferError::Failed(error.to_string()),
    }
}
