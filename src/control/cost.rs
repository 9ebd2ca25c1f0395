//! What a run of a model costs by its size: a line through what was seen, and how far it can be believed.
//!
//! Ordinary least squares over sums that forget. On a busy machine a run takes as long as the processor was elsewhere, many
//! times its own work, and where nearly all runs are of one size the line through them says anything: so what it says of
//! the part that does not depend on the size comes with its standard error.

use crate::link::BatchReading;

/// How much of what was seen is remembered from one interval to the next.
const MEMORY: f64 = 0.9;
/// So many standard errors are no chance.
const ERRORS: f64 = 2.0;

/// The cost of runs over n rows as a line: `call + row * n`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cost {
    turns: f64,
    rows: f64,
    rows_squared: f64,
    ns: f64,
    ns_squared: f64,
    rows_ns: f64,
}

/// A line through runs of several sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// What a run costs whatever it takes, in ns.
    pub(super) call_ns: f64,
    /// What each row adds, in ns.
    pub(super) row_ns: f64,
    /// The standard error of `call_ns`.
    error_ns: f64,
}

impl Cost {
    pub(super) fn take(&mut self, seen: &BatchReading) {
        let keep = |sum: &mut f64, more: f64| *sum = *sum * MEMORY + more;
        keep(&mut self.turns, seen.turns as f64);
        keep(&mut self.rows, seen.items as f64);
        keep(&mut self.rows_squared, seen.items_squared as f64);
        keep(&mut self.ns, seen.busy_ns as f64);
        keep(&mut self.ns_squared, seen.busy_us_squared as f64 * 1e6);
        keep(&mut self.rows_ns, seen.items_busy_ns as f64);
    }

    /// `None` where runs of one size only were seen.
    pub(super) fn line(&self) -> Option<Line> {
        let n = self.turns;
        // Sums of squares about the mean, each n-fold less its product.
        let rows_spread = self.rows_squared - self.rows * self.rows / n;
        if n < 3.0 || rows_spread < self.rows_squared * 1e-6 {
            return None;
        }
        let (rows_mean, ns_mean) = (self.rows / n, self.ns / n);
        let together = self.rows_ns - self.rows * ns_mean;
        let row_ns = together / rows_spread;
        let left = (self.ns_squared - self.ns * ns_mean - row_ns * together).max(0.0) / (n - 2.0);
        let error_ns = (left * (1.0 / n + rows_mean * rows_mean / rows_spread)).sqrt();
        Some(Line { call_ns: ns_mean - row_ns * rows_mean, row_ns, error_ns })
    }
}

impl Line {
    /// Whether what a call costs is surely more than a share of a run over `rows`.
    pub(super) fn call_surely_above(&self, share: f64, rows: usize) -> bool {
        self.call_ns - ERRORS * self.error_ns > share * self.run_ns(rows)
    }

    /// Whether it is surely less.
    pub(super) fn call_surely_below(&self, share: f64, rows: usize) -> bool {
        self.call_ns + ERRORS * self.error_ns < share * self.run_ns(rows)
    }

    /// The most rows over which a run takes `run_ns`; `None` where rows add nothing.
    pub(super) fn rows_within(&self, run_ns: f64) -> Option<f64> {
        (self.row_ns > 0.0).then(|| (run_ns - self.call_ns) / self.row_ns)
    }

    fn run_ns(&self, rows: usize) -> f64 {
        self.call_ns + self.row_ns * rows as f64
    }
}
