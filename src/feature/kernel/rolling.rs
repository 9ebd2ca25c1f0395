//! Statistics of prices over the last bars: lags, means and deviations, ranges, CCI.

use super::fold::{Extremes, Moments, Sums};
use super::window::{Layout, Ring, Window};
use super::{NOISE, UNDEFINED, Values, ratio, same_price};
use crate::domain::Bar;

/// The close over the close `n` bars before: a bare ratio, that `ret_N`, `logret_N` and `roc_N` read.
/// Defined from bar n.
#[derive(Clone, Copy, Debug)]
pub struct Lag {
    closes: Ring,
}

impl Lag {
    /// A lag of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { closes: Ring::new(n, layout) }
    }

    /// The ratio.
    #[inline(never)]
    pub fn advance(&mut self, bar: &Bar, memory: &[f64]) -> Values {
        match self.closes.advance(bar.close, memory) {
            Some(before) => [ratio(bar.close, before), f64::NAN, f64::NAN, f64::NAN],
            None => UNDEFINED,
        }
    }

    /// Commits.
    #[inline]
    pub fn store(&mut self, memory: &mut [f64]) {
        self.closes.store(memory);
    }
}

/// Mean, population deviation, and the close's distance from the mean, all in price units: what `sma_N`, the
/// Bollinger bands and `zscore_N` read. The deviation is `sqrt(sum((x - mean)^2) / n)`, 0 exactly for a flat
/// window. Defined from bar n - 1.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    closes: Window<Moments, 2>,
}

impl Deviation {
    /// A window of `n >= 1` closes.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { closes: Window::new(n, layout) }
    }

    /// Mean, deviation, distance.
    #[inline(never)]
    pub fn advance(&mut self, bar: &Bar, memory: &[f64]) -> Values {
        let Some(moments) = self.closes.advance([bar.close, 0.0], memory) else { return UNDEFINED };
        let n = self.closes.n();
        let spread = self.closes.block().spread(moments, bar.close, n);
        [spread.mean, (spread.squares / n as f64).sqrt(), spread.deviation, f64::NAN]
    }

    /// Commits.
    #[inline]
    pub fn store(&mut self, memory: &mut [f64]) {
        self.closes.store(memory);
    }
}

/// `willr_N`, -100 to 0: `-100 * (highest - close) / (highest - lowest)`; `willr_unit_N`, 0 to 1, without the -100.
/// Both 0 when the range is empty. Defined from bar n - 1. Source: TA-Lib `WILLR`.
#[derive(Clone, Copy, Debug)]
pub struct WilliamsR {
    range: Window<Extremes, 2>,
}

impl WilliamsR {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { range: Window::new(n, layout) }
    }

    /// Williams' %R, and without the -100.
    #[inline(never)]
    pub fn advance(&mut self, bar: &Bar, memory: &[f64]) -> Values {
        let Some([high, low]) = self.range.advance([bar.high, bar.low], memory) else { return UNDEFINED };
        if same_price(high, low) {
            return [0.0, 0.0, f64::NAN, f64::NAN];
        }
        let share = (high - bar.close) / (high - low);
        [share * -100.0, share, f64::NAN, f64::NAN]
    }

    /// Commits.
    #[inline]
    pub fn store(&mut self, memory: &mut [f64]) {
        self.range.store(memory);
    }
}

/// `stoch_k` and `stoch_d`, 0 to 100: raw = `100 * (close - lowest) / (highest - lowest)` over `n` bars, 0 when
/// the range is empty; k = mean of the last `smooth` raw values; d = mean of the last `signal` k.
/// Both defined from bar n + smooth + signal - 3. Source: TA-Lib `STOCH` with simple averages.
#[derive(Clone, Copy, Debug)]
pub struct Stochastic {
    range: Window<Extremes, 2>,
    raw: Window<Sums<1>, 1>,
    smoothed: Window<Sums<1>, 1>,
}

impl Stochastic {
    /// Periods, each at least 1: of the range, of k, of d.
    pub fn new([n, smooth, signal]: [usize; 3], layout: &mut Layout) -> Self {
        Self {
            range: Window::new(n, layout),
            raw: Window::new(smooth, layout),
            smoothed: Window::new(signal, layout),
        }
    }

    /// k and d.
    #[inline(never)]
    pub fn advance(&mut self, bar: &Bar, memory: &[f64]) -> Values {
        let Some([high, low]) = self.range.advance([bar.high, bar.low], memory) else { return UNDEFINED };
        let raw = if same_price(high, low) { 0.0 } else { (bar.close - low) / (high - low) * 100.0 };
        let Some([sum]) = self.raw.advance([raw], memory) else { return UNDEFINED };
        let k = sum / self.raw.n() as f64;
        let Some([sum]) = self.smoothed.advance([k], memory) else { return UNDEFINED };
        [k, sum / self.smoothed.n() as f64, f64::NAN, f64::NAN]
    }

    /// Commits.
    #[inline]
    pub fn store(&mut self, memory: &mut [f64]) {
        self.range.store(memory);
        self.raw.store(memory);
        self.smoothed.store(memory);
    }
}

/// `cci_N`, usually within -300 to 300: `(tp - mean) / (0.015 * mean absolute deviation)` of the typical price
/// `tp = (high + low + close) / 3`; 0 when the window is flat. Defined from bar n - 1. Source: TA-Lib `CCI`.
///
/// A typical price carries rounding noise, so flat means: within 1e-14 of the mean, as in TA-Lib 0.8.1.
///
/// O(n) a bar: the mean absolute deviation has no constant-time update, because every distance changes with
/// the mean.
#[derive(Clone, Copy, Debug)]
pub struct Cci {
    typical: Ring,
    n: usize,
}

impl Cci {
    /// A window of `n >= 2` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { typical: Ring::new(n, layout), n }
    }

    /// The CCI.
    #[inline(never)]
    pub fn advance(&mut self, bar: &Bar, memory: &[f64]) -> Values {
        let tp = typical_price(bar);
        self.typical.advance(tp, memory);
        let Some(earlier) = self.typical.before(memory) else { return UNDEFINED };
        let n = self.n as f64;
        // Distances from the newest value instead of from 0: exact, however large the price. Its own is 0.
        let mean = earlier.map(|run| sum_of(run, |x| x - tp)).iter().sum::<f64>() / n;
        let absolute =
            earlier.map(|run| sum_of(run, |x| (x - tp - mean).abs())).iter().sum::<f64>() + mean.abs();
        let deviation = absolute / n;
        let noise = NOISE * (tp + mean).abs();
        let value = if mean.abs() <= noise || deviation <= noise { 0.0 } else { -mean / (0.015 * deviation) };
        [value, f64::NAN, f64::NAN, f64::NAN]
    }

    /// Commits.
    #[inline]
    pub fn store(&mut self, memory: &mut [f64]) {
        self.typical.store(memory);
    }
}

/// (high + low + close) / 3
#[inline]
pub fn typical_price(bar: &Bar) -> f64 {
    (bar.high + bar.low + bar.close) / 3.0
}

/// The sum of `f` over `run`, in four lanes that the processor adds side by side.
#[inline]
fn sum_of(run: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; 4];
    let (groups, rest) = run.as_chunks::<4>();
    for group in groups {
        for (lane, x) in lanes.iter_mut().zip(group) {
            *lane += f(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += f(*x);
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}
