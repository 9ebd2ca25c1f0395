//! What the stages tell of themselves: depth, progress, what is on its way.

use super::line::Control as _;
use super::{STAGES, Topology, Wired};
use crate::control::StageProgress;
use crate::domain::{Dialect, Lane, SeriesKey, Timestamp};
use crate::ingest::Spike;
use crate::link::StageReading;
use crate::store::StoreReading;
use std::sync::Arc;

impl Topology {
    /// The dialect in which bars come.
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// Every stage at this moment, in flow order.
    pub fn read(&self) -> Vec<StageReading> {
        self.lines().iter().map(|(name, line)| line.read(name)).collect()
    }

    /// How each stage gets on, in flow order. It takes no lock that a stage holds while it works.
    pub fn progress(&self) -> [StageProgress; 4] {
        let (retries, pausing) = self.persist.link.stage().retries();
        self.lines().map(|(name, line)| {
            let (retries, waits) = if name == STAGES[3] { (retries, pausing) } else { (0, false) };
            StageProgress { name, depth: line.depth(), beats: line.items() + retries, waits }
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

    /// Of every series the one of its newest bars that moved furthest, where that can be told.
    pub fn spikes(&self) -> Vec<(Arc<SeriesKey>, Spike)> {
        let key =
            |(series, wired): (&Arc<SeriesKey>, &Wired)| (Arc::clone(series), Arc::clone(&wired.ingest));
        let all: Vec<_> = self.series.read().iter().map(key).collect();
        all.into_iter().filter_map(|(series, key)| Some((series, key.data.spike()?))).collect()
    }

    /// The priority of a series' live work; `None` before its first bar.
    pub fn lane(&self, series: &SeriesKey) -> Option<Lane> {
        self.series.read().get(series).map(|wired| wired.ingest.data.lane())
    }

    /// How many series there are.
    pub fn series_count(&self) -> usize {
        self.series.read().len()
    }
}
