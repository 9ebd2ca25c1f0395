//! Whether a bar is the next of its series: a pure state machine.

use crate::domain::{Admission, Bar, Reason, Refusal, Timestamp};
use std::collections::VecDeque;

/// How many of the newest bars are remembered at least, to tell a duplicate from a revision or a late bar.
const REMEMBERED: usize = 64;

/// The order of one series.
#[derive(Clone, Debug)]
pub struct Order {
    /// The newest bars, the oldest first.
    recent: VecDeque<Bar>,
    remembered: usize,
    revision_bars: usize,
}

impl Order {
    /// No bar yet; the newest `revision_bars` will be changeable.
    pub fn new(revision_bars: usize) -> Self {
        // One more than can change: a late bar has to be newer than a known one.
        let remembered = REMEMBERED.max(revision_bars + 1);
        Self { recent: VecDeque::with_capacity(remembered + 1), remembered, revision_bars }
    }

    /// The newest bars that were admitted, the oldest first.
    pub(super) fn recent(&self) -> impl DoubleEndedIterator<Item = &Bar> + Clone {
        self.recent.iter()
    }

    /// Goes on behind bars that were admitted before.
    pub(super) fn resume(&mut self, recent: &[Bar]) {
        self.recent.extend(&recent[recent.len().saturating_sub(self.remembered)..]);
    }

    /// The newest bar that was admitted.
    pub fn newest(&self) -> Option<&Bar> {
        self.recent.back()
    }

    /// Takes the bar that opened at `ts` back, as if it had never come; whether it is one of those that are remembered.
    pub fn withdraw(&mut self, ts: Timestamp) -> bool {
        let found = self.recent.binary_search_by_key(&ts, |known| known.ts);
        found.is_ok_and(|at| self.recent.remove(at).is_some())
    }

    /// Admits a bar that is newer than all before, or one that changes the newest `revision_bars`; anything else
    /// changes nothing.
    ///
    /// # Errors
    /// `Duplicate`, `Revision` or `Late`.
    pub fn admit(&mut self, bar: &Bar) -> Result<Admission, Refusal> {
        let Some(newest_ts) = self.newest().map(|newest| newest.ts).filter(|newest_ts| bar.ts <= *newest_ts)
        else {
            self.recent.push_back(*bar);
            if self.recent.len() > self.remembered {
                self.recent.pop_front();
            }
            return Ok(Admission::Next);
        };
        let at = self.recent.partition_point(|known| known.ts < bar.ts);
        let changeable = self.recent.len() - at <= self.revision_bars;
        match self.recent.get_mut(at).filter(|known| known.ts == bar.ts) {
            Some(known) if known == bar => {
                Err(Refusal::new(Reason::Duplicate, "the same bar was taken before"))
            }
            Some(known) if changeable => {
                *known = *bar;
                Ok(Admission::Revision)
            }
            Some(known) => Err(Refusal::new(
                Reason::Revision,
                format!(
                    "taken before with other content: close {} then, {} now; the first stands: only the newest {} bars can change",
                    known.close, bar.close, self.revision_bars
                ),
            )),
            // Between bars that are remembered: nothing says what came before the oldest of them.
            None if changeable && at > 0 => {
                self.recent.insert(at, *bar);
                if self.recent.len() > self.remembered {
                    self.recent.pop_front();
                }
                Ok(Admission::Late)
            }
            None => Err(Refusal::new(
                Reason::Late,
                format!(
                    "bars up to {newest_ts} were taken already, and a late one is put in its place among the newest {} only",
                    self.revision_bars
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(minute: i64, close: f64) -> Bar {
        Bar { ts: Timestamp::from_secs(minute * 60), open: 1.0, high: 9.0, low: 1.0, close, volume: 1.0 }
    }

    #[test]
    fn newer_bars_pass_and_the_newest_can_change() {
        let mut order = Order::new(3);
        let mut admit = |bar| order.admit(&bar).map_err(|refusal| refusal.reason);
        assert_eq!(admit(bar(10, 2.0)), Ok(Admission::Next));
        assert_eq!(admit(bar(12, 3.0)), Ok(Admission::Next), "a gap is no disorder");
        assert_eq!(admit(bar(12, 3.0)), Err(Reason::Duplicate));
        assert_eq!(admit(bar(12, 4.0)), Ok(Admission::Revision));
        assert_eq!(admit(bar(12, 4.0)), Err(Reason::Duplicate), "what stands now is the revised one");
        assert_eq!(admit(bar(12, 3.0)), Ok(Admission::Revision));
        assert_eq!(admit(bar(10, 2.0)), Err(Reason::Duplicate));
        assert_eq!(admit(bar(9, 2.0)), Err(Reason::Late), "before the first there is no place");
        assert_eq!(admit(bar(11, 2.0)), Ok(Admission::Late));
        assert_eq!(admit(bar(11, 2.0)), Err(Reason::Duplicate));
        assert_eq!(admit(bar(10, 3.0)), Ok(Admission::Revision), "the third newest");
        assert_eq!(admit(bar(13, 2.0)), Ok(Admission::Next));
        assert_eq!(admit(bar(10, 2.0)), Err(Reason::Revision), "the fourth newest");
        for minute in 14..14 + 2 * REMEMBERED as i64 {
            assert_eq!(admit(bar(2 * minute, 2.0)), Ok(Admission::Next));
        }
        let newest = 2 * (13 + 2 * REMEMBERED as i64);
        assert_eq!(admit(bar(newest - 5, 2.0)), Ok(Admission::Late));
        assert_eq!(admit(bar(newest - 7, 2.0)), Err(Reason::Late));
        assert_eq!(admit(bar(10, 2.0)), Err(Reason::Late), "what is forgotten is late");
        assert_eq!(order.newest().map(|b| b.ts), Some(bar(newest, 0.0).ts));
    }

    #[test]
    fn nothing_changes_where_no_bar_may() {
        let mut order = Order::new(0);
        let mut admit = |bar| order.admit(&bar).map_err(|refusal| refusal.reason);
        assert_eq!(admit(bar(10, 2.0)), Ok(Admission::Next));
        assert_eq!(admit(bar(12, 2.0)), Ok(Admission::Next));
        assert_eq!(admit(bar(12, 3.0)), Err(Reason::Revision));
        assert_eq!(admit(bar(11, 3.0)), Err(Reason::Late));
        assert_eq!(admit(bar(12, 2.0)), Err(Reason::Duplicate));
    }
}
