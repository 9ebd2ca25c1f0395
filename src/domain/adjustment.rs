//! Adjustments: what a split, a dividend or the roll of a future makes of the bars before it.
//!
//! ```text
//! AAPL 2020-08-31T13:30:00Z 0.25 4       four shares for one: prices a quarter, volumes four times as much
//! CLZ4 2024-11-20T00:00:00Z 1.0125 1     a roll, by the ratio of the two closes
//! CLZ4 2024-11-20T00:00:00Z +0.85 1      the same roll, by their difference
//! ```

use super::{Bar, Excerpt, SeriesKey, Timeframe, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

/// What prices and volumes may be multiplied by. Prices reach from 1e-8 to 1e12: they stay far within an f64.
const FACTORS: RangeInclusive<f64> = 1e-9..=1e9;
/// The most that is added to prices, or taken off them.
const DIFFERENCE_MAX: f64 = 1e12;

/// What an event makes of earlier prices.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PriceChange {
    /// They are multiplied: a split, a dividend, a roll by ratio. Written without a sign.
    Times(f64),
    /// This is added to them: a roll by difference. Written with its sign.
    Plus(f64),
}

impl PriceChange {
    /// `price` in the new terms.
    #[inline]
    pub fn of(self, price: f64) -> f64 {
        match self {
            Self::Times(factor) => price * factor,
            Self::Plus(difference) => price + difference,
        }
    }
}

impl fmt::Display for PriceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(factor) => write!(f, "{factor}"),
            Self::Plus(difference) => write!(f, "{difference:+}"),
        }
    }
}

impl FromStr for PriceChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with(['+', '-']) {
            return factor("PRICE", text).map(Self::Times);
        }
        let difference = text.parse().ok().filter(|x: &f64| x.abs() <= DIFFERENCE_MAX);
        difference.map(Self::Plus).ok_or_else(|| {
            let text = Excerpt(text);
            format!("PRICE is `{text}`: behind a sign at most {DIFFERENCE_MAX:e} is expected, which is added")
        })
    }
}

fn factor(name: &str, text: &str) -> Result<f64, String> {
    let unsigned = |factor: &f64| FACTORS.contains(factor) && !text.starts_with('+');
    text.parse().ok().filter(unsigned).ok_or_else(|| {
        let (least, most, text) = (FACTORS.start(), FACTORS.end(), Excerpt(text));
        format!("{name} is `{text}`: a factor from {least:e} to {most:e} is expected")
    })
}

/// One event of one symbol: from here on bars that open before `from` are taken as changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adjustment {
    /// The open time of the first bar in the new terms.
    pub from: Timestamp,
    /// What earlier prices become.
    pub price: PriceChange,
    /// What earlier volumes are multiplied by; above 0.
    pub volume: f64,
}

impl Adjustment {
    /// Changes `bar`, which opened before the event.
    pub fn apply(&self, bar: &mut Bar) {
        for price in [&mut bar.open, &mut bar.high, &mut bar.low, &mut bar.close] {
            *price = self.price.of(*price);
        }
        bar.volume *= self.volume;
    }
}

impl fmt::Display for Adjustment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, price, volume } = self;
        write!(f, "{from} {price} {volume}")
    }
}

/// The adjustments of all symbols.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adjustments {
    by_symbol: BTreeMap<String, SeriesAdjustments>,
}

impl Adjustments {
    /// Those of `symbol`.
    pub fn of(&self, symbol: &str) -> SeriesAdjustments {
        self.by_symbol.get(symbol).cloned().unwrap_or_default()
    }
}

impl fmt::Display for Adjustments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all =
            self.by_symbol.iter().flat_map(|(symbol, events)| events.all().iter().map(move |e| (symbol, e)));
        for (at, (symbol, event)) in all.enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{symbol} {event}")?;
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
            let wrong = |problem: String| format!("`{}`: {problem}", Excerpt(entry));
            let cells: Vec<&str> = entry.split_ascii_whitespace().collect();
            let [symbol, from, price, volume] = cells[..] else {
                return Err(wrong("SYMBOL TIME PRICE VOLUME is expected".to_owned()));
            };
            SeriesKey::new(symbol, Timeframe::MINUTE).map_err(|error| wrong(error.to_string()))?;
            let from = from.parse().map_err(|error| wrong(format!("{error}")))?;
            let price = price.parse().map_err(wrong)?;
            let event = Adjustment { from, price, volume: factor("VOLUME", volume).map_err(wrong)? };
            let events = by_symbol.entry(symbol.to_owned()).or_default();
            match events.binary_search_by_key(&event.from, |known| known.from) {
                Ok(_) => {
                    return Err(wrong(format!("{symbol} has one at this time already; give one of both")));
                }
                Err(at) => events.insert(at, event),
            }
        }
        let of = |(symbol, events): (String, Vec<Adjustment>)| (symbol, SeriesAdjustments(events.into()));
        Ok(Self { by_symbol: by_symbol.into_iter().map(of).collect() })
    }
}

/// The adjustments of one symbol in the order of their times.
///
/// A bar's *terms* are how many of them are in force when it opens; so far is every bar before it adjusted for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesAdjustments(Arc<[Adjustment]>);

impl SeriesAdjustments {
    /// Of a list in the order of its times.
    pub fn new(events: &[Adjustment]) -> Self {
        Self(events.into())
    }

    /// All of them.
    pub fn all(&self) -> &[Adjustment] {
        &self.0
    }

    /// How many are in force with a bar that opens at `ts`.
    #[inline]
    pub fn terms_at(&self, ts: Timestamp) -> usize {
        self.0.partition_point(|event| event.from <= ts)
    }

    /// `bar` in later terms than its own; itself where they are not later.
    #[inline]
    pub fn adjusted(&self, bar: &Bar, terms: usize) -> Bar {
        let mut bar = *bar;
        let events = self.0.get(self.terms_at(bar.ts)..terms).unwrap_or_default();
        events.iter().for_each(|event| event.apply(&mut bar));
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

        let series = all.of("AAPL");
        let bar = |ts: &str| Bar { ts: at(ts), open: 8.0, high: 8.0, low: 8.0, close: 8.0, volume: 1.0 };
        let old = bar("2020-08-28T13:30:00Z");
        assert_eq!(series.terms_at(old.ts), 1);
        assert_eq!(series.terms_at(at("2020-08-31T13:29:59Z")), 1);
        assert_eq!(series.terms_at(at("2020-08-31T13:30:00Z")), 2);
        assert_eq!([0, 1].map(|terms| series.adjusted(&old, terms)), [old, old]);
        let adjusted = series.adjusted(&old, 2);
        assert_eq!((adjusted.close, adjusted.volume), (2.0, 4.0));
        let oldest = series.adjusted(&bar("2014-06-09T13:29:00Z"), 2);
        assert_eq!((oldest.close, oldest.volume), (8.0 * 0.142857 * 0.25, 28.0));
        assert_eq!(series.adjusted(&bar("2020-08-31T13:30:00Z"), 2).close, 8.0);
        assert!(all.of("MSFT").all().is_empty());
    }

    #[test]
    fn a_signed_price_is_added_and_one_without_a_sign_multiplies() {
        let text = "CLZ4 2024-10-21T00:00:00Z +1.25 1, CLZ4 2024-11-20T00:00:00Z -0.75 1, CLZ4 2024-12-19T00:00:00Z 2 1";
        let all: Adjustments = text.parse().unwrap();
        assert_eq!(all.to_string(), text);
        let bar = Bar {
            ts: at("2024-10-20T00:00:00Z"),
            open: 70.5,
            high: 71.0,
            low: 0.5,
            close: 70.75,
            volume: 9.0,
        };
        let adjusted = all.of("CLZ4").adjusted(&bar, 3);
        let by_hand = |price: f64| ((price + 1.25) + -0.75) * 2.0;
        assert_eq!(adjusted.open.to_bits(), by_hand(70.5).to_bits());
        assert_eq!((adjusted.low, adjusted.close, adjusted.volume), (by_hand(0.5), by_hand(70.75), 9.0));
    }

    #[test]
    fn what_is_no_event_is_refused_with_its_text() {
        for (text, problem) in [
            ("AAPL 2020-08-31T13:30:00Z 0.25", "SYMBOL TIME PRICE VOLUME"),
            ("AA PL 2020-08-31T13:30:00Z 0.25 4", "SYMBOL TIME PRICE VOLUME"),
            ("A*L 2020-08-31T13:30:00Z 0.25 4", "is not a symbol"),
            ("AAPL 2020-08-31 0.25 4", "2020-08-31"),
            ("AAPL 2020-08-31T13:30:00Z 0 4", "PRICE is `0`"),
            ("AAPL 2020-08-31T13:30:00Z 1e10 4", "PRICE is `1e10`: a factor from 1e-9 to 1e9"),
            ("AAPL 2020-08-31T13:30:00Z -inf 1", "PRICE is `-inf`: behind a sign at most 1e12"),
            ("AAPL 2020-08-31T13:30:00Z + 1", "PRICE is `+`"),
            ("AAPL 2020-08-31T13:30:00Z 0.25 +4", "VOLUME is `+4`"),
            ("AAPL 2020-08-31T13:30:00Z 0.25 nan", "VOLUME is `nan`"),
            ("AAPL 2020-08-31T13:30:00Z 0.25 -4", "VOLUME is `-4`"),
            ("A 2020-08-31T13:30:00Z 2 1, A 2020-08-31T13:30:00Z 3 1", "has one at this time already"),
        ] {
            let error = text.parse::<Adjustments>().unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
