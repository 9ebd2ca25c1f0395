//! How often a client of the stream wants to be sent something, and how much of it in one message.

use serde::Deserialize;
use std::time::Duration;

/// The longest interval that may be asked for.
const INTERVAL_MS_MAX: u64 = 60_000;

/// At which pace a client takes what comes.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pace {
    /// The shortest time between two rounds of events, of every key the newest; 0 for each event as it comes.
    pub interval_ms: u64,
    /// Whether events that are sent together are one message.
    pub batch: bool,
}

impl Pace {
    /// # Errors
    /// When the interval is too long.
    pub fn check(&self) -> Result<(), String> {
        let Self { interval_ms, .. } = self;
        if *interval_ms > INTERVAL_MS_MAX {
            return Err(format!("interval_ms = {interval_ms}: 0 to {INTERVAL_MS_MAX} are allowed"));
        }
        Ok(())
    }

    /// The shortest time between two rounds.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}
