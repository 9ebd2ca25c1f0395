//! A bar: what a market did over one timeframe.

use super::Timestamp;
use serde::{Deserialize, Serialize};

/// One closed bar. Whether its numbers make sense is for `ingest` to say: this type holds what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Its OPEN time, UTC; it closes at `ts + timeframe`.
    pub ts: Timestamp,
    /// First traded price.
    pub open: f64,
    /// Highest traded price.
    pub high: f64,
    /// Lowest traded price.
    pub low: f64,
    /// Last traded price.
    pub close: f64,
    /// Traded amount in units of the base (or whatever the source counts; zero is legal).
    pub volume: f64,
}

impl Bar {
    /// Stands where no bar is known: of no time and no price.
    pub const UNKNOWN: Self = Self {
        ts: Timestamp::from_millis(0),
        open: f64::NAN,
        high: f64::NAN,
        low: f64::NAN,
        close: f64::NAN,
        volume: f64::NAN,
    };

    /// Traded value: `close * volume`, also where a price is below 0.
    pub fn quote_volume(&self) -> f64 {
        (self.close * self.volume).abs()
    }
}
