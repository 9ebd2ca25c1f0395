//! What a window is folded into: sums, moments, extremes and where they are.
//!
//! Moments are taken about an origin that is one of the window's own items: the last of the block before. So
//! `(mean - origin)^2 <= n * variance`: the subtractions that make them central cancel at most a factor of n + 1 (of
//! about n for the third and fourth moment too, since an origin far off is itself the largest deviation), whatever the
//! level, and a window that is flat gives exactly 0 without an epsilon.

use super::window::Fold;
use super::{larger, not_negative};
use serde::{Deserialize, Serialize};

/// Sums of `W` quantities. Exactly 0 when every item is 0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sums<const W: usize>;

impl<const W: usize> Fold<W> for Sums<W> {
    #[inline(always)]
    fn begin(_: [f64; W]) -> Self {
        Self
    }

    #[inline(always)]
    fn of(&self, item: [f64; W]) -> [f64; W] {
        item
    }
}

/// The mean alone: items are `[x]`, results `[sum(x - origin)]`, the first of what [`Moments`] gives, bit for bit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct First {
    origin: f64,
}

impl First {
    /// What the items are measured from: one that every window of this block contains.
    #[inline]
    pub fn origin(&self) -> f64 {
        self.origin
    }

    /// The mean of a window's `result`, of items that each have this `share`.
    #[inline]
    pub fn mean(&self, [first]: [f64; 1], share: f64) -> f64 {
        self.origin + first * share
    }
}

impl Fold<1> for First {
    #[inline(always)]
    fn begin([origin]: [f64; 1]) -> Self {
        Self { origin }
    }

    #[inline(always)]
    fn of(&self, [x]: [f64; 1]) -> [f64; 1] {
        [x - self.origin]
    }
}

/// First and second moment: items are `[x, _]`, results `[sum(x - origin), sum((x - origin)^2)]`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Moments {
    origin: f64,
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
    /// Reads a window's `result`, whose newest item is `x`, and each of whose items has this `share`.
    #[inline]
    pub fn spread(&self, [first, second]: [f64; 2], x: f64, share: f64) -> Spread {
        let mean = first * share;
        Spread {
            mean: self.origin + mean,
            squares: not_negative(second - first * mean),
            deviation: (x - self.origin) - mean,
        }
    }
}

impl Fold<2> for Moments {
    #[inline(always)]
    fn begin([origin, _]: [f64; 2]) -> Self {
        Self { origin }
    }

    #[inline(always)]
    fn of(&self, [x, _]: [f64; 2]) -> [f64; 2] {
        let d = x - self.origin;
        [d, d * d]
    }
}

/// Highest high and lowest low: items are `[high, low]`, results `[highest, -lowest]`, so that both lanes are the larger of two
/// and one instruction does both.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Extremes;

impl Extremes {
    /// The highest high and the lowest low of a window's `result`.
    #[inline(always)]
    pub fn range([highest, lowest]: [f64; 2]) -> [f64; 2] {
        [highest, -lowest]
    }
}

impl Fold<2> for Extremes {
    const NOTHING: [f64; 2] = [f64::NEG_INFINITY; 2];
    const ROUNDS: bool = false;

    #[inline(always)]
    fn begin(_: [f64; 2]) -> Self {
        Self
    }

    #[inline(always)]
    fn of(&self, [high, low]: [f64; 2]) -> [f64; 2] {
        [high, -low]
    }

    #[inline(always)]
    fn join(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
        [larger(a[0], b[0]), larger(a[1], b[1])]
    }
}

/// First to fourth moment: items are `[x, _, _, _]`, results the sums of the powers 1 to 4 of `x - origin`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Powers {
    origin: f64,
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
    /// Reads a window's `result`, each of whose items has this `share`.
    #[inline]
    pub fn shape(sums: [f64; 4], share: f64) -> Shape {
        let [m, second, third, fourth] = sums.map(|sum| sum * share);
        Shape {
            variance: not_negative(second - m * m),
            third: third - m * (3.0 * second - 2.0 * m * m),
            fourth: not_negative(fourth - m * (4.0 * third - m * (6.0 * second - 3.0 * m * m))),
        }
    }
}

impl Fold<4> for Powers {
    #[inline(always)]
    fn begin([origin, ..]: [f64; 4]) -> Self {
        Self { origin }
    }

    #[inline(always)]
    fn of(&self, [x, ..]: [f64; 4]) -> [f64; 4] {
        let d = x - self.origin;
        let square = d * d;
        [d, square, square * d, square * square]
    }
}

/// Moments of pairs: items are `[x, y, _, _, _]`, results the sums of dx, dy, dx^2, dx dy and dy^2, where dx and dy
/// are the distances from the origin.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pairs {
    origin: [f64; 2],
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
    /// Reads a window's `result`, each of whose pairs has this `share`.
    #[inline]
    pub fn joint(sums: [f64; 5], share: f64) -> Joint {
        let [x, y, xx, xy, yy] = sums.map(|sum| sum * share);
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
    #[inline(always)]
    fn begin([x, y, ..]: [f64; 5]) -> Self {
        Self { origin: [x, y] }
    }

    #[inline(always)]
    fn of(&self, [x, y, ..]: [f64; 5]) -> [f64; 5] {
        let (dx, dy) = (x - self.origin[0], y - self.origin[1]);
        [dx, dy, dx * dx, dx * dy, dy * dy]
    }
}

/// Highest high and lowest low, and when they were, the latest in a draw: items are `[high, when, low, when]`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Peaks;

impl Fold<4> for Peaks {
    const NOTHING: [f64; 4] = [f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY];
    const ROUNDS: bool = false;

    #[inline(always)]
    fn begin(_: [f64; 4]) -> Self {
        Self
    }

    #[inline(always)]
    fn of(&self, item: [f64; 4]) -> [f64; 4] {
        item
    }

    #[inline(always)]
    fn join(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
        // Runs are folded in both directions, so that a draw is decided by the time and not by the order.
        let [high, when_high] = if (b[0], b[1]) > (a[0], a[1]) { [b[0], b[1]] } else { [a[0], a[1]] };
        let [low, when_low] = if (-b[2], b[3]) > (-a[2], a[3]) { [b[2], b[3]] } else { [a[2], a[3]] };
        [high, when_high, low, when_low]
    }
}
