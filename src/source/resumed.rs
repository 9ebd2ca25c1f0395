//! A source behind a process that replaced itself: the bars that were taken before are passed over.

use super::{Poll, Source, SourceBar, SourceError};
use crate::domain::{Bar, Dialect, Origin, SeriesKey};
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
    dialect: Dialect,
}

impl Resumed {
    /// Goes on with `source`, whose bars come in this dialect, behind what was taken.
    pub fn new(source: Box<dyn Source>, taken: Taken, dialect: Dialect) -> Self {
        Self { source, taken, dialect }
    }

    fn is_news(&self, SourceBar { series, bar, origin }: &SourceBar) -> bool {
        let at_start = matches!(origin, Origin::WarmUp | Origin::CatchUp);
        let (meant, bar) = (self.dialect.series(series, bar.ts), self.dialect.bar(*bar));
        let taken = self.taken.get(meant.as_ref().unwrap_or(series));
        let Some(taken) = taken.filter(|_| at_start) else { return true };
        // What is older than all that is known cannot change any more.
        taken.first().is_none_or(|oldest| bar.ts >= oldest.ts) && !taken.contains(&bar)
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
        Resumed::new(Box::new(Once(found)), taken, Dialect::PLAIN).poll(&mut handed_on).unwrap();
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

    #[test]
    fn what_was_taken_is_known_in_whatever_terms_it_comes() {
        let bar = |minute: i64, close| Bar { ts: Timestamp::from_secs(minute * 60), close, ..Bar::default() };
        let series = |symbol| Arc::new(SeriesKey::new(symbol, Timeframe::MINUTE).unwrap());
        let found =
            [("OLD", 5, 100.0), ("OLD", 6, 1.0), ("OLD", 7, 1.0), ("NEW", 6, 100.0), ("NEW", 7, 100.0)];
        let found = found.map(|(symbol, minute, close)| SourceBar {
            series: series(symbol),
            bar: bar(minute, close),
            origin: Origin::CatchUp,
        });
        let taken = HashMap::from([(series("NEW"), vec![bar(5, 1.0), bar(6, 1.0)])]);
        let dialect = Dialect::new("OLD NEW until 1970-01-01T00:07:00Z".parse().unwrap(), 0.01);
        let mut handed_on = Vec::new();
        Resumed::new(Box::new(Once(found.into())), taken, dialect).poll(&mut handed_on).unwrap();
        let seen: Vec<_> =
            handed_on.iter().map(|found| (&*found.series.symbol, found.bar.ts.as_secs() / 60)).collect();
        assert_eq!(seen, [("OLD", 6), ("OLD", 7), ("NEW", 7)], "changed, another's, and new");
    }
}
