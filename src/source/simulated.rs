//! A live market without a market: simulated bars, at a pace of real time or as fast as they are taken.

use super::market::Market;
use super::{Poll, Source, SourceBar, SourceError};
use crate::domain::Origin;
use std::time::{Duration, Instant};

/// How a simulated market is played.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Minutes of history that only warm the features up.
    pub warm_up_minutes: u64,
    /// Minutes of live bars; `None`: without end.
    pub minutes: Option<u64>,
    /// Between two minutes of the market; zero: as fast as they are taken.
    pub interval: Duration,
}

/// The market as a source.
pub struct Simulated {
    market: Market,
    pace: Pace,
    played: u64,
    next_at: Option<Instant>,
}

impl Simulated {
    /// Plays `market` at `pace`.
    pub fn new(market: Market, pace: Pace) -> Self {
        Self { market, pace, played: 0, next_at: None }
    }
}

impl Source for Simulated {
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
        if self.played < self.pace.warm_up_minutes {
            self.played += 1;
            self.market.next_source_minute(Origin::WarmUp, bars);
            return Ok(Poll::Ready);
        }
        let live = self.played - self.pace.warm_up_minutes;
        if self.pace.minutes.is_some_and(|minutes| live >= minutes) {
            return Ok(Poll::End);
        }
        if !self.pace.interval.is_zero() {
            let now = Instant::now();
            let due = *self.next_at.get_or_insert(now);
            if now < due {
                return Ok(Poll::Idle(due - now));
            }
            // From the schedule, not from now: a late minute does not move the ones after it.
            self.next_at = Some(due + self.pace.interval);
        }
        self.played += 1;
        self.market.next_source_minute(Origin::Live, bars);
        Ok(Poll::Ready)
    }
}
