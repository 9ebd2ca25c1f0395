//! `/api/bars`: closed bars of a feed that has no table to write to.

use super::super::http::{Request, Response, Then};
use super::super::problem::Problem;
use super::super::service::{Captures, Service};
use super::{answer, body, series, timeframe, ts};
use crate::domain::{Bar, SeriesKey};
use crate::engine::EngineError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most bars of a request.
const BARS_MAX: usize = 10_000;
/// How long a request waits for room in all: a queue that is worked off makes some, one behind a store that is away none.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// A closed bar.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosedBar {
    symbol: String,
    timeframe: String,
    /// Its open time.
    ts: String,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    bars: Vec<ClosedBar>,
}

#[derive(Serialize)]
struct Taken {
    bars_taken: usize,
}

impl ClosedBar {
    /// Its series and numbers. Whether they make a good bar is decided in the ingest stage, like any bar's.
    fn read(&self) -> Result<(Arc<SeriesKey>, Bar), Problem> {
        let Self { open, high, low, close, volume, .. } = *self;
        let ts = ts(&self.ts)?;
        let series = series(&self.symbol, timeframe(&self.timeframe)?)?;
        Ok((Arc::new(series), Bar { ts, open, high, low, close, volume }))
    }
}

/// `POST /api/bars`: takes all in their order, or, where one cannot be read, none.
pub fn post(
    service: &Service,
    request: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Result<Then, Problem> {
    let Posted { bars } = body(request)?;
    if bars.is_empty() || bars.len() > BARS_MAX {
        return Err(Problem::bad(format!("bars has {} entries: 1 to {BARS_MAX} are allowed", bars.len())));
    }
    let read = |(at, bar): (usize, &ClosedBar)| {
        bar.read().map_err(|problem| Problem::bad(format!("bars[{at}]: {}", problem.detail)))
    };
    let bars: Vec<_> = bars.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    let deadline = Instant::now() + ROOM_WAIT;
    for (taken, (series, bar)) in bars.iter().enumerate() {
        let of = bars.len();
        let again = format_args!("{taken} of {of} bars were taken; send those behind them again");
        loop {
            match service.engine.try_ingest_series(series, *bar) {
                Ok(true) => break,
                Ok(false) if Instant::now() < deadline => {
                    request.waits();
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(false) => {
                    let full = "the ingest stage is full (ingest.queue_bars_max)";
                    return Err(Problem::busy(format!("{full}: {again}")));
                }
                Err(error @ EngineError::Stopped) => {
                    return Err(Problem::new(503, "stopping", format!("{error}: {again}")));
                }
                Err(error) => return Err(Problem::new(409, "series_full", format!("{error}: {again}"))),
            }
        }
    }
    answer(response, 202, &Taken { bars_taken: bars.len() });
    Ok(Then::Next)
}
