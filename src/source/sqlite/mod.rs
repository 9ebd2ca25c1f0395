//! Follows a bar table in a SQLite file: what is there at the start, then every row that is added.
//!
//! New rows are found by their row number, so rows must be added, not changed in place: a correction is a
//! new row (`INSERT OR REPLACE` makes one).

mod rows;
mod start;
mod table;
#[cfg(test)]
mod tests;

use super::merge::Merge;
use super::{History, Poll, Source, SourceBar, SourceError};
use crate::domain::{Origin, SeriesKey, Timestamp};
use crate::source::times::{TimeProblem, Times};
use rows::SeriesNames;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use start::{Cursor, StartError};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::Table;

/// Bars that one poll delivers at most.
const BARS_PER_POLL: usize = 1024;
/// How often the table is looked at although nothing says that it changed.
const SAFETY_NET: Duration = Duration::from_secs(1);
/// How long to wait for a file or table that is not there, or for a lock.
const WAIT: Duration = Duration::from_millis(100);

/// A bar table (columns symbol, timeframe, ts, open, high, low, close, volume) in a SQLite file.
///
/// The file and the table may appear later. `ts` is RFC 3339 text, or whole seconds, milliseconds or microseconds
/// since 1970, all alike in one table.
pub struct SqliteSource {
    path: PathBuf,
    table: Table,
    history: History,
    watermarks: HashMap<Arc<SeriesKey>, Timestamp>,
    poll_interval: Duration,
    connection: Option<Connection>,
    phase: Phase,
    merge: Merge,
    times: Times,
    names: SeriesNames,
    skipped: Skipped,
    /// Which file is open (device and number), to notice that another one took its name.
    identity: Option<(u64, u64)>,
    /// The open file is another than the one of that name now.
    restart: bool,
    /// The wait for the file or table was logged.
    told: bool,
    /// Every row up to this number was delivered, or is by the cursors.
    last_row: i64,
    /// SQLite's count of other connections' commits, when the table was last looked at.
    data_version: i64,
    look_at: Instant,
}

#[cfg(unix)]
fn identity_of(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Elsewhere a replaced file is not noticed.
#[cfg(not(unix))]
fn identity_of(_: &Path) -> Option<(u64, u64)> {
    None
}

enum Phase {
    /// The file or the table is not there yet.
    Find,
    /// The bars that were there are being delivered.
    Start(Vec<Cursor>),
    /// Every new row is live.
    Live,
}

#[derive(Debug, Default)]
struct Skipped {
    rows: u64,
}

impl Skipped {
    /// Counts `rows` that cannot be read; the first is logged.
    fn add(&mut self, rows: u64, place: &dyn std::fmt::Display, problem: &str) {
        if self.rows == 0 && rows > 0 {
            tracing::warn!("{place}: {problem}; the row is skipped, further ones are only counted");
        }
        self.rows += rows;
    }
}

enum Trouble {
    /// It passes: ask again.
    Passing,
    /// The file or table is gone.
    Gone,
    /// It stays.
    Fatal(SourceError),
}

impl SqliteSource {
    /// Follows `table` in the file `path`. A series' bars up to its watermark only warm up; `poll_interval` is how
    /// long to wait between two looks for a commit.
    ///
    /// # Errors
    /// When the file is no database, or the table has other columns, is a view, or is `WITHOUT ROWID`. A missing
    /// file or table is no error: it is waited for.
    pub fn open(
        path: &Path,
        table: &str,
        history: History,
        watermarks: &[(Arc<SeriesKey>, Timestamp)],
        poll_interval: Duration,
    ) -> Result<Self, SourceError> {
        let mut source = Self {
            path: path.to_owned(),
            table: Table::new(table),
            history,
            watermarks: watermarks.iter().cloned().collect(),
            poll_interval,
            connection: None,
            phase: Phase::Find,
            merge: Merge::default(),
            times: Times::default(),
            names: SeriesNames::default(),
            skipped: Skipped::default(),
            identity: None,
            restart: false,
            told: false,
            last_row: 0,
            data_version: -1,
            look_at: Instant::now(),
        };
        match source.find() {
            Err(Trouble::Fatal(error)) => Err(error),
            _ => Ok(source),
        }
    }

    /// How many rows were left out because their series or time cannot be read.
    pub fn rows_skipped(&self) -> u64 {
        self.skipped.rows
    }

    fn trouble(&self, error: &rusqlite::Error) -> Trouble {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::SchemaChanged
                | ErrorCode::OperationInterrupted,
            ) => Trouble::Passing,
            Some(ErrorCode::CannotOpen) => Trouble::Gone,
            _ if error.to_string().contains("no such table") => Trouble::Gone,
            _ => Trouble::Fatal(self.fatal(error.to_string())),
        }
    }

    fn fatal(&self, problem: String) -> SourceError {
        SourceError::Database { url: self.path.display().to_string(), problem }
    }

    fn start_trouble(&self, error: StartError) -> Trouble {
        match error {
            StartError::Sqlite(error) => self.trouble(&error),
            StartError::Doubtful(problem) => Trouble::Fatal(self.fatal(problem)),
        }
    }

    /// Opens the file and checks the table; false while one of them is missing.
    fn find(&mut self) -> Result<bool, Trouble> {
        if self.connection.is_none() {
            if !self.path.exists() {
                return Ok(false);
            }
            self.identity = identity_of(&self.path);
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection =
                Connection::open_with_flags(&self.path, flags).map_err(|error| self.trouble(&error))?;
            // Waiting is the caller's: a locked file is `Idle`.
            connection.busy_timeout(Duration::ZERO).map_err(|error| self.trouble(&error))?;
            self.connection = Some(connection);
        }
        let Some(connection) = &self.connection else { return Ok(false) };
        match self.table.check(connection).map_err(|error| self.trouble(&error))? {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(problem)) => Err(Trouble::Fatal(self.fatal(problem))),
        }
    }

    /// Plans the start in one read transaction, so that its bars and the first live row number fit together.
    fn begin(&mut self) -> Result<(), Trouble> {
        let Some(connection) = self.connection.take() else { return Ok(()) };
        let planned = connection.execute_batch("BEGIN").map_err(StartError::from).and_then(|()| {
            let Self { table, times, names, history, watermarks, .. } = &mut *self;
            start::plan(&connection, table, times, names, history, watermarks)
        });
        if !connection.is_autocommit() {
            // Only read in it: ending it cannot fail in a way that matters.
            let _ = connection.execute_batch("COMMIT");
        }
        self.connection = Some(connection);
        let plan = planned.map_err(|error| self.start_trouble(error))?;
        let (rows, problem) = plan.skipped;
        self.skipped.add(rows, &self.path.display(), &problem.unwrap_or_default());
        self.last_row = plan.last_row;
        self.merge.clear();
        self.phase = Phase::Start(plan.cursors);
        let entered = self.enter();
        if entered.is_err() {
            self.phase = Phase::Find;
        }
        entered
    }

    fn enter(&mut self) -> Result<(), Trouble> {
        let result = {
            let Self { connection, phase, merge, table, times, skipped, path, last_row, .. } = &mut *self;
            let (Some(connection), Phase::Start(cursors)) = (connection, phase) else { return Ok(()) };
            let place = path.display();
            let mut skip = |number: i64, problem: String| {
                skipped.add(1, &format_args!("{place}: row {number}"), &problem);
            };
            cursors.iter_mut().enumerate().try_for_each(|(index, cursor)| {
                if let Some(bar) = cursor.next(connection, table, *last_row, times, &mut skip)? {
                    merge.enter(index, bar);
                }
                Ok(())
            })
        };
        result.map_err(|error| self.start_trouble(error))
    }

    fn deliver_start(&mut self, bars: &mut Vec<SourceBar>) -> Result<(), Trouble> {
        let result = {
            let Self { connection, phase, merge, table, times, skipped, path, last_row, .. } = &mut *self;
            let (Some(connection), Phase::Start(cursors)) = (connection, phase) else { return Ok(()) };
            let place = path.display();
            let mut skip = |number: i64, problem: String| {
                skipped.add(1, &format_args!("{place}: row {number}"), &problem);
            };
            merge.take(BARS_PER_POLL, bars, |index| {
                cursors[index].next(connection, table, *last_row, times, &mut skip)
            })
        };
        result.map_err(|error| self.start_trouble(error))?;
        if self.merge.is_empty() {
            self.phase = Phase::Live;
            self.data_version = -1;
            if let Some(connection) = &self.connection {
                self.table.drop_index(connection).map_err(|error| self.trouble(&error))?;
            }
        }
        Ok(())
    }

    /// Reads new rows when a commit or the safety net asks for it.
    fn deliver_live(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, Trouble> {
        let Some(connection) = self.connection.take() else { return Err(Trouble::Gone) };
        let result = self.read_live(&connection, bars);
        if std::mem::take(&mut self.restart) {
            self.phase = Phase::Find;
        } else {
            self.connection = Some(connection);
        }
        result.map_err(|error| self.trouble(&error))
    }

    fn read_live(&mut self, connection: &Connection, bars: &mut Vec<SourceBar>) -> rusqlite::Result<Poll> {
        let idle = Poll::Idle(self.poll_interval);
        let now = Instant::now();
        if now >= self.look_at && self.identity != identity_of(&self.path) {
            tracing::warn!("{}: the file was replaced; starting over", self.path.display());
            self.restart = true;
            return Ok(Poll::Ready);
        }
        // Read before the rows: a commit in between then shows as a change the next time.
        let version = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if version == self.data_version && now < self.look_at {
            return Ok(idle);
        }
        let before = self.last_row;
        let mut statement = connection.prepare_cached(&self.table.new_rows)?;
        let mut rows = statement.query((before, BARS_PER_POLL as i64))?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            let number: i64 = row.get(0)?;
            match self.live_bar(row)? {
                Ok(bar) => bars.push(bar),
                Err(problem) => {
                    let place = format!("{}: row {number}", self.path.display());
                    self.skipped.add(1, &place, &problem);
                }
            }
            self.last_row = number;
        }
        if count == BARS_PER_POLL {
            return Ok(Poll::Ready);
        }
        self.data_version = version;
        self.look_at = now + SAFETY_NET;
        if count > 0 {
            return Ok(Poll::Ready);
        }
        let last: Option<i64> =
            connection.prepare_cached(&self.table.last_row)?.query_row([], |row| row.get(0))?;
        if last.unwrap_or(0) < before {
            // Row numbers start again in a table that was emptied: what has come since must not be missed.
            tracing::warn!("{}: the newest rows were deleted; starting over", self.path.display());
            self.phase = Phase::Find;
            return Ok(Poll::Ready);
        }
        Ok(idle)
    }

    fn live_bar(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<SourceBar, String>> {
        let series = match self.names.get(row.get_ref(1)?, row.get_ref(2)?) {
            Ok(series) => series,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(match rows::time(&mut self.times, row.get_ref(3)?) {
            Ok(ts) => Ok(SourceBar { series, bar: rows::bar(row, 4, ts)?, origin: Origin::Live }),
            // A single row does not put a table in doubt that was read well until now.
            Err(TimeProblem::Unreadable(problem) | TimeProblem::Doubtful(problem)) => Err(problem),
        })
    }

    fn step(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, Trouble> {
        if matches!(self.phase, Phase::Find) {
            if !self.find()? {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::info!("{}: no such table yet; waiting for it", self.path.display());
                }
                return Ok(Poll::Idle(WAIT.max(self.poll_interval)));
            }
            self.told = false;
            self.begin()?;
        }
        if matches!(self.phase, Phase::Start(_)) {
            let before = bars.len();
            self.deliver_start(bars)?;
            if bars.len() > before || matches!(self.phase, Phase::Start(_)) {
                return Ok(Poll::Ready);
            }
        }
        self.deliver_live(bars)
    }
}

impl Source for SqliteSource {
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
        let before = bars.len();
        let stepped = self.step(bars);
        // What was delivered to be predicted is not delivered so again when the table has to be read anew.
        for bar in bars[before..].iter().filter(|bar| bar.origin != Origin::WarmUp) {
            match self.watermarks.get_mut(&bar.series) {
                Some(watermark) => *watermark = bar.bar.ts.max(*watermark),
                None => drop(self.watermarks.insert(Arc::clone(&bar.series), bar.bar.ts)),
            }
        }
        match stepped {
            Ok(poll) => Ok(poll),
            Err(Trouble::Fatal(error)) => Err(error),
            Err(_) if bars.len() > before => Ok(Poll::Ready),
            Err(Trouble::Passing) => Ok(Poll::Idle(WAIT.max(self.poll_interval))),
            Err(Trouble::Gone) => {
                if !std::mem::replace(&mut self.told, true) {
                    tracing::warn!("{}: the table cannot be read (any more); waiting", self.path.display());
                }
                self.connection = None;
                self.phase = Phase::Find;
                Ok(Poll::Idle(WAIT.max(self.poll_interval)))
            }
        }
    }
}
