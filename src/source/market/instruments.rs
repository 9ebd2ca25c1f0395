//! What is traded: the default instruments, and made-up ones.

use super::MarketError;
use super::random::{Random, fnv1a, power_of_ten};
use std::sync::Arc;

/// An instrument of the simulated market.
#[derive(Clone, Debug, PartialEq)]
pub struct Instrument {
    /// Its name.
    pub symbol: Arc<str>,
    /// The price it starts at, and around which it stays.
    pub price: f64,
    /// Standard deviation of its one-minute returns.
    pub volatility: f64,
    /// Correlation of its noise with the whole market's, -1 to 1.
    pub market_beta: f64,
    /// Digits behind the point of its prices, at most 12: the tick size.
    pub price_decimals: u32,
    /// Digits behind the point of its volumes, at most 12: the lot size.
    pub volume_decimals: u32,
}

impl Instrument {
    /// The six default instruments, the most traded first.
    pub fn majors() -> Vec<Self> {
        let instrument =
            |symbol: &str, price, volatility, market_beta, price_decimals, volume_decimals| Self {
                symbol: Arc::from(symbol),
                price,
                volatility,
                market_beta,
                price_decimals,
                volume_decimals,
            };
        vec![
            instrument("BTCUSD", 60_000.0, 0.000_65, 0.75, 1, 5),
            instrument("ETHUSD", 3_000.0, 0.000_85, 0.70, 2, 4),
            instrument("SOLUSD", 150.0, 0.001_10, 0.60, 2, 2),
            instrument("EURUSD", 1.1, 0.000_13, 0.10, 5, 0),
            instrument("XAUUSD", 2_400.0, 0.000_25, -0.10, 2, 3),
            instrument("DOGEUSD", 0.1, 0.001_30, 0.55, 6, 0),
        ]
    }

    /// `count` made-up instruments, `SYM001`, `SYM002`, …, the most traded first. Each one's traits follow
    /// from its name alone, so the first ten of a hundred are the ten of ten.
    pub fn synthetic(count: usize) -> Vec<Self> {
        (1..=count).map(|number| Self::from_name(&format!("SYM{number:03}"))).collect()
    }

    fn from_name(symbol: &str) -> Self {
        let mut random = Random::new(fnv1a(symbol));
        let decade = (random.bits() % 6) as u32;
        Self {
            symbol: Arc::from(symbol),
            // 0.01 to 100,000, four to five digits before the tick.
            price: (1.0 + 9.0 * random.uniform()) * power_of_ten(decade) / 100.0,
            volatility: 0.0003 + 0.0012 * random.uniform(),
            market_beta: 0.2 + 0.6 * random.uniform(),
            price_decimals: 6 - decade,
            volume_decimals: decade,
        }
    }
}

/// Whether every trait of `instrument` is in its range.
pub(super) fn check(instrument: &Instrument) -> Result<(), MarketError> {
    let refuse = |name, value: String, allowed| {
        Err(MarketError::Trait { symbol: Arc::clone(&instrument.symbol), name, value, allowed })
    };
    let Instrument { price, volatility, market_beta, price_decimals, volume_decimals, .. } = *instrument;
    if !(1e-9..=1e9).contains(&price) {
        return refuse("price", price.to_string(), "1e-9 to 1e9");
    }
    if !(0.0..=0.01).contains(&volatility) {
        return refuse("volatility", volatility.to_string(), "0 to 0.01");
    }
    if !(-1.0..=1.0).contains(&market_beta) {
        return refuse("market_beta", market_beta.to_string(), "-1 to 1");
    }
    if price_decimals > 12 {
        return refuse("price_decimals", price_decimals.to_string(), "0 to 12");
    }
    if volume_decimals > 12 {
        return refuse("volume_decimals", volume_decimals.to_string(), "0 to 12");
    }
    if price * power_of_ten(price_decimals) < 100.0 {
        return refuse("price", price.to_string(), "at least 100 ticks");
    }
    Ok(())
}
