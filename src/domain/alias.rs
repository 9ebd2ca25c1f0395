//! Aliases: the other names under which the bars of a symbol come, and when.
//!
//! ```text
//! BTC/USDT BTCUSDT                          a spelling: always the same
//! FB META until 2022-06-09T00:00:00Z        a new name: what opens before then and comes as FB is META's
//! XBT BTC from 2020-01-01T00:00:00Z         from then on
//! ```
//!
//! Names on the left are those of feeds, names on the right are vela's own: a name is looked up once, never what it led to.

use super::{Excerpt, SeriesKey, Timeframe, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Before all bars, and behind them.
const ALWAYS: (Timestamp, Timestamp) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));

/// What a name stands for over some time.
#[derive(Clone, Debug, PartialEq)]
struct Alias {
    symbol: Arc<str>,
    /// The first open time of which that is so, and the first of which it is no more.
    from: Timestamp,
    until: Timestamp,
}

impl Alias {
    fn holds(&self, ts: Timestamp) -> bool {
        self.from <= ts && ts < self.until
    }
}

/// A series that bars under a name are of, while they open in a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Which.
    pub series: SeriesKey,
    /// From the first open time on, and before the second.
    pub opens: (Timestamp, Timestamp),
}

/// The aliases of all symbols.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aliases {
    /// By name, of each in the order of time; no two of one name at once.
    by_name: BTreeMap<String, Vec<Alias>>,
}

impl Aliases {
    /// None: every name stands for itself.
    pub const NONE: Self = Self { by_name: BTreeMap::new() };

    /// What `name` stands for where a bar opens at `ts`; `None` where for itself.
    #[inline]
    pub fn symbol(&self, name: &str, ts: Timestamp) -> Option<&Arc<str>> {
        if self.by_name.is_empty() {
            return None;
        }
        let alias = self.by_name.get(name)?.iter().find(|alias| alias.holds(ts))?;
        Some(&alias.symbol)
    }

    /// The series that a bar under the name `series` is of where it opens at `ts`; `None` where it is of that very one.
    #[inline]
    pub fn series(&self, series: &SeriesKey, ts: Timestamp) -> Option<SeriesKey> {
        let symbol = self.symbol(&series.symbol, ts)?;
        Some(SeriesKey { symbol: Arc::clone(symbol), timeframe: series.timeframe })
    }

    /// All series that bars under the name `series` can be of, in the order of time.
    pub fn meanings(&self, series: &SeriesKey) -> Vec<Meaning> {
        let named = |symbol: &Arc<str>, opens| Meaning {
            series: SeriesKey { symbol: Arc::clone(symbol), timeframe: series.timeframe },
            opens,
        };
        let (mut at, mut all) = (ALWAYS.0, Vec::new());
        for Alias { symbol, from, until } in self.by_name.get(&*series.symbol).into_iter().flatten() {
            if at < *from {
                all.push(named(&series.symbol, (at, *from)));
            }
            all.push(named(symbol, (*from, *until)));
            at = *until;
        }
        if at < ALWAYS.1 {
            all.push(named(&series.symbol, (at, ALWAYS.1)));
        }
        all
    }

    /// All names and symbols of which bars can be of one series with those under `name`, be it by way of others, `name` the
    /// first: they belong in one order.
    pub fn together<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        let (mut all, mut at) = (vec![name], 0);
        while let Some(name) = all.get(at).copied() {
            for (alias, meanings) in &self.by_name {
                for Alias { symbol, .. } in meanings {
                    let next = match (alias == name, &**symbol == name) {
                        (true, _) => &**symbol,
                        (_, true) => alias.as_str(),
                        _ => continue,
                    };
                    if !all.contains(&next) {
                        all.push(next);
                    }
                }
            }
            at += 1;
        }
        all
    }

    /// Every name that there is an entry for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Up to which open time the bars under the name `series` are done, where `done` says it of the series themselves.
    /// `None` where none are.
    pub fn done(
        &self,
        series: &SeriesKey,
        done: impl Fn(&SeriesKey) -> Option<Timestamp>,
    ) -> Option<Timestamp> {
        let mut through = None;
        for Meaning { series: meant, opens: (from, until) } in self.meanings(series) {
            // What was done under the name itself, before it was an alias, is not done anew.
            let Some(ts) = done(&meant).or_else(|| done(series)) else { continue };
            let last = until.plus_millis(-1);
            through = Some(ts.clamp(from.plus_millis(-1), last));
            if ts < last {
                break;
            }
        }
        through
    }

    /// What `name` was an alias of until before `ts`, and since when it is none.
    pub fn ended(&self, name: &str, ts: Timestamp) -> Option<(&str, Timestamp)> {
        let ended = self.by_name.get(name)?.iter().rfind(|alias| alias.until <= ts)?;
        Some((&ended.symbol, ended.until))
    }
}

impl fmt::Display for Aliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.by_name.iter().flat_map(|(name, aliases)| aliases.iter().map(move |a| (name, a)));
        for (at, (name, Alias { symbol, from, until })) in all.enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {symbol}")?;
            if *from != ALWAYS.0 {
                write!(f, " from {from}")?;
            }
            if *until != ALWAYS.1 {
                write!(f, " until {until}")?;
            }
        }
        Ok(())
    }
}

/// Reads `NAME SYMBOL [from TIME] [until TIME]`.
fn entry(text: &str) -> Result<(&str, Alias), String> {
    let cells: Vec<&str> = text.split_ascii_whitespace().collect();
    let [name, symbol, dates @ ..] = &cells[..] else {
        return Err("NAME SYMBOL [from TIME] [until TIME] is expected".to_owned());
    };
    for cell in [name, symbol] {
        SeriesKey::new(cell, Timeframe::MINUTE).map_err(|error| error.to_string())?;
    }
    if name == symbol {
        return Err(format!("{name} is {symbol} already; name another symbol, or leave the entry out"));
    }
    let mut alias = Alias { symbol: Arc::from(*symbol), from: ALWAYS.0, until: ALWAYS.1 };
    for date in dates.chunks(2) {
        let (place, time) = match date {
            ["from", time] if alias.from == ALWAYS.0 => (&mut alias.from, time),
            ["until", time] if alias.until == ALWAYS.1 => (&mut alias.until, time),
            _ => {
                let date = date.join(" ");
                return Err(format!(
                    "`{}`: from TIME and until TIME are expected behind the symbol, each once",
                    Excerpt(&date)
                ));
            }
        };
        *place = time.parse().map_err(|error| format!("{error}"))?;
    }
    if alias.from >= alias.until {
        return Err(format!("no bar opens from {} on and before {}", alias.from, alias.until));
    }
    Ok((name, alias))
}

impl FromStr for Aliases {
    type Err = String;

    /// Reads `NAME SYMBOL [from TIME] [until TIME]` entries, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut by_name: BTreeMap<String, Vec<Alias>> = BTreeMap::new();
        for text in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let wrong = |problem: String| format!("`{}`: {problem}", Excerpt(text));
            let (name, alias) = entry(text).map_err(wrong)?;
            let known = by_name.entry(name.to_owned()).or_default();
            if let Some(other) = known.iter().find(|a| a.from < alias.until && alias.from < a.until) {
                let symbol = &other.symbol;
                return Err(wrong(format!(
                    "{name} stands for {symbol} at some of these times already; give dates that do not overlap"
                )));
            }
            let at = known.partition_point(|other| other.from < alias.from);
            known.insert(at, alias);
        }
        for (name, Alias { symbol, from, until }) in
            by_name.iter().flat_map(|(name, aliases)| aliases.iter().map(move |alias| (name, alias)))
        {
            // From `until` on the bars come under the new name: what that stands for then is what they are of.
            let then = |other: &&Alias| match *until == ALWAYS.1 {
                true => other.until > *from,
                false => other.holds(*until),
            };
            if let Some(other) = by_name.get(&**symbol).and_then(|others| others.iter().find(then)) {
                return Err(format!(
                    "`{name} {symbol}`: {symbol} is an alias itself then, of {0}; write `{name} {0}`, with its dates",
                    other.symbol
                ));
            }
        }
        Ok(Self { by_name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn aliases(text: &str) -> Aliases {
        text.parse().unwrap()
    }

    fn key(symbol: &str) -> SeriesKey {
        SeriesKey::new(symbol, Timeframe::MINUTE).unwrap()
    }

    #[test]
    fn aliases_read_and_print_and_hold_within_their_dates() {
        let text = "BTC/USDT BTCUSDT, FB META until 2022-06-09T00:00:00Z, \
                    X ONE until 2020-01-01T00:00:00Z, X TWO from 2021-01-01T00:00:00Z until 2022-01-01T00:00:00Z";
        let all = aliases(text);
        assert_eq!(all.to_string(), text);
        let mixed = "X TWO until 2022-01-01T00:00:00Z from 2021-01-01T00:00:00Z,X ONE until 2020-01-01T00:00:00Z, \
                     ,FB  META until 2022-06-09T00:00:00Z,BTC/USDT BTCUSDT";
        assert_eq!(aliases(mixed), all);
        assert_eq!(aliases(""), Aliases::default());
        for (name, ts, symbol) in [
            ("BTC/USDT", "1970-01-01T00:00:00Z", Some("BTCUSDT")),
            ("BTCUSDT", "1970-01-01T00:00:00Z", None),
            ("FB", "2022-06-08T23:59:59.999Z", Some("META")),
            ("FB", "2022-06-09T00:00:00Z", None),
            ("META", "2022-06-08T00:00:00Z", None),
            ("X", "2019-12-31T23:59:00Z", Some("ONE")),
            ("X", "2020-06-01T00:00:00Z", None),
            ("X", "2021-01-01T00:00:00Z", Some("TWO")),
            ("X", "2022-01-01T00:00:00Z", None),
        ] {
            assert_eq!(all.symbol(name, at(ts)).map(|symbol| &**symbol), symbol, "{name} {ts}");
        }
        let meanings: Vec<String> =
            all.meanings(&key("X")).into_iter().map(|m| m.series.to_string()).collect();
        assert_eq!(meanings, ["ONE 1m", "X 1m", "TWO 1m", "X 1m"]);
        assert_eq!(all.meanings(&key("BTC/USDT")).len(), 1);
        assert_eq!(all.ended("X", at("2020-06-01T00:00:00Z")), Some(("ONE", at("2020-01-01T00:00:00Z"))));
        assert_eq!(all.ended("BTC/USDT", at("2020-06-01T00:00:00Z")), None);
    }

    #[test]
    fn a_name_that_was_given_away_and_given_anew_is_no_chain() {
        // The fund that was META became METV; then Facebook, FB, became META.
        let all = aliases("FB META until 2022-06-09T00:00:00Z, META METV until 2022-01-31T00:00:00Z");
        let before = at("2021-06-01T00:00:00Z");
        assert_eq!(all.symbol("FB", before).map(|symbol| &**symbol), Some("META"));
        assert_eq!(all.symbol("META", before).map(|symbol| &**symbol), Some("METV"));
        assert_eq!(all.symbol("META", at("2022-06-09T00:00:00Z")), None);
        assert_eq!(all.together("METV"), ["METV", "META", "FB"]);
        assert_eq!(all.together("BTC"), ["BTC"]);
    }

    #[test]
    fn what_is_no_alias_is_refused_with_its_text_and_what_to_write() {
        for (text, problem) in [
            ("FB", "NAME SYMBOL [from TIME] [until TIME]"),
            ("F*B META", "is not a symbol"),
            ("FB ME*TA", "is not a symbol"),
            ("FB FB", "FB is FB already"),
            ("FB META until", "`until`: from TIME and until TIME are expected"),
            ("FB META 2022-06-09T00:00:00Z", "`2022-06-09T00:00:00Z`: from TIME"),
            ("FB META until 2022-06-09", "2022-06-09"),
            ("FB META until 2022-06-09T00:00:00Z until 2023-06-09T00:00:00Z", "each once"),
            ("FB META from 2022-06-09T00:00:00Z until 2022-06-09T00:00:00Z", "no bar opens"),
            ("FB META, FB MVRS", "FB stands for META at some of these times already"),
            ("FB META until 2022-06-09T00:00:00Z, FB MVRS from 2022-06-08T00:00:00Z", "do not overlap"),
            (
                "WLP ANTM until 2014-12-03T00:00:00Z, ANTM ELV until 2022-06-28T00:00:00Z",
                "ANTM is an alias itself then, of ELV; write `WLP ELV`",
            ),
            ("A B, B C", "write `A C`"),
            ("A B, B A", "alias itself"),
            ("A B, B C until 2014-12-03T00:00:00Z", "alias itself"),
        ] {
            let error = text.parse::<Aliases>().unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_done_of_a_name_is_what_is_done_of_what_it_stands_for() {
        let all = aliases(
            "FB META until 2022-06-09T00:00:00Z, BTC/USDT BTCUSDT, XBT BTC from 2020-01-01T00:00:00Z",
        );
        let last = Some(at("2022-06-08T23:59:59.999Z"));
        for (name, known, expected) in [
            ("BTC/USDT", &[("BTCUSDT", "2023-01-01T00:00:00Z")][..], Some(at("2023-01-01T00:00:00Z"))),
            ("BTC/USDT", &[], None),
            ("FB", &[("META", "2022-01-01T00:00:00Z")], Some(at("2022-01-01T00:00:00Z"))),
            ("FB", &[("META", "2023-01-01T00:00:00Z")], last),
            // Known under its old name alone: the entry is new.
            ("FB", &[("FB", "2022-01-01T00:00:00Z")], Some(at("2022-01-01T00:00:00Z"))),
            ("FB", &[("FB", "2022-01-01T00:00:00Z"), ("META", "2023-01-01T00:00:00Z")], last),
            // Another's name by now.
            (
                "FB",
                &[("FB", "2024-01-01T00:00:00Z"), ("META", "2023-01-01T00:00:00Z")],
                Some(at("2024-01-01T00:00:00Z")),
            ),
            ("XBT", &[("BTC", "2023-01-01T00:00:00Z")], Some(at("2023-01-01T00:00:00Z"))),
            ("META", &[("META", "2023-01-01T00:00:00Z")], Some(at("2023-01-01T00:00:00Z"))),
        ] {
            let done = |series: &SeriesKey| {
                known.iter().find(|(symbol, _)| *symbol == &*series.symbol).map(|(_, ts)| at(ts))
            };
            assert_eq!(all.done(&key(name), done), expected, "{name} {known:?}");
        }
    }
}
