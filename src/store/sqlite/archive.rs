//! Reads rows out of the file, on a connection of each question's own that cannot write.

use super::failed;
use crate::domain::{Said, Stored, Timestamp, Wanted};
use crate::store::{Archive, StoreError};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OpenFlags, Result, Row, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A writer holds readers up for moments only.
const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// Behind every time, as texts order.
const ALWAYS: &str = "A";

// In the order of the key, backwards: SQLite reads the newest rows of a series and horizon, and no others.
const PREDICTIONS: &str = "
SELECT ts, model, revision, version, value, outputs, latency_us FROM agentpreds
WHERE symbol = ?1 AND timeframe = ?2 AND horizon = ?3 AND ts < ?4 AND (?5 IS NULL OR model = ?5)
ORDER BY ts DESC, model DESC, version DESC, revision DESC LIMIT ?6";
const REFUSALS: &str = "
SELECT ts, model, revision, reason, detail FROM inference_errors
WHERE symbol = ?1 AND timeframe = ?2 AND horizon = ?3 AND ts < ?4 AND (?5 IS NULL OR model = ?5)
ORDER BY ts DESC, reason DESC, model DESC, revision DESC LIMIT ?6";

/// The file at a path.
pub(super) struct SqliteArchive {
    path: PathBuf,
}

impl SqliteArchive {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Archive for SqliteArchive {
    fn newest(&self, wanted: &Wanted) -> Result<Vec<Stored>, StoreError> {
        let read = || -> Result<Vec<Stored>> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            let mut rows = of_table(&connection, "agentpreds", PREDICTIONS, wanted, prediction)?;
            if wanted.refusals {
                rows.extend(of_table(&connection, "inference_errors", REFUSALS, wanted, refusal)?);
            }
            Ok(rows)
        };
        let rows = read().map_err(|error| failed(&self.path, "read what is stored", &error))?;
        Ok(Stored::newest(rows, wanted.limit))
    }
}

fn prediction(row: &Row<'_>) -> Result<Said> {
    Ok(Said::Prediction {
        version: row.get(3)?,
        value: row.get(4)?,
        outputs: row.get(5)?,
        latency_us: row.get(6)?,
    })
}

fn refusal(row: &Row<'_>) -> Result<Said> {
    Ok(Said::Refusal { reason: row.get(3)?, detail: row.get(4)? })
}

fn of_table(
    connection: &Connection,
    table: &str,
    sql: &str,
    wanted: &Wanted,
    said: fn(&Row<'_>) -> Result<Said>,
) -> Result<Vec<Stored>> {
    let (symbol, timeframe) = (&*wanted.series.symbol, wanted.series.timeframe.to_string());
    // Bars open on whole seconds: of a moment between two the second behind it is the same.
    let before =
        wanted.before.map(|before| Timestamp::from_secs(before.as_millis().saturating_add(999) / 1000));
    let before = before.map_or_else(|| ALWAYS.to_owned(), |before| before.to_string());
    let horizons = match wanted.horizon {
        Some(horizon) => vec![horizon],
        None => horizons(connection, table, symbol, &timeframe)?,
    };
    let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare(sql)?;
    let mut found = Vec::new();
    for horizon in horizons {
        let asked = params![symbol, timeframe, horizon, before, wanted.model, limit];
        let rows = statement.query_map(asked, |row| {
            let ts: String = row.get(0)?;
            let ts = ts
                .parse()
                .map_err(|error| Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))?;
            Ok(Stored { horizon, ts, model: row.get(1)?, revision: row.get(2)?, said: said(row)? })
        })?;
        for row in rows {
            found.push(row?);
        }
    }
    Ok(found)
}

/// The horizons of a series: each is looked for behind the one before, so that no row is read but the first of each.
fn horizons(connection: &Connection, table: &str, symbol: &str, timeframe: &str) -> Result<Vec<u32>> {
    let sql =
        format!("SELECT min(horizon) FROM {table} WHERE symbol = ?1 AND timeframe = ?2 AND horizon > ?3");
    let mut statement = connection.prepare(&sql)?;
    let (mut found, mut last) = (Vec::new(), -1);
    while let Some(horizon) =
        statement.query_row((symbol, timeframe, last), |row| row.get::<_, Option<u32>>(0))?
    {
        found.push(horizon);
        last = i64::from(horizon);
    }
    Ok(found)
}
