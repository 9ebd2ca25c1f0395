//! Wilder's indicators: RSI, ATR, directional movement. Source: J. W. Wilder, "New Concepts in Technical
//! Trading Systems", 1978, in TA-Lib's conventions.

use super::average::Seeded;
use super::memory::Memory;
use super::{Slot, Step, UNDEFINED, Values, larger, only_if};
use crate::domain::Bar;
use serde::{Deserialize, Serialize};

/// Wilder's smoothing: the plain mean of the first `n` inputs, then `(mean * (n - 1) + x) / n`; times `1 / n` in fact,
/// because each value waits for the one before, and a product takes a third of a quotient's time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Smooth {
    n_before: f64,
    share: f64,
    mean: Seeded,
}

impl Smooth {
    fn new(n: usize) -> Self {
        Self { n_before: n as f64 - 1.0, share: 1.0 / n as f64, mean: Seeded::new(n) }
    }

    #[inline]
    fn advance(&mut self, x: f64) -> f64 {
        let Self { n_before, share, .. } = *self;
        self.mean.advance(x, |mean, x| (mean * n_before + x) * share)
    }
}

/// `100 * part / whole`, and 0 when there is no whole: TA-Lib's answer to a market that did not move.
#[inline]
fn percent(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { 100.0 * (part / whole) }
}

/// max(high - low, |high - previous close|, |low - previous close|)
#[inline]
fn true_range(bar: &Bar, previous_close: f64) -> f64 {
    let beyond = larger((bar.high - previous_close).abs(), (bar.low - previous_close).abs());
    larger(bar.high - bar.low, beyond)
}

/// `rsi_N`, 0 to 100: `100 * gain / (gain + loss)` of the smoothed moves of the close; `rsi_unit_N = rsi / 50 - 1`; and
/// `cmo_N = (gain - loss) / (gain + loss)`, -1 to 1. When nothing moved RSI and CMO are 0: in all other cases the last
/// two are the same number. Defined from bar n. Source: TA-Lib `RSI`, `CMO` (over 100).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Rsi {
    previous: Option<f64>,
    gain: Smooth,
    loss: Smooth,
}

impl Rsi {
    /// Period `n >= 1`.
    pub fn new(n: usize) -> Self {
        Self { previous: None, gain: Smooth::new(n), loss: Smooth::new(n) }
    }
}

impl Step for Rsi {
    /// RSI, RSI around 0, CMO.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let Some(previous) = self.previous.replace(bar.close) else { return UNDEFINED };
        let change = bar.close - previous;
        let gain = self.gain.advance(larger(change, 0.0));
        let loss = self.loss.advance(larger(-change, 0.0));
        let both = gain + loss;
        let rsi = percent(gain, both);
        let cmo = if both == 0.0 { 0.0 } else { (gain - loss) / both };
        [rsi, rsi / 50.0 - 1.0, cmo, f64::NAN]
    }
}

/// `atr_N`, price units: the smoothed true range, from bar 1 on; `atr_rel_N = atr / close`, and `natr_N`, that in percent.
/// Defined from bar n. Source: TA-Lib `ATR`, `NATR`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Atr {
    previous: Option<f64>,
    range: Smooth,
}

impl Atr {
    /// Period `n >= 1`.
    pub fn new(n: usize) -> Self {
        Self { previous: None, range: Smooth::new(n) }
    }
}

impl Step for Atr {
    /// ATR, normalised ATR in percent and as it is.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let Some(previous) = self.previous.replace(bar.close) else { return UNDEFINED };
        let atr = self.range.advance(true_range(bar, previous));
        let relative = super::ratio(atr, bar.close);
        [atr, relative * 100.0, relative, f64::NAN]
    }
}

/// `adx_N`, `plus_di_N`, `minus_di_N`, all 0 to 100; `di_diff_N = (plus_di - minus_di) / 100`, -1 to 1.
///
/// Directional movement and true range are summed over the first n - 1 moves, then `s += x - s / n`;
/// `di = 100 * dm / tr`, `dx = 100 * |plus - minus| / (plus + minus)`, and `adx` is the smoothed `dx`, seeded
/// with the mean of n. Where nothing moved, a DI is 0, `dx` adds nothing to the seed and leaves a running ADX
/// as it is. DIs are defined from bar n, ADX from bar 2n - 1. Source: TA-Lib `ADX`, `PLUS_DI`, `MINUS_DI`.
///
/// A bar that went up and down by the same amount moved in neither direction. TA-Lib lets the last bit decide whether
/// it did, and so do these; `adx_unit_N` and `di_diff_N` allow for the prices' rounding (`noise`), because the same
/// market in other units would be another one without it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Directional {
    n: usize,
    /// 1 / n
    share: f64,
    /// What two moves may differ by and still be the same, relative to the prices.
    noise: f64,
    previous: Option<Bar>,
    /// Moves seen, counted up to n - 1: the length of the plain sums.
    moves: usize,
    plus: f64,
    minus: f64,
    range: f64,
    index: Smooth,
    adx: f64,
}

impl Directional {
    /// Period `n >= 1`.
    pub fn new(n: usize, noise: f64) -> Self {
        let (index, share) = (Smooth::new(n), 1.0 / n as f64);
        Self {
            n,
            share,
            noise,
            previous: None,
            moves: 0,
            plus: 0.0,
            minus: 0.0,
            range: 0.0,
            index,
            adx: f64::NAN,
        }
    }
}

impl Step for Directional {
    /// ADX, +DI, -DI, and the difference of the latter.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let Some(previous) = self.previous.replace(**bar) else { return UNDEFINED };
        let up = bar.high - previous.high;
        let down = previous.low - bar.low;
        let noise = self.noise * (bar.high + previous.high).abs();
        let plus = only_if((up > 0.0) & (up - down > noise), up);
        let minus = only_if((down > 0.0) & (down - up > noise), down);
        let range = true_range(bar, previous.close);
        if self.moves + 1 < self.n {
            self.moves += 1;
            self.plus += plus;
            self.minus += minus;
            self.range += range;
            return UNDEFINED;
        }
        let share = self.share;
        let step = |sum: f64, x: f64| sum - sum * share + x;
        self.plus = step(self.plus, plus);
        self.minus = step(self.minus, minus);
        self.range = step(self.range, range);
        let plus = percent(self.plus, self.range);
        let minus = percent(self.minus, self.range);
        let both = plus + minus;
        if both != 0.0 {
            self.adx = self.index.advance(percent((plus - minus).abs(), both));
        } else if self.adx.is_nan() {
            self.adx = self.index.advance(0.0);
        }
        [self.adx, plus, minus, (plus - minus) / 100.0]
    }
}
