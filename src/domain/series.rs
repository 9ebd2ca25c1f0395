//! A series: the bars of one symbol over one timeframe.

use super::{Excerpt, Timeframe};
use std::fmt;
use std::sync::Arc;

/// The longest symbol that is taken, in bytes.
const SYMBOL_BYTES_MAX: usize = 64;

/// The readable name of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The instrument, as its source spells it.
    pub symbol: Arc<str>,
    /// The length of its bars.
    pub timeframe: Timeframe,
}

/// A symbol that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolError {
    symbol: String,
}

impl fmt::Display for SymbolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a symbol: 1 to {SYMBOL_BYTES_MAX} letters, digits and . _ - / : are allowed",
            Excerpt(&self.symbol)
        )
    }
}

impl std::error::Error for SymbolError {}

impl SeriesKey {
    /// The series of `symbol` over `timeframe`.
    ///
    /// # Errors
    /// When the symbol is empty, longer than 64 bytes, or has a character other than ASCII letters,
    /// digits and `. _ - / :`.
    pub fn new(symbol: &str, timeframe: Timeframe) -> Result<Self, SymbolError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-/:".contains(&b);
        if symbol.is_empty() || symbol.len() > SYMBOL_BYTES_MAX || !symbol.bytes().all(allowed) {
            return Err(SymbolError { symbol: symbol.to_owned() });
        }
        Ok(Self { symbol: Arc::from(symbol), timeframe })
    }
}

/// Whether two symbols have the same letters and digits, as `BTC/USDT` and `btcusdt` have: perhaps one in two spellings, which
/// only people can know.
pub fn spelled_alike(a: &str, b: &str) -> bool {
    let plain = |symbol: &str| -> String { symbol.chars().filter(char::is_ascii_alphanumeric).collect() };
    plain(a).eq_ignore_ascii_case(&plain(b))
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.symbol, self.timeframe)
    }
}

/// The dense number of a series within one run: an index into per-series tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

/// The priority with which a key's waiting work is taken: by its symbol's rank in traded volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Lane {
    /// The symbols that trade most, and what a caller waits for.
    High = 0,
    /// Everything else that is live.
    #[default]
    Normal = 1,
    /// The symbols that trade least, and catching up.
    Low = 2,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_symbol_are_alike_and_other_instruments_are_not() {
        for spelling in ["BTCUSDT", "BTC/USDT", "BTC-USDT", "btc_usdt", "BTC.USDT"] {
            assert!(spelled_alike(spelling, "BTCUSDT"), "{spelling}");
        }
        for other in ["BTCUSD", "BTC/USDT:USDT", "BTCUSDT.P", "ETHUSDT", ""] {
            assert!(!spelled_alike(other, "BTCUSDT"), "{other}");
        }
    }
}
