//! What a window is folded into: sums, moments, extremes and where they are.
//!
//! Moments are taken about an origin that is one of the window's own items: the last of the block before. So
//! `(mean - origin)^2 <= n * variance`: the subtractions that make them central cancel at most a factor of n + 1 (of
//! about n for the third and fourth moment too, since an origin far off is itself the largest deviation), whatever the
//! level, and a window that is flat gives exactly 0 without an epsilon.

use super::window::{Fold, Sum};
use super::{larger, not_negative, smaller};
use serde::{Deserialize, Serialize};
use std::array::from_fn;

/// Sums of `W` quantities. Exactly 0 when every item is 0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sums<const W: usize> {
    sums: Sum<W>,
}

impl<const W: usize> Fold<W> for Sums<W> {
    #[inline]
    fn begin(_: [f64; W]) -> Self {
        Self { sums: Sum::default() }
    }

    #[inline]
    fn add(&mut self, item: [f64; W]) {
        self.sums.add(item);
    }

    #[inline]
    fn result(&self) -> [f64; W] {
        self.sums.get()
    }

    #[inline]
    fn join(a: [f64; W], b: [f64; W]) -> [f64; W] {
        from_fn(|j| a[j] + b[j])
    }
}

/// The mean alone: items are `[x]`, results `[sum(x - origin)]`, the first of what [`Moments`] gives, bit for bit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct First {
    origin: f64,
    sum: Sum<1>,
}

impl First {
    /// The mean of a window's `result`.
    #[inline]
    pub fn mean(&self, [first]: [f64; 1], n: f64) -> f64 {
        self.origin + first / n
    }
}

impl Fold<1> for First {
    #[inline]
    fn begin([origin]: [f64; 1]) -> Self {
        Self { origin, sum: Sum::default() }
    }

    #[inline]
    fn add(&mut self, [x]: [f64; 1]) {
        self.sum.add([x - self.origin]);
    }

    #[inline]
    fn result(&self) -> [f64; 1] {
        self.sum.get()
    }

    #[inline]
    fn join(a: [f64; 1], b: [f64; 1]) -> [f64; 1] {
        [a[0] + b[0]]
    }
}

/// First and second moment: items are `[x, _]`, results `[sum(x - origin), sum((x - origin)^2)]`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Moments {
    origin: f64,
    sums: Sum<2>,
}

/// Mean and spread of a window.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The arithmetic mean.
    pub mean: f64,
    /// The sum of squared deviations from the mean; 0 exactly when the window is flat.
    pub squares: f64,
    /// The newest item less the mean.
    pub deviation: f64,
}

impl Moments {
    /// Reads a window's `result`, whose newest item is `x`.
    #[inline]
    pub fn spread(&self, [first, second]: [f64; 2], x: f64, n: f64) -> Spread {
        let mean = first / n;
        Spread {
            mean: self.origin + mean,
            squares: not_negative(second - first * mean),
            deviation: (x - self.origin) - mean,
        }
    }
}

impl Fold<2> for Moments {
    #[inline]
    fn begin([origin, _]: [f64; 2]) -> Self {
        Self { origin, sums: Sum::default() }
    }

    #[inline]
    fn add(&mut self, [x, _]: [f64; 2]) {
        let d = x - self.origin;
        self.sums.add([d, d * d]);
    }

    #[inline]
    fn result(&self) -> [f64; 2] {
        self.sums.get()
    }

    #[inline]
    fn join(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        [a[0] + b[0], a[1] + b[1]]
    }
}

/// Highest high and lowest low: items are `[high, low]`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Extremes {
    high: f64,
    low: f64,
}

impl Fold<2> for Extremes {
    fn begin(_: [f64; 2]) -> Self {
        Self { high: f64::NEG_INFINITY, low: f64::INFINITY }
    }

    #[inline]
    fn add(&mut self, [high, low]: [f64; 2]) {
        (self.high, self.low) = (larger(self.high, high), smaller(self.low, low));
    }

    #[inline]
    fn result(&self) -> [f64; 2] {
        [self.high, self.low]
    }

    #[inline]
    fn join(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        [larger(a[0], b[0]), smaller(a[1], b[1])]
    }
}

/// First to fourth moment: items are `[x, _, _, _]`, results the sums of the powers 1 to 4 of `x - origin`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Powers {
    origin: f64,
    sums: Sum<4>,
}

/// How a window is spread and shaped: central moments of the population.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Mean of the squared deviations.
    pub variance: f64,
    /// Mean of the cubed deviations.
    pub third: f64,
    /// Mean of the fourth powers.
    pub fourth: f64,
}

impl Powers {
    /// Reads a window's `result` over `n` items.
    #[inline]
    pub fn shape(sums: [f64; 4], n: f64) -> Shape {
        let [m, second, third, fourth] = sums.map(|sum| sum / n);
        Shape {
            variance: not_negative(second - m * m),
            third: third - m * (3.0 * second - 2.0 * m * m),
            fourth: not_negative(fourth - m * (4.0 * third - m * (6.0 * second - 3.0 * m * m))),
        }
    }
}

impl Fold<4> for Powers {
    #[inline]
    fn begin([origin, ..]: [f64; 4]) -> Self {
        Self { origin, sums: Sum::default() }
    }

    #[inline]
    fn add(&mut self, [x, ..]: [f64; 4]) {
        let d = x - self.origin;
        let square = d * d;
        self.sums.add([d, square, square * d, square * square]);
    }

    #[inline]
    fn result(&self) -> [f64; 4] {
        self.sums.get()
    }

    #[inline]
    fn join(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
        from_fn(|j| a[j] + b[j])
    }
}

/// Moments of pairs: items are `[x, y, _, _, _]`, results the sums of dx, dy, dx^2, dx dy and dy^2, where dx and dy
/// are the distances from the origin.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pairs {
    origin: [f64; 2],
    sums: Sum<5>,
}

/// Population variances and covariance of the pairs of a window.
#[derive(Clone, Copy, Debug)]
pub struct Joint {
    /// Variance of x.
    pub xx: f64,
    /// Covariance.
    pub xy: f64,
    /// Variance of y.
    pub yy: f64,
}

impl Pairs {
    /// Reads a window's `result` over `n` pairs.
    #[inline]
    pub fn joint(sums: [f64; 5], n: f64) -> Joint {
        let [x, y, xx, xy, yy] = sums.map(|sum| sum / n);
        Joint { xx: not_negative(xx - x * x), xy: xy - x * y, yy: not_negative(yy - y * y) }
    }
}

impl Joint {
    /// Pearson's correlation, -1 to 1; NaN where the deviation of x or of y is not above `noise`.
    #[inline]
    pub fn correlation(&self, noise: f64) -> f64 {
        let (x, y) = (self.xx.sqrt(), self.yy.sqrt());
        if x > noise && y > noise { (self.xy / x / y).clamp(-1.0, 1.0) } else { f64::NAN }
    }
}

impl Fold<5> for Pairs {
    #[inline]
    fn begin([x, y, ..]: [f64; 5]) -> Self {
        Self { origin: [x, y], sums: Sum::default() }
    }

    #[inline]
    fn add(&mut self, [x, y, ..]: [f64; 5]) {
        let (dx, dy) = (x - self.origin[0], y - self.origin[1]);
        self.sums.add([dx, dy, dx * dx, dx * dy, dy * dy]);
    }

    #[inline]
    fn result(&self) -> [f64; 5] {
        self.sums.get()
    }

    #[inline]
    fn join(a: [f64; 5], b: [f64; 5]) -> [f64; 5] {
        from_fn(|j| a[j] + b[j])
    }
}

/// Highest high and lowest low, and when they were, the latest in a draw: items are `[high, when, low, when]`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Peaks([f64; 4]);

impl Fold<4> for Peaks {
    fn begin(_: [f64; 4]) -> Self {
        Self([f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY])
    }

    #[inline]
    fn add(&mut self, item: [f64; 4]) {
        self.0 = Self::join(self.0, item);
    }

    #[inline]
    fn result(&self) -> [f64; 4] {
        self.0
    }

    #[inline]
    fn join(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
        // Runs are folded in both directions, so that a draw is decided by the time and not by the order.
        let [high, when_high] = if (b[0], b[1]) > (a[0], a[1]) { [b[0], b[1]] } else { [a[0], a[1]] };
        let [low, when_low] = if (-b[2], b[3]) > (-a[2], a[3]) { [b[2], b[3]] } else { [a[2], a[3]] };
        [high, when_high, low, when_low]
    }
}
