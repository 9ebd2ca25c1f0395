//! What came out, counted: by reason, by model, by symbol, with the latency from arrival to stored.

use crate::domain::{Origin, Outcome, Reason};
use crate::link::Meter;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of one model or one symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Predictions stored.
    pub predictions: u64,
    /// Outcomes without a prediction.
    pub refusals: u64,
    /// The sum of latencies from arrival to stored, over live predictions, in ns.
    pub latency_sum_ns: u64,
    /// How many latencies the sum is of.
    pub latencies: u64,
    /// The longest of them, in ns.
    pub latency_max_ns: u64,
}

impl Tally {
    /// The mean latency from arrival to stored, in ms; 0 where there is none.
    pub fn latency_avg_ms(&self) -> f64 {
        if self.latencies == 0 { 0.0 } else { self.latency_sum_ns as f64 / self.latencies as f64 / 1e6 }
    }

    fn note(&mut self, predicted: bool, latency_ns: Option<u64>) {
        self.predictions += u64::from(predicted);
        self.refusals += u64::from(!predicted);
        if let Some(latency_ns) = latency_ns {
            self.latency_sum_ns += latency_ns;
            self.latencies += 1;
            self.latency_max_ns = self.latency_max_ns.max(latency_ns);
        }
    }
}

#[derive(Default)]
struct Tallies {
    total: Tally,
    models: BTreeMap<Arc<str>, Tally>,
    symbols: BTreeMap<Arc<str>, Tally>,
}

fn tally<'a>(tallies: &'a mut BTreeMap<Arc<str>, Tally>, key: &Arc<str>) -> &'a mut Tally {
    tallies.entry(Arc::clone(key)).or_default()
}

/// The counts of one run. Written by the persist worker alone, read by anybody.
pub struct Ledger {
    reasons: [AtomicU64; Reason::ALL.len()],
    late: AtomicU64,
    late_after_ns: AtomicU64,
    latency: Meter,
    tallies: Mutex<Tallies>,
}

/// A ledger read at one moment.
#[derive(Clone, Debug, Default)]
pub struct LedgerReading {
    /// Everything.
    pub total: Tally,
    /// How many outcomes each reason explains; reasons that did not occur are absent.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Predictions stored later than `max_latency_ms` after the bar arrived.
    pub late: u64,
    /// By model.
    pub models: BTreeMap<Arc<str>, Tally>,
    /// By symbol.
    pub symbols: BTreeMap<Arc<str>, Tally>,
}

impl Ledger {
    /// An empty ledger; predictions later than `max_latency_ms` count as late.
    pub fn new(max_latency_ms: u64) -> Self {
        Self {
            reasons: std::array::from_fn(|_| AtomicU64::new(0)),
            late: AtomicU64::new(0),
            late_after_ns: AtomicU64::new(max_latency_ms.saturating_mul(1_000_000)),
            latency: Meter::new(1),
            tallies: Mutex::default(),
        }
    }

    /// From now on, predictions later than `max_latency_ms` count as late.
    pub fn set_max_latency(&self, max_latency_ms: u64) {
        self.late_after_ns.store(max_latency_ms.saturating_mul(1_000_000), Ordering::Relaxed);
    }

    /// Enters a stored batch.
    pub(super) fn note(&self, outcomes: &[Outcome], stored_ns: u64) {
        let mut tallies = self.tallies.lock();
        let Tallies { total, models, symbols } = &mut *tallies;
        for of_series in outcomes.chunk_by(|a, b| Arc::ptr_eq(&a.series, &b.series)) {
            let symbol = tally(symbols, &of_series[0].series.symbol);
            for outcome in of_series {
                let live = matches!(outcome.origin, Origin::Live | Origin::Asked);
                let model = match &outcome.result {
                    Ok(prediction) => Some(&prediction.model),
                    Err(refusal) => {
                        self.reasons[refusal.reason as usize].fetch_add(1, Ordering::Relaxed);
                        refusal.model.as_ref()
                    }
                };
                let predicted = outcome.result.is_ok();
                let latency_ns =
                    (live && predicted).then(|| stored_ns.saturating_sub(outcome.stamps.arrived_ns));
                if let Some(latency_ns) = latency_ns {
                    self.latency.waited(latency_ns);
                    if latency_ns > self.late_after_ns.load(Ordering::Relaxed) {
                        self.late.fetch_add(1, Ordering::Relaxed);
                    }
                }
                total.note(predicted, latency_ns);
                symbol.note(predicted, latency_ns);
                if let Some(model) = model {
                    tally(models, model).note(predicted, latency_ns);
                }
            }
        }
    }

    /// How many outcomes `reason` explains so far.
    pub fn count(&self, reason: Reason) -> u64 {
        self.reasons[reason as usize].load(Ordering::Relaxed)
    }

    /// The tally of everything, and how many predictions were late.
    pub fn total(&self) -> (Tally, u64) {
        (self.tallies.lock().total, self.late.load(Ordering::Relaxed))
    }

    /// How many outcomes there were.
    pub fn outcomes(&self) -> u64 {
        let total = self.tallies.lock().total;
        total.predictions + total.refusals
    }

    /// The latency from arrival to stored of all live predictions, as the meter's `queue_wait`.
    pub fn latency(&self) -> &Meter {
        &self.latency
    }

    /// Everything at this moment.
    pub fn read(&self) -> LedgerReading {
        let tallies = self.tallies.lock();
        let counted = |reason: &Reason| (reason.code(), self.count(*reason));
        LedgerReading {
            total: tallies.total,
            reasons: Reason::ALL.iter().map(counted).filter(|(_, n)| *n > 0).collect(),
            late: self.late.load(Ordering::Relaxed),
            models: tallies.models.clone(),
            symbols: tallies.symbols.clone(),
        }
    }
}
