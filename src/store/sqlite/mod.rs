//! The embedded store: a SQLite file, attached as schema `trading`.

mod archive;
mod identity;
mod report;
mod schema;
#[cfg(test)]
mod tests;

use super::row::{Content, Numbers, Predicted, Row};
use super::{Archive, Store, StoreError, Watermark};
use crate::domain::{AlertEvent, Outcome, SeriesKey, SymbolPerformance, Timestamp};
use identity::Identity;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a write waits for another process's transaction before it is given back as retryable.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the model said of the bar.
macro_rules! said {
    ($what:literal, $further:literal) => {
        concat!(
            "(SELECT ",
            $what,
            " FROM trading.agentpreds
              WHERE symbol = ?1 AND timeframe = ?2 AND horizon = ?3 AND ts = ?4 AND model = ?5 ",
            $further,
            ")"
        )
    };
}

// ?14 is `Row::unless_answered`, ?15 the revision: see `Row` for the rules. The cheap case comes first: a bar that just
// closed looks nothing up.
const INSERT_PREDICTION: &str = concat!(
    "INSERT INTO trading.agentpreds (symbol, timeframe, horizon, ts, model, version, value, outputs,
                                     latency_us, ingest_us, feature_us, predict_us, created_at, revision)
     SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,
            CASE WHEN ?14 AND NOT EXISTS ",
    said!("1", ""),
    " THEN 0 ELSE ?15 END
     WHERE NOT ?14 OR NOT EXISTS ",
    said!("1", ""),
    " OR EXISTS (SELECT 1 FROM ",
    said!("version, value, revision", "ORDER BY revision DESC, version = ?6 DESC LIMIT 1"),
    " WHERE revision < ?15 AND version = ?6 AND abs(value - ?7) > 1e-9 * max(abs(value), abs(?7)))
     ON CONFLICT DO NOTHING"
);

// ?9 is `Row::unless_answered`.
const INSERT_ERROR: &str = "
INSERT INTO trading.inference_errors (symbol, timeframe, horizon, ts, reason, model, detail, created_at, revision)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?10
WHERE NOT ?9 OR NOT EXISTS (SELECT 1 FROM trading.agentpreds
    WHERE symbol = ?1 AND timeframe = ?2 AND horizon = ?3 AND ts = ?4 AND (?6 = '' OR model = ?6))
ON CONFLICT DO NOTHING";

// Never backwards: another process may be further. Bars open on whole seconds, so their texts order as they do.
const UPSERT_WATERMARK: &str = "
INSERT INTO trading.inference_state (symbol, timeframe, watermark) VALUES (?1, ?2, ?3)
ON CONFLICT DO UPDATE SET watermark = excluded.watermark WHERE excluded.watermark > watermark";

/// Predictions, refusals and watermarks in a SQLite file; several processes may write into one.
pub struct SqliteStore {
    path: PathBuf,
    connection: Connection,
    /// Of the file that the connection writes into.
    identity: Option<Identity>,
    numbers: Numbers,
    clock: Option<fn() -> u64>,
    texts: Texts,
}

/// Buffers that every row uses again.
#[derive(Default)]
struct Texts {
    timeframe: String,
    ts: String,
    created_at: String,
}

impl SqliteStore {
    /// Opens the file `path`, which is created (with its folder) if it is missing, as are the tables.
    ///
    /// # Errors
    /// When the file cannot be opened, is no database, or was written by a newer version of this program; retryable where
    /// another process keeps it locked.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (connection, identity) = open(path)?;
        let numbers =
            numbers(&connection).map_err(|error| not_opened(path, "read the highest revision", &error))?;
        let (path, texts) = (path.to_owned(), Texts::default());
        Ok(Self { path, connection, identity, numbers, clock: None, texts })
    }

    /// Measures `latency_us` up to the call of `write` by `clock`, which gives nanoseconds on the clock of
    /// [`crate::domain::Stamps`]; without it the latency ends where the predict stage ends.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> u64) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How far each series is done.
    ///
    /// # Errors
    /// When the table cannot be read, or holds what is no series or no time.
    pub fn watermarks(&self) -> Result<Vec<Watermark>, StoreError> {
        let rows = || -> rusqlite::Result<Vec<(String, String, String)>> {
            let sql = "SELECT symbol, timeframe, watermark FROM trading.inference_state ORDER BY 1, 2";
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        };
        let rows = rows().map_err(|error| failed(&self.path, "read the watermarks", &error))?;
        let parse = |(symbol, timeframe, watermark): &(String, String, String)| -> Result<Watermark, String> {
            let timeframe = timeframe.parse().map_err(|error| format!("{error}"))?;
            let series = SeriesKey::new(symbol, timeframe).map_err(|error| error.to_string())?;
            let ts: Timestamp = watermark.parse().map_err(|error| format!("{error}"))?;
            Ok((Arc::new(series), ts))
        };
        rows.iter()
            .map(|row| {
                parse(row).map_err(|problem| StoreError {
                    store: self.path.display().to_string(),
                    problem: format!("inference_state, {} {}: {problem}", row.0, row.1),
                    retryable: false,
                })
            })
            .collect()
    }

    /// Has `write` write into the file that is at the path once it has written. One that was removed or replaced is
    /// still written into by whoever had it open, and nobody ever reads that.
    fn at_the_path(
        &mut self,
        what: &str,
        mut write: impl FnMut(&mut Self) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let written = write(self);
        if self.identity.is_some_and(|own| own.is_at(&self.path)) {
            return written.map_err(|error| failed(&self.path, what, &error));
        }
        let what_is_there = if self.path.exists() { "was replaced by another one" } else { "was removed" };
        tracing::error!(store = %self.path.display(),
            "the store's file {what_is_there} while it was written into: its rows are gone with it; a file with vela's \
             tables takes the rows from now on");
        // The old connection goes first: it has nothing to do with the files that have its names now.
        self.connection =
            Connection::open_in_memory().map_err(|error| failed(&self.path, "reopen", &error))?;
        if let Some(old) = self.identity.take() {
            old.remove_log(&self.path);
        }
        // Whatever is at the path now may be put right again: rows wait for that.
        let (connection, identity) =
            open(&self.path).map_err(|error| StoreError { retryable: true, ..error })?;
        (self.connection, self.identity) = (connection, identity);
        write(self).map_err(|error| failed(&self.path, what, &error))
    }

    fn write_all(&mut self, outcomes: &[Outcome], watermarks: &[Watermark]) -> rusqlite::Result<()> {
        let Self { connection, texts, clock, numbers, .. } = self;
        let now = clock.map(|clock| clock());
        // IMMEDIATE: waits for its turn now, where a transaction that read first could only fail.
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        {
            let mut predictions = transaction.prepare_cached(INSERT_PREDICTION)?;
            let mut errors = transaction.prepare_cached(INSERT_ERROR)?;
            let created_at = Timestamp::now();
            set(&mut texts.created_at, created_at);
            for row in outcomes.iter().filter_map(|outcome| Row::of(outcome, *numbers, created_at, now)) {
                insert(&mut predictions, &mut errors, texts, &row)?;
            }
        }
        {
            let mut state = transaction.prepare_cached(UPSERT_WATERMARK)?;
            for (series, ts) in watermarks {
                set(&mut texts.timeframe, series.timeframe);
                set(&mut texts.ts, ts);
                state.execute((&*series.symbol, &texts.timeframe, &texts.ts))?;
            }
        }
        transaction.commit()
    }
}

impl Store for SqliteStore {
    fn write(&mut self, outcomes: &[Outcome], watermarks: &[Watermark]) -> Result<(), StoreError> {
        if outcomes.is_empty() && watermarks.is_empty() {
            return Ok(());
        }
        self.at_the_path("write", |store| store.write_all(outcomes, watermarks))
    }

    fn archive(&self) -> Option<Box<dyn Archive>> {
        Some(Box::new(archive::SqliteArchive::new(&self.path)))
    }

    fn report(&mut self, performance: &[SymbolPerformance], alerts: &[AlertEvent]) -> Result<(), StoreError> {
        self.at_the_path("write the performance and alerts", |store| {
            report::write(&store.connection, performance, alerts)
        })
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        // The row says 1 where another connection stands in the way; what is in the log then stays there.
        let busy: bool = self
            .connection
            .query_row("PRAGMA trading.wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|error| failed(&self.path, "checkpoint", &error))?;
        if busy {
            let mut log = self.path.clone().into_os_string();
            log.push("-wal");
            std::fs::File::open(log).and_then(|log| log.sync_data()).map_err(|error| StoreError {
                store: self.path.display().to_string(),
                problem: format!("sync the write-ahead log: {error}"),
                retryable: true,
            })?;
        }
        Ok(())
    }
}

/// Opens the file `path`, which is made where it is missing, with its folder and tables.
fn open(path: &Path) -> Result<(Connection, Option<Identity>), StoreError> {
    let name = || path.display().to_string();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| StoreError {
            store: name(),
            problem: format!("its folder cannot be created: {error}"),
            retryable: false,
        })?;
    }
    let connection = connect(path).map_err(|error| not_opened(path, "open", &error))?;
    match schema::prepare(&connection) {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => return Err(StoreError { store: name(), problem, retryable: false }),
        Err(error) => return Err(not_opened(path, "create the tables", &error)),
    }
    Ok((connection, Identity::of(path)))
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // No URI names: a file is what its name says.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_in_memory_with_flags(flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let name = path.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(path.to_owned()))?;
    connection.execute("ATTACH DATABASE ?1 AS trading", [name])?;
    connection.query_row("PRAGMA trading.journal_mode = WAL", [], |_| Ok(()))?;
    // NORMAL does not sync at every commit. A power cut may take the last transactions away, whole: their
    // watermarks go with them, so those bars are predicted again. A killed process loses nothing.
    connection.execute_batch("PRAGMA trading.synchronous = NORMAL")?;
    Ok(connection)
}

/// From which revision on a run counts.
fn numbers(connection: &Connection) -> rusqlite::Result<Numbers> {
    let sql = "SELECT max(highest) FROM (
                   SELECT max(revision) AS highest FROM trading.agentpreds WHERE revision > 0
                   UNION ALL SELECT max(revision) FROM trading.inference_errors WHERE revision > 0
                   UNION ALL SELECT 0 WHERE EXISTS (SELECT 1 FROM trading.agentpreds)
                                         OR EXISTS (SELECT 1 FROM trading.inference_errors))";
    connection.query_row(sql, [], |row| row.get(0)).map(Numbers::after)
}

fn set(text: &mut String, value: impl std::fmt::Display) {
    text.clear();
    // Writing to a String cannot fail.
    let _ = write!(text, "{value}");
}

fn insert(
    predictions: &mut rusqlite::CachedStatement<'_>,
    errors: &mut rusqlite::CachedStatement<'_>,
    texts: &mut Texts,
    row: &Row,
) -> rusqlite::Result<()> {
    let Row { series, horizon, revision, model, unless_answered, .. } = row;
    set(&mut texts.timeframe, series.timeframe);
    set(&mut texts.ts, row.ts);
    let Texts { timeframe, ts, created_at } = &*texts;
    match &row.content {
        Content::Prediction(Predicted { version, value, outputs, stages_us }) => {
            let [latency_us, ingest_us, feature_us, predict_us] = stages_us;
            predictions.execute(params![
                &*series.symbol,
                timeframe,
                horizon,
                ts,
                &**model,
                version,
                value,
                outputs,
                latency_us,
                ingest_us,
                feature_us,
                predict_us,
                created_at,
                unless_answered,
                revision,
            ])?;
        }
        Content::Error { reason, detail } => {
            errors.execute(params![
                &*series.symbol,
                timeframe,
                horizon,
                ts,
                reason,
                &**model,
                detail,
                created_at,
                unless_answered,
                revision,
            ])?;
        }
    }
    Ok(())
}

/// Why a file is not open: one that another process keeps locked will be, anything else is a mistake.
fn not_opened(path: &Path, what: &str, error: &rusqlite::Error) -> StoreError {
    let locked = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked, ErrorCode::FileLockingProtocolFailed];
    let retryable = error.sqlite_error_code().is_some_and(|code| locked.contains(&code));
    StoreError { retryable, ..failed(path, what, error) }
}

fn failed(path: &Path, what: &str, error: &rusqlite::Error) -> StoreError {
    let retryable = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::SchemaChanged
                | ErrorCode::OperationInterrupted
                | ErrorCode::OutOfMemory
        )
    );
    StoreError { store: path.display().to_string(), problem: format!("{what}: {error}"), retryable }
}
