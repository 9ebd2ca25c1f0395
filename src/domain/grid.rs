//! How a series' time is cut into bars, and what happens where bars are missing.

use super::{MarketHours, Timeframe, Timestamp};

/// The most missing bars that are filled in; a longer gap begins the series anew.
pub const FILLED_BARS_MAX: u64 = 10_000;

/// What a gap inside the open hours does to features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GapPolicy {
    /// Nothing: windows count the bars that are there.
    #[default]
    Skip,
    /// Bars without movement or volume at the last close stand in for the missing ones. They move features
    /// and have no predictions of their own.
    FillFlat,
    /// Features begin anew behind it: no window spans it, and what is not full again is undefined until it is.
    Reset,
}

/// The slots in which a series' bars are expected, and what is done about empty ones. It changes what features
/// are, and so belongs to a feature set's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// The length of a bar.
    pub timeframe: Timeframe,
    /// What a gap does.
    pub policy: GapPolicy,
    /// The longest gap, in bars, over which features go on; beyond it they begin anew. 0: however long.
    pub gap_bars_max: u64,
    /// When bars are expected.
    pub hours: MarketHours,
}

/// What is to be done before the next bar is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Go on; so many slots were missing.
    Skip(u32),
    /// Fill this many slots first.
    Fill(u32),
    /// Begin anew.
    Reset,
}

impl From<Timeframe> for Grid {
    /// Every gap is skipped, the market never closes.
    fn from(timeframe: Timeframe) -> Self {
        Self { timeframe, policy: GapPolicy::Skip, gap_bars_max: 0, hours: MarketHours::default() }
    }
}

impl Grid {
    /// When a bar that opens at `ts` closes.
    pub fn close_of(&self, ts: Timestamp) -> Timestamp {
        ts.plus_millis(self.timeframe.as_millis())
    }

    /// How many slots of `timeframe` inside the open hours lie empty between two bars.
    pub fn missing(&self, newest: Timestamp, next: Timestamp, timeframe: Timeframe) -> u64 {
        let from = newest.plus_millis(timeframe.as_millis());
        if next <= from { 0 } else { self.hours.slots(from, next, timeframe) }
    }

    /// What the bar that opens at `next` asks for, `newest` being the one before it.
    pub fn gap(&self, newest: Timestamp, next: Timestamp) -> Gap {
        let missing = self.missing(newest, next, self.timeframe);
        let fills = self.policy == GapPolicy::FillFlat;
        let limit = match (self.policy, self.gap_bars_max) {
            (GapPolicy::Reset, _) => 0,
            (GapPolicy::Skip, 0) => u64::MAX,
            (GapPolicy::Skip, max) => max,
            (GapPolicy::FillFlat, 0) => FILLED_BARS_MAX,
            (GapPolicy::FillFlat, max) => max.min(FILLED_BARS_MAX),
        };
        match u32::try_from(missing).unwrap_or(u32::MAX) {
            _ if missing > limit => Gap::Reset,
            missing if fills && missing > 0 => Gap::Fill(missing),
            missing => Gap::Skip(missing),
        }
    }

    /// What distinguishes it from a grid on which every gap is skipped; empty where nothing does.
    pub fn identity(&self) -> String {
        let mut parts = Vec::new();
        match self.policy {
            GapPolicy::Skip => {}
            GapPolicy::FillFlat => parts.push("gaps=fill_flat".to_owned()),
            GapPolicy::Reset => parts.push("gaps=reset".to_owned()),
        }
        // Where every gap begins anew there is no longest one.
        if self.gap_bars_max > 0 && self.policy != GapPolicy::Reset {
            parts.push(format!("gap_bars_max={}", self.gap_bars_max));
        }
        if !self.hours.is_always() {
            parts.push(format!("hours={}", self.hours));
        }
        parts.join(";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_as_a_table() {
        let ts = |minute: i64| Timestamp::from_secs(minute * 60);
        for (policy, gap_bars_max, next, expected) in [
            (GapPolicy::Skip, 0, 1, Gap::Skip(0)),
            (GapPolicy::Skip, 0, 5, Gap::Skip(4)),
            (GapPolicy::Skip, 4, 5, Gap::Skip(4)),
            (GapPolicy::Skip, 4, 6, Gap::Reset),
            (GapPolicy::Skip, 0, 1 << 40, Gap::Skip(u32::MAX)),
            (GapPolicy::Reset, 0, 1, Gap::Skip(0)),
            (GapPolicy::Reset, 0, 2, Gap::Reset),
            (GapPolicy::Reset, 9, 2, Gap::Reset),
            (GapPolicy::FillFlat, 0, 1, Gap::Skip(0)),
            (GapPolicy::FillFlat, 0, 5, Gap::Fill(4)),
            (GapPolicy::FillFlat, 3, 5, Gap::Reset),
            (GapPolicy::FillFlat, 0, 10_001, Gap::Fill(10_000)),
            (GapPolicy::FillFlat, 0, 10_002, Gap::Reset),
            (GapPolicy::FillFlat, 20_000, 10_002, Gap::Reset),
            (GapPolicy::FillFlat, 0, 0, Gap::Skip(0)),
            (GapPolicy::FillFlat, 0, -9, Gap::Skip(0)),
        ] {
            let grid = Grid { policy, gap_bars_max, ..Grid::from(Timeframe::MINUTE) };
            assert_eq!(grid.gap(ts(0), ts(next)), expected, "{policy:?} {gap_bars_max} {next}");
        }
        let grid = Grid {
            policy: GapPolicy::FillFlat,
            hours: "sun 22:00-fri 22:00".parse().unwrap(),
            ..Timeframe::MINUTE.into()
        };
        let parse = |text: &str| text.parse().unwrap();
        assert_eq!(grid.gap(parse("2012-02-03T21:58:00Z"), parse("2012-02-05T22:00:00Z")), Gap::Fill(1));
        assert_eq!(grid.identity(), "gaps=fill_flat;hours=mon 00:00-fri 22:00,sun 22:00-mon 00:00");
    }
}
