//! The thread around the pure functions: it reads, decides, acts and remembers what it did.

use super::batch::{BatchRules, BatchState};
use super::decision::Decision;
use super::policy::{Rules, State, decide};
use super::routine::Routine;
use super::sample::Sample;
use crate::domain::Timestamp;
use crate::link::{BatchLimit, BatchReading, StageReading, clock};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How many decisions are remembered.
const DECISIONS_MAX: usize = 256;

/// What is controlled: stages in flow order, and models with their batch limits.
pub trait Plant: Send + Sync {
    /// The stages at this moment.
    fn stages(&self) -> Vec<StageReading>;
    /// Sets the workers of a stage, by its place; how many it has then.
    fn set_workers(&self, stage: usize, workers: usize) -> usize;
    /// The batch limits, each with the name of a model that it is for.
    fn batches(&self) -> Vec<(Arc<str>, Arc<BatchLimit>)>;
}

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// Of the stages.
    pub rules: Rules,
    /// Of the models.
    pub batch: BatchRules,
    /// Whether it decides anything; otherwise everything stays as it was set.
    pub enabled: bool,
}

/// Follows the load until it is dropped.
pub struct Controller {
    plant: Arc<dyn Plant>,
    memory: Arc<Mutex<Memory>>,
    options: Arc<ArcSwap<ControllerOptions>>,
    /// None where nothing is decided.
    routine: Option<Routine>,
}

/// What was done, and what must not be done; held while anything is changed.
#[derive(Default)]
struct Memory {
    decisions: VecDeque<Decision>,
    decided: u64,
    pinned: Vec<bool>,
}

impl Controller {
    /// Starts the thread, unless it is not to decide anything.
    pub fn start(plant: Arc<dyn Plant>, options: ControllerOptions) -> Self {
        let stages = options.rules.stages.len();
        let memory = Arc::new(Mutex::new(Memory { pinned: vec![false; stages], ..Memory::default() }));
        let options = Arc::new(ArcSwap::from_pointee(options));
        let routine = options.load().enabled.then(|| {
            let shared = Arc::clone(&memory);
            let desk = Desk { plant: Arc::clone(&plant), options: Arc::clone(&options), memory: shared };
            let of = Arc::clone(&options);
            let interval = move || Duration::from_millis(of.load().rules.interval_ms);
            let mut round = desk.begin();
            let work = move || {
                desk.stages(&mut round);
                desk.models(&mut round);
            };
            let failed = |error| tracing::error!(%error, "the system gives no thread: nothing is tuned");
            Routine::start("vela-control", interval, work).map_err(failed).ok()
        });
        Self { plant, memory, options, routine: routine.flatten() }
    }

    /// What it holds to.
    pub fn options(&self) -> Arc<ControllerOptions> {
        self.options.load_full()
    }

    /// Has it hold to other rules from its next round on; whether it decides anything stays as it was.
    pub fn set_options(&self, options: ControllerOptions) {
        let enabled = self.options.load().enabled;
        self.options.store(Arc::new(ControllerOptions { enabled, ..options }));
        self.routine.iter().for_each(Routine::wake);
    }

    /// Sets the workers of a stage by hand, by its place; they stay until [`Controller::release`]. How many it has
    /// then.
    pub fn pin(&self, stage: usize, workers: usize) -> usize {
        let mut memory = self.memory.lock();
        memory.pinned[stage] = true;
        self.plant.set_workers(stage, workers)
    }

    /// Lets the workers of a stage follow the load again.
    pub fn release(&self, stage: usize) {
        self.memory.lock().pinned[stage] = false;
    }

    /// Which stages' workers are set by hand, by their place.
    pub fn pinned(&self) -> Vec<usize> {
        let memory = self.memory.lock();
        memory.pinned.iter().enumerate().filter(|(_, pinned)| **pinned).map(|(stage, _)| stage).collect()
    }

    /// The newest decisions, the oldest of them first.
    pub fn decisions(&self) -> Vec<Decision> {
        self.memory.lock().decisions.iter().cloned().collect()
    }

    /// How many decisions there were.
    pub fn decided(&self) -> u64 {
        self.memory.lock().decided
    }

    /// Ends the thread; everything stays as it is then.
    pub fn stop(&self) {
        self.routine.iter().for_each(Routine::stop);
    }
}

/// What the thread works with.
struct Desk {
    plant: Arc<dyn Plant>,
    options: Arc<ArcSwap<ControllerOptions>>,
    memory: Arc<Mutex<Memory>>,
}

/// What it knows from one round to the next.
struct Round {
    at_ns: u64,
    stages: Vec<StageReading>,
    state: State,
    models: HashMap<usize, Model>,
}

struct Model {
    limit: Weak<BatchLimit>,
    before: BatchReading,
    state: BatchState,
}

impl Desk {
    fn begin(&self) -> Round {
        Round {
            at_ns: clock::now_ns(),
            stages: self.plant.stages(),
            state: State::default(),
            models: HashMap::new(),
        }
    }

    fn stages(&self, round: &mut Round) {
        let (now_ns, now) = (clock::now_ns(), self.plant.stages());
        let lasted_ns = now_ns - round.at_ns;
        let mut memory = self.memory.lock();
        let each = now.iter().zip(&round.stages).zip(&memory.pinned);
        let seen: Vec<Sample> = each
            .map(|((now, before), pinned)| Sample { pinned: *pinned, ..sample(now, before, lasted_ns) })
            .collect();
        let state = std::mem::take(&mut round.state);
        let (state, changes) = decide(&self.options.load().rules, state, &seen, now_ns / 1_000_000);
        round.state = state;
        for change in changes {
            let to = self.plant.set_workers(change.stage, change.to);
            let subject = now[change.stage].name;
            let (from, why, seen) = (change.from, change.why, change.seen);
            tracing::info!(stage = subject, from, to, why = why.word(), %seen, "workers");
            memory.keep(Decision { what: "workers", ..decision(subject, (from, to), why, seen) });
        }
        drop(memory);
        (round.at_ns, round.stages) = (now_ns, now);
    }

    fn models(&self, round: &mut Round) {
        for (name, limit) in self.plant.batches() {
            let known = round.models.entry(Arc::as_ptr(&limit) as usize);
            let model = known.or_insert_with(|| Model::new(&limit));
            if !model.limit.upgrade().is_some_and(|known| Arc::ptr_eq(&known, &limit)) {
                // Another one has come to lie where one that is gone lay.
                *model = Model::new(&limit);
            }
            let (rows, now) = (limit.get(), limit.read());
            let state = std::mem::take(&mut model.state);
            let (state, change) = state.step(self.options.load().batch, rows, &now.since(&model.before));
            (model.state, model.before) = (state, now);
            if let Some((to, why, seen)) = change {
                limit.set(to);
                tracing::debug!(model = %name, from = rows, to, why = why.word(), %seen, "rows a run");
                self.memory
                    .lock()
                    .keep(Decision { what: "batch_rows", ..decision(&name, (rows, to), why, seen) });
            }
        }
        round.models.retain(|_, model| model.limit.strong_count() > 0);
    }
}

impl Model {
    fn new(limit: &Arc<BatchLimit>) -> Self {
        Self { limit: Arc::downgrade(limit), before: BatchReading::default(), state: BatchState::default() }
    }
}

impl Memory {
    fn keep(&mut self, decision: Decision) {
        self.decided += 1;
        if self.decisions.len() == DECISIONS_MAX {
            self.decisions.pop_front();
        }
        self.decisions.push_back(decision);
    }
}

fn decision(
    subject: &str,
    (from, to): (usize, usize),
    why: super::DecisionWhy,
    seen: super::DecisionSeen,
) -> Decision {
    let (at, subject) = (Timestamp::now().to_string(), subject.to_owned());
    Decision { at, subject, what: "", from, to, why, seen }
}

/// What a stage did between two readings.
fn sample(now: &StageReading, before: &StageReading, lasted_ns: u64) -> Sample {
    let between = now.meter.since(&before.meter);
    Sample {
        workers: now.workers,
        parallel: now.parallel,
        pinned: false,
        lasted_ns,
        // What waits more than before has come and was not handled.
        arrivals: (between.items + now.depth as u64).saturating_sub(before.depth as u64),
        items: between.items,
        busy_ns: between.busy_ns,
        blocked_ns: between.blocked_ns,
        wait_p99_ns: between.queue_wait.value_at_quantile(0.99),
        depth: now.depth,
    }
}
