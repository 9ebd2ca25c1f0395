//! One series of another source, up to where that source stands now.

use super::{Poll, Source, SourceBar, SourceError};
use crate::domain::{Aliases, SeriesKey};
use crossbeam::channel::Receiver;

/// Passes the bars of one series on, and ends where the source behind it has nothing more to give.
pub struct OneSeries {
    source: Box<dyn Source>,
    series: SeriesKey,
    aliases: Aliases,
}

impl OneSeries {
    /// The bars of `series` in `source`, whose feed names symbols so.
    pub fn new(source: Box<dyn Source>, series: SeriesKey, aliases: Aliases) -> Self {
        Self { source, series, aliases }
    }
}

impl Source for OneSeries {
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
        let poll = self.source.poll(bars)?;
        let meant = |bar: &SourceBar| self.aliases.series(&bar.series, bar.bar.ts);
        bars.retain(|bar| *meant(bar).as_ref().unwrap_or(&bar.series) == self.series);
        Ok(match poll {
            Poll::Idle(_) => Poll::End,
            other => other,
        })
    }

    fn news(&self) -> Receiver<()> {
        self.source.news()
    }
}
