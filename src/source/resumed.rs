//! A source behind a process that replaced itself: the bars that were taken before are passed over.

use super::{Poll, Source, SourceBar, SourceError};
use crate::domain::{Aliases, Bar, Origin, SeriesKey};
use crossbeam::channel::Receiver;
use std::collections::HashMap;
use std::sync::Arc;

/// The newest bars that were taken, by series, the oldest first.
pub type Taken = HashMap<Arc<SeriesKey>, Vec<Bar>>;

/// Hands on what its source finds at the start but for what was [`Taken`], and all that comes later. A bar that has
/// changed meanwhile is handed on.
pub struct Resumed {
    source: Box<dyn Source>,
    taken: Taken,
    aliases: Aliases,
}

impl Resumed {
    /// Goes on with `source`, whose feed names symbols so, behind what was taken.
    pub fn new(source: Box<dyn Source>, taken: Taken, aliases: Aliases) -> Self {
        Self { source, taken, aliases }
    }

    fn is_news(&self, SourceBar { series, bar, origin }: &SourceBar) -> bool {
        let at_start = matches!(origin, Origin::WarmUp | Origin::CatchUp);
        let meant = self.aliases.series(series, bar.ts);
        let taken = self.taken.get(meant.as_ref().unwrap_or(series));
        let Some(taken) = taken.filter(|_| at_start) else { return true };
        // What is older than all that is known cannot change any more.
        taken.first().is_none_or(|oldest| bar.ts >= oldest.ts) && !taken.contains(bar)
    }
}

impl Source for Resumed {
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
        let before = bars.len();
        let poll = self.source.poll(bars);
        let mut at = 0;
        bars.retain(|bar| {
            at += 1;
            at <= before || self.is_news(bar)
        });
        poll
    }

    fn news(&self) -> Receiver<()> {
        self.source.news()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Timeframe, Timestamp};

    /// A source that has these bars at once.
    struct Once(Vec<SourceBar>);

    impl Source for Once {
        fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
            bars.append(&mut self.0);
            Ok(Poll::End)
        }
    }

    #[test]
    fn what_was_taken_is_passed_over_and_what_changed_or_came_is_not() {
        let bar = |minute: i64, close| Bar { ts: Timestamp::from_secs(minute * 60), close, ..Bar::default() };
        let series = |symbol| Arc::new(SeriesKey::new(symbol, Timeframe::MINUTE).unwrap());
        let source_bar = |symbol, minute, close, origin| SourceBar {
            series: series(symbol),
            bar: bar(minute, close),
            origin,
        };
        let found = vec![
            source_bar("A", 4, 1.0, Origin::WarmUp),
            source_bar("A", 5, 1.0, Origin::CatchUp),
            source_bar("A", 6, 9.0, Origin::CatchUp),
            source_bar("A", 7, 1.0, Origin::CatchUp),
            source_bar("A", 5, 1.0, Origin::Live),
            source_bar("B", 5, 1.0, Origin::WarmUp),
        ];
        let taken = HashMap::from([(series("A"), vec![bar(5, 1.0), bar(6, 1.0)])]);
        let mut handed_on = vec![source_bar("A", 5, 1.0, Origin::CatchUp)];
        Resumed::new(Box::new(Once(found)), taken, Aliases::NONE).poll(&mut handed_on).unwrap();
        let seen: Vec<_> = handed_on
            .iter()
            .map(|found| (&*found.series.symbol, found.bar.ts.as_secs() / 60, found.bar.close, found.origin))
            .collect();
        assert_eq!(
            seen,
            [
                ("A", 5, 1.0, Origin::CatchUp),
                ("A", 6, 9.0, Origin::CatchUp),
                ("A", 7, 1.0, Origin::CatchUp),
                ("A", 5, 1.0, Origin::Live),
                ("B", 5, 1.0, Origin::WarmUp),
            ]
        );
    }
}
