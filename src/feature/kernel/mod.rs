//! The streaming kernels, and the one enum through which a plan reaches them.
//!
//! A kernel is a few numbers (`Copy`) and, where it looks back over a window, a stretch of the plan's flat
//! memory. `advance` moves the numbers and reads the memory; `store` writes it. To commit is both; to peek is
//! to advance a copy: so that both answers come from the same instructions, and a snapshot is a copy of
//! plain data.

mod average;
mod candle;
mod rolling;
mod volume;
mod wilder;
mod window;

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
    /// [`rolling::Volatility`]
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
    /// [`wilder::Directional`]
    Directional(usize),
    /// [`volume::Obv`]
    Obv,
    /// [`volume::Mfi`]
    Mfi(usize),
    /// [`volume::Vwap`]
    Vwap(usize),
    /// [`volume::VolumeRatio`]
    VolumeRatio(usize),
    /// [`candle::shape`]
    Shape,
    /// [`candle::hour`]
    Hour,
    /// [`candle::weekday`]
    Weekday,
}

/// A kernel's state, all but its windows' memory.
#[derive(Clone, Copy, Debug)]
pub enum Kernel {
    /// See [`Spec::Lag`].
    Lag(rolling::Lag),
    /// See [`Spec::Deviation`].
    Deviation(rolling::Deviation),
    /// See [`Spec::Volatility`].
    Volatility(rolling::Volatility),
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
    /// See [`Spec::Shape`].
    Shape,
    /// See [`Spec::Hour`].
    Hour,
    /// See [`Spec::Weekday`].
    Weekday,
}

impl Kernel {
    /// The kernel of `spec` before its first bar.
    pub fn new(spec: Spec, layout: &mut Layout) -> Self {
        match spec {
            Spec::Lag(n) => Self::Lag(rolling::Lag::new(n, layout)),
            Spec::Deviation(n) => Self::Deviation(rolling::Deviation::new(n, layout)),
            Spec::Volatility(n) => Self::Volatility(rolling::Volatility::new(n, layout)),
            Spec::WilliamsR(n) => Self::WilliamsR(rolling::WilliamsR::new(n, layout)),
            Spec::Stochastic(periods) => Self::Stochastic(rolling::Stochastic::new(periods, layout)),
            Spec::Cci(n) => Self::Cci(rolling::Cci::new(n, layout)),
            Spec::Ema(n) => Self::Ema(average::Ema::new(n)),
            Spec::Macd(periods) => Self::Macd(average::Macd::new(periods)),
            Spec::Rsi(n) => Self::Rsi(wilder::Rsi::new(n)),
            Spec::Atr(n) => Self::Atr(wilder::Atr::new(n)),
            Spec::Directional(n) => Self::Directional(wilder::Directional::new(n)),
            Spec::Obv => Self::Obv(volume::Obv::default()),
            Spec::Mfi(n) => Self::Mfi(volume::Mfi::new(n, layout)),
            Spec::Vwap(n) => Self::Vwap(volume::Vwap::new(n, layout)),
            Spec::VolumeRatio(n) => Self::VolumeRatio(volume::VolumeRatio::new(n, layout)),
            Spec::Shape => Self::Shape,
            Spec::Hour => Self::Hour,
            Spec::Weekday => Self::Weekday,
        }
    }

    /// Moves over `slot` as far as it goes without writing to `memory`.
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
            Self::Shape => candle::shape(bar),
            Self::Hour => candle::hour(bar),
            Self::Weekday => candle::weekday(bar),
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
            Self::Ema(_)
            | Self::Macd(_)
            | Self::Rsi(_)
            | Self::Atr(_)
            | Self::Directional(_)
            | Self::Obv(_)
            | Self::Shape
            | Self::Hour
            | Self::Weekday => {}
        }
    }
}

/// How a column is read off its kernel's values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Read {
    /// The value with this number.
    Value(u8),
    /// `100 * (ratio - 1)`, percent, of [`Spec::Lag`].
    Percent,
    /// `ratio - 1` of [`Spec::Lag`].
    Return,
    /// `ln(ratio)` of [`Spec::Lag`].
    Log,
    /// `mean + k * deviation` of [`Spec::Deviation`].
    Upper(f64),
    /// `mean - k * deviation` of [`Spec::Deviation`].
    Lower(f64),
    /// `(close - lower) / (upper - lower)` of [`Spec::Deviation`]; NaN when the window is flat.
    PercentB(f64),
    /// `(upper - lower) / mean` of [`Spec::Deviation`].
    Width(f64),
    /// `(close - mean) / deviation` of [`Spec::Deviation`]; NaN when the window is flat.
    ZScore,
}

impl Read {
    /// The column's value.
    #[inline]
    pub fn of(self, values: &Values) -> f64 {
        let [mean, deviation, distance, _] = *values;
        match self {
            Self::Value(i) => values[usize::from(i) & 3],
            Self::Return => values[0] - 1.0,
            Self::Percent => (values[0] - 1.0) * 100.0,
            Self::Log => values[0].ln(),
            Self::Upper(k) => mean + k * deviation,
            Self::Lower(k) => mean - k * deviation,
            // The distance from the mean is exact where close - lower would cancel.
            Self::PercentB(k) => 0.5 + ratio(distance, 2.0 * k * deviation),
            Self::Width(k) => ratio(2.0 * k * deviation, mean),
            Self::ZScore => ratio(distance, deviation),
        }
    }
}
