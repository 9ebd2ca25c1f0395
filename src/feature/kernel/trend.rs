//! Where the close stands among the last bars, and where they lead: channel, drawdown, efficiency, Aroon, regression.

use super::fold::{Extremes, Pairs, Peaks, Sums};
use super::memory::{Layout, Memory};
use super::window::{Ring, Window};
use super::{Slot, Step, UNDEFINED, Values, ratio, same_price};
use serde::{Deserialize, Serialize};

/// `donch_N`, 0 to 1: `(close - lowest) / (highest - lowest)` over `n` bars; NaN when the range is empty.
/// Defined from bar n - 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Channel {
    range: Window<Extremes, 2>,
}

impl Channel {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { range: Window::new(n, layout) }
    }
}

impl Step for Channel {
    /// The place in the channel.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let Some(found) = self.range.advance(&[bar.high, bar.low], memory) else { return UNDEFINED };
        let [high, low] = Extremes::range(found);
        let place = if same_price(high, low) { f64::NAN } else { (bar.close - low) / (high - low) };
        [place, f64::NAN, f64::NAN, f64::NAN]
    }
}

/// `dd_N`, -1 to 0: the close over the highest of `n` closes, less 1. Defined from bar n - 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Drawdown {
    closes: Window<Extremes, 2>,
}

impl Drawdown {
    /// A window of `n >= 1` closes.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { closes: Window::new(n, layout) }
    }
}

impl Step for Drawdown {
    /// The drawdown.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        match self.closes.advance(&[bar.close; 2], memory) {
            Some([highest, _]) => [ratio(bar.close - highest, highest), f64::NAN, f64::NAN, f64::NAN],
            None => UNDEFINED,
        }
    }
}

/// `er_N`, 0 to 1: how far the close came in `n` bars over the way it went, `|c[t] - c[t-n]| / sum |c[t] - c[t-1]|`;
/// NaN when it did not move. Defined from bar n. Source: P. Kaufman's efficiency ratio.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Efficiency {
    previous: Option<f64>,
    closes: Ring,
    moves: Window<Sums<1>, 1>,
}

impl Efficiency {
    /// A window of `n >= 1` moves.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { previous: None, closes: Ring::new(n, layout), moves: Window::new(n, layout) }
    }
}

impl Step for Efficiency {
    /// The ratio.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let before = self.closes.advance(bar.close, memory);
        let Some(previous) = self.previous.replace(bar.close) else { return UNDEFINED };
        let way = self.moves.advance(&[(bar.close - previous).abs()], memory);
        let (Some(before), Some([way])) = (before, way) else { return UNDEFINED };
        // What came straight may seem to come further than it went, by rounding.
        let share = ratio((bar.close - before).abs(), way);
        [if share > 1.0 { 1.0 } else { share }, f64::NAN, f64::NAN, f64::NAN]
    }
}

/// `aroonosc_N`, -1 to 1: `(bars since the lowest low - bars since the highest high) / n` over n + 1 bars; of several
/// the latest counts. Defined from bar n. Source: TA-Lib `AROONOSC`, over 100.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Aroon {
    n: usize,
    /// The bar's number, and so its time.
    now: f64,
    peaks: Window<Peaks, 4>,
}

impl Aroon {
    /// A look back of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { n, now: 0.0, peaks: Window::new(n + 1, layout) }
    }
}

impl Step for Aroon {
    /// The oscillator.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        self.now += 1.0;
        match self.peaks.advance(&[bar.high, self.now, bar.low, self.now], memory) {
            Some([_, high, _, low]) => [(high - low) / self.n as f64, f64::NAN, f64::NAN, f64::NAN],
            None => UNDEFINED,
        }
    }
}

/// The straight line through `n` closes, by least squares: `linreg_slope_N`, its rise a bar over the newest close, and
/// `linreg_r2_N`, 0 to 1, the share of the closes' variance that it explains; NaN when they are all the same.
/// Defined from bar n - 1. Source: TA-Lib `LINEARREG_SLOPE` over the close, the square of `CORREL`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Regression {
    now: f64,
    pairs: Window<Pairs, 5>,
}

impl Regression {
    /// A window of `n >= 2` closes.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { now: 0.0, pairs: Window::new(n, layout) }
    }
}

impl Step for Regression {
    /// Slope, share of the variance.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        self.now += 1.0;
        let item = [self.now, bar.close, 0.0, 0.0, 0.0];
        let Some(sums) = self.pairs.advance(&item, memory) else { return UNDEFINED };
        let joint = Pairs::joint(sums, self.pairs.share());
        // Closes that are the same are so exactly: no noise to allow for.
        let correlation = joint.correlation(0.0);
        [joint.xy / joint.xx / bar.close, correlation * correlation, f64::NAN, f64::NAN]
    }
}
