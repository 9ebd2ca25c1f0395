//! What is configured for features, as one value: what serves, what replays and what writes tables go by the same.

use crate::domain::{Adjustments, Demand, GapPolicy, Grid, MarketHours, Stability, Timeframe};
use crate::feature::Plan;

/// What holds for the features of every series.
#[derive(Clone, Debug, Default)]
pub struct FeatureRules {
    /// What a gap inside the market's hours does.
    pub gaps: GapPolicy,
    /// The longest gap over which features go on; 0: however long.
    pub gap_bars_max: u64,
    /// When bars are expected.
    pub hours: MarketHours,
    /// What splits, dividends and rolls make of the bars before them.
    pub adjustments: Adjustments,
    /// How free of the beginning of its series a feature has to be before a model reads it.
    pub stability: Stability,
    /// How many of a series' newest bars can change after they closed.
    pub revision_bars: usize,
}

impl FeatureRules {
    /// How the time of a series is cut.
    pub fn grid(&self, timeframe: Timeframe) -> Grid {
        let Self { gaps, gap_bars_max, ref hours, .. } = *self;
        Grid { timeframe, policy: gaps, gap_bars_max, hours: hours.clone() }
    }

    /// How many bars of a series a model takes until it may predict; 0 where its features do not exist.
    pub fn warm_up_bars(&self, timeframe: Timeframe, demand: &Demand) -> u64 {
        let plan = Plan::new(demand.features.names(), self.grid(timeframe));
        plan.map_or(0, |plan| plan.warm_up_bars_over(demand.window, self.stability))
    }

    /// What a saved series depends on beside the names of its features: under other rules it is another series. Its
    /// adjustments are no part of that, since they may change while it goes on.
    pub fn fingerprint(&self) -> String {
        format!("{:?}", Self { adjustments: Adjustments::default(), ..self.clone() })
    }
}
