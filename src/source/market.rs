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

use super::SourceBar;
use crate::domain::{Bar, Origin, SeriesKey, SymbolError, Timeframe, Timestamp};
use std::collections::HashSet;
use std::sync::Arc;

const MINUTE_MS: i64 = Timeframe::MINUTE.as_millis();
const MINUTES_PER_DAY: i64 = 1440;
/// Trades per minute: enough for highs and lows that look like a path's, not like a formula's.
const STEPS: usize = 12;

/// Share of the noise variance that fades again.
const TRANSITORY_SHARE: f64 = 0.5;
/// Share of the transitory part that is gone after a minute: half-life about 11 minutes.
const TRANSITORY_DECAY: f64 = 0.06;
/// Share of a minute's lasting move that the next minute repeats.
const MOMENTUM_GAIN: f64 = 0.08;
/// Share of the momentum that is left after a minute: half-life a minute.
const MOMENTUM_KEPT: f64 = 0.5;
/// Pull of the fair value to its starting point, per minute: half-life about 20 days.
const FAIR_VALUE_PULL: f64 = 2.4e-5;

/// Shared volatility: half-life about 12 hours, standard deviation 0.35 of its logarithm.
const SHARED_VOLATILITY: Autoregression = Autoregression { kept: 0.999, deviation: 0.35 };
/// A symbol's own volatility: half-life about half an hour.
const OWN_VOLATILITY: Autoregression = Autoregression { kept: 0.977, deviation: 0.30 };
/// Trading beyond what volatility explains: half-life about a quarter of an hour.
const OWN_ACTIVITY: Autoregression = Autoregression { kept: 0.955, deviation: 0.30 };
/// The logarithm of a volatility stays within this many units of its mean.
const LOG_VOLATILITY_MAX: f64 = 1.5;
/// One minute in this many has a jump.
const JUMP_ONE_IN: u64 = 4096;
/// Size of a jump, in standard deviations of a minute.
const JUMP_SIZE: f64 = 6.0;

/// The seed of the bars that the bundled models were trained on.
pub const TRAINING_SEED: u64 = 1;

/// Traded value per minute of the first symbol; the k-th trades this over k (Zipf's law).
const TOP_QUOTE_VOLUME: f64 = 2_000_000.0;

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
            check(&instrument)?;
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
        self.traders.iter().map(|trader| &trader.series)
    }

    /// Plays one minute and appends the bars that close with it, one a symbol in the order of the settings:
    /// every time for one-minute bars, every n-th time for bars of n minutes.
    pub fn next_minute(&mut self, out: &mut Vec<(Arc<SeriesKey>, Bar)>) {
        let minute = self.play();
        out.extend(
            self.traders
                .iter_mut()
                .filter_map(|trader| trader.trade(&minute).map(|bar| (Arc::clone(&trader.series), bar))),
        );
    }

    /// As [`Self::next_minute`], in the form in which a source hands bars over.
    pub fn next_source_minute(&mut self, origin: Origin, out: &mut Vec<SourceBar>) {
        let minute = self.play();
        out.extend(self.traders.iter_mut().filter_map(|trader| {
            trader.trade(&minute).map(|bar| SourceBar { series: Arc::clone(&trader.series), bar, origin })
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

fn check(instrument: &Instrument) -> Result<(), MarketError> {
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

/// What one minute has in common for all symbols.
struct Minute {
    /// Open time of the bar it belongs to.
    bar_ts: Timestamp,
    /// Whether it is the bar's last.
    closes_bar: bool,
    /// Relative trading at this time of day.
    season: f64,
    /// Logarithm of the shared volatility.
    volatility: f64,
    /// The market's own move, by step.
    shocks: [f64; STEPS],
}

/// Relative volume by time of day, UTC: a U with mean 1, from 0.55 at noon to 1.9 at midnight.
fn season(ts: Timestamp) -> f64 {
    let minute = ts.as_secs().div_euclid(60).rem_euclid(MINUTES_PER_DAY);
    let x = minute as f64 / 720.0 - 1.0;
    0.55 + 1.35 * x * x
}

/// One symbol's state.
#[derive(Clone, Debug)]
struct Trader {
    series: Arc<SeriesKey>,
    random: Random,
    /// What it was made of.
    instrument: Instrument,
    /// Mean traded value per minute.
    quote_volume: f64,
    /// Ticks per unit of price.
    ticks: f64,
    /// Lots per unit of volume.
    lots: f64,
    /// Share of its noise that is its own.
    own_share: f64,
    /// Logarithm of its own volatility, relative to its mean.
    volatility: f64,
    /// Logarithm of its own trading, relative to its mean.
    activity: f64,
    /// Logarithm of the fair value over the starting price.
    fair_value: f64,
    /// Logarithm of the price over the fair value.
    deviation: f64,
    /// The return that is expected of the next minute.
    momentum: f64,
    /// The bar that is being formed.
    forming: Option<Bar>,
}

impl Trader {
    fn new(series: Arc<SeriesKey>, instrument: Instrument, quote_volume: f64, seed: u64) -> Self {
        Self {
            series,
            random: Random::new(seed ^ fnv1a(&instrument.symbol)),
            quote_volume,
            ticks: power_of_ten(instrument.price_decimals),
            lots: power_of_ten(instrument.volume_decimals),
            own_share: (1.0 - instrument.market_beta * instrument.market_beta).sqrt(),
            volatility: 0.0,
            activity: 0.0,
            fair_value: 0.0,
            deviation: 0.0,
            momentum: 0.0,
            forming: None,
            instrument,
        }
    }

    /// Trades through one minute; the bar, when it closes with it.
    fn trade(&mut self, minute: &Minute) -> Option<Bar> {
        let bar = self.minute_bar(minute);
        let formed = match self.forming {
            None => bar,
            Some(before) => Bar {
                high: before.high.max(bar.high),
                low: before.low.min(bar.low),
                close: bar.close,
                volume: self.to_lots(before.volume + bar.volume),
                ..before
            },
        };
        self.forming = (!minute.closes_bar).then_some(formed);
        minute.closes_bar.then_some(formed)
    }

    fn minute_bar(&mut self, minute: &Minute) -> Bar {
        self.volatility = OWN_VOLATILITY.next(self.volatility, &mut self.random);
        self.activity = OWN_ACTIVITY.next(self.activity, &mut self.random);
        let excess = (minute.volatility + self.volatility).clamp(-LOG_VOLATILITY_MAX, LOG_VOLATILITY_MAX);
        let sigma = self.instrument.volatility * exp(excess) * minute.season.sqrt();

        let jump = self.jump();
        let per_step = sigma / (STEPS as f64).sqrt();
        let lasting_noise = per_step * (1.0 - TRANSITORY_SHARE).sqrt();
        let transitory_noise = per_step * TRANSITORY_SHARE.sqrt();
        let start = self.fair_value;
        let (mut first, mut last) = (0.0, 0.0);
        let (mut highest, mut lowest) = (f64::NEG_INFINITY, f64::INFINITY);
        for (step, shock) in minute.shocks.iter().enumerate() {
            let own = self.own_share * self.random.gaussian();
            let mut noise = lasting_noise * (self.instrument.market_beta * shock + own);
            if jump.0 == step {
                noise += jump.1 * sigma;
            }
            self.fair_value += self.momentum / STEPS as f64 + noise;
            self.deviation -= self.deviation * (TRANSITORY_DECAY / STEPS as f64);
            self.deviation += transitory_noise * self.random.gaussian();
            last = self.fair_value + self.deviation;
            if step == 0 {
                first = last;
            }
            highest = last.max(highest);
            lowest = last.min(lowest);
        }
        let moved = self.fair_value - start - self.momentum;
        self.momentum = MOMENTUM_KEPT * self.momentum + MOMENTUM_GAIN * moved;
        self.fair_value -= FAIR_VALUE_PULL * self.fair_value;

        let (open, close) = (self.to_price(first), self.to_price(last));
        Bar {
            ts: minute.bar_ts,
            open,
            // Rounding twice may not keep the order: the bar's own ends are the authority.
            high: self.to_price(highest).max(open).max(close),
            low: self.to_price(lowest).min(open).min(close),
            close,
            volume: self.volume(minute, excess, (moved / sigma.max(f64::MIN_POSITIVE)).abs(), close),
        }
    }

    /// The step of this minute's jump and its size in standard deviations; beyond the last step for none.
    fn jump(&mut self) -> (usize, f64) {
        let bits = self.random.bits();
        if !(bits >> 32).is_multiple_of(JUMP_ONE_IN) {
            return (STEPS, 0.0);
        }
        let size = if bits & 1 == 0 { JUMP_SIZE } else { -JUMP_SIZE };
        ((bits >> 1) as usize % STEPS, size)
    }

    /// Trading grows with the time of day's season, with volatility, and with the minute's own move.
    fn volume(&mut self, minute: &Minute, excess: f64, move_size: f64, price: f64) -> f64 {
        let grown = exp(0.7 * excess + self.activity + 0.25 * self.random.gaussian());
        let quote = self.quote_volume * minute.season * grown * (0.6 + 0.4 * move_size.min(8.0));
        self.to_lots(quote / price)
    }

    fn to_price(&self, log: f64) -> f64 {
        (self.instrument.price * exp(log) * self.ticks).round().max(1.0) / self.ticks
    }

    fn to_lots(&self, volume: f64) -> f64 {
        (volume * self.lots).round() / self.lots
    }
}

/// x' = kept * x + noise, with this standard deviation in the long run.
struct Autoregression {
    kept: f64,
    deviation: f64,
}

impl Autoregression {
    fn next(&self, x: f64, random: &mut Random) -> f64 {
        self.kept * x + self.deviation * (1.0 - self.kept * self.kept).sqrt() * random.gaussian()
    }
}

/// xoshiro256++ 1.0 by D. Blackman and S. Vigna, seeded by SplitMix64, both public domain
/// (<https://prng.di.unimi.it>). Written out here because a crate's generator may change with its version,
/// and the bundled models were trained on these very bars.
#[derive(Clone, Debug)]
struct Random {
    state: [u64; 4],
}

impl Random {
    fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = mixed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 0, variance 1, at most 6 from 0: twelve 16-bit uniforms added up as integers (Irwin and Hall),
    /// so that no logarithm or cosine of a platform's library decides a bit.
    fn gaussian(&mut self) -> f64 {
        let mut sum = 0;
        for _ in 0..3 {
            let bits = self.bits();
            sum += (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        }
        (sum as f64 - 12.0 * 32_767.5) / 65_536.0
    }
}

/// e^x for |x| up to about 20: Taylor's series at x/256, squared eight times. Accurate to about 1e-13, and,
/// unlike the platform's, the same everywhere.
fn exp(x: f64) -> f64 {
    let y = x / 256.0;
    let mut result = 1.0;
    for n in (1..=9).rev() {
        result = 1.0 + y / f64::from(n) * result;
    }
    for _ in 0..8 {
        result *= result;
    }
    result
}

fn power_of_ten(exponent: u32) -> f64 {
    10_u64.pow(exponent) as f64
}

/// 64-bit FNV-1a.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn play(settings: MarketSettings, minutes: usize) -> Vec<(Arc<SeriesKey>, Bar)> {
        let mut market = Market::new(settings).unwrap();
        let mut bars = Vec::new();
        for _ in 0..minutes {
            market.next_minute(&mut bars);
        }
        bars
    }

    fn bits(bar: &Bar) -> [u64; 6] {
        let ts = bar.ts.as_millis() as u64;
        [ts].into_iter()
            .chain([bar.open, bar.high, bar.low, bar.close, bar.volume].map(f64::to_bits))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    /// FNV-1a over the bits of all bars.
    fn fingerprint(bars: &[(Arc<SeriesKey>, Bar)]) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in bars.iter().flat_map(|(_, bar)| bits(bar)).flat_map(u64::to_le_bytes) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash
    }

    #[test]
    fn the_same_seed_gives_the_same_bars_bit_for_bit() {
        let play = |seed| fingerprint(&play(MarketSettings { seed, ..Default::default() }, 2000));
        assert_eq!(play(1), play(1));
        assert_ne!(play(1), play(2));
        // The bundled models were trained on these bars: who changes them retrains the models.
        assert_eq!(play(TRAINING_SEED), 11_881_343_636_841_297_794);
    }

    #[test]
    fn the_first_bars_are_the_ones_written_down() {
        let mut text = String::new();
        for (series, bar) in play(MarketSettings::default(), 1) {
            let Bar { ts, open, high, low, close, volume } = bar;
            writeln!(text, "{series} {ts} {open} {high} {low} {close} {volume}").unwrap();
        }
        let expected = "\
            BTCUSD 1m 2026-01-05T00:00:00Z 59980.6 60013.9 59961.2 60013.9 40.33682
            ETHUSD 1m 2026-01-05T00:00:00Z 3000.04 3005.15 2999.66 2999.66 779.5384
            SOLUSD 1m 2026-01-05T00:00:00Z 150.02 150.02 149.56 149.74 6183.45
            EURUSD 1m 2026-01-05T00:00:00Z 1.10012 1.10024 1.10003 1.10024 932960
            XAUUSD 1m 2026-01-05T00:00:00Z 2400 2400.7 2399.86 2400.7 206.499
            DOGEUSD 1m 2026-01-05T00:00:00Z 0.100051 0.100142 0.099977 0.100071 4936428";
        assert!(text.lines().eq(expected.lines().map(str::trim)), "{text}");
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // SplitMix64 from 1234567 and xoshiro256++ from 1, 2, 3, 4: the known answers that other
        // implementations test against.
        assert_eq!(Random::new(1_234_567).state[..2], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        let mut random = Random { state: [1, 2, 3, 4] };
        let values: [u64; 4] = std::array::from_fn(|_| random.bits());
        assert_eq!(values, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn noise_is_standard_and_exp_is_e_to_the_x() {
        let mut random = Random::new(5);
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..200_000 {
            let z = random.gaussian();
            assert!(z.abs() <= 6.0);
            sum += z;
            squares += z * z;
        }
        assert!((sum / 2e5_f64).abs() < 0.01);
        assert!((squares / 2e5 - 1.0_f64).abs() < 0.01);
        for i in -200..=200 {
            let x = f64::from(i) / 10.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-12, "{x}: {}", exp(x));
        }
    }

    #[test]
    fn every_bar_is_valid_and_follows_the_one_before() {
        let instruments: Vec<_> = Instrument::majors().into_iter().chain(Instrument::synthetic(40)).collect();
        let count = instruments.len();
        let bars = play(MarketSettings { instruments, ..Default::default() }, 3000);
        assert_eq!(bars.len(), 3000 * count);
        for (index, (series, bar)) in bars.iter().enumerate() {
            let minute = (index / count) as i64;
            assert_eq!(bar.ts, MarketSettings::default().start.plus_millis(minute * MINUTE_MS));
            assert!(bar.low > 0.0 && bar.low <= bar.open.min(bar.close), "{series} {bar:?}");
            assert!(bar.high >= bar.open.max(bar.close), "{series} {bar:?}");
            assert!(bar.high < 2.0 * bar.low, "{series} {bar:?}");
            assert!(bar.volume >= 0.0 && bar.volume.is_finite(), "{series} {bar:?}");
        }
        let no_volume = bars.iter().filter(|(_, bar)| bar.volume == 0.0).count();
        assert_eq!(no_volume, 0, "every symbol trades every minute");
    }

    #[test]
    fn scales_stay_sane_over_ten_weeks() {
        let majors = Instrument::majors();
        let mut market = Market::new(MarketSettings::default()).unwrap();
        let mut bars = Vec::new();
        for _ in 0..100_000 {
            bars.clear();
            market.next_minute(&mut bars);
            for (instrument, (series, bar)) in majors.iter().zip(&bars) {
                let ratio = bar.close / instrument.price;
                assert!((0.3..3.0).contains(&ratio), "{series} {bar:?}");
            }
        }
    }

    #[test]
    fn volumes_follow_a_power_law_over_symbols_and_a_u_over_the_day() {
        const DAYS: usize = 7;
        let instruments = Instrument::synthetic(50);
        let bars = play(MarketSettings { instruments, ..Default::default() }, DAYS * 1440);
        let mut by_symbol = [0.0; 50];
        let mut by_hour = [0.0; 24];
        for (index, (_, bar)) in bars.iter().enumerate() {
            by_symbol[index % 50] += bar.quote_volume();
            by_hour[index / 50 / 60 % 24] += bar.quote_volume();
        }
        let points: Vec<(f64, f64)> =
            by_symbol.iter().enumerate().map(|(k, v)| (((k + 1) as f64).ln(), v.ln())).collect();
        let n = points.len() as f64;
        let (mean_x, mean_y) =
            (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
        let covariance = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>();
        let slope = covariance / points.iter().map(|p| (p.0 - mean_x).powi(2)).sum::<f64>();
        assert!((-1.05..-0.95).contains(&slope), "{slope}");
        assert!(by_symbol[..8].is_sorted_by(|a, b| a > b), "{by_symbol:?}");
        assert!(by_hour[0] > 2.0 * by_hour[11] && by_hour[23] > 2.0 * by_hour[12], "{by_hour:?}");
    }

    #[test]
    fn volatility_clusters_and_tails_are_fat() {
        let bars = play(MarketSettings::default(), 20_000);
        let closes: Vec<f64> = bars.iter().step_by(6).map(|(_, bar)| bar.close).collect();
        let returns: Vec<f64> = closes.windows(2).map(|w| w[1] / w[0] - 1.0).collect();
        let squares: Vec<f64> = returns.iter().map(|r| r * r).collect();
        let n = squares.len() as f64;
        let mean = squares.iter().sum::<f64>() / n;
        let variance = squares.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / n;
        let lag = 30;
        let together = squares.windows(lag + 1).map(|w| (w[0] - mean) * (w[lag] - mean)).sum::<f64>() / n;
        assert!(together / variance > 0.05, "autocorrelation of squares {}", together / variance);
        assert!(variance / (mean * mean) + 1.0 > 4.0, "kurtosis {}", variance / (mean * mean) + 1.0);
        let expected = Instrument::majors()[0].volatility;
        assert!((0.7..1.6).contains(&(mean.sqrt() / expected)), "{} {expected}", mean.sqrt());
    }

    #[test]
    fn a_symbol_does_not_depend_on_its_neighbours() {
        let alone = MarketSettings { instruments: Instrument::majors()[..1].to_vec(), ..Default::default() };
        let among = play(MarketSettings::default(), 500);
        let alone = play(alone, 500);
        assert!(alone.iter().eq(among.iter().step_by(6)));
        assert_eq!(Instrument::synthetic(10), Instrument::synthetic(100)[..10]);
    }

    #[test]
    fn longer_bars_are_the_minutes_put_together() {
        // From the middle of a bar: the market starts where the bar does.
        let start = MarketSettings::default().start.plus_millis(7 * MINUTE_MS);
        let five = "5m".parse().unwrap();
        let bars = play(MarketSettings { timeframe: five, start, ..Default::default() }, 100);
        let start = five.open_of(start);
        let minutes = play(MarketSettings { start, ..Default::default() }, 100);
        assert_eq!(bars.len(), 20 * 6);
        for (index, (series, bar)) in bars.iter().enumerate() {
            assert_eq!(series.timeframe, five);
            let parts: Vec<Bar> = (0..5).map(|k| minutes[(index / 6 * 5 + k) * 6 + index % 6].1).collect();
            assert_eq!((bar.ts, bar.open, bar.close), (parts[0].ts, parts[0].open, parts[4].close));
            assert_eq!(bar.high, parts.iter().map(|p| p.high).fold(0.0, f64::max));
            assert_eq!(bar.low, parts.iter().map(|p| p.low).fold(f64::INFINITY, f64::min));
            let volume: f64 = parts.iter().map(|p| p.volume).sum();
            assert!((bar.volume / volume - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn what_makes_no_market_is_refused() {
        let btc = || Instrument::majors().remove(0);
        let refusal = |instruments| {
            Market::new(MarketSettings { instruments, ..Default::default() }).unwrap_err().to_string()
        };
        assert_eq!(refusal(vec![]), "the market has no instruments: list at least one");
        assert_eq!(refusal(vec![btc(), btc()]), "`BTCUSD` is listed twice");
        assert!(refusal(vec![Instrument { symbol: "a b".into(), ..btc() }]).contains("is not a symbol"));
        assert_eq!(
            refusal(vec![Instrument { price: f64::NAN, ..btc() }]),
            "BTCUSD: price is NaN, allowed is 1e-9 to 1e9"
        );
        for broken in [
            Instrument { volatility: 0.5, ..btc() },
            Instrument { market_beta: -1.5, ..btc() },
            Instrument { price_decimals: 13, ..btc() },
            Instrument { volume_decimals: 99, ..btc() },
            Instrument { price: 0.1, ..btc() },
        ] {
            assert!(refusal(vec![broken]).contains("allowed is"));
        }
        let timeframe = "90s".parse().unwrap();
        let error = Market::new(MarketSettings { timeframe, ..Default::default() }).unwrap_err();
        assert_eq!(error, MarketError::Timeframe(timeframe));
    }

    /// Writes SYMBOL_1m.csv for every default symbol into the folder `VELA_MARKET_DIR`: what `demo/train.py`
    /// reads. `VELA_MARKET_MINUTES` bars each, of `VELA_MARKET_SEED`.
    #[test]
    #[ignore = "writes files; needs VELA_MARKET_DIR"]
    fn writes_its_bars_as_csv() {
        let folder = std::path::PathBuf::from(std::env::var("VELA_MARKET_DIR").unwrap());
        let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
        let minutes = number("VELA_MARKET_MINUTES", 43_200) as usize;
        let seed = number("VELA_MARKET_SEED", TRAINING_SEED);
        std::fs::create_dir_all(&folder).unwrap();
        let bars = play(MarketSettings { seed, ..Default::default() }, minutes);
        for (index, instrument) in Instrument::majors().iter().enumerate() {
            let mut text = String::from("ts,open,high,low,close,volume\n");
            for (_, bar) in bars.iter().skip(index).step_by(6) {
                let Bar { ts, open, high, low, close, volume } = bar;
                writeln!(text, "{ts},{open},{high},{low},{close},{volume}").unwrap();
            }
            std::fs::write(folder.join(format!("{}_1m.csv", instrument.symbol)), text).unwrap();
        }
    }
}
