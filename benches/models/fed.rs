//! An engine that is fed bar by bar, and how late its predictions are.

use super::support::Random;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vela::config::{SourceKind, StoreUrl};
use vela::domain::{Bar, Outcome, SeriesKey, Timeframe, Timestamp};
use vela::persist::Subscription;
use vela::{Engine, Settings};

/// How long an engine is watched.
pub const WATCHED: Duration = Duration::from_secs(2);
/// Bars a second while they are watched, over all series.
pub const BARS_PER_SECOND: u32 = 400;
const START: i64 = 60_000_000;
pub const SOON: Duration = Duration::from_secs(60);

/// An engine whose series have had the bars that features need.
pub struct Fed {
    pub engine: Arc<Engine>,
    pub outcomes: Subscription,
    pub series: Vec<Arc<SeriesKey>>,
    /// The first minute that is free.
    pub first: i64,
}

impl Fed {
    pub fn start(models: &Path, symbols: &[&str], change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.models.path = models.to_owned();
        settings.source.kind = SourceKind::None;
        settings.store.url = StoreUrl::None;
        change(&mut settings);
        let engine = Arc::new(Engine::start(settings).unwrap());
        let outcomes = engine.subscribe(1 << 20);
        let key = |symbol: &&str| Arc::new(SeriesKey::new(symbol, Timeframe::MINUTE).unwrap());
        // Enough for the slowest feature; many series take their time over it.
        let first = if symbols.len() == 1 { 1_200 } else { 700 };
        let fed = Self { engine, outcomes, series: symbols.iter().map(key).collect(), first };
        for minute in 0..fed.first {
            (0..fed.series.len()).for_each(|series| fed.put(series, minute));
        }
        assert!(fed.engine.drain(SOON));
        fed.outcomes.receiver().try_iter().for_each(drop);
        fed
    }

    pub fn put(&self, series: usize, minute: i64) {
        // A walk that does not depend on when it is asked for.
        let price = |minute: i64| {
            let mut random = Random((minute as u64) << 8 | series as u64);
            100.0 + 5.0 * (minute as f64 / 40.0).sin() + (random.next() % 1000) as f64 / 2000.0
        };
        let (open, close) = (price(minute - 1), price(minute));
        let ts = Timestamp::from_secs(START + 60 * minute);
        let (high, low) = (open.max(close) + 0.3, open.min(close) - 0.2);
        let bar = Bar { ts, open, high, low, close, volume: 10.0 + (minute % 17) as f64 };
        self.engine.ingest_series(&self.series[series], bar).unwrap();
    }

    /// Bars at a steady pace for [`WATCHED`], from minute `from` on; the latencies of models that `counts`, in ms.
    pub fn watch(&self, from: i64, counts: impl Fn(&str) -> bool) -> Watched {
        let (begin, pause) = (Instant::now(), Duration::from_secs(1) / BARS_PER_SECOND);
        let mut watched = Watched::default();
        let mut bars = 0_u32;
        while begin.elapsed() < WATCHED {
            // By the schedule, not by when the last one was done: what is late is late.
            std::thread::sleep((begin + pause * bars).saturating_duration_since(Instant::now()));
            let series = bars as usize % self.series.len();
            self.put(series, from + i64::from(bars) / self.series.len() as i64);
            bars += 1;
            self.outcomes.receiver().try_iter().for_each(|outcome| watched.note(&outcome, &counts));
        }
        std::thread::sleep(Duration::from_millis(300));
        self.outcomes.receiver().try_iter().for_each(|outcome| watched.note(&outcome, &counts));
        watched.bars = i64::from(bars);
        watched
    }
}

#[derive(Default)]
pub struct Watched {
    pub bars: i64,
    pub latencies_ms: Vec<f64>,
    /// Of the models that do not count.
    pub others: u64,
}

impl Watched {
    fn note(&mut self, outcome: &Outcome, counts: impl Fn(&str) -> bool) {
        match &outcome.result {
            Ok(prediction) if counts(&prediction.model) => {
                let late_ns = outcome.stamps.predicted_ns - outcome.stamps.arrived_ns;
                self.latencies_ms.push(late_ns as f64 / 1e6);
            }
            _ => self.others += 1,
        }
    }
}
