//! Where bars come from.

mod columns;
pub mod csv;
mod files;
mod follow;
mod history;
mod lines;
pub mod market;
mod merge;
mod parquet;
mod postgres;
mod replay;
mod resumed;
mod simulated;
mod single;
mod sqlite;
#[cfg(test)]
mod testing;
mod times;

pub use csv::CsvReader;
pub use files::{BarFile, BarReader, bar_files, series_of};
pub use follow::Follow;
pub use history::History;
pub use postgres::{PostgresSource, watch};
pub use replay::Replay;
pub use resumed::{Resumed, Taken};
pub use simulated::{Pace, Simulated};
pub use single::OneSeries;
pub use sqlite::SqliteSource;

use crate::config::{Settings, SourceKind, SourceSettings};
use crate::domain::{Bar, Origin, SeriesKey, Timestamp};
use crossbeam::channel::Receiver;
use std::sync::Arc;
use std::time::Duration;

/// A bar as a source hands it over.
#[derive(Clone, Debug)]
pub struct SourceBar {
    /// Its series, as its feed names it.
    pub series: Arc<SeriesKey>,
    /// What it holds.
    pub bar: Bar,
    /// Whether it is live, catching up, or history that only warms the features up.
    pub origin: Origin,
}

/// What a source has to say when it is asked for bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Bars were appended; ask again at once.
    Ready,
    /// Nothing new; ask again after this long.
    Idle(Duration),
    /// Not all that is there has been read yet; ask again after this long.
    Reading(Duration),
    /// There will be no more.
    End,
}

/// A source that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A line or row that is no bar.
    #[error("{place}: {problem}")]
    Row {
        /// File and line, or table and row.
        place: String,
        /// The value and what is allowed.
        problem: String,
    },
    /// The database refuses.
    #[error("{url}: {problem}")]
    Database {
        /// Which database.
        url: String,
        /// What was tried and what came back.
        problem: String,
    },
}

/// A source of bars. Called by one thread only; must not block for longer than it takes to read.
pub trait Source: Send {
    /// Appends the next bars, in order within each series, at most about a thousand at a time.
    ///
    /// # Errors
    /// When the source cannot go on; a passing trouble (a locked database) is `Idle` instead.
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError>;

    /// Gets a message when it is worth asking again before a pause is over.
    fn news(&self) -> Receiver<()> {
        crossbeam::channel::never()
    }
}

/// Opens the source that `settings` name, behind the `watermarks` of what is stored; `None` where bars only
/// come through the library.
///
/// # Errors
/// When the file or table is there and is not what it must be; one that is not there yet is waited for.
pub fn open(
    settings: &Settings,
    history: History,
    watermarks: &[(Arc<SeriesKey>, Timestamp)],
) -> Result<Option<Box<dyn Source>>, SourceError> {
    let SourceSettings { kind, ref path, ref table, poll_interval_ms, .. } = settings.source;
    let interval = Duration::from_millis(poll_interval_ms);
    let watermarks = &history.done(watermarks);
    Ok(match kind {
        SourceKind::Sqlite => Some(Box::new(SqliteSource::open(path, table, history, watermarks, interval)?)),
        SourceKind::Postgres => Some(Box::new(PostgresSource::open(settings, history, watermarks)?)),
        SourceKind::Csv => Some(Box::new(Follow::open(path, history, watermarks, interval)?)),
        SourceKind::None => None,
    })
}
