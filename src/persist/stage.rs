//! The persist stage: one key, so that one worker at a time writes whatever has piled up.

use super::{Ledger, Outlets, Progress};
use crate::domain::{AlertEvent, Outcome, SeriesKey, SymbolPerformance, Timestamp, pause_ms};
use crate::link::{Stage, clock};
use crate::store::{Gauge, Store, StoreError, StoreReading};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How many outcomes go into one transaction at most: beyond this a larger batch is no cheaper by row.
const BATCH_MAX: usize = 1024;

/// How often a store may panic over the same rows before they count as never to be written.
const PANICS_MAX: u32 = 3;

/// Stage 4.
pub struct PersistStage {
    /// There is one key: whoever reports comes between two batches now and then, nobody else.
    state: Mutex<State>,
    /// Ends when the run must end: a store that is away is not waited for any longer.
    give_up: Receiver<()>,
    unsaved: AtomicU64,
    retries: AtomicU64,
    /// While it pauses before it asks a store again.
    pausing: AtomicBool,
    /// Since when the store has failed, by the clock; 0 while it takes what it is given.
    failing_since_ns: AtomicU64,
    gauge: Option<Gauge>,
    /// What came out.
    pub ledger: Arc<Ledger>,
    /// Who is told.
    pub outlets: Arc<Outlets>,
}

struct State {
    store: Box<dyn Store>,
    progress: Progress,
    watermarks: HashMap<Arc<SeriesKey>, Timestamp>,
    /// Series of which an outcome was not stored: a watermark behind it would hide it from the next start.
    behind: HashSet<Arc<SeriesKey>>,
}

/// The stage has one key, and keeps nothing for it.
pub struct PersistKey;

impl PersistStage {
    /// A stage that writes into `store`; a store that fails is tried again until `give_up` ends.
    pub fn new(
        store: Box<dyn Store>,
        ledger: Arc<Ledger>,
        outlets: Arc<Outlets>,
        give_up: Receiver<()>,
    ) -> Self {
        let gauge = store.gauge();
        let state = State {
            store,
            progress: Progress::default(),
            watermarks: HashMap::new(),
            behind: HashSet::new(),
        };
        Self {
            state: Mutex::new(state),
            give_up,
            unsaved: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            pausing: AtomicBool::new(false),
            failing_since_ns: AtomicU64::new(0),
            gauge,
            ledger,
            outlets,
        }
    }

    /// Outcomes that no store took: they were logged, and their bars are predicted again at the next start.
    pub fn unsaved(&self) -> u64 {
        self.unsaved.load(Ordering::Relaxed)
    }

    /// How often a store has failed, and whether it is about to be asked again: it is away then, and this stage does not
    /// stand still.
    pub fn retries(&self) -> (u64, bool) {
        (self.retries.load(Ordering::Relaxed), self.pausing.load(Ordering::Relaxed))
    }

    /// How the store is.
    pub fn store(&self) -> StoreReading {
        let reading = self.gauge.as_ref().map_or_else(StoreReading::default, |gauge| gauge());
        let failing = match self.failing_since_ns.load(Ordering::Relaxed) {
            0 => None,
            since_ns => Some(Duration::from_nanos(clock::now_ns().saturating_sub(since_ns))),
        };
        StoreReading { away: reading.away.max(failing), ..reading }
    }

    /// Stores what the process says of itself, between two batches; `None` where one was in work for `patience`.
    pub fn report(
        &self,
        performance: &[SymbolPerformance],
        alerts: &[AlertEvent],
        patience: Duration,
    ) -> Option<Result<(), StoreError>> {
        let mut state = self.state.try_lock_for(patience)?;
        let report = AssertUnwindSafe(|| state.store.report(performance, alerts));
        Some(catch_unwind(report).unwrap_or_else(|_| Err(panicked(false))))
    }

    /// Has the store make durable what it has written, between two batches; `None` where one was in work for `patience`.
    pub fn settle(&self, patience: Duration) -> Option<Result<(), StoreError>> {
        let mut state = self.state.try_lock_for(patience)?;
        let settle = AssertUnwindSafe(|| state.store.settle());
        Some(catch_unwind(settle).unwrap_or_else(|_| Err(panicked(false))))
    }

    /// Makes everything durable and ends every subscription.
    ///
    /// # Errors
    /// What the store says.
    pub fn finish(&self) -> Result<(), StoreError> {
        self.outlets.close();
        self.state.lock().store.finish()
    }

    /// Writes until the store took it, it said that it never will, or the run must end.
    fn write(
        &self,
        store: &mut dyn Store,
        outcomes: &[Outcome],
        watermarks: &[(Arc<SeriesKey>, Timestamp)],
    ) -> Result<(), StoreError> {
        for attempt in 1.. {
            // A store of the caller's own may panic: that is a failure like others, and costs no outcome.
            let written = catch_unwind(AssertUnwindSafe(|| store.write(outcomes, watermarks)));
            let error = match written {
                Ok(Ok(())) => {
                    self.failing_since_ns.store(0, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(Err(error)) => error,
                Err(_) => panicked(attempt < PANICS_MAX),
            };
            if !error.retryable {
                return Err(error);
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            if attempt == 1 {
                self.failing_since_ns.store(clock::now_ns(), Ordering::Relaxed);
            }
            let pause = Duration::from_millis(pause_ms(attempt, clock::now_ns()));
            tracing::warn!(%error, attempt, pause_ms = pause.as_millis() as u64, "store failed; will try again");
            self.pausing.store(true, Ordering::Relaxed);
            let given_up = self.give_up.recv_timeout(pause) != Err(RecvTimeoutError::Timeout);
            self.pausing.store(false, Ordering::Relaxed);
            if given_up {
                return Err(error);
            }
        }
        unreachable!("attempts do not run out")
    }
}

fn panicked(retryable: bool) -> StoreError {
    StoreError { store: "store".to_owned(), problem: "it panicked".to_owned(), retryable }
}

impl Stage for PersistStage {
    type Key = PersistKey;
    type Item = Outcome;

    fn batch_max(&self, _: &PersistKey) -> usize {
        BATCH_MAX
    }

    fn chunk_max(&self) -> usize {
        BATCH_MAX
    }

    fn step(&self, _: &PersistKey, outcomes: &[Outcome]) {
        let mut state = self.state.lock();
        let state = &mut *state;
        // What a series leaves together is looked up once.
        for of_series in outcomes.chunk_by(|a, b| Arc::ptr_eq(&a.series, &b.series)) {
            if let Some(watermark) = state.progress.note(of_series) {
                state.watermarks.insert(Arc::clone(&of_series[0].series), watermark);
            }
        }
        let behind = &mut state.behind;
        let mut watermarks: Vec<_> =
            state.watermarks.drain().filter(|(series, _)| !behind.contains(series)).collect();
        let store = &mut *state.store;
        let result = self.write(store, outcomes, &watermarks);
        let stored = result.is_ok();
        if result.as_ref().is_err_and(|error| !error.retryable) && outcomes.len() > 1 {
            // Something in the batch can never be written: the rest must not be lost with it.
            for outcome in outcomes {
                let alone = std::slice::from_ref(outcome);
                if let Err(error) = self.write(store, alone, &[]) {
                    self.unsaved.fetch_add(1, Ordering::Relaxed);
                    behind.insert(Arc::clone(&outcome.series));
                    tracing::error!(%error, ?outcome, "an outcome cannot be stored");
                } else {
                    self.ledger.note(alone, clock::now_ns());
                }
            }
            watermarks.retain(|(series, _)| !behind.contains(series));
            if let Err(error) = self.write(store, &[], &watermarks) {
                tracing::error!(%error, "the watermarks were not stored; the next ones say as much");
            }
        } else if let Err(error) = result {
            behind.extend(outcomes.iter().map(|outcome| Arc::clone(&outcome.series)));
            self.unsaved.fetch_add(outcomes.len() as u64, Ordering::Relaxed);
            tracing::error!(%error, outcomes = outcomes.len(), "outcomes were not stored");
        }
        if stored {
            self.ledger.note(outcomes, clock::now_ns());
        }
        self.outlets.publish(outcomes);
        for outcome in outcomes {
            if let Some(reply) = &outcome.reply {
                reply(outcome);
            }
        }
    }

    fn panicked(&self, _: &PersistKey, outcome: &Outcome, message: &str) {
        self.unsaved.fetch_add(1, Ordering::Relaxed);
        tracing::error!(?outcome, message, "persist panicked over an outcome");
        if let Some(reply) = &outcome.reply {
            reply(outcome);
        }
    }
}
