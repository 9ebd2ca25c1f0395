//! Bars that are told, on their way past the source's thread: two threads less have to wake up for a lone bar.
//!
//! While a look is under way all that the source knew before has been taken, so that a bar that is handed over then comes
//! in its order; and the source's thread does not touch what is known of the series.

use super::follow::Follow;
use super::read::{SILENCE_MAX, Told};
use super::table::Table;
use crate::domain::Timestamp;
use crate::source::Taker;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What a look under way needs to hand bars over.
pub(super) struct Telling {
    /// Gone with the source.
    pub follow: Weak<Mutex<Follow>>,
    pub tables: Arc<[Arc<Table>]>,
    pub taker: Option<Taker>,
    /// Cleared, under `follow`'s lock, when the connection is given up: what it says later, if ever, is old.
    pub in_use: Arc<AtomicBool>,
}

impl Telling {
    /// Hands a bar over; how long nothing else is to be done for the source. Gives it back where it cannot.
    pub(super) fn take(&self, told: Told) -> Result<Duration, Told> {
        let (Some(taker), Some(follow)) = (&self.taker, self.follow.upgrade()) else { return Err(told) };
        let mut follow = follow.lock();
        if !self.in_use.load(Ordering::Relaxed) || !follow.ready.is_empty() {
            return Err(told);
        }
        let (table, now) = (&self.tables[told.series.table], Timestamp::now());
        follow.told(told, table, now);
        while let Some(bar) = follow.ready.front() {
            if !taker(bar) {
                return Ok(Duration::ZERO);
            }
            follow.ready.pop_front();
        }
        if follow.has_asks() {
            return Ok(Duration::ZERO);
        }
        let again = |at: Timestamp| (at.as_millis() - now.as_millis()).try_into().unwrap_or(0);
        Ok(follow.next_again().map_or(SILENCE_MAX, |at| Duration::from_millis(again(at))))
    }
}
