//! A simulated market: bars for the demo, for load tests, and for training the bundled models.
//!
//! The same settings give the same bars, bit for bit, on every platform: nothing here but integers and
//! `+ - * /`, square roots and rounding on f64, which IEEE 754 defines exactly; no `exp`, no `ln`, no `sin`
//! of the platform's library. A symbol's prices depend on the seed, its own name and traits and the start,
//! never on which other symbols are listed beside it.
//!
//! What a return is made of, minute by minute:
//!
//! - noise whose size clusters: a slow volatility that all symbols share, a fast one of its own, a daily
//!   season, a rare jump;
//! - a part that all symbols share, by each one's `market_beta`;
//! - a short momentum: a small fraction of every move goes on for a minute or two;
//! - a transitory part of the price that fades with a half-life of about ten minutes (mean reversion);
//! - a fair value that is pulled to the instrument's starting price over weeks, so that scales stay sane.
//!
//! Momentum and mean reversion are weak on purpose: a good model explains at most about one percent of
//! the variance of the next minutes' returns.
//! There are no sessions, gaps, spreads or auctions: every symbol trades every minute of the week.

mod instruments;
mod random;
#[cfg(test)]
mod tests;
mod trader;

pub use instruments::Instrument;

use super::SourceBar;
use crate::domain::{Bar, Origin, SeriesKey, SymbolError, Timeframe, Timestamp};
use random::{Autoregression, Random};
use std::collections::HashSet;
use std::sync::Arc;
use trader::{Minute, STEPS, Trader, season};

const MINUTE_MS: i64 = Timeframe::MINUTE.as_millis();
/// Shared volatility: half-life about 12 hours, standard deviation 0.35 of its logarithm.
const SHARED_VOLATILITY: Autoregression = Autoregression { kept: 0.999, deviation: 0.35 };
/// The seed of the bars that the bundled models were trained on.
pub const TRAINING_SEED: u64 = 1;

/// Traded value per minute of the first symbol; the k-th trades this over k (Zipf's law).
const TOP_QUOTE_VOLUME: f64 = 2_000_000.0;

/// What a market is made of.
#[derive(Clone, Debug)]
pub struct MarketSettings {
    /// Another seed, another history.
    pub seed: u64,
    /// What is traded, the most traded first.
    pub instruments: Vec<Instrument>,
    /// The length of the bars: a whole number of minutes.
    pub timeframe: Timeframe,
    /// The first bar is the one that covers this time.
    pub start: Timestamp,
}

impl Default for MarketSettings {
    /// Six instruments, one-minute bars, from Monday, 2026-01-05T00:00:00Z. The bundled models were trained
    /// on [`TRAINING_SEED`]; this is another one, so that they have not seen its bars.
    fn default() -> Self {
        Self {
            seed: TRAINING_SEED + 1,
            instruments: Instrument::majors(),
            timeframe: Timeframe::MINUTE,
            start: Timestamp::from_secs(1_767_571_200),
        }
    }
}

/// Settings from which no market can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarketError {
    /// There is nothing to trade.
    #[error("the market has no instruments: list at least one")]
    Empty,
    /// A symbol that cannot be taken.
    #[error("{0}")]
    Symbol(#[from] SymbolError),
    /// The same symbol twice.
    #[error("`{0}` is listed twice")]
    Duplicate(Arc<str>),
    /// Bars that are no whole number of minutes long.
    #[error("the market moves by the minute: a timeframe of {0} is no whole number of minutes")]
    Timeframe(Timeframe),
    /// A trait out of its range.
    #[error("{symbol}: {name} is {value}, allowed is {allowed}")]
    Trait {
        /// Whose.
        symbol: Arc<str>,
        /// Which.
        name: &'static str,
        /// What was given.
        value: String,
        /// What could be.
        allowed: &'static str,
    },
}

/// A running simulation: minute after minute, without end.
#[derive(Clone, Debug)]
pub struct Market {
    random: Random,
    /// Logarithm of the volatility that all symbols share, relative to its mean.
    shared_volatility: f64,
    traders: Vec<Trader>,
    timeframe: Timeframe,
    /// Open time of the next minute.
    next: Timestamp,
}

impl Market {
    /// A market at its first minute.
    ///
    /// # Errors
    /// When the settings hold no instrument, one twice, one with a trait out of range, or a timeframe that
    /// is no whole number of minutes.
    pub fn new(settings: MarketSettings) -> Result<Self, MarketError> {
        let MarketSettings { seed, instruments, timeframe, start } = settings;
        if timeframe.as_millis() % MINUTE_MS != 0 {
            return Err(MarketError::Timeframe(timeframe));
        }
        if instruments.is_empty() {
            return Err(MarketError::Empty);
        }
        let mut seen = HashSet::new();
        let mut traders = Vec::with_capacity(instruments.len());
        for (index, instrument) in instruments.into_iter().enumerate() {
            instruments::check(&instrument)?;
            let key = SeriesKey::new(&instrument.symbol, timeframe)?;
            if !seen.insert(Arc::clone(&instrument.symbol)) {
                return Err(MarketError::Duplicate(instrument.symbol));
            }
            let quote_volume = TOP_QUOTE_VOLUME / (index + 1) as f64;
            traders.push(Trader::new(Arc::new(key), instrument, quote_volume, seed));
        }
        Ok(Self {
            random: Random::new(seed),
            shared_volatility: 0.0,
            traders,
            timeframe,
            next: timeframe.open_of(start),
        })
    }

    /// Open time of the minute that [`Self::next_minute`] will play.
    pub fn now(&self) -> Timestamp {
        self.next
    }

    /// The series, in the order of the settings.
    pub fn series(&self) -> impl ExactSizeIterator<Item = &Arc<SeriesKey>> {
        self.traders.iter().map(Trader::series)
    }

    /// Plays one minute and appends the bars that close with it, one a symbol in the order of the settings:
    /// every time for one-minute bars, every n-th time for bars of n minutes.
    pub fn next_minute(&mut self, out: &mut Vec<(Arc<SeriesKey>, Bar)>) {
        let minute = self.play();
        out.extend(
            self.traders
                .iter_mut()
                .filter_map(|trader| trader.trade(&minute).map(|bar| (Arc::clone(trader.series()), bar))),
        );
    }

    /// As [`Self::next_minute`], in the form in which a source hands bars over.
    pub fn next_source_minute(&mut self, origin: Origin, out: &mut Vec<SourceBar>) {
        let minute = self.play();
        out.extend(self.traders.iter_mut().filter_map(|trader| {
            trader.trade(&minute).map(|bar| SourceBar { series: Arc::clone(trader.series()), bar, origin })
        }));
    }

    /// What happens to all symbols alike in the next minute.
    fn play(&mut self) -> Minute {
        self.shared_volatility = SHARED_VOLATILITY.next(self.shared_volatility, &mut self.random);
        let mut shocks = [0.0; STEPS];
        for shock in &mut shocks {
            *shock = self.random.gaussian();
        }
        let ts = self.next;
        self.next = ts.plus_millis(MINUTE_MS);
        let bar_ts = self.timeframe.open_of(ts);
        Minute {
            bar_ts,
            closes_bar: self.timeframe.open_of(self.next) != bar_ts,
            season: season(ts),
            volatility: self.shared_volatility,
            shocks,
        }
    }
}
