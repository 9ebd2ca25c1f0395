//! Spikes: bars that moved much further than those before them. Perhaps bad ticks: whether they are is for people to say, and
//! nothing is held back for it.

use crate::domain::{Bar, Timeframe, Timestamp};

/// How many of the newest bars are looked at.
const NEWEST: usize = 8;
/// Those before them that are averaged over, at least and at most.
const BEFORE: (usize, usize) = (14, 56);

/// How far a bar moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spike {
    /// When it opened.
    pub ts: Timestamp,
    /// Its true range, in averages of the bars before.
    pub ranges: f64,
}

/// J. W. Wilder's true range (New Concepts in Technical Trading Systems, 1978), from the close before where that bar is there:
/// prices may well be others after a night.
fn true_range(before: &Bar, bar: &Bar, timeframe: Timeframe) -> f64 {
    let follows = before.ts.plus_millis(timeframe.as_millis()) == bar.ts;
    let (high, low) = match follows {
        true => (bar.high.max(before.close), bar.low.min(before.close)),
        false => (bar.high, bar.low),
    };
    high - low
}

/// The newest bar that moved furthest, of a series' newest ones, the oldest first; `None` where too few come before to compare
/// it with, or none of those moved.
pub(super) fn furthest<'b>(
    bars: impl DoubleEndedIterator<Item = &'b Bar> + Clone,
    timeframe: Timeframe,
) -> Option<Spike> {
    let pairs = bars.clone().rev().zip(bars.rev().skip(1));
    let mut ranges = pairs.map(|(bar, before)| (bar.ts, true_range(before, bar, timeframe)));
    let further = |a: (Timestamp, f64), b: (Timestamp, f64)| if b.1 > a.1 { b } else { a };
    let newest = ranges.by_ref().take(NEWEST).reduce(further)?;
    let (mut count, mut sum) = (0, 0.0);
    for (_, range) in ranges.take(BEFORE.1) {
        count += 1;
        sum += range;
    }
    let average = sum / f64::from(count);
    (count as usize >= BEFORE.0 && average > 0.0).then(|| Spike { ts: newest.0, ranges: newest.1 / average })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(minute: i64, close: f64) -> Bar {
        let ts = Timestamp::from_secs(minute * 60);
        Bar { ts, open: close, high: close + 0.5, low: close - 0.5, close, volume: 1.0 }
    }

    fn found(bars: &[Bar]) -> Option<(i64, f64)> {
        let spike = furthest(bars.iter(), Timeframe::MINUTE)?;
        Some((spike.ts.as_secs() / 60, spike.ranges))
    }

    #[test]
    fn a_bar_is_measured_by_those_before_it_while_it_is_among_the_newest() {
        let mut bars: Vec<Bar> = (0..40).map(|minute| bar(minute, 100.0)).collect();
        assert_eq!(found(&bars), Some((39, 1.0)));
        assert_eq!(found(&bars[..22]), None, "too few before");
        // From the close before: an open far away, and a wick.
        (bars[38], bars[39]) = (bar(38, 130.0), bar(39, 130.0));
        assert_eq!(found(&bars), Some((38, 30.5)));
        (bars[38], bars[39]) = (Bar { low: 60.0, ..bar(38, 100.0) }, bar(39, 100.0));
        assert_eq!(found(&bars), Some((38, 40.5)));
        bars.extend((40..46).map(|minute| bar(minute, 100.0)));
        assert_eq!(found(&bars).map(|(minute, _)| minute), Some(38));
        bars.push(bar(46, 100.0));
        let (minute, ranges) = found(&bars).unwrap();
        assert!(minute > 38 && ranges < 1.0, "{ranges}");
    }

    #[test]
    fn behind_a_pause_a_price_may_be_another_and_a_market_that_stands_still_has_no_measure() {
        let mut bars: Vec<Bar> = (0..40).map(|minute| bar(minute, 100.0)).collect();
        bars.push(bar(41, 200.0));
        assert_eq!(found(&bars), Some((41, 1.0)));
        let flat = |minute| Bar { high: 100.0, low: 100.0, ..bar(minute, 100.0) };
        let mut bars: Vec<Bar> = (0..40).map(flat).collect();
        bars.push(bar(40, 101.0));
        assert_eq!(found(&bars), None);
        assert_eq!(found(&[]), None);
    }
}
