//! One timeframe of a series: its own bars, or coarser ones made from them.

use crate::domain::{Bar, Grid, Timeframe, Timestamp};
use serde::{Deserialize, Serialize};

/// A coarser bar that has not closed yet.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Building {
    bar: Bar,
    synthetic: bool,
    /// Whether its beginning was seen: the first one of a series may be cut short, and then is no bar.
    whole: bool,
}

/// Where one timeframe stands. The series' own comes first in a plan, coarser ones after it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Frame {
    timeframe: Timeframe,
    /// The open time of its newest bar.
    newest: Option<Timestamp>,
    /// How many bars it has given to its kernels.
    taken: u64,
    building: Option<Building>,
}

/// A bar that a frame gives to its kernels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) bar: Bar,
    pub(super) missing: u32,
    pub(super) synthetic: bool,
}

impl Frame {
    pub(super) fn new(timeframe: Timeframe) -> Self {
        Self { timeframe, newest: None, taken: 0, building: None }
    }

    pub(super) fn timeframe(&self) -> Timeframe {
        self.timeframe
    }

    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn close_of(&self, ts: Timestamp) -> Timestamp {
        ts.plus_millis(self.timeframe.as_millis())
    }

    /// Whether a bar that opens at `ts` follows the newest one without a slot between them.
    #[inline]
    pub(super) fn is_next(&self, ts: Timestamp) -> bool {
        self.newest.is_some_and(|newest| self.close_of(newest) == ts)
    }

    /// Notes a bar of this timeframe; how many expected ones are missing before it.
    #[inline]
    pub(super) fn take(&mut self, ts: Timestamp, grid: &Grid) -> u32 {
        let missing = match self.newest {
            Some(newest) if self.close_of(newest) != ts => grid.missing(newest, ts, self.timeframe),
            _ => 0,
        };
        self.newest = Some(ts);
        self.taken += 1;
        u32::try_from(missing).unwrap_or(u32::MAX)
    }

    /// The coarser bar that has closed by the time `base` opens, where nothing traded in its last part.
    pub(super) fn close_before(&mut self, base: &Bar, grid: &Grid) -> Option<Closed> {
        self.building.filter(|building| self.close_of(building.bar.ts) <= base.ts)?;
        self.close(grid)
    }

    /// Adds a bar of the series, which closes at `closes`; the coarser bar that closes with it. `began` says
    /// whether the series had bars before.
    pub(super) fn add(
        &mut self,
        base: &Closed,
        closes: Timestamp,
        began: bool,
        grid: &Grid,
    ) -> Option<Closed> {
        let Closed { bar, synthetic, .. } = base;
        let building = match &mut self.building {
            Some(building) => {
                building.bar.high = building.bar.high.max(bar.high);
                building.bar.low = building.bar.low.min(bar.low);
                building.bar.close = bar.close;
                building.bar.volume += bar.volume;
                building.synthetic &= synthetic;
                building
            }
            None => {
                let open = self.timeframe.open_of(bar.ts);
                let whole = began || open == bar.ts;
                self.building.insert(Building { bar: Bar { ts: open, ..*bar }, synthetic: *synthetic, whole })
            }
        };
        let open = building.bar.ts;
        if self.close_of(open) <= closes { self.close(grid) } else { None }
    }

    fn close(&mut self, grid: &Grid) -> Option<Closed> {
        let Building { bar, synthetic, whole } = self.building.take()?;
        whole.then(|| Closed { bar, missing: self.take(bar.ts, grid), synthetic })
    }
}
