//! What the stages take up of changed settings while they run.

use super::Topology;
use crate::config::Settings;
use crate::ingest::RankingOptions;

impl Topology {
    /// Takes up what `settings` say of the keys that are live.
    pub fn follow(&self, settings: &Settings) {
        self.ledger.set_max_latency(settings.max_latency_ms);
        self.cache.set_limits(settings.feature_cache_size, settings.cache_ttl_seconds);
        self.ingest.link.stage().set_clock_skew(settings.ingest.clock_skew_ms_max);
        self.ranking.set_options(ranking(settings));
        self.models.follow(settings);
        // A series that is being wired holds this lock.
        let series = self.series.read();
        let keys = series.values().map(|wired| &wired.feature.data);
        self.feature.link.stage().set_adjustments(&settings.feature.adjustments, keys);
    }
}

/// What decides a symbol's lane, as configured.
pub(super) fn ranking(settings: &Settings) -> RankingOptions {
    RankingOptions {
        high_share: settings.priority.high_share,
        low_share: settings.priority.low_share,
        window_bars: settings.priority.window_bars,
        pinned: settings.priority.pinned.clone(),
    }
}
