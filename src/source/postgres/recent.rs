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

/// The bars of one series that are read again now and then.
#[derive(Debug)]
pub(super) struct Recent {
    /// How far before the newest bar they go back, in ms.
    overlap_ms: i64,
    /// By time, the oldest first.
    bars: VecDeque<Bar>,
}

impl Recent {
    /// None yet.
    pub(super) fn new(overlap_ms: i64) -> Self {
        Self { overlap_ms, bars: VecDeque::new() }
    }

    /// From when on to read again; `None` before the first bar.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.bars.back().map(|newest| newest.ts.plus_millis(-self.overlap_ms))
    }

    /// When the newest bar opened.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.bars.back().map(|newest| newest.ts)
    }

    /// Forgets the bars from `since` on that are not among `bars`, which are all that the table has: should they come,
    /// they are news. When the first of them opened.
    pub(super) fn forget_others(&mut self, since: Timestamp, bars: &[Bar]) -> Option<Timestamp> {
        let is_there = |known: &Bar| bars.binary_search_by_key(&known.ts, |bar| bar.ts).is_ok();
        let first = self.bars.iter().find(|known| known.ts >= since && !is_there(known))?.ts;
        self.bars.retain(|known| known.ts < since || is_there(known));
        Some(first)
    }

    /// Takes a bar that was read. One of before those that are kept is news only where it was `announced`: then
    /// somebody wrote it just now.
    pub(super) fn take(&mut self, bar: &Bar, announced: bool) -> News {
        let Some(since) = self.since() else {
            self.bars.push_back(*bar);
            return News::Newer;
        };
        let newer = self.newest() < Some(bar.ts);
        if bar.ts < since {
            return if announced { News::Changed } else { News::Known };
        }
        let at = self.bars.partition_point(|known| known.ts < bar.ts);
        match self.bars.get_mut(at).filter(|known| known.ts == bar.ts) {
            Some(known) if same(known, bar) => return News::Known,
            Some(known) => *known = *bar,
            None => self.bars.insert(at, *bar),
        }
        let floor = self.since();
        while self.bars.front().is_some_and(|oldest| Some(oldest.ts) < floor) {
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
        let mut take = |minute, close, announced| recent.take(&bar(minute, close), announced);
        assert_eq!(take(10, 1.0, false), News::Newer);
        assert_eq!(take(10, 1.0, true), News::Known);
        assert_eq!(take(10, f64::NAN, true), News::Changed);
        assert_eq!(take(10, f64::NAN, false), News::Known);
        assert_eq!(take(12, 1.0, false), News::Newer);
        assert_eq!(take(11, 1.0, false), News::Changed, "late");
        assert_eq!(take(11, 1.0, false), News::Known);
        assert_eq!(take(15, 1.0, false), News::Newer);
        assert_eq!(take(12, 1.0, false), News::Known, "still kept");
        assert_eq!(take(11, 1.0, false), News::Known, "too old to tell");
        assert_eq!(take(11, 1.0, true), News::Changed, "somebody wrote it");
        assert_eq!(recent.bars.len(), 2);
        assert_eq!(recent.since(), Some(Timestamp::from_secs(12 * 60)));
    }
}
