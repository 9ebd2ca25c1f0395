//! Statistics of prices over the last bars: lags, means and deviations, ranges, CCI.

use super::fold::{Extremes, First, Moments, Sums};
use super::memory::{Layout, Memory};
use super::window::{Ring, Strip, Window};
use super::{NOISE, Slot, Step, UNDEFINED, Values, ratio, same_price};
use crate::domain::Bar;
use serde::{Deserialize, Serialize};

/// The close over the close `n` bars before: a bare ratio, that `ret_N`, `logret_N` and `roc_N` read.
/// Defined from bar n.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Lag {
    closes: Ring,
}

impl Lag {
    /// A lag of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { closes: Ring::new(n, layout) }
    }
}

impl Step for Lag {
    /// The ratio.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        match self.closes.advance(bar.close, memory) {
            Some(before) => [ratio(bar.close, before), f64::NAN, f64::NAN, f64::NAN],
            None => UNDEFINED,
        }
    }
}

/// The mean of the last `n` closes, price units: `sma_N`. Defined from bar n - 1. The first value of [`Deviation`], bit for
/// bit, for less: a plan that has that one reads it there.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Mean {
    closes: Window<First, 1>,
}

impl Mean {
    /// A window of `n >= 1` closes.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { closes: Window::new(n, layout) }
    }
}

impl Step for Mean {
    /// The mean.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let mean = self.closes.read(&[bar.close], memory, |sum, block, share| block.mean(sum, share));
        [mean.unwrap_or(f64::NAN), f64::NAN, f64::NAN, f64::NAN]
    }
}

/// Mean, population deviation, and the close's distance from the mean, all in price units: what `sma_N`, the
/// Bollinger bands and `zscore_N` read. The deviation is `sqrt(sum((x - mean)^2) / n)`, 0 exactly for a flat
/// window. Defined from bar n - 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Deviation {
    closes: Window<Moments, 2>,
}

impl Deviation {
    /// A window of `n >= 1` closes.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { closes: Window::new(n, layout) }
    }
}

impl Step for Deviation {
    /// Mean, deviation, distance.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let read = |moments, block: &Moments, share| {
            let spread = block.spread(moments, bar.close, share);
            [spread.mean, (spread.squares * share).sqrt(), spread.deviation, f64::NAN]
        };
        self.closes.read(&[bar.close, 0.0], memory, read).unwrap_or(UNDEFINED)
    }
}

/// `willr_N`, -100 to 0: `-100 * (highest - close) / (highest - lowest)`; `willr_unit_N`, 0 to 1, without the -100.
/// Both 0 when the range is empty. Defined from bar n - 1. Source: TA-Lib `WILLR`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct WilliamsR {
    range: Window<Extremes, 2>,
}

impl WilliamsR {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { range: Window::new(n, layout) }
    }
}

impl Step for WilliamsR {
    /// Williams' %R, and without the -100.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let Some(found) = self.range.advance(&[bar.high, bar.low], memory) else { return UNDEFINED };
        let [high, low] = Extremes::range(found);
        if same_price(high, low) {
            return [0.0, 0.0, f64::NAN, f64::NAN];
        }
        let share = (high - bar.close) / (high - low);
        [share * -100.0, share, f64::NAN, f64::NAN]
    }
}

/// `stoch_k` and `stoch_d`, 0 to 100: raw = `100 * (close - lowest) / (highest - lowest)` over `n` bars, 0 when
/// the range is empty; k = mean of the last `smooth` raw values; d = mean of the last `signal` k.
/// Both defined from bar n + smooth + signal - 3. Source: TA-Lib `STOCH` with simple averages.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stochastic {
    range: Window<Extremes, 2>,
    raw: Recent,
    smoothed: Recent,
}

/// The mean of the last `n` values. A few are added up anew each time; of many that would not be O(1).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Recent {
    Few(Strip),
    Many(Window<Sums<1>, 1>),
}

impl Recent {
    const FEW: usize = 8;

    fn new(n: usize, layout: &mut Layout) -> Self {
        if n <= Self::FEW { Self::Few(Strip::new(n, layout)) } else { Self::Many(Window::new(n, layout)) }
    }

    /// Takes `x` in; the mean, once there are `n` values.
    #[inline(always)]
    fn advance(&mut self, x: f64, memory: &mut impl Memory) -> Option<f64> {
        match self {
            Self::Few(strip) => {
                let n = strip.n();
                strip.advance(x, memory).map(|earlier| (earlier.iter().sum::<f64>() + x) / n)
            }
            Self::Many(window) => window.advance(&[x], memory).map(|[sum]| sum / window.n()),
        }
    }
}

impl Stochastic {
    /// Periods, each at least 1: of the range, of k, of d.
    pub fn new([n, smooth, signal]: [usize; 3], layout: &mut Layout) -> Self {
        Self {
            range: Window::new(n, layout),
            raw: Recent::new(smooth, layout),
            smoothed: Recent::new(signal, layout),
        }
    }
}

impl Step for Stochastic {
    /// k and d.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let Some(found) = self.range.advance(&[bar.high, bar.low], memory) else { return UNDEFINED };
        let [high, low] = Extremes::range(found);
        let raw = if same_price(high, low) { 0.0 } else { (bar.close - low) / (high - low) * 100.0 };
        let Some(k) = self.raw.advance(raw, memory) else { return UNDEFINED };
        let Some(d) = self.smoothed.advance(k, memory) else { return UNDEFINED };
        [k, d, f64::NAN, f64::NAN]
    }
}

/// `cci_N`, usually within -300 to 300: `(tp - mean) / (0.015 * mean absolute deviation)` of the typical price
/// `tp = (high + low + close) / 3`; 0 when the window is flat. Defined from bar n - 1. Source: TA-Lib `CCI`.
///
/// A typical price carries rounding noise, so flat means: within 1e-14 of the mean, as in TA-Lib 0.8.1.
///
/// O(n) a bar: the mean absolute deviation has no constant-time update, because every distance changes with
/// the mean.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cci {
    typical: Strip,
    mean: Window<First, 1>,
}

impl Cci {
    /// A window of `n >= 2` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { typical: Strip::new(n, layout), mean: Window::new(n, layout) }
    }
}

impl Step for Cci {
    /// The CCI.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let tp = typical_price(bar);
        let mean = self.mean.read(&[tp], memory, |[sum], block, share| (block.origin(), sum * share, share));
        let (Some(earlier), Some((origin, mean, share))) = (self.typical.advance(tp, memory), mean) else {
            return UNDEFINED;
        };
        // Distances from a price of the window instead of from 0: exact, however large the price.
        let newest = (tp - origin) - mean;
        let deviation = (sum_of(earlier, |x| ((x - origin) - mean).abs()) + newest.abs()) * share;
        let noise = NOISE * (origin + mean).abs();
        let value =
            if newest.abs() <= noise || deviation <= noise { 0.0 } else { newest / (0.015 * deviation) };
        [value, f64::NAN, f64::NAN, f64::NAN]
    }
}

/// (high + low + close) / 3
#[inline]
pub fn typical_price(bar: &Bar) -> f64 {
    (bar.high + bar.low + bar.close) / 3.0
}

/// The sum of `f` over `run`, in four lanes that the processor adds side by side.
#[inline(always)]
fn sum_of(run: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 4];
    let (groups, rest) = run.as_chunks::<4>();
    for group in groups {
        for (lane, x) in lanes.iter_mut().zip(group) {
            *lane += f(*x);
        }
    }
    // What is left over has a sum of its own: lanes that are indexed would leave their registers.
    let rest = rest.iter().fold(0.0, |sum, x| sum + f(*x));
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]) + rest
}
