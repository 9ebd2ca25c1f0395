//! The dialect in which bars come: what names stand for, and what one of their prices is worth.

use super::{Aliases, Bar, SeriesKey, Timestamp};

/// How numbers that come are made prices.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    /// They are.
    One,
    /// Divided by a whole number: of integers in ten-thousandths the nearest there is to the decimal, as reading it would give.
    Part(f64),
    /// Multiplied.
    Times(f64),
}

/// The dialect of a feed. Bars are read by it where they come in; behind that names and prices are vela's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialect {
    /// What its names stand for.
    pub aliases: Aliases,
    price: Unit,
}

impl Dialect {
    /// Every name stands for itself, every price for what it says.
    pub const PLAIN: Self = Self { aliases: Aliases::NONE, price: Unit::One };

    /// Names stand for what `aliases` say, and 1 as a price for `price_unit`, which is above 0.
    pub fn new(aliases: Aliases, price_unit: f64) -> Self {
        let parts = (1.0 / price_unit).round();
        let price = match price_unit {
            1.0 => Unit::One,
            _ if 1.0 / parts == price_unit => Unit::Part(parts),
            _ => Unit::Times(price_unit),
        };
        Self { aliases, price }
    }

    /// What came as a bar of `series`: the series that it is of, where that is another one.
    #[inline]
    pub fn series(&self, series: &SeriesKey, opens: Timestamp) -> Option<SeriesKey> {
        self.aliases.series(series, opens)
    }

    /// What came as `bar`, its prices as they are here.
    #[inline]
    pub fn bar(&self, bar: Bar) -> Bar {
        let Bar { ts, open, high, low, close, volume } = bar;
        let [open, high, low, close] = match self.price {
            Unit::One => return bar,
            Unit::Part(parts) => [open, high, low, close].map(|price| price / parts),
            Unit::Times(unit) => [open, high, low, close].map(|price| price * unit),
        };
        Bar { ts, open, high, low, close, volume }
    }
}

impl Default for Dialect {
    fn default() -> Self {
        Self::PLAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priced(unit: f64, price: f64) -> f64 {
        let bar = Bar { close: price, volume: 7.0, ..Bar::default() };
        let taken = Dialect::new(Aliases::NONE, unit).bar(bar);
        assert_eq!((taken.ts, taken.volume), (bar.ts, bar.volume));
        taken.close
    }

    #[test]
    fn integers_in_parts_are_the_nearest_numbers_to_their_decimals() {
        assert_eq!(priced(0.0001, 123_450.0), 12.345);
        for (unit, digits) in [(0.1, 1), (0.01, 2), (0.0001, 4), (1e-8, 8), (1e-9, 9)] {
            let parts = 10_i64.pow(digits);
            for nth in 0..100_000 {
                // Up to 2^53, spread.
                let whole = nth * nth * 900_719 + nth;
                let decimal = format!("{}.{:0width$}", whole / parts, whole % parts, width = digits as usize);
                assert_eq!(priced(unit, whole as f64), decimal.parse::<f64>().unwrap(), "{whole} x {unit}");
            }
        }
        assert_eq!(priced(1.0, 12.345), 12.345);
        assert_eq!(priced(100.0, 12.345), 1234.5);
        assert_eq!(priced(0.03, 100.0), 3.0);
        assert!(priced(0.0001, f64::NAN).is_nan());
    }
}
