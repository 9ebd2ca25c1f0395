//! Statistics of returns, and of how far a bar ranges: volatility, shape, memory, what they have to do with the volume.
//!
//! All moments are those of the population, unless said otherwise. Where a window's returns are all the same there is
//! no shape and no correlation: NaN. Because prices are rounded, "the same" means that they deviate by no more than
//! 1e-14, a hundred times the rounding of a return.

use super::fold::{Moments, Pairs, Powers, Sums};
use super::memory::{Layout, Memory};
use super::window::Window;
use super::{NOISE, Slot, Step, UNDEFINED, Values, not_negative, ratio};
use serde::{Deserialize, Serialize};

/// Turns closes into log returns.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Returns {
    previous: Option<f64>,
}

impl Returns {
    /// `ln(close / previous close)`, from the second bar on.
    #[inline]
    fn advance(&mut self, close: f64) -> Option<f64> {
        let previous = self.previous.replace(close)?;
        Some(ratio(close, previous).ln())
    }
}

/// The deviation of the last `n` log returns, per bar, not annualised: `rv_N`, of the SAMPLE (n - 1), and `rv_pop_N`,
/// of the population. Defined from bar n.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Volatility {
    returns: Returns,
    window: Window<Moments, 2>,
}

impl Volatility {
    /// A window of `n >= 2` returns.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { returns: Returns::default(), window: Window::new(n, layout) }
    }
}

impl Step for Volatility {
    /// Sample deviation, population deviation.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let Some(x) = self.returns.advance(bar.close) else { return UNDEFINED };
        let Some(squares) = squares(&mut self.window, x, memory) else { return UNDEFINED };
        let n = self.window.n();
        [(squares / (n - 1.0)).sqrt(), (squares / n).sqrt(), f64::NAN, f64::NAN]
    }
}

/// The sum of squared deviations from the mean, once the window is full.
#[inline]
fn squares(window: &mut Window<Moments, 2>, x: f64, memory: &mut impl Memory) -> Option<f64> {
    window.read(&[x, 0.0], memory, |moments, block, share| block.spread(moments, x, share).squares)
}

/// `rv_ratio_FAST_SLOW`, 0 to sqrt(slow / fast): the population deviation of the last `fast` log returns over that of
/// the last `slow`; NaN when the latter is nothing. Defined from bar slow.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct VolatilityRatio {
    returns: Returns,
    fast: Window<Moments, 2>,
    slow: Window<Moments, 2>,
}

impl VolatilityRatio {
    /// Windows of `1 <= fast < slow` returns.
    pub fn new([fast, slow]: [usize; 2], layout: &mut Layout) -> Self {
        Self { returns: Returns::default(), fast: Window::new(fast, layout), slow: Window::new(slow, layout) }
    }
}

impl Step for VolatilityRatio {
    /// The ratio.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let Some(x) = self.returns.advance(bar.close) else { return UNDEFINED };
        let fast = squares(&mut self.fast, x, memory);
        let slow = squares(&mut self.slow, x, memory);
        let (Some(fast), Some(slow)) = (fast, slow) else { return UNDEFINED };
        let deviation = |squares: f64, share: f64| (squares * share).sqrt();
        let (fast, slow) = (deviation(fast, self.fast.share()), deviation(slow, self.slow.share()));
        [if slow > NOISE { fast / slow } else { f64::NAN }, f64::NAN, f64::NAN, f64::NAN]
    }
}

/// `skew_N` and `kurt_N` of the last `n` log returns: `m3 / m2^1.5` and, in EXCESS of the normal distribution's 3,
/// `m4 / m2^2 - 3`, where m are central moments of the population. NaN when the returns are all the same.
/// Defined from bar n.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ReturnShape {
    returns: Returns,
    window: Window<Powers, 4>,
}

impl ReturnShape {
    /// A window of `n >= 2` returns.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { returns: Returns::default(), window: Window::new(n, layout) }
    }
}

impl Step for ReturnShape {
    /// Skewness, excess kurtosis.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let Some(x) = self.returns.advance(bar.close) else { return UNDEFINED };
        let Some(sums) = self.window.advance(&[x, 0.0, 0.0, 0.0], memory) else { return UNDEFINED };
        let shape = Powers::shape(sums, self.window.share());
        let deviation = shape.variance.sqrt();
        if deviation > NOISE {
            let skewness = shape.third / (shape.variance * deviation);
            let kurtosis = shape.fourth / (shape.variance * shape.variance) - 3.0;
            [skewness, kurtosis, f64::NAN, f64::NAN]
        } else {
            UNDEFINED
        }
    }
}

/// `ac1_N`, -1 to 1: Pearson's correlation of a log return with the one before, over `n` such pairs; NaN when either
/// side is all the same. Defined from bar n + 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Autocorrelation {
    returns: Returns,
    previous: Option<f64>,
    pairs: Window<Pairs, 5>,
}

impl Autocorrelation {
    /// A window of `n >= 2` pairs.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { returns: Returns::default(), previous: None, pairs: Window::new(n, layout) }
    }
}

impl Step for Autocorrelation {
    /// The correlation.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let Some(x) = self.returns.advance(bar.close) else { return UNDEFINED };
        let Some(before) = self.previous.replace(x) else { return UNDEFINED };
        let Some(sums) = self.pairs.advance(&[x, before, 0.0, 0.0, 0.0], memory) else { return UNDEFINED };
        [Pairs::joint(sums, self.pairs.share()).correlation(NOISE), f64::NAN, f64::NAN, f64::NAN]
    }
}

/// `corr_rv_N`, -1 to 1: Pearson's correlation of the log return with the change of `ln(1 + volume)`, over `n` bars;
/// NaN when either is all the same. Depends on the unit of the volume. Defined from bar n.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct VolumeCorrelation {
    returns: Returns,
    volume: Option<f64>,
    pairs: Window<Pairs, 5>,
}

impl VolumeCorrelation {
    /// A window of `n >= 2` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { returns: Returns::default(), volume: None, pairs: Window::new(n, layout) }
    }
}

impl Step for VolumeCorrelation {
    /// The correlation.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let volume = bar.volume.ln_1p();
        let before = self.volume.replace(volume);
        let (Some(x), Some(before)) = (self.returns.advance(bar.close), before) else { return UNDEFINED };
        let item = [x, volume - before, 0.0, 0.0, 0.0];
        let Some(sums) = self.pairs.advance(&item, memory) else { return UNDEFINED };
        [Pairs::joint(sums, self.pairs.share()).correlation(NOISE), f64::NAN, f64::NAN, f64::NAN]
    }
}

/// `parkinson_N = sqrt(mean(ln(high / low)^2) / (4 ln 2))` and
/// `gk_N = sqrt(mean(ln(high / low)^2 / 2 - (2 ln 2 - 1) ln(close / open)^2))`: volatility per bar from its range.
/// Defined from bar n - 1. Sources: M. Parkinson, 1980; M. Garman and M. Klass, 1980.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RangeVolatility {
    squares: Window<Sums<2>, 2>,
}

impl RangeVolatility {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { squares: Window::new(n, layout) }
    }
}

impl Step for RangeVolatility {
    /// Parkinson's, Garman and Klass's.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        use std::f64::consts::LN_2;
        let range = ratio(bar.high, bar.low).ln();
        let body = ratio(bar.close, bar.open).ln();
        let Some(sums) = self.squares.advance(&[range * range, body * body], memory) else {
            return UNDEFINED;
        };
        let [range, body] = sums.map(|sum| sum * self.squares.share());
        // The body is within the range: only rounding makes the second negative, of bars a few last bits high.
        let both = not_negative(0.5 * range - (2.0 * LN_2 - 1.0) * body);
        [(range / (4.0 * LN_2)).sqrt(), both.sqrt(), f64::NAN, f64::NAN]
    }
}
