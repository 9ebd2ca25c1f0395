//! Adjustments: what a split, a dividend or the roll of a future makes of the bars before it.
//!
//! ```text
//! AAPL 2020-08-31T13:30:00Z 0.25 4       four shares for one: prices a quarter, volumes four times as much
//! CLZ4 2024-11-20T00:00:00Z 1.0125 1     a roll, by the ratio of the two closes
//! ```

use super::{Bar, SeriesKey, Timeframe, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// One event of one symbol: from here on bars that open before `from` are taken as multiplied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adjustment {
    /// The open time of the first bar in the new terms.
    pub from: Timestamp,
    /// What earlier prices are multiplied by; above 0.
    pub price: f64,
    /// What earlier volumes are multiplied by; above 0.
    pub volume: f64,
}

impl Adjustment {
    /// Multiplies `bar` where it opened before the event.
    pub fn apply(&self, bar: &mut Bar) {
        if bar.ts < self.from {
            for price in [&mut bar.open, &mut bar.high, &mut bar.low, &mut bar.close] {
                *price *= self.price;
            }
            bar.volume *= self.volume;
        }
    }
}

/// The adjustments of all symbols.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adjustments {
    /// Of each symbol in the order of their times.
    by_symbol: BTreeMap<String, Arc<[Adjustment]>>,
}

impl Adjustments {
    /// Those of `symbol`, before its first bar.
    pub fn of(&self, symbol: &str) -> Adjusting {
        Adjusting { events: self.by_symbol.get(symbol).cloned().unwrap_or_default(), applied: 0 }
    }
}

impl fmt::Display for Adjustments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.by_symbol.iter().flat_map(|(symbol, events)| events.iter().map(move |e| (symbol, e)));
        for (at, (symbol, Adjustment { from, price, volume })) in all.enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{symbol} {from} {price} {volume}")?;
        }
        Ok(())
    }
}

impl FromStr for Adjustments {
    type Err = String;

    /// Reads `SYMBOL TIME PRICE VOLUME` entries, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut by_symbol: BTreeMap<String, Vec<Adjustment>> = BTreeMap::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let wrong = |problem: String| format!("`{}`: {problem}", entry.escape_debug());
            let cells: Vec<&str> = entry.split_ascii_whitespace().collect();
            let [symbol, from, price, volume] = cells[..] else {
                return Err(wrong("SYMBOL TIME PRICE VOLUME is expected".to_owned()));
            };
            SeriesKey::new(symbol, Timeframe::MINUTE).map_err(|error| wrong(error.to_string()))?;
            let from = from.parse().map_err(|error| wrong(format!("{error}")))?;
            let factor = |name: &str, cell: &str| {
                let number = cell.parse().ok().filter(|x: &f64| x.is_normal() && *x > 0.0);
                number.ok_or_else(|| wrong(format!("{name} is `{cell}`: a number above 0 is expected")))
            };
            let event =
                Adjustment { from, price: factor("PRICE", price)?, volume: factor("VOLUME", volume)? };
            let events = by_symbol.entry(symbol.to_owned()).or_default();
            match events.binary_search_by_key(&event.from, |known| known.from) {
                Ok(_) => {
                    return Err(wrong(format!("{symbol} has one at this time already; give one factor")));
                }
                Err(at) => events.insert(at, event),
            }
        }
        Ok(Self {
            by_symbol: by_symbol.into_iter().map(|(symbol, events)| (symbol, events.into())).collect(),
        })
    }
}

/// The adjustments of one series, and how many of them are in force.
#[derive(Clone, Debug, Default)]
pub struct Adjusting {
    events: Arc<[Adjustment]>,
    applied: usize,
}

impl Adjusting {
    /// Whether the series has any.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many are in force.
    pub fn applied(&self) -> usize {
        self.applied
    }

    /// Goes on where `applied` were in force.
    pub fn go_on(&mut self, applied: usize) {
        self.applied = applied.min(self.events.len());
    }

    /// The events that come into force with a bar that opens at `ts`: what was taken before is to be taken anew by them.
    #[inline]
    pub fn due(&mut self, ts: Timestamp) -> Option<&[Adjustment]> {
        let from = self.applied;
        if self.events.get(from).is_none_or(|next| ts < next.from) {
            return None;
        }
        self.applied += self.events[from..].partition_point(|event| event.from <= ts);
        Some(&self.events[from..self.applied])
    }

    /// `bar` in the terms in force: multiplied where it opened before an event that is.
    #[inline]
    pub fn adjusted(&self, bar: &Bar) -> Bar {
        let mut bar = *bar;
        self.events[..self.applied].iter().for_each(|event| event.apply(&mut bar));
        bar
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn events_read_and_print_and_come_in_force_once_in_their_order() {
        let text = "AAPL 2014-06-09T13:30:00Z 0.142857 7, AAPL 2020-08-31T13:30:00Z 0.25 4, B/USD 2024-01-01T00:00:00Z 1.5 1";
        let all: Adjustments = text.parse().unwrap();
        let mixed = "B/USD 2024-01-01T00:00:00Z 1.5 1,AAPL 2020-08-31T13:30:00Z 0.25 4, ,AAPL 2014-06-09T13:30:00Z 0.142857 7";
        assert_eq!(mixed.parse(), Ok(all.clone()));
        assert_eq!(all.to_string().parse(), Ok(all.clone()));
        assert_eq!(String::new().parse(), Ok(Adjustments::default()));

        let mut series = all.of("AAPL");
        let bar = |ts: &str| Bar { ts: at(ts), open: 8.0, high: 8.0, low: 8.0, close: 8.0, volume: 1.0 };
        let old = bar("2020-08-28T13:30:00Z");
        assert_eq!(series.due(old.ts).map(<[_]>::len), Some(1));
        assert_eq!(series.due(old.ts), None);
        assert_eq!(series.adjusted(&old), old);
        assert_eq!(series.due(at("2020-08-31T13:29:59Z")), None);
        assert_eq!(series.due(at("2020-08-31T13:30:00Z")).map(<[_]>::len), Some(1));
        let adjusted = series.adjusted(&old);
        assert_eq!((adjusted.close, adjusted.volume), (2.0, 4.0));
        assert_eq!(series.adjusted(&bar("2020-08-31T13:30:00Z")).close, 8.0);
        assert!(all.of("MSFT").is_empty());
    }

    #[test]
    fn what_is_no_event_is_refused_with_its_text() {
        for (text, problem) in [
            ("AAPL 2020-08-31T13:30:00Z 0.25", "SYMBOL TIME PRICE VOLUME"),
            ("AA PL 2020-08-31T13:30:00Z 0.25 4", "SYMBOL TIME PRICE VOLUME"),
            ("A*L 2020-08-31T13:30:00Z 0.25 4", "is not a symbol"),
            ("AAPL 2020-08-31 0.25 4", "2020-08-31"),
            ("AAPL 2020-08-31T13:30:00Z 0 4", "PRICE is `0`"),
            ("AAPL 2020-08-31T13:30:00Z 0.25 nan", "VOLUME is `nan`"),
            ("AAPL 2020-08-31T13:30:00Z 0.25 -4", "VOLUME is `-4`"),
            ("A 2020-08-31T13:30:00Z 2 1, A 2020-08-31T13:30:00Z 3 1", "has one at this time already"),
        ] {
            let error = text.parse::<Adjustments>().unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
