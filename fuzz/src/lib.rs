//! What several targets make of their input.

use vela::domain::{Bar, Timestamp};

/// A bar over any four prices: it opens at the first, closes at the last, and has all four in its range.
pub fn bar(ts: Timestamp, prices: [f64; 4], volume: f64) -> Bar {
    let [open, a, b, close] = prices;
    let high = open.max(a).max(b).max(close);
    let low = open.min(a).min(b).min(close);
    Bar { ts, open, high, low, close, volume }
}

/// The place of the bar `ago` before the newest, of at most 16 that are looked back at; `None` where there are not so many.
pub fn place(bars: &[Bar], ago: usize) -> Option<usize> {
    bars.len().checked_sub(ago % 16 + 1)
}

/// A time right before the bar at `place`, a minute earlier; `None` where no bar is before it, or one has that time.
pub fn time_before(bars: &[Bar], place: usize) -> Option<Timestamp> {
    let ts = bars[place].ts.plus_millis(-60_000);
    (place > 0 && bars[place - 1].ts < ts).then_some(ts)
}
