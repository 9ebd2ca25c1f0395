//! The ingest stage: what it keeps for a series, and its step.

use super::rank::RollingValue;
use super::spike::{self, Spike};
use super::{AnyPrice, Limits, Order, Ranking, Standing, hold_open_and_close, validate};
use crate::domain::{
    Admission, Admitted, Ask, Bar, Incoming, Lane, Origin, Outcome, Place, Reason, Refusal, SeriesKey,
    Stamps, Timestamp,
};
use crate::link::{Stage, clock};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// How many bars of one series a turn takes at most.
const BATCH_MAX: usize = 256;

/// Stage 1.
pub struct IngestStage {
    /// The rank of all symbols by traded value.
    pub ranking: Arc<Ranking>,
    /// Whether bars that close in the future are refused, and the clock skew that is tolerated, in ms.
    pub clock_skew_ms_max: Option<AtomicI64>,
    /// How many of a series' newest bars can change after they closed.
    pub revision_bars: usize,
    /// Whether a bar's low and high are moved to hold its open and close.
    pub clamp_ohlc: bool,
    /// The symbols whose prices may be 0 or below.
    pub any_price: AnyPrice,
}

/// What ingest keeps for one series.
pub struct IngestKey {
    series: Arc<SeriesKey>,
    standing: Arc<Standing>,
    /// Whether its prices may be 0 or below.
    any_price: bool,
    /// The open time of the newest bar, in ms; `i64::MIN` before the first.
    pub(super) newest_ms: AtomicI64,
    /// Never contended but by who looks for spikes, for a moment: the mailbox lets one worker in at a time.
    pub(super) state: Mutex<SeriesState>,
    admit: Box<dyn Fn(Admitted) + Send + Sync>,
    refuse: Box<dyn Fn(Outcome) + Send + Sync>,
}

pub(super) struct SeriesState {
    pub(super) order: Order,
    pub(super) value: RollingValue,
    /// How many live bars were admitted: the next one's `series_seq` is one more.
    admitted: u64,
}

impl IngestStage {
    /// Changes the clock skew that is tolerated, where bars of the future are refused at all.
    pub fn set_clock_skew(&self, ms: u64) {
        if let Some(skew_ms) = &self.clock_skew_ms_max {
            skew_ms.store(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// A new series; `admit` hands on what passes, `refuse` what does not.
    pub fn key(
        &self,
        series: Arc<SeriesKey>,
        standing: Arc<Standing>,
        admit: Box<dyn Fn(Admitted) + Send + Sync>,
        refuse: Box<dyn Fn(Outcome) + Send + Sync>,
    ) -> IngestKey {
        let state = SeriesState {
            order: Order::new(self.revision_bars),
            value: RollingValue::new(self.ranking.window_bars()),
            admitted: 0,
        };
        let newest_ms = AtomicI64::new(i64::MIN);
        let any_price = self.any_price.allows(&series.symbol);
        IngestKey { series, standing, any_price, newest_ms, state: Mutex::new(state), admit, refuse }
    }

    /// Notes what the series traded over the window.
    pub(super) fn note_value(&self, key: &IngestKey, value: f64) {
        let seconds = self.ranking.window_bars() as f64 * f64::from(key.series.timeframe.as_secs());
        self.ranking.note(&key.standing, value / seconds);
    }

    fn admit(
        &self,
        key: &IngestKey,
        bar: &mut Bar,
        origin: Origin,
        seq: u64,
    ) -> Result<(Admission, Place), Refusal> {
        if self.clamp_ohlc {
            hold_open_and_close(bar);
        }
        // A bar that closed while nobody watched cannot be one of the future.
        let skew_ms = self.clock_skew_ms_max.as_ref().filter(|_| origin == Origin::Live);
        let skew_ms = skew_ms.map(|skew_ms| skew_ms.load(Ordering::Relaxed));
        let limits = Limits {
            now: skew_ms.map(|_| Timestamp::now()),
            clock_skew_ms_max: skew_ms.unwrap_or(0),
            any_price: key.any_price,
        };
        validate(bar, key.series.timeframe, limits)?;
        let mut state = key.state.lock();
        let admission = state.order.admit(bar)?;
        if admission == Admission::Next {
            let value = state.value.push(bar.quote_volume());
            self.note_value(key, value);
            key.newest_ms.store(bar.ts.as_millis(), Ordering::Relaxed);
        }
        if origin == Origin::WarmUp {
            return Ok((admission, Place::default()));
        }
        Ok((admission, state.next_place(seq)))
    }
}

impl SeriesState {
    /// The place of what is admitted now.
    fn next_place(&mut self, seq: u64) -> Place {
        self.admitted += 1;
        Place { seq, series_seq: self.admitted, ..Place::default() }
    }
}

impl IngestStage {
    /// Takes a bar back that its source does not have.
    fn withdraw(&self, key: &IngestKey, ts: Timestamp, seq: u64) -> Result<(Admission, Place), Refusal> {
        let mut state = key.state.lock();
        if !state.order.withdraw(ts) {
            return Err(Refusal::new(Reason::Withdrawn, "its source does not have it; it was not taken"));
        }
        let newest = state.order.newest().map_or(i64::MIN, |newest| newest.ts.as_millis());
        key.newest_ms.store(newest, Ordering::Relaxed);
        Ok((Admission::Withdrawn, state.next_place(seq)))
    }

    /// Whether a bar that has not closed is one that may come next.
    fn check_provisional(&self, key: &IngestKey, bar: &Bar) -> Result<(), Refusal> {
        let limits = Limits { now: None, clock_skew_ms_max: 0, any_price: key.any_price };
        validate(bar, key.series.timeframe, limits)?;
        match key.state.lock().order.newest() {
            Some(newest) if bar.ts <= newest.ts => Err(Refusal::new(
                Reason::Late,
                format!(
                    "the bar of {} has closed: a provisional bar is newer than the newest closed one",
                    newest.ts
                ),
            )),
            _ => Ok(()),
        }
    }
}

impl IngestKey {
    /// The lane in which the series' live bars travel.
    pub fn lane(&self) -> Lane {
        self.standing.lane()
    }

    /// The open time of the newest bar that was admitted.
    pub fn newest(&self) -> Option<Timestamp> {
        let ms = self.newest_ms.load(Ordering::Relaxed);
        (ms != i64::MIN).then(|| Timestamp::from_millis(ms))
    }

    /// Which of its newest bars moved furthest, as they stand now.
    pub fn spike(&self) -> Option<Spike> {
        spike::furthest(self.state.lock().order.recent(), self.series.timeframe)
    }

    /// Ends a question here.
    fn answer(&self, ask: &Ask, stamps: Stamps, refusal: Refusal) {
        (ask.reply)(&Outcome {
            series: Arc::clone(&self.series),
            horizon: ask.horizon.unwrap_or(0),
            ts: ask.provisional.map(|bar| bar.ts).unwrap_or_default(),
            close: f64::NAN,
            revision: 0,
            place: Place::default(),
            origin: ask.origin(),
            stamps,
            result: Err(refusal),
            reply: None,
        });
    }

    fn refuse(&self, ts: Timestamp, origin: Origin, seq: u64, stamps: Stamps, refusal: Refusal) {
        // The bar has this one outcome.
        let place = Place { seq, series_seq: 0, ordinal: 0, of: 1 };
        let series = Arc::clone(&self.series);
        (self.refuse)(Outcome {
            series,
            horizon: 0,
            ts,
            close: f64::NAN,
            revision: 0,
            place,
            origin,
            stamps,
            result: Err(refusal),
            reply: None,
        });
    }
}

impl Stage for IngestStage {
    type Key = IngestKey;
    type Item = Incoming;

    fn batch_max(&self, _: &IngestKey) -> usize {
        BATCH_MAX
    }

    fn chunk_max(&self) -> usize {
        1
    }

    fn step(&self, key: &IngestKey, items: &[Incoming]) {
        for item in items {
            match item {
                Incoming::Bar { bar, origin, seq, stamps } => {
                    let mut bar = *bar;
                    let (verdict, origin) = match origin {
                        Origin::Withdrawn => (self.withdraw(key, bar.ts, *seq), Origin::Live),
                        origin => (self.admit(key, &mut bar, *origin, *seq), *origin),
                    };
                    let stamps = Stamps { ingested_ns: clock::now_ns(), ..*stamps };
                    match verdict {
                        Ok((admission, place)) => {
                            (key.admit)(Admitted::Bar { bar, admission, origin, place, stamps });
                        }
                        Err(refusal) => key.refuse(bar.ts, origin, *seq, stamps, refusal),
                    }
                }
                Incoming::Ask { ask, stamps } => {
                    let verdict = ask.provisional.map_or(Ok(()), |bar| self.check_provisional(key, &bar));
                    let stamps = Stamps { ingested_ns: clock::now_ns(), ..*stamps };
                    match verdict {
                        Ok(()) => (key.admit)(Admitted::Ask { ask: ask.clone(), stamps }),
                        Err(refusal) => key.answer(ask, stamps, refusal),
                    }
                }
            }
        }
    }

    fn panicked(&self, key: &IngestKey, item: &Incoming, message: &str) {
        let refusal = Refusal::new(Reason::Panicked, format!("in ingest: {message}"));
        match item {
            Incoming::Bar { bar, origin, seq, stamps } => {
                key.refuse(bar.ts, *origin, *seq, *stamps, refusal);
            }
            Incoming::Ask { ask, stamps } => key.answer(ask, *stamps, refusal),
        }
    }
}
