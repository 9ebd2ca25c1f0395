//! Exponential averages of the close: EMA, two of them, MACD.

use super::memory::Memory;
use super::{Slot, Step, Values};
use serde::{Deserialize, Serialize};
use std::hint::cold_path;

/// A mean that is a plain one over its first `n` inputs and recursive afterwards: how TA-Lib seeds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Seeded {
    value: f64,
    /// Inputs that the seed still lacks.
    lacks: u32,
    n: u32,
}

impl Seeded {
    /// Nothing seen yet; `n >= 1`.
    pub fn new(n: usize) -> Self {
        Self { value: 0.0, lacks: n as u32, n: n as u32 }
    }

    /// Takes `x` in; `step(mean, x)` gives the mean after the seed. NaN until there are `n` inputs.
    #[inline(always)]
    pub fn advance(&mut self, x: f64, step: impl FnOnce(f64, f64) -> f64) -> f64 {
        if self.lacks > 0 {
            cold_path();
            self.value += x;
            self.lacks -= 1;
            if self.lacks > 0 {
                return f64::NAN;
            }
            self.value /= f64::from(self.n);
        } else {
            self.value = step(self.value, x);
        }
        self.value
    }
}

/// One exponential average: `e += (x - e) * k` with `k = 2 / (n + 1)`, seeded with the mean of the first `n` inputs.
///
/// Written as `e * keep + (x - x * keep)`, where `keep = 1 - k`: only the product and the sum wait for the average before,
/// and an average that has come to `x` stays there exactly.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ema {
    keep: f64,
    mean: Seeded,
}

impl Ema {
    /// An average of period `n >= 1`.
    pub fn new(n: usize) -> Self {
        Self { keep: 1.0 - 2.0 / (n as f64 + 1.0), mean: Seeded::new(n) }
    }

    /// Takes `x` in; NaN until there are `n` inputs.
    #[inline(always)]
    pub fn advance(&mut self, x: f64) -> f64 {
        let keep = self.keep;
        self.mean.advance(x, |mean, x| mean * keep + (x - x * keep))
    }
}

impl Step for Ema {
    /// `ema_N`, price units, and the close's distance from it, that `ema_dist_N` reads; defined from bar n - 1.
    /// Source: TA-Lib `EMA`.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let average = self.advance(bar.close);
        [average, bar.close - average, f64::NAN, f64::NAN]
    }
}

/// Two averages, each seeded by itself: the slow one, and the fast one's distance from it, that `ema_x_FAST_SLOW` reads.
/// Defined from bar slow - 1.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Crossing {
    fast: Ema,
    slow: Ema,
}

impl Crossing {
    /// Periods with `1 <= fast < slow`.
    pub fn new([fast, slow]: [usize; 2]) -> Self {
        Self { fast: Ema::new(fast), slow: Ema::new(slow) }
    }
}

impl Step for Crossing {
    /// Slow average, distance.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let (fast, slow) = (self.fast.advance(bar.close), self.slow.advance(bar.close));
        [slow, fast - slow, f64::NAN, f64::NAN]
    }
}

/// `macd`, `macd_signal`, `macd_hist`: price units; and the close, over which `macd_hist_rel` reads the latter. Defined
/// from bar slow + signal - 2.
///
/// line = fast average - slow average, signal = average of the line, histogram = line - signal.
/// Both averages are seeded at bar slow - 1, the fast one with the mean of the `fast` closes up to there, so
/// that the line is not `ema_fast - ema_slow` in the first bars. Source: TA-Lib `MACD`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Macd {
    fast: Ema,
    slow: Ema,
    signal: Ema,
    /// Bars that the fast average still lets pass.
    wait: usize,
}

impl Macd {
    /// Periods with `1 <= fast < slow` and `signal >= 1`.
    pub fn new([fast, slow, signal]: [usize; 3]) -> Self {
        Self { fast: Ema::new(fast), slow: Ema::new(slow), signal: Ema::new(signal), wait: slow - fast }
    }
}

impl Step for Macd {
    /// Line, signal, histogram, close.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let slow = self.slow.advance(bar.close);
        if self.wait > 0 {
            self.wait -= 1;
            return super::UNDEFINED;
        }
        let line = self.fast.advance(bar.close) - slow;
        if line.is_nan() {
            return super::UNDEFINED;
        }
        let signal = self.signal.advance(line);
        if signal.is_nan() {
            return super::UNDEFINED;
        }
        [line, signal, line - signal, bar.close]
    }
}
