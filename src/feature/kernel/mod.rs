//! The streaming kernels, and the one enum through which a plan reaches them.
//!
//! A kernel is a few numbers (`Copy`) and, where it looks back over a window, a stretch of the plan's flat
//! memory. `step` moves the numbers, reads the memory and keeps what it took in there. To peek is to step a copy of the
//! numbers over a memory that keeps nothing: so that both answers come from the same arithmetic, and a snapshot is a
//! copy of plain data.

mod array;
pub mod average;
mod candle;
mod fold;
mod memory;
mod read;
mod returns;
pub mod rolling;
mod slot;
mod sum;
mod trend;
pub mod volume;
pub mod wilder;
mod window;

pub use memory::{Commit, Layout, Memory, Peek};
pub use read::{Column, Read};

use crate::domain::{Bar, Timestamp};
use serde::{Deserialize, Serialize};

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

/// The larger of two numbers, in one instruction: `f64::max` takes more, because it looks for NaN.
#[inline]
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// `x` where `holds`, and 0 else, without a branch: what prices do next cannot be predicted.
#[inline]
fn only_if(holds: bool, x: f64) -> f64 {
    std::hint::select_unpredictable(holds, x, 0.0)
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
    /// [`rolling::Mean`]
    Mean(usize),
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
    /// [`candle::Place`]
    Place,
    /// [`candle::Opening`]
    Opening,
    /// [`candle::Shape`]
    Shape,
    /// [`candle::Hour`]
    Hour,
    /// [`candle::Weekday`]
    Weekday,
    /// [`slot::Phase`]
    Phase,
    /// [`slot::Completeness`]
    Completeness(usize),
}

/// What a kernel does with a bar. To peek is to step a copy whose memory keeps nothing.
pub trait Step: Copy {
    /// Moves over `slot`; what it says about it.
    fn step(&mut self, slot: &Slot<'_>, memory: &mut impl Memory) -> Values;
}

/// One kernel, one bar, and the columns that read it. A function of its own for each kernel: inlined into one, what is
/// pure arithmetic in any of them would be done for all, as the compiler takes that for cheaper than a branch.
#[inline(never)]
fn take<K: Step>(kernel: &mut K, slot: &Slot<'_>, memory: &mut [f64], columns: &[Column], out: &mut [f64]) {
    let found = kernel.step(slot, &mut Commit(memory));
    columns.iter().for_each(|column| column.write(&found, out));
}

#[inline(never)]
fn peek<K: Step>(mut kernel: K, slot: &Slot<'_>, memory: &[f64], columns: &[Column], out: &mut [f64]) {
    let found = kernel.step(slot, &mut Peek(memory));
    columns.iter().for_each(|column| column.write(&found, out));
}

/// One kernel over several bars: its numbers stay in registers.
#[inline(never)]
fn take_run<K: Step>(kernel: &mut K, slots: &[Slot<'_>], memory: &mut [f64], found: &mut [Values]) {
    let mut own = *kernel;
    for (slot, found) in slots.iter().zip(found) {
        *found = own.step(slot, &mut Commit(memory));
    }
    *kernel = own;
}

macro_rules! kernels {
    ($($name:ident($kernel:ty),)+) => {
        /// A kernel's state, all but its windows' memory.
        #[derive(Clone, Copy, Debug, Serialize, Deserialize)]
        pub enum Kernel {
            $(
                #[doc = concat!("See [`Spec::", stringify!($name), "`].")]
                $name($kernel),
            )+
        }

        $(
            impl TryFrom<Kernel> for $kernel {
                type Error = Kernel;

                fn try_from(kernel: Kernel) -> Result<Self, Kernel> {
                    if let Kernel::$name(found) = kernel { Ok(found) } else { Err(kernel) }
                }
            }
        )+

        impl Kernel {
            /// Commits `slot` and writes what `columns` read into `out`.
            #[inline]
            pub fn take(
                &mut self,
                slot: &Slot<'_>,
                memory: &mut [f64],
                columns: &[Column],
                out: &mut [f64],
            ) {
                match self {
                    $(Self::$name(kernel) => take(kernel, slot, memory, columns, out),)+
                }
            }

            /// Writes what [`Kernel::take`] would write, and commits nothing.
            #[inline]
            pub fn peek(&self, slot: &Slot<'_>, memory: &[f64], columns: &[Column], out: &mut [f64]) {
                match self {
                    $(Self::$name(kernel) => peek(*kernel, slot, memory, columns, out),)+
                }
            }

            /// Commits `slots`, one after the other, and notes what it says about each in `found`.
            pub fn take_run(&mut self, slots: &[Slot<'_>], memory: &mut [f64], found: &mut [Values]) {
                match self {
                    $(Self::$name(kernel) => take_run(kernel, slots, memory, found),)+
                }
            }
        }
    };
}

kernels! {
    Lag(rolling::Lag),
    Mean(rolling::Mean),
    Deviation(rolling::Deviation),
    Volatility(returns::Volatility),
    WilliamsR(rolling::WilliamsR),
    Stochastic(rolling::Stochastic),
    Cci(rolling::Cci),
    Ema(average::Ema),
    Macd(average::Macd),
    Rsi(wilder::Rsi),
    Atr(wilder::Atr),
    Directional(wilder::Directional),
    Obv(volume::Obv),
    Mfi(volume::Mfi),
    Vwap(volume::Vwap),
    VolumeRatio(volume::VolumeRatio),
    VolatilityRatio(returns::VolatilityRatio),
    ReturnShape(returns::ReturnShape),
    Autocorrelation(returns::Autocorrelation),
    VolumeCorrelation(returns::VolumeCorrelation),
    RangeVolatility(returns::RangeVolatility),
    Channel(trend::Channel),
    Drawdown(trend::Drawdown),
    Efficiency(trend::Efficiency),
    Aroon(trend::Aroon),
    Regression(trend::Regression),
    LogVolume(volume::LogVolume),
    MoneyFlow(volume::MoneyFlow),
    Balance(volume::Balance),
    Crossing(average::Crossing),
    Place(candle::Place),
    Opening(candle::Opening),
    Shape(candle::Shape),
    Hour(candle::Hour),
    Weekday(candle::Weekday),
    Phase(slot::Phase),
    Completeness(slot::Completeness),
}

impl Spec {
    /// The kernel whose values are this one's, bit for bit, and more: where a plan has that one, this is not needed.
    pub fn wider(self) -> Option<Self> {
        match self {
            Self::Mean(n) => Some(Self::Deviation(n)),
            _ => None,
        }
    }
}

impl Kernel {
    /// The kernel of `spec` before its first bar.
    pub fn new(spec: Spec, layout: &mut Layout) -> Self {
        match spec {
            Spec::Lag(n) => Self::Lag(rolling::Lag::new(n, layout)),
            Spec::Mean(n) => Self::Mean(rolling::Mean::new(n, layout)),
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
            Spec::Place => Self::Place(candle::Place),
            Spec::Opening => Self::Opening(candle::Opening::default()),
            Spec::Shape => Self::Shape(candle::Shape),
            Spec::Hour => Self::Hour(candle::Hour),
            Spec::Weekday => Self::Weekday(candle::Weekday),
            Spec::Phase => Self::Phase(slot::Phase),
            Spec::Completeness(n) => Self::Completeness(slot::Completeness::new(n, layout)),
        }
    }
}
