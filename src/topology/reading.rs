//! What the stages tell of themselves: depth, progress, what is on its way.

use super::line::Control as _;
use super::{STAGES, Topology, Wired};
use crate::domain::{SeriesKey, Timestamp};
use crate::link::StageReading;
use crate::store::StoreReading;
use std::sync::Arc;

impl Topology {
    /// Every stage at this moment, in flow order.
    pub fn read(&self) -> Vec<StageReading> {
        self.lines().iter().map(|(name, line)| line.read(name)).collect()
    }

    /// Every stage's name, depth and beats, in flow order: beats grow whenever it gets something done, and while a
    /// store that is away is tried again. It takes no lock that a stage holds while it works.
    pub fn progress(&self) -> [(&'static str, usize, u64); 4] {
        let retries = self.persist.link.stage().retries();
        self.lines().map(|(name, line)| {
            let retries = if name == STAGES[3] { retries } else { 0 };
            (name, line.depth(), line.items() + retries)
        })
    }

    /// Items on their way: taken in, and not stored yet.
    pub fn in_flight(&self) -> usize {
        self.flow().iter().map(|line| line.depth()).sum()
    }

    /// Rows that wait for a session to be loaded.
    pub fn rows_loading(&self) -> usize {
        self.loading.depth()
    }

    /// Outcomes that the store did not take.
    pub fn unsaved(&self) -> u64 {
        self.persist.link.stage().unsaved()
    }

    /// How the store is.
    pub fn store(&self) -> StoreReading {
        self.persist.link.stage().store()
    }

    /// Every series with the open time of its newest bar.
    pub fn newest_bars(&self) -> Vec<(Arc<SeriesKey>, Timestamp)> {
        let all = self.series.read();
        let newest = |(series, wired): (&Arc<SeriesKey>, &Wired)| {
            Some((Arc::clone(series), wired.ingest.data.newest()?))
        };
        all.iter().filter_map(newest).collect()
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.series.read().len()
    }
}
