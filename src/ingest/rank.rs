//! Which symbols go first: a rank by rolling traded value (`close * volume`), updated as bars come.

use crate::domain::{Lane, SeriesKey};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// How many admitted bars lie at least between two rankings; as many as there are series where those are more, so that
/// ranking costs a bar the same however many there are.
const BARS_BETWEEN_RANKINGS: u64 = 256;

/// What decides a symbol's lane.
#[derive(Clone, Debug)]
pub struct RankingOptions {
    /// The share of symbols, by traded value, that goes first: 0 to 1.
    pub high_share: f64,
    /// The share of symbols that goes last: 0 to 1.
    pub low_share: f64,
    /// Over how many bars of a series traded value is summed.
    pub window_bars: usize,
    /// Symbols whose lane is set by hand.
    pub pinned: BTreeMap<String, Lane>,
}

/// One series' standing: written by its ingest worker and by the ranking, read by every stage.
#[derive(Debug)]
pub struct Standing {
    lane: AtomicU8,
    /// Traded value a second over the window, as the bits of an f64.
    rate: AtomicU64,
}

impl Standing {
    /// The priority of the series' live work.
    pub fn lane(&self) -> Lane {
        Lane::ALL[self.lane.load(Ordering::Relaxed) as usize]
    }

    /// Traded value a second over the window.
    pub fn rate(&self) -> f64 {
        f64::from_bits(self.rate.load(Ordering::Relaxed))
    }
}

/// The rolling traded value of one series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RollingValue {
    window: Box<[f64]>,
    next: usize,
}

impl RollingValue {
    pub(super) fn new(window_bars: usize) -> Self {
        Self { window: vec![0.0; window_bars.max(1)].into(), next: 0 }
    }

    /// Goes on where `saved` stood, if it was over as many bars; returns the window's sum.
    pub(super) fn resume(&mut self, saved: Self) -> f64 {
        if saved.window.len() == self.window.len() && saved.next < self.window.len() {
            *self = saved;
        }
        self.window.iter().sum()
    }

    /// Takes one bar's traded value in and returns the window's sum.
    pub(super) fn push(&mut self, value: f64) -> f64 {
        self.window[self.next] = value;
        self.next = (self.next + 1) % self.window.len();
        // Sixty additions are cheaper than a running sum is to keep from drifting.
        self.window.iter().sum()
    }
}

/// The ranking of all symbols.
pub struct Ranking {
    options: ArcSwap<RankingOptions>,
    entries: Mutex<Vec<(Arc<SeriesKey>, Arc<Standing>)>>,
    /// How many bars were admitted since the last ranking.
    admitted: AtomicU64,
    /// How many there are at least between two.
    between: AtomicU64,
}

impl Ranking {
    /// A ranking of nothing yet.
    pub fn new(options: RankingOptions) -> Self {
        let options = ArcSwap::from_pointee(options);
        let between = AtomicU64::new(BARS_BETWEEN_RANKINGS);
        Self { options, entries: Mutex::default(), admitted: AtomicU64::new(0), between }
    }

    /// Over how many bars value is summed.
    pub(super) fn window_bars(&self) -> usize {
        self.options.load().window_bars
    }

    /// Changes what decides a symbol's lane, but for the window, and ranks all symbols anew.
    pub fn set_options(&self, options: RankingOptions) {
        let window_bars = self.window_bars();
        self.options.store(Arc::new(RankingOptions { window_bars, ..options }));
        self.rank(&self.entries.lock());
    }

    /// Adds a series; it starts in the normal lane unless its symbol is pinned.
    pub fn register(&self, series: &Arc<SeriesKey>) -> Arc<Standing> {
        let lane = self.options.load().pinned.get(&*series.symbol).copied().unwrap_or_default();
        let standing = Arc::new(Standing { lane: AtomicU8::new(lane as u8), rate: AtomicU64::new(0) });
        let mut entries = self.entries.lock();
        entries.push((Arc::clone(series), Arc::clone(&standing)));
        self.between.store(BARS_BETWEEN_RANKINGS.max(entries.len() as u64), Ordering::Relaxed);
        standing
    }

    /// A bar of `standing` was admitted; ranks all symbols anew every few hundred bars or more. One worker does
    /// it, the others go on with the lanes they have.
    pub(super) fn note(&self, standing: &Standing, rate: f64) {
        standing.rate.store(rate.to_bits(), Ordering::Relaxed);
        let admitted = self.admitted.fetch_add(1, Ordering::Relaxed) + 1;
        if admitted >= self.between.load(Ordering::Relaxed)
            && let Some(entries) = self.entries.try_lock()
        {
            self.admitted.store(0, Ordering::Relaxed);
            self.rank(&entries);
        }
    }

    fn rank(&self, entries: &[(Arc<SeriesKey>, Arc<Standing>)]) {
        let mut by_symbol: HashMap<&str, f64> = HashMap::new();
        for (series, standing) in entries {
            let rate = by_symbol.entry(&series.symbol).or_default();
            *rate = rate.max(standing.rate());
        }
        let lanes = lanes(by_symbol, &self.options.load());
        for (series, standing) in entries {
            if let Some(lane) = lanes.get(&*series.symbol) {
                standing.lane.store(*lane as u8, Ordering::Relaxed);
            }
        }
    }
}

/// The lane of every symbol: the busiest `high_share` of them first, the quietest `low_share` last (both
/// rounded down), pinned ones where they are pinned. Ties go by name.
fn lanes<'a>(rates: HashMap<&'a str, f64>, options: &RankingOptions) -> HashMap<&'a str, Lane> {
    let mut ranked: Vec<(&str, f64)> = rates.into_iter().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    let share = |share: f64| (ranked.len() as f64 * share) as usize;
    let (high, low) = (share(options.high_share), ranked.len() - share(options.low_share));
    let lane_of = |(rank, (symbol, _)): (usize, &(&'a str, f64))| {
        let by_rank = match rank {
            _ if rank < high => Lane::High,
            _ if rank >= low => Lane::Low,
            _ => Lane::Normal,
        };
        (*symbol, options.pinned.get(*symbol).copied().unwrap_or(by_rank))
    };
    ranked.iter().enumerate().map(lane_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> RankingOptions {
        let pinned = BTreeMap::from([("PIN".to_owned(), Lane::High)]);
        RankingOptions { high_share: 0.2, low_share: 0.5, window_bars: 3, pinned }
    }

    #[test]
    fn the_busiest_fifth_goes_first_and_the_quietest_half_last() {
        let names: Vec<String> = (0..9).map(|n| format!("S{n}")).collect();
        let mut rates: HashMap<&str, f64> = HashMap::new();
        rates.extend(names.iter().enumerate().map(|(n, name)| (name.as_str(), n as f64)));
        rates.insert("PIN", -1.0);
        let lanes = lanes(rates, &options());
        let of = |wanted| {
            let mut names: Vec<_> = lanes.iter().filter(|(_, l)| **l == wanted).map(|(n, _)| *n).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(of(Lane::High), ["PIN", "S7", "S8"]);
        assert_eq!(of(Lane::Normal), ["S4", "S5", "S6"]);
        assert_eq!(of(Lane::Low), ["S0", "S1", "S2", "S3"]);
    }

    #[test]
    fn value_is_summed_over_the_window_only() {
        let mut rolling = RollingValue::new(3);
        let sums: Vec<f64> = [1.0, 2.0, 4.0, 8.0, 16.0].iter().map(|v| rolling.push(*v)).collect();
        assert_eq!(sums, [1.0, 3.0, 7.0, 14.0, 28.0]);
    }
}
