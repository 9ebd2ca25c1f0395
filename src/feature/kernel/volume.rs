//! What the volume says: balance, money flow, volume-weighted price, relative volume.

use super::candle::close_place;
use super::fold::{Moments, Sums};
use super::memory::{Layout, Memory};
use super::rolling::typical_price;
use super::sum::Endless;
use super::window::Window;
use super::{Slot, Step, UNDEFINED, Values, only_if, ratio, same_price};
use crate::domain::Bar;
use serde::{Deserialize, Serialize};

/// `obv`, volume units: the volume of the first bar, then plus the volume of every bar that closed higher,
/// minus that of every bar that closed lower. Depends on the whole history. Source: TA-Lib `OBV`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Obv {
    previous: Option<f64>,
    sum: Endless,
}

impl Step for Obv {
    /// The balance.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let previous = self.previous.replace(bar.close).unwrap_or(f64::NEG_INFINITY);
        self.sum.add(signed_volume(bar, previous));
        [self.sum.get(), f64::NAN, f64::NAN, f64::NAN]
    }
}

/// The volume where the close rose above `previous`, less the volume where it fell below it.
#[inline]
fn signed_volume(bar: &Bar, previous: f64) -> f64 {
    only_if(bar.close > previous, bar.volume) - only_if(bar.close < previous, bar.volume)
}

/// `mfi_N`, 0 to 100: `100 * up / (up + down)`, the sums of `tp * volume` over those of the last `n` bars whose
/// typical price rose, or fell, by more than rounding noise; 0 when no money flowed. Defined from bar n.
/// Source: TA-Lib `MFI` 0.8.1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Mfi {
    previous: Option<f64>,
    flows: Window<Sums<2>, 2>,
}

impl Mfi {
    /// A window of `n >= 1` moves.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { previous: None, flows: Window::new(n, layout) }
    }
}

impl Step for Mfi {
    /// The index.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let tp = typical_price(bar);
        let Some(previous) = self.previous.replace(tp) else { return UNDEFINED };
        let flow = tp * bar.volume;
        let moved = !same_price(tp, previous);
        let item = [only_if(moved & (tp > previous), flow), only_if(moved & (tp < previous), flow)];
        let Some([up, down]) = self.flows.advance(&item, memory) else { return UNDEFINED };
        let value = if up + down == 0.0 { 0.0 } else { 100.0 * (up / (up + down)) };
        [value, f64::NAN, f64::NAN, f64::NAN]
    }
}

/// `vwap_N`, price units: `sum(tp * volume) / sum(volume)` over `n` bars; NaN when nothing was traded. And the close's
/// distance from it, that `vwap_dist_N` reads: there the plain mean of tp stands in when nothing was traded.
/// Defined from bar n - 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Vwap {
    traded: Window<Sums<3>, 3>,
}

impl Vwap {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { traded: Window::new(n, layout) }
    }
}

impl Step for Vwap {
    /// The price, the one that is always defined, and the close's distance from the latter.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let tp = typical_price(bar);
        let Some([value, volume, sum]) = self.traded.advance(&[tp * bar.volume, bar.volume, tp], memory)
        else {
            return UNDEFINED;
        };
        let vwap = ratio(value, volume);
        let price = if volume == 0.0 { sum * self.traded.share() } else { vwap };
        [vwap, price, bar.close - price, f64::NAN]
    }
}

/// `vol_ratio_N`, 0 to n: the volume over its mean of `n` bars, this one included; NaN when nothing was traded. And
/// that mean, that `rvol_N` reads too. Defined from bar n - 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct VolumeRatio {
    volumes: Window<Sums<1>, 1>,
}

impl VolumeRatio {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { volumes: Window::new(n, layout) }
    }
}

impl Step for VolumeRatio {
    /// The ratio, the mean.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let Some([sum]) = self.volumes.advance(&[bar.volume], memory) else { return UNDEFINED };
        let mean = sum * self.volumes.share();
        [ratio(bar.volume, mean), mean, f64::NAN, f64::NAN]
    }
}

/// `vol_z_N`: `ln(1 + volume)` less its mean of `n` bars, over their population deviation; NaN when all are the same.
/// Depends on the unit of the volume. Defined from bar n - 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct LogVolume {
    volumes: Window<Moments, 2>,
}

impl LogVolume {
    /// A window of `n >= 2` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { volumes: Window::new(n, layout) }
    }
}

impl Step for LogVolume {
    /// The z-score.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let x = bar.volume.ln_1p();
        let found = self.volumes.read(&[x, 0.0], memory, |moments, block, share| {
            let spread = block.spread(moments, x, share);
            ratio(spread.deviation, (spread.squares * share).sqrt())
        });
        [found.unwrap_or(f64::NAN), f64::NAN, f64::NAN, f64::NAN]
    }
}

/// `cmf_N`, -1 to 1: `sum(clv * volume) / sum(volume)` over `n` bars, where clv is the close's place in its bar;
/// NaN when nothing was traded. Defined from bar n - 1. Source: M. Chaikin's money flow.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct MoneyFlow {
    flows: Window<Sums<2>, 2>,
}

impl MoneyFlow {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { flows: Window::new(n, layout) }
    }
}

impl Step for MoneyFlow {
    /// The flow.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let item = [close_place(bar) * bar.volume, bar.volume];
        match self.flows.advance(&item, memory) {
            Some([flow, volume]) => [ratio(flow, volume), f64::NAN, f64::NAN, f64::NAN],
            None => UNDEFINED,
        }
    }
}

/// `obv_win_N`, -1 to 1: `obv` over a window: the volume of the bars that closed higher less that of those that closed
/// lower, over all of it, of `n` bars; NaN when nothing was traded. Defined from bar n.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Balance {
    previous: Option<f64>,
    volumes: Window<Sums<2>, 2>,
}

impl Balance {
    /// A window of `n >= 1` bars.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        Self { previous: None, volumes: Window::new(n, layout) }
    }
}

impl Step for Balance {
    /// The balance.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let Some(previous) = self.previous.replace(bar.close) else { return UNDEFINED };
        match self.volumes.advance(&[signed_volume(bar, previous), bar.volume], memory) {
            Some([balance, volume]) => [ratio(balance, volume), f64::NAN, f64::NAN, f64::NAN],
            None => UNDEFINED,
        }
    }
}
