//! The newest bars of a series that were delivered: what is read again is told from what is new.

use crate::domain::{Bar, Timestamp};
use std::collections::VecDeque;

/// What a bar is to those delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is newer than all.
    Newer,
    /// It comes late, or has changed.
    Changed,
    /// It was delivered, or is too old to tell.
    Known,
}

/// How a bar became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// It was read.
    Reading,
    /// It was read because it was announced: somebody wrote it just now.
    Announcement,
    /// Its announcement told it, and it was not read yet.
    Telling,
}

#[derive(Debug)]
struct Known {
    bar: Bar,
    /// It was told, and not read yet.
    told: bool,
}

/// The bars of one series that are read again now and then.
#[derive(Debug)]
pub(super) struct Recent {
    /// How far before the newest bar they go back, in ms.
    overlap_ms: i64,
    /// By time, the oldest first.
    bars: VecDeque<Known>,
}

impl Recent {
    /// None yet.
    pub(super) fn new(overlap_ms: i64) -> Self {
        Self { overlap_ms, bars: VecDeque::new() }
    }

    /// From when on to read again; `None` before the first bar.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.newest().map(|newest| newest.plus_millis(-self.overlap_ms))
    }

    /// When the newest bar opened.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.bars.back().map(|newest| newest.bar.ts)
    }

    /// Whether a bar that is told can be compared with those that are known, and leaves them known: it is not older than
    /// they are, and not newer by more than is kept.
    pub(super) fn can_be_told(&self, ts: Timestamp) -> bool {
        let newest = self.newest().map(|newest| newest.plus_millis(self.overlap_ms));
        self.since().is_some_and(|since| ts >= since) && newest.is_some_and(|newest| ts <= newest)
    }

    /// Forgets the bars from `since` on that are not among `bars`, which are all that the table has: should they come,
    /// they are news. Those that were told and never read, and whether there were others.
    pub(super) fn forget_others(&mut self, since: Timestamp, bars: &[Bar]) -> (Vec<Bar>, bool) {
        let (mut told, mut others) = (Vec::new(), false);
        self.bars.retain(|known| {
            let ts = known.bar.ts;
            let keep = ts < since || bars.binary_search_by_key(&ts, |bar| bar.ts).is_ok();
            match keep {
                true => {}
                false if known.told => told.push(known.bar),
                false => others = true,
            }
            keep
        });
        (told, others)
    }

    /// Takes a bar. One of before those that are kept is news only where somebody wrote it just now.
    pub(super) fn take(&mut self, bar: &Bar, by: By) -> News {
        let told = by == By::Telling;
        let Some(since) = self.since() else {
            self.bars.push_back(Known { bar: *bar, told });
            return News::Newer;
        };
        let newer = self.newest() < Some(bar.ts);
        if bar.ts < since {
            return if by == By::Reading { News::Known } else { News::Changed };
        }
        let at = self.bars.partition_point(|known| known.bar.ts < bar.ts);
        match self.bars.get_mut(at).filter(|known| known.bar.ts == bar.ts) {
            Some(known) if same(&known.bar, bar) => {
                known.told &= told;
                return News::Known;
            }
            Some(known) => *known = Known { bar: *bar, told },
            None => self.bars.insert(at, Known { bar: *bar, told }),
        }
        let floor = self.since();
        while self.bars.front().is_some_and(|oldest| Some(oldest.bar.ts) < floor) {
            self.bars.pop_front();
        }
        if newer { News::Newer } else { News::Changed }
    }
}

/// Whether two bars are the same bits: a NaN is the same as itself.
fn same(a: &Bar, b: &Bar) -> bool {
    let bits = |bar: &Bar| [bar.open, bar.high, bar.low, bar.close, bar.volume].map(f64::to_bits);
    a.ts == b.ts && bits(a) == bits(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_is_known_and_what_changed_is_not() {
        let bar = |minute: i64, close| Bar { ts: Timestamp::from_secs(minute * 60), close, ..Bar::default() };
        let mut recent = Recent::new(3 * 60_000);
        assert_eq!(recent.since(), None);
        let mut take = |minute, close, by| recent.take(&bar(minute, close), by);
        assert_eq!(take(10, 1.0, By::Reading), News::Newer);
        assert_eq!(take(10, 1.0, By::Announcement), News::Known);
        assert_eq!(take(10, f64::NAN, By::Announcement), News::Changed);
        assert_eq!(take(10, f64::NAN, By::Reading), News::Known);
        assert_eq!(take(12, 1.0, By::Reading), News::Newer);
        assert_eq!(take(11, 1.0, By::Reading), News::Changed, "late");
        assert_eq!(take(11, 1.0, By::Reading), News::Known);
        assert_eq!(take(15, 1.0, By::Reading), News::Newer);
        assert_eq!(take(12, 1.0, By::Reading), News::Known, "still kept");
        assert_eq!(take(11, 1.0, By::Reading), News::Known, "too old to tell");
        assert_eq!(take(11, 1.0, By::Announcement), News::Changed, "somebody wrote it");
        assert_eq!(recent.bars.len(), 2);
        assert_eq!(recent.since(), Some(Timestamp::from_secs(12 * 60)));
    }

    #[test]
    fn what_was_told_and_is_not_there_is_known_from_what_was_there() {
        let bar = |minute: i64| Bar { ts: Timestamp::from_secs(minute * 60), ..Bar::default() };
        let mut recent = Recent::new(3 * 60_000);
        assert!(!recent.can_be_told(bar(10).ts), "nothing to be compared with");
        for (minute, by) in
            [(10, By::Reading), (11, By::Telling), (12, By::Telling), (12, By::Reading), (13, By::Telling)]
        {
            recent.take(&bar(minute), by);
        }
        let can: Vec<i64> = (8..19).filter(|minute| recent.can_be_told(bar(*minute).ts)).collect();
        assert_eq!(can, [10, 11, 12, 13, 14, 15, 16]);
        let (told, others) = recent.forget_others(bar(11).ts, &[bar(13)]);
        assert_eq!((told, others), (vec![bar(11)], true), "12 was there once");
        assert_eq!(recent.forget_others(bar(11).ts, &[]), (vec![bar(13)], false));
        assert_eq!(recent.newest(), Some(bar(10).ts));
    }
}
