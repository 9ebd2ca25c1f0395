//! One stream from many: bars by close time, the coarser timeframe first on a tie, then by symbol.

use super::SourceBar;
use crate::domain::Timestamp;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// The next bar of one cursor.
struct Head {
    bar: SourceBar,
    close: Timestamp,
    cursor: usize,
}

impl Head {
    fn new(cursor: usize, bar: SourceBar) -> Self {
        let close = bar.bar.ts.plus_millis(bar.series.timeframe.as_millis());
        Self { bar, close, cursor }
    }
}

impl Ord for Head {
    /// The greatest is taken first: the earliest close, the coarsest timeframe, the first symbol.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .close
            .cmp(&self.close)
            .then_with(|| self.bar.series.timeframe.cmp(&other.bar.series.timeframe))
            .then_with(|| other.bar.series.symbol.cmp(&self.bar.series.symbol))
            .then_with(|| other.cursor.cmp(&self.cursor))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// The heads of cursors, each of which keeps its own order: one that is not sorted stays so.
#[derive(Default)]
pub(super) struct Merge {
    heads: BinaryHeap<Head>,
}

impl Merge {
    /// Enters a cursor with its next bar; it stays until it has no further one.
    pub(super) fn enter(&mut self, cursor: usize, bar: SourceBar) {
        self.heads.push(Head::new(cursor, bar));
    }

    /// Whether no cursor has a bar.
    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Forgets all cursors.
    pub(super) fn clear(&mut self) {
        self.heads.clear();
    }

    /// Appends at most `count` bars to `bars`; `next` gives a cursor's further bars and is told when it has
    /// no more by its own `None`. When it fails the bar before is kept, so that nothing is lost by asking again.
    pub(super) fn take<E>(
        &mut self,
        count: usize,
        bars: &mut Vec<SourceBar>,
        mut next: impl FnMut(usize) -> Result<Option<SourceBar>, E>,
    ) -> Result<(), E> {
        for _ in 0..count {
            let Some(first) = self.heads.peek() else { break };
            let cursor = first.cursor;
            let following = next(cursor)?;
            let taken = self.heads.pop();
            bars.extend(taken.map(|head| head.bar));
            if let Some(bar) = following {
                self.heads.push(Head::new(cursor, bar));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Bar, Origin, SeriesKey};
    use std::sync::Arc;

    #[test]
    fn ties_go_by_timeframe_then_symbol_and_unsorted_cursors_keep_their_order() {
        let bar = |symbol: &str, timeframe: &str, minute: i64| SourceBar {
            series: Arc::new(SeriesKey::new(symbol, timeframe.parse().unwrap()).unwrap()),
            bar: Bar { ts: Timestamp::from_secs(minute * 60), ..Bar::default() },
            origin: Origin::Live,
        };
        let mut cursors = [
            vec![bar("B", "1m", 4), bar("B", "1m", 5)],
            vec![bar("A", "1m", 4), bar("A", "1m", 2), bar("A", "1m", 5)],
            vec![bar("B", "5m", 0)],
        ]
        .map(Vec::into_iter);
        let mut merge = Merge::default();
        for (index, cursor) in cursors.iter_mut().enumerate() {
            merge.enter(index, cursor.next().unwrap());
        }
        let mut bars = Vec::new();
        merge.take(100, &mut bars, |cursor| Ok::<_, ()>(cursors[cursor].next())).unwrap();
        let seen: Vec<String> =
            bars.iter().map(|b| format!("{} {}", b.series, b.bar.ts.as_secs() / 60)).collect();
        assert_eq!(seen, ["B 5m 0", "A 1m 4", "A 1m 2", "B 1m 4", "A 1m 5", "B 1m 5"]);
        assert!(merge.is_empty());
    }
}
