//! What the volume says: OBV, money flow, volume-weighted price, relative volume.

use super::rolling::typical_price;
use super::window::{Layout, Sum, Sums, Window};
use super::{UNDEFINED, Values, ratio, same_price};
use crate::domain::Bar;

/// `obv`, volume units: the volume of the first bar, then plus the volume of every bar that closed higher,
/// minus that of every bar that closed lower. Depends on the whole history. Source: TA-Lib `OBV`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Obv {
    previous: Option<f64>,
    sum: Sum,
}

impl Obv {
    /// The balance.
    #[inline]
    pub fn update(&mut self, bar: &Bar) -> Values {
        let previous = self.previous.replace(bar.close).unwrap_or(f64::NEG_INFINITY);
        if bar.close > previous {
            self.sum.add(bar.volume);
        } else if bar.close < previous {
            self.sum.add(-bar.volume);
        }
        [self.sum.get(), f64::NAN, f64::NAN, f64::NAN]
    }
}

/// `mfi_N`, 0 to 100: `100 * up / (up + down)`, the sums of `tp * volume` over those of the last `n` bars whose
/// typical price rose, or fell, by more than rounding noise; 0 when no money flowed. Defined from bar n.
/// Source: TA-Lib `MFI` 0.8.1.
#[derive(Clone, Copy, Debug)]
pub struct Mfi {
    previous: Option<f64>,
    flows: Window<Sums<2>, 2>,
}

impl Mfi {
    /// A window of `n >= 1` moves.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { previous: None, flows: Window::new(n, layout) }
    }

    /// The index.
    #[inline]
    pub fn advance(&mut self, bar: &Bar, memory: &[f64]) -> Values {
        let tp = typical_price(bar);
        let Some(previous) = self.previous.replace(tp) else { return UNDEFINED };
        let flow = tp * bar.volume;
        let item = if same_price(tp, previous) {
            [0.0, 0.0]
        } else if tp > previous {
            [flow, 0.0]
        } else {
            [0.0, flow]
        };
        let Some([up, down]) = self.flows.advance(item, memory) else { return UNDEFINED };
        let value = if up + down == 0.0 { 0.0 } else { 100.0 * (up / (up + down)) };
        [value, f64::NAN, f64::NAN, f64::NAN]
    }

    /// Commits.
    #[inline]
    pub fn store(&mut self, memory: &mut [f64]) {
        self.flows.store(memory);
    }
}

/// `vwap_N`, price units: `sum(tp * volume) / sum(volume)` over `n` bars; NaN when nothing was traded.
/// Defined from bar n - 1.
#[derive(Clone, Copy, Debug)]
pub struct Vwap {
    traded: Window<Sums<2>, 2>,
}

impl Vwap {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { traded: Window::new(n, layout) }
    }

    /// The price.
    #[inline]
    pub fn advance(&mut self, bar: &Bar, memory: &[f64]) -> Values {
        let item = [typical_price(bar) * bar.volume, bar.volume];
        match self.traded.advance(item, memory) {
            Some([value, volume]) => [ratio(value, volume), f64::NAN, f64::NAN, f64::NAN],
            None => UNDEFINED,
        }
    }

    /// Commits.
    #[inline]
    pub fn store(&mut self, memory: &mut [f64]) {
        self.traded.store(memory);
    }
}

/// `vol_ratio_N`, 0 to n: the volume over its mean of `n` bars, this one included; NaN when nothing was traded.
/// Defined from bar n - 1.
#[derive(Clone, Copy, Debug)]
pub struct VolumeRatio {
    volumes: Window<Sums<1>, 1>,
}

impl VolumeRatio {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { volumes: Window::new(n, layout) }
    }

    /// The ratio.
    #[inline]
    pub fn advance(&mut self, bar: &Bar, memory: &[f64]) -> Values {
        match self.volumes.advance([bar.volume], memory) {
            Some([sum]) => [ratio(bar.volume, sum / self.volumes.n() as f64), f64::NAN, f64::NAN, f64::NAN],
            None => UNDEFINED,
        }
    }

    /// Commits.
    #[inline]
    pub fn store(&mut self, memory: &mut [f64]) {
        self.volumes.store(memory);
    }
}
