//! Indicators one by one, for a program that wants a moving average and no plan: the kernels that plans are made of,
//! called without names, rows, gaps or a state that others share.
//!
//! The values are those of a [`Plan`](super::Plan) over the same bars, bit for bit; NaN where undefined. An indicator takes
//! its bars as they come: what lies between two of them is for the caller to see, and so is a price that is no number. Where a
//! plan says undefined because a sum is too large for an f64, an indicator says what the arithmetic gives: an infinity or NaN,
//! until the price has left the window.
//!
//! ```
//! use vela::domain::{Bar, Timestamp};
//! use vela::feature::indicator::Sma;
//!
//! let mut sma = Sma::new(2)?;
//! let bar = |close| Bar { ts: Timestamp::from_secs(0), open: close, high: close, low: close, close, volume: 1.0 };
//! assert!(sma.update(&bar(1.0)).is_nan());
//! assert_eq!(sma.update(&bar(2.0)), 1.5);
//! # Ok::<(), vela::feature::FeatureError>(())
//! ```

use super::FeatureError;
use super::catalogue::Arguments;
use super::kernel::{Commit, Kernel, Layout, Peek, Slot, Step, Values, average, rolling, volume, wilder};
use super::name::parse;
use crate::domain::Bar;

/// A kernel, and the memory of its windows.
#[derive(Clone, Debug)]
struct Alone<K> {
    kernel: K,
    memory: Box<[f64]>,
    arguments: Arguments,
}

impl<K: Step + TryFrom<Kernel>> Alone<K> {
    /// The kernel behind the feature called `name`, whose parameters are checked where everybody's are.
    fn new(name: &str) -> Result<Self, FeatureError> {
        let (family, arguments) = parse(name)?;
        let mut layout = Layout::default();
        let Ok(kernel) = K::try_from(Kernel::new(family.build(&arguments).0, &mut layout)) else {
            unreachable!("every indicator names the kernel of its family")
        };
        Ok(Self { kernel, memory: vec![0.0; layout.len()].into(), arguments })
    }

    #[inline(always)]
    fn update(&mut self, bar: &Bar) -> Values {
        self.kernel.step(&lone(bar), &mut Commit(&mut self.memory))
    }

    #[inline]
    fn peek(&self, bar: &Bar) -> Values {
        let mut kernel = self.kernel;
        kernel.step(&lone(bar), &mut Peek(&self.memory))
    }
}

/// A bar that stands in no timeframe.
#[inline]
fn lone(bar: &Bar) -> Slot<'_> {
    Slot { bar, close: bar.ts, missing: 0, synthetic: false }
}

macro_rules! indicators {
    ($(
        $(#[$doc:meta])+
        $name:ident($($parameter:ident: $type:ty),*), $feature:literal by $kernel:ty => $output:ty: $read:expr;
    )+) => {$(
        $(#[$doc])+
        #[derive(Clone, Debug)]
        pub struct $name(Alone<$kernel>);

        impl $name {
            /// Before its first bar.
            ///
            /// # Errors
            /// When a parameter is out of range.
            pub fn new($($parameter: $type),*) -> Result<Self, FeatureError> {
                Alone::new(&format!($feature)).map(Self)
            }

            /// Takes one closed bar in; what it says then. Allocates nothing.
            ///
            /// Inlined where it is called, so that over many bars its numbers stay in registers.
            #[inline(always)]
            pub fn update(&mut self, bar: &Bar) -> $output {
                let read: fn(Values, &Arguments) -> $output = $read;
                read(self.0.update(bar), &self.0.arguments)
            }

            /// What [`Self::update`] would say, and takes nothing in.
            #[inline]
            pub fn peek(&self, bar: &Bar) -> $output {
                let read: fn(Values, &Arguments) -> $output = $read;
                read(self.0.peek(bar), &self.0.arguments)
            }
        }
    )+};
}

/// Bollinger's bands, price units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bands {
    /// The mean and `k` deviations.
    pub upper: f64,
    /// The mean.
    pub mid: f64,
    /// The mean less `k` deviations.
    pub lower: f64,
}

/// What MACD says, price units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MacdValues {
    /// The fast average less the slow one.
    pub line: f64,
    /// The average of the line.
    pub signal: f64,
    /// The line less the signal.
    pub histogram: f64,
}

/// The stochastic oscillator, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StochasticValues {
    /// The close's place in the range, smoothed.
    pub k: f64,
    /// The mean of k.
    pub d: f64,
}

/// Directional movement, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Directions {
    /// The directional index, smoothed.
    pub adx: f64,
    /// Upwards.
    pub plus_di: f64,
    /// Downwards.
    pub minus_di: f64,
}

indicators! {
    /// The mean of the last `n` closes: `sma_N`.
    Sma(n: usize), "sma_{n}" by rolling::Mean => f64: |[mean, ..], _| mean;
    /// The exponential average of the close: `ema_N`.
    Ema(n: usize), "ema_{n}" by average::Ema => f64: |[average, ..], _| average;
    /// Wilder's relative strength index, 0 to 100: `rsi_N`.
    Rsi(n: usize), "rsi_{n}" by wilder::Rsi => f64: |[rsi, ..], _| rsi;
    /// Wilder's average true range, price units: `atr_N`.
    Atr(n: usize), "atr_{n}" by wilder::Atr => f64: |[atr, ..], _| atr;
    /// Bollinger's bands of `n` closes and `k` deviations: `bb_upper_N_K`, `bb_mid_N_K`, `bb_lower_N_K`.
    Bollinger(n: usize, k: f64), "bb_upper_{n}_{k}" by rolling::Deviation => Bands: |[mid, deviation, ..], arguments| {
        let distance = arguments.k * deviation;
        Bands { upper: mid + distance, mid, lower: mid - distance }
    };
    /// Convergence and divergence of two averages: `macd_FAST_SLOW_SIGNAL` and the two beside it.
    Macd(fast: usize, slow: usize, signal: usize), "macd_{fast}_{slow}_{signal}" by average::Macd => MacdValues:
        |[line, signal, histogram, _], _| MacdValues { line, signal, histogram };
    /// The stochastic oscillator: `stoch_k_N_SMOOTH_SIGNAL`, `stoch_d_N_SMOOTH_SIGNAL`.
    Stochastic(n: usize, smooth: usize, signal: usize), "stoch_k_{n}_{smooth}_{signal}" by rolling::Stochastic
        => StochasticValues: |[k, d, ..], _| StochasticValues { k, d };
    /// Wilder's directional movement: `adx_N`, `plus_di_N`, `minus_di_N`.
    Adx(n: usize), "adx_{n}" by wilder::Directional => Directions:
        |[adx, plus_di, minus_di, _], _| Directions { adx, plus_di, minus_di };
    /// Williams' %R, -100 to 0: `willr_N`.
    WilliamsR(n: usize), "willr_{n}" by rolling::WilliamsR => f64: |[share, ..], _| share;
    /// The commodity channel index: `cci_N`. O(n) a bar.
    Cci(n: usize), "cci_{n}" by rolling::Cci => f64: |[cci, ..], _| cci;
    /// The on-balance volume, volume units: `obv`.
    Obv(), "obv" by volume::Obv => f64: |[balance, ..], _| balance;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests_support::{Market, bits};
    use super::super::{FeatureError, Plan};
    use super::*;
    use crate::domain::Timeframe;

    /// Every indicator beside a plan of the same names, bar by bar and peeking, by their bits.
    #[test]
    fn an_indicator_says_what_a_plan_says_bit_for_bit() {
        macro_rules! same {
            ($indicator:expr, [$($name:literal),+], $found:pat => [$($value:expr),+]) => {{
                let mut indicator = $indicator.unwrap();
                let mut state = Plan::new(&[$($name),+], Timeframe::MINUTE).unwrap().state();
                for (i, bar) in Market::new(17, 100.0).take(700).enumerate() {
                    state.update(&bar);
                    for $found in [indicator.peek(&bar), indicator.update(&bar)] {
                        let found = bits(&[$($value),+]);
                        assert_eq!(found, bits(state.values()), "bar {i}: {}", stringify!($indicator));
                    }
                }
            }};
        }
        same!(Sma::new(1), ["sma_1"], x => [x]);
        same!(Sma::new(20), ["sma_20"], x => [x]);
        same!(Ema::new(26), ["ema_26"], x => [x]);
        same!(Rsi::new(14), ["rsi_14"], x => [x]);
        same!(Atr::new(14), ["atr_14"], x => [x]);
        same!(Bollinger::new(20, 2.5), ["bb_upper_20_2.5", "bb_mid_20_2.5", "bb_lower_20_2.5"],
            Bands { upper, mid, lower } => [upper, mid, lower]);
        same!(Macd::new(12, 26, 9), ["macd", "macd_signal", "macd_hist"],
            MacdValues { line, signal, histogram } => [line, signal, histogram]);
        same!(Stochastic::new(14, 3, 12), ["stoch_k_14_3_12", "stoch_d_14_3_12"],
            StochasticValues { k, d } => [k, d]);
        same!(Adx::new(14), ["adx_14", "plus_di_14", "minus_di_14"],
            Directions { adx, plus_di, minus_di } => [adx, plus_di, minus_di]);
        same!(WilliamsR::new(14), ["willr_14"], x => [x]);
        same!(Cci::new(20), ["cci_20"], x => [x]);
        same!(Obv::new(), ["obv"], x => [x]);
    }

    /// "Until the price has left the window", and no bar longer.
    #[test]
    fn what_is_no_number_leaves_with_its_bar() {
        let mut sma = Sma::new(3).unwrap();
        let mut market = Market::new(5, 100.0);
        let mut mean = |close: f64| sma.update(&Bar { close, ..market.next().unwrap() });
        assert!(mean(1.0).is_nan() && mean(f64::MAX).is_nan());
        assert!(
            (mean(f64::MAX) / f64::MAX - 2.0 / 3.0).abs() < 1e-15,
            "a mean is not too large where its sum is"
        );
        for close in [f64::INFINITY, 2.0, 2.0] {
            assert!(!mean(close).is_finite(), "a window with an infinity in it");
        }
        assert_eq!([mean(2.0), mean(5.0)], [2.0, 3.0]);
    }

    #[test]
    fn a_parameter_out_of_range_is_refused_as_in_a_name() {
        assert!(matches!(Sma::new(0), Err(FeatureError::Value { .. })));
        assert!(matches!(Macd::new(26, 12, 9), Err(FeatureError::Order { .. })));
        assert!(Bollinger::new(20, f64::NAN).is_err());
    }
}
