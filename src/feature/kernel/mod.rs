//! The streaming kernels, and the one enum through which a plan reaches them.
//!
//! A kernel is a few numbers (`Copy`) and, where it looks back over a window, a stretch of the plan's flat
//! memory. `advance` moves the numbers and reads the memory; `store` writes it. To commit is both; to peek is
//! to advance a copy: so that both answers come from the same instructions, and a snapshot is a copy of
//! plain data.

mod average;
mod candle;
mod fold;
mod read;
mod returns;
mod rolling;
mod slot;
mod trend;
mod volume;
mod wilder;
mod window;

pub use read::Read;
pub use window::Layout;

use crate::domain::{Bar, Timestamp};

/// A bar in its place: what kernels see of one step of a series.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'b> {
    /// What happened.
    pub bar: &'b Bar,
    /// When it closed.
    pub close: Timestamp,
    /// How many expected bars right before it are missing, and were not filled in.
    pub missing: u32,
    /// Whether it was filled in for a missing one (for a coarser bar: every part of it).
    pub synthetic: bool,
}

/// What a kernel says about one bar: up to four numbers, NaN where undefined or unused.
pub type Values = [f64; 4];

/// Nothing is known yet.
pub const UNDEFINED: Values = [f64::NAN; 4];

/// `a / b`, and NaN instead of an infinity when there is nothing to divide by.
#[inline]
fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { f64::NAN } else { a / b }
}

/// `x`, and 0 where rounding made it negative; NaN stays NaN.
#[inline]
fn not_negative(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// Rounding noise, relative to the numbers that were added or averaged: what TA-Lib 0.8.1 treats as nothing.
const NOISE: f64 = 1e-14;

/// Whether two prices differ by no more than rounding noise, at any price level.
///
/// Typical prices need it: `(9.99 + 9.97 + 9.98) / 3` and `(9.98 + 9.98 + 9.98) / 3` are the same price, but
/// may differ in the last bit.
#[inline]
fn same_price(a: f64, b: f64) -> bool {
    (a - b).abs() <= NOISE * (a.abs() + b.abs())
}

/// A kernel with its parameters: equal specifications share one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// [`rolling::Lag`]
    Lag(usize),
    /// [`rolling::Deviation`]
    Deviation(usize),
    /// [`returns::Volatility`]
    Volatility(usize),
    /// [`rolling::WilliamsR`]
    WilliamsR(usize),
    /// [`rolling::Stochastic`]
    Stochastic([usize; 3]),
    /// [`rolling::Cci`]
    Cci(usize),
    /// [`average::Ema`]
    Ema(usize),
    /// [`average::Macd`]
    Macd([usize; 3]),
    /// [`wilder::Rsi`]
    Rsi(usize),
    /// [`wilder::Atr`]
    Atr(usize),
    /// [`wilder::Directional`], as TA-Lib computes it
    Directional(usize),
    /// [`wilder::Directional`], allowing for the prices' rounding
    DirectionalUnit(usize),
    /// [`volume::Obv`]
    Obv,
    /// [`volume::Mfi`]
    Mfi(usize),
    /// [`volume::Vwap`]
    Vwap(usize),
    /// [`volume::VolumeRatio`]
    VolumeRatio(usize),
    /// [`returns::VolatilityRatio`]
    VolatilityRatio([usize; 2]),
    /// [`returns::ReturnShape`]
    ReturnShape(usize),
    /// [`returns::Autocorrelation`]
    Autocorrelation(usize),
    /// [`returns::VolumeCorrelation`]
    VolumeCorrelation(usize),
    /// [`returns::RangeVolatility`]
    RangeVolatility(usize),
    /// [`trend::Channel`]
    Channel(usize),
    /// [`trend::Drawdown`]
    Drawdown(usize),
    /// [`trend::Efficiency`]
    Efficiency(usize),
    /// [`trend::Aroon`]
    Aroon(usize),
    /// [`trend::Regression`]
    Regression(usize),
    /// [`volume::LogVolume`]
    LogVolume(usize),
    /// [`volume::MoneyFlow`]
    MoneyFlow(usize),
    /// [`volume::Balance`]
    Balance(usize),
    /// [`average::Crossing`]
    Crossing([usize; 2]),
    /// [`candle::place`]
    Place,
    /// [`candle::Opening`]
    Opening,
    /// [`candle::shape`]
    Shape,
    /// [`candle::hour`]
    Hour,
    /// [`candle::weekday`]
    Weekday,
    /// [`slot::phase`]
    Phase,
    /// [`slot::Completeness`]
    Completeness(usize),
}

/// A kernel's state, all but its windows' memory.
#[derive(Clone, Copy, Debug)]
pub enum Kernel {
    /// See [`Spec::Lag`].
    Lag(rolling::Lag),
    /// See [`Spec::Deviation`].
    Deviation(rolling::Deviation),
    /// See [`Spec::Volatility`].
    Volatility(returns::Volatility),
    /// See [`Spec::WilliamsR`].
    WilliamsR(rolling::WilliamsR),
    /// See [`Spec::Stochastic`].
    Stochastic(rolling::Stochastic),
    /// See [`Spec::Cci`].
    Cci(rolling::Cci),
    /// See [`Spec::Ema`].
    Ema(average::Ema),
    /// See [`Spec::Macd`].
    Macd(average::Macd),
    /// See [`Spec::Rsi`].
    Rsi(wilder::Rsi),
    /// See [`Spec::Atr`].
    Atr(wilder::Atr),
    /// See [`Spec::Directional`].
    Directional(wilder::Directional),
    /// See [`Spec::Obv`].
    Obv(volume::Obv),
    /// See [`Spec::Mfi`].
    Mfi(volume::Mfi),
    /// See [`Spec::Vwap`].
    Vwap(volume::Vwap),
    /// See [`Spec::VolumeRatio`].
    VolumeRatio(volume::VolumeRatio),
    /// See [`Spec::VolatilityRatio`].
    VolatilityRatio(returns::VolatilityRatio),
    /// See [`Spec::ReturnShape`].
    ReturnShape(returns::ReturnShape),
    /// See [`Spec::Autocorrelation`].
    Autocorrelation(returns::Autocorrelation),
    /// See [`Spec::VolumeCorrelation`].
    VolumeCorrelation(returns::VolumeCorrelation),
    /// See [`Spec::RangeVolatility`].
    RangeVolatility(returns::RangeVolatility),
    /// See [`Spec::Channel`].
    Channel(trend::Channel),
    /// See [`Spec::Drawdown`].
    Drawdown(trend::Drawdown),
    /// See [`Spec::Efficiency`].
    Efficiency(trend::Efficiency),
    /// See [`Spec::Aroon`].
    Aroon(trend::Aroon),
    /// See [`Spec::Regression`].
    Regression(trend::Regression),
    /// See [`Spec::LogVolume`].
    LogVolume(volume::LogVolume),
    /// See [`Spec::MoneyFlow`].
    MoneyFlow(volume::MoneyFlow),
    /// See [`Spec::Balance`].
    Balance(volume::Balance),
    /// See [`Spec::Crossing`].
    Crossing(average::Crossing),
    /// See [`Spec::Place`].
    Place,
    /// See [`Spec::Opening`].
    Opening(candle::Opening),
    /// See [`Spec::Shape`].
    Shape,
    /// See [`Spec::Hour`].
    Hour,
    /// See [`Spec::Weekday`].
    Weekday,
    /// See [`Spec::Phase`].
    Phase,
    /// See [`Spec::Completeness`].
    Completeness(slot::Completeness),
}

impl Kernel {
    /// The kernel of `spec` before its first bar.
    pub fn new(spec: Spec, layout: &mut Layout) -> Self {
        match spec {
            Spec::Lag(n) => Self::Lag(rolling::Lag::new(n, layout)),
            Spec::Deviation(n) => Self::Deviation(rolling::Deviation::new(n, layout)),
            Spec::Volatility(n) => Self::Volatility(returns::Volatility::new(n, layout)),
            Spec::WilliamsR(n) => Self::WilliamsR(rolling::WilliamsR::new(n, layout)),
            Spec::Stochastic(periods) => Self::Stochastic(rolling::Stochastic::new(periods, layout)),
            Spec::Cci(n) => Self::Cci(rolling::Cci::new(n, layout)),
            Spec::Ema(n) => Self::Ema(average::Ema::new(n)),
            Spec::Macd(periods) => Self::Macd(average::Macd::new(periods)),
            Spec::Rsi(n) => Self::Rsi(wilder::Rsi::new(n)),
            Spec::Atr(n) => Self::Atr(wilder::Atr::new(n)),
            Spec::Directional(n) => Self::Directional(wilder::Directional::new(n, 0.0)),
            Spec::DirectionalUnit(n) => Self::Directional(wilder::Directional::new(n, NOISE)),
            Spec::Obv => Self::Obv(volume::Obv::default()),
            Spec::Mfi(n) => Self::Mfi(volume::Mfi::new(n, layout)),
            Spec::Vwap(n) => Self::Vwap(volume::Vwap::new(n, layout)),
            Spec::VolumeRatio(n) => Self::VolumeRatio(volume::VolumeRatio::new(n, layout)),
            Spec::VolatilityRatio(periods) => {
                Self::VolatilityRatio(returns::VolatilityRatio::new(periods, layout))
            }
            Spec::ReturnShape(n) => Self::ReturnShape(returns::ReturnShape::new(n, layout)),
            Spec::Autocorrelation(n) => Self::Autocorrelation(returns::Autocorrelation::new(n, layout)),
            Spec::VolumeCorrelation(n) => Self::VolumeCorrelation(returns::VolumeCorrelation::new(n, layout)),
            Spec::RangeVolatility(n) => Self::RangeVolatility(returns::RangeVolatility::new(n, layout)),
            Spec::Channel(n) => Self::Channel(trend::Channel::new(n, layout)),
            Spec::Drawdown(n) => Self::Drawdown(trend::Drawdown::new(n, layout)),
            Spec::Efficiency(n) => Self::Efficiency(trend::Efficiency::new(n, layout)),
            Spec::Aroon(n) => Self::Aroon(trend::Aroon::new(n, layout)),
            Spec::Regression(n) => Self::Regression(trend::Regression::new(n, layout)),
            Spec::LogVolume(n) => Self::LogVolume(volume::LogVolume::new(n, layout)),
            Spec::MoneyFlow(n) => Self::MoneyFlow(volume::MoneyFlow::new(n, layout)),
            Spec::Balance(n) => Self::Balance(volume::Balance::new(n, layout)),
            Spec::Crossing(periods) => Self::Crossing(average::Crossing::new(periods)),
            Spec::Place => Self::Place,
            Spec::Opening => Self::Opening(candle::Opening::default()),
            Spec::Shape => Self::Shape,
            Spec::Hour => Self::Hour,
            Spec::Weekday => Self::Weekday,
            Spec::Phase => Self::Phase,
            Spec::Completeness(n) => Self::Completeness(slot::Completeness::new(n, layout)),
        }
    }

    /// Moves over `slot` as far as it goes without writing to `memory`.
    ///
    /// The kernels' own functions are not inlined: what is pure arithmetic in one of them would be done for
    /// all of them, as the compiler takes a few dozen such instructions for cheaper than a branch.
    #[inline]
    pub fn advance(&mut self, slot: &Slot<'_>, memory: &[f64]) -> Values {
        let bar = slot.bar;
        match self {
            Self::Lag(kernel) => kernel.advance(bar, memory),
            Self::Deviation(kernel) => kernel.advance(bar, memory),
            Self::Volatility(kernel) => kernel.advance(bar, memory),
            Self::WilliamsR(kernel) => kernel.advance(bar, memory),
            Self::Stochastic(kernel) => kernel.advance(bar, memory),
            Self::Cci(kernel) => kernel.advance(bar, memory),
            Self::Ema(kernel) => kernel.update(bar),
            Self::Macd(kernel) => kernel.update(bar),
            Self::Rsi(kernel) => kernel.update(bar),
            Self::Atr(kernel) => kernel.update(bar),
            Self::Directional(kernel) => kernel.update(bar),
            Self::Obv(kernel) => kernel.update(bar),
            Self::Mfi(kernel) => kernel.advance(bar, memory),
            Self::Vwap(kernel) => kernel.advance(bar, memory),
            Self::VolumeRatio(kernel) => kernel.advance(bar, memory),
            Self::VolatilityRatio(kernel) => kernel.advance(bar, memory),
            Self::ReturnShape(kernel) => kernel.advance(bar, memory),
            Self::Autocorrelation(kernel) => kernel.advance(bar, memory),
            Self::VolumeCorrelation(kernel) => kernel.advance(bar, memory),
            Self::RangeVolatility(kernel) => kernel.advance(bar, memory),
            Self::Channel(kernel) => kernel.advance(bar, memory),
            Self::Drawdown(kernel) => kernel.advance(bar, memory),
            Self::Efficiency(kernel) => kernel.advance(bar, memory),
            Self::Aroon(kernel) => kernel.advance(bar, memory),
            Self::Regression(kernel) => kernel.advance(bar, memory),
            Self::LogVolume(kernel) => kernel.advance(bar, memory),
            Self::MoneyFlow(kernel) => kernel.advance(bar, memory),
            Self::Balance(kernel) => kernel.advance(bar, memory),
            Self::Crossing(kernel) => kernel.update(bar),
            Self::Place => candle::place(bar),
            Self::Opening(kernel) => kernel.update(bar),
            Self::Shape => candle::shape(bar),
            Self::Hour => candle::hour(bar),
            Self::Weekday => candle::weekday(bar),
            Self::Phase => slot::phase(slot),
            Self::Completeness(kernel) => kernel.advance(slot, memory),
        }
    }

    /// Writes what the last [`Kernel::advance`] took in.
    #[inline]
    pub fn store(&mut self, memory: &mut [f64]) {
        match self {
            Self::Lag(kernel) => kernel.store(memory),
            Self::Deviation(kernel) => kernel.store(memory),
            Self::Volatility(kernel) => kernel.store(memory),
            Self::WilliamsR(kernel) => kernel.store(memory),
            Self::Stochastic(kernel) => kernel.store(memory),
            Self::Cci(kernel) => kernel.store(memory),
            Self::Mfi(kernel) => kernel.store(memory),
            Self::Vwap(kernel) => kernel.store(memory),
            Self::VolumeRatio(kernel) => kernel.store(memory),
            Self::VolatilityRatio(kernel) => kernel.store(memory),
            Self::ReturnShape(kernel) => kernel.store(memory),
            Self::Autocorrelation(kernel) => kernel.store(memory),
            Self::VolumeCorrelation(kernel) => kernel.store(memory),
            Self::RangeVolatility(kernel) => kernel.store(memory),
            Self::Channel(kernel) => kernel.store(memory),
            Self::Drawdown(kernel) => kernel.store(memory),
            Self::Efficiency(kernel) => kernel.store(memory),
            Self::Aroon(kernel) => kernel.store(memory),
            Self::Regression(kernel) => kernel.store(memory),
            Self::LogVolume(kernel) => kernel.store(memory),
            Self::MoneyFlow(kernel) => kernel.store(memory),
            Self::Balance(kernel) => kernel.store(memory),
            Self::Completeness(kernel) => kernel.store(memory),
            Self::Ema(_)
            | Self::Macd(_)
            | Self::Rsi(_)
            | Self::Atr(_)
            | Self::Directional(_)
            | Self::Obv(_)
            | Self::Crossing(_)
            | Self::Place
            | Self::Opening(_)
            | Self::Shape
            | Self::Hour
            | Self::Weekday
            | Self::Phase => {}
        }
    }
}
