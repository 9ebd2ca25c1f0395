//! What a source that follows a table or a folder does with the bars that are there when it starts.
//!
//! A source knows the names of its feed alone: what is asked of a series here holds for every name under which its bars come.

use crate::config::{CatchUp, SourceSettings};
use crate::domain::{Aliases, Origin, SeriesKey, Timeframe, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// More than any pause brings.
const RESUMED_BARS_MAX: usize = 10_000_000;

/// How many bars the models of a series take until they may predict. See [`History::with_needs`].
type Needs = Arc<dyn Fn(&SeriesKey) -> usize + Send + Sync>;

/// How much of what is there at the start is delivered, and as what.
#[derive(Clone)]
pub struct History {
    /// How many bars of each series warm the features up, the newest ones; 0 for all there are.
    pub history_bars: usize,
    /// Which of the bars after the watermark are predicted.
    pub catch_up: CatchUp,
    /// With [`CatchUp::All`], how many bars of each series are predicted at most, the newest ones;
    /// older ones only warm up.
    pub catch_up_bars_max: usize,
    /// The only series that is wanted, where others need not be read.
    only: Option<SeriesKey>,
    /// What a series' models need at least.
    needs: Option<Needs>,
    /// Series that go on where they were left: every bar behind is wanted, whatever is caught up on otherwise.
    resumed: Option<Arc<HashSet<Arc<SeriesKey>>>>,
    /// What the names of the feed stand for.
    aliases: Aliases,
}

impl History {
    /// What the settings say.
    pub fn of(settings: &SourceSettings) -> Self {
        let SourceSettings { history_bars, catch_up, catch_up_bars_max, .. } = *settings;
        Self::new(history_bars, catch_up, catch_up_bars_max)
    }

    /// The same of every series.
    pub(super) const fn new(history_bars: usize, catch_up: CatchUp, catch_up_bars_max: usize) -> Self {
        let aliases = Aliases::NONE;
        Self { history_bars, catch_up, catch_up_bars_max, only: None, needs: None, resumed: None, aliases }
    }

    /// The same for one series only; a source that can leaves others unread.
    #[must_use]
    pub fn only(self, series: SeriesKey) -> Self {
        Self { only: Some(series), ..self }
    }

    /// The same with as many more bars of history as `needs` says of a series.
    #[must_use]
    pub fn with_needs(self, needs: impl Fn(&SeriesKey) -> usize + Send + Sync + 'static) -> Self {
        Self { needs: Some(Arc::new(needs)), ..self }
    }

    /// The same, where those series go on where they were left.
    #[must_use]
    pub fn resuming(self, series: impl IntoIterator<Item = Arc<SeriesKey>>) -> Self {
        Self { resumed: Some(Arc::new(series.into_iter().collect())), ..self }
    }

    /// The same for a feed that names symbols so.
    #[must_use]
    pub fn under(self, aliases: &Aliases) -> Self {
        Self { aliases: aliases.clone(), ..self }
    }

    /// Whether bars under the name `series` are wanted at all.
    pub(super) fn wants(&self, series: &SeriesKey) -> bool {
        let Some(only) = &self.only else { return true };
        self.aliases.meanings(series).iter().any(|meaning| meaning.series == *only)
    }

    /// How far what comes under each name is done, where `watermarks` say it of the series.
    pub(super) fn done(
        &self,
        watermarks: &[(Arc<SeriesKey>, Timestamp)],
    ) -> Vec<(Arc<SeriesKey>, Timestamp)> {
        let known: HashMap<&SeriesKey, Timestamp> =
            watermarks.iter().map(|(key, ts)| (&**key, *ts)).collect();
        let timeframes: BTreeSet<Timeframe> = known.keys().map(|series| series.timeframe).collect();
        let of_name = |name: &Arc<str>| {
            let named = |timeframe: &Timeframe| SeriesKey { symbol: Arc::clone(name), timeframe: *timeframe };
            timeframes.iter().map(named).collect::<Vec<_>>()
        };
        let names: Vec<Arc<str>> = self.aliases.names().map(Arc::from).collect();
        let others = names.iter().flat_map(of_name).filter(|series| !known.contains_key(series));
        let all = watermarks.iter().map(|(series, _)| Arc::clone(series)).chain(others.map(Arc::new));
        all.filter_map(|series| {
            let done = self.aliases.done(&series, |meant| known.get(meant).copied())?;
            Some((series, done))
        })
        .collect()
    }

    /// The names of which bars are to come in one order with those under `series`, itself among them.
    pub(super) fn together<'a>(&'a self, series: &'a SeriesKey) -> Vec<&'a str> {
        self.aliases.together(&series.symbol)
    }

    /// The rule for the bars under the name `series`.
    pub(super) fn of_series(&self, series: &SeriesKey) -> Self {
        let meant: Vec<SeriesKey> = self.aliases.meanings(series).into_iter().map(|m| m.series).collect();
        let is_resumed =
            |series: &&SeriesKey| self.resumed.as_ref().is_some_and(|resumed| resumed.contains(*series));
        let resumed = meant.iter().filter(is_resumed).count();
        if resumed == meant.len() {
            return Self::new(1, CatchUp::All, RESUMED_BARS_MAX);
        }
        let needed = self.needs.as_ref().and_then(|needs| meant.iter().map(|series| needs(series)).max());
        let needed = needed.unwrap_or(0);
        // 0 is all there is.
        let history_bars = if self.history_bars == 0 { 0 } else { self.history_bars.max(needed) };
        // Under a name of several series, some of which go on, as well; the others start as ever.
        let (catch_up, max) = match resumed {
            0 => (self.catch_up, self.catch_up_bars_max),
            _ => (CatchUp::All, RESUMED_BARS_MAX),
        };
        Self::new(history_bars, catch_up, max)
    }
}

/// How many newer bars of a series were given each origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) warm_up: usize,
    pub(super) catch_up: usize,
}

impl History {
    /// The origin of a bar that opened at `ts`, when the newer ones of its series were `given` theirs;
    /// `None` when it and all older ones are left out. Series are walked from their newest bar back,
    /// so that no more is read than is delivered.
    pub(super) fn origin(
        &self,
        ts: Timestamp,
        watermark: Option<Timestamp>,
        given: &mut Given,
    ) -> Option<Origin> {
        let catch_up_max = match self.catch_up {
            CatchUp::All => self.catch_up_bars_max,
            CatchUp::Latest => usize::from(given.warm_up == 0),
            CatchUp::None => 0,
        };
        if given.catch_up < catch_up_max && watermark.is_none_or(|watermark| ts > watermark) {
            given.catch_up += 1;
            return Some(Origin::CatchUp);
        }
        if self.history_bars != 0 && given.warm_up == self.history_bars {
            return None;
        }
        given.warm_up += 1;
        Some(Origin::WarmUp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_as_a_table() {
        use CatchUp::{All, Latest, None as Not};
        // Bars 1..=6, oldest first; `.` left out, `w` warm-up, `c` catch-up.
        for (watermark, catch_up, history_bars, catch_up_bars_max, expected) in [
            (Some(3), All, 0, 100, "wwwccc"),
            (Some(3), All, 2, 100, ".wwccc"),
            (Some(3), All, 2, 2, "..wwcc"),
            (Some(3), All, 0, 0, "wwwwww"),
            (None, All, 0, 100, "cccccc"),
            (None, All, 2, 3, ".wwccc"),
            (None, All, 0, 3, "wwwccc"),
            (Some(6), All, 0, 100, "wwwwww"),
            (Some(9), All, 3, 100, "...www"),
            (Some(0), All, 3, 100, "cccccc"),
            (Some(3), Latest, 0, 100, "wwwwwc"),
            (Some(3), Latest, 2, 0, "...wwc"),
            (None, Latest, 0, 100, "wwwwwc"),
            (Some(6), Latest, 0, 100, "wwwwww"),
            (Some(3), Not, 0, 100, "wwwwww"),
            (None, Not, 4, 100, "..wwww"),
        ] {
            let history = History::new(history_bars, catch_up, catch_up_bars_max);
            let mut given = Given::default();
            let mut seen: Vec<char> = (1..=6)
                .rev()
                .map(|ts| {
                    let watermark = watermark.map(Timestamp::from_secs);
                    match history.origin(Timestamp::from_secs(ts), watermark, &mut given) {
                        Some(Origin::CatchUp) => 'c',
                        Some(_) => 'w',
                        None => '.',
                    }
                })
                .collect();
            seen.reverse();
            assert_eq!(String::from_iter(seen), expected, "{watermark:?} {catch_up:?}");
        }
    }
    #[test]
    fn what_models_need_is_read_whatever_is_configured() {
        let series = |symbol: &str| SeriesKey::new(symbol, crate::domain::Timeframe::MINUTE).unwrap();
        let history = |history_bars| {
            History::new(history_bars, CatchUp::All, 9)
                .with_needs(|series| if &*series.symbol == "BTC" { 500 } else { 0 })
        };
        for (history_bars, symbol, expected) in
            [(100, "BTC", 500), (100, "ETH", 100), (1000, "BTC", 1000), (0, "BTC", 0)]
        {
            assert_eq!(history(history_bars).of_series(&series(symbol)).history_bars, expected);
        }
    }

    #[test]
    fn what_is_asked_of_a_series_holds_for_every_name_of_it() {
        let series = |symbol: &str| Arc::new(SeriesKey::new(symbol, Timeframe::MINUTE).unwrap());
        let at = Timestamp::from_secs;
        let aliases = "OLD NEW until 1970-01-01T00:10:00Z, N/W NEW, OTHER THIRD".parse().unwrap();
        let history = History::new(100, CatchUp::Latest, 9)
            .under(&aliases)
            .with_needs(|series| if &*series.symbol == "NEW" { 500 } else { 0 });
        let rule = |history: &History, symbol: &str| {
            let rule = history.of_series(&series(symbol));
            (rule.history_bars, rule.catch_up, rule.catch_up_bars_max)
        };
        for (symbol, bars) in [("OLD", 500), ("N/W", 500), ("NEW", 500), ("OTHER", 100), ("THIRD", 100)] {
            assert_eq!(rule(&history, symbol), (bars, CatchUp::Latest, 9), "{symbol}");
        }
        let mut done = history.done(&[(series("NEW"), at(900)), (series("X"), at(5))]);
        done.sort();
        let mut expected = vec![
            (series("NEW"), at(900)),
            (series("N/W"), at(900)),
            (series("OLD"), at(600).plus_millis(-1)),
            (series("X"), at(5)),
        ];
        expected.sort();
        assert_eq!(done, expected);
        // Where it goes on, nothing behind may be missed, whatever else the name stood for.
        let resumed = history.clone().resuming([series("NEW")]);
        assert_eq!(rule(&resumed, "N/W"), (1, CatchUp::All, RESUMED_BARS_MAX));
        assert_eq!(rule(&resumed, "OLD"), (500, CatchUp::All, RESUMED_BARS_MAX));
        assert_eq!(rule(&resumed, "OTHER"), (100, CatchUp::Latest, 9));
        let only = history.only((*series("NEW")).clone());
        let wanted = ["OLD", "N/W", "NEW", "OTHER"].map(|symbol| only.wants(&series(symbol)));
        assert_eq!(wanted, [true, true, true, false]);
    }
}
