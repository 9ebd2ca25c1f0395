//! The tables, and bringing a file to the version that this program writes.

use rusqlite::Connection;

/// What `PRAGMA user_version` says of a file with the tables below.
pub(super) const VERSION: i64 = 1;

/// The predictions, what has none and why, the bars a feed may write, and how far each series is done.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS trading.agentpreds (
    symbol     TEXT    NOT NULL,
    timeframe  TEXT    NOT NULL,
    horizon    INTEGER NOT NULL, -- bars ahead
    ts         TEXT    NOT NULL, -- the bar's open time, RFC 3339, UTC
    model      TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    value      REAL    NOT NULL, -- exact, but SQLite makes -0 a 0
    outputs    TEXT,             -- JSON object of every output, where there are several
    latency_us REAL,             -- from the bar's arrival to here
    ingest_us  REAL,             -- of which in each stage, waiting included
    feature_us REAL,
    predict_us REAL,
    created_at TEXT    NOT NULL,
    PRIMARY KEY (symbol, timeframe, horizon, ts, model, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trading.inference_errors (
    symbol     TEXT    NOT NULL,
    timeframe  TEXT    NOT NULL,
    horizon    INTEGER NOT NULL, -- 0 where it concerns the bar itself
    ts         TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    model      TEXT    NOT NULL DEFAULT '',
    detail     TEXT    NOT NULL,
    created_at TEXT    NOT NULL,
    PRIMARY KEY (symbol, timeframe, horizon, ts, reason, model)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trading.ohlcv ( -- has row numbers: new bars are found by them
    symbol    TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    ts        TEXT NOT NULL,
    open      REAL,
    high      REAL,
    low       REAL,
    close     REAL,
    volume    REAL,
    UNIQUE (symbol, timeframe, ts)
);
CREATE TABLE IF NOT EXISTS trading.inference_state (
    symbol    TEXT NOT NULL,
    timeframe TEXT NOT NULL,
    watermark TEXT NOT NULL, -- every outcome up to the bar that opened then is stored
    PRIMARY KEY (symbol, timeframe)
) WITHOUT ROWID;
";

/// Creates what is missing. The outer error is SQLite's, the inner one what is wrong with the file.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<Result<(), String>> {
    let version = |connection: &Connection| -> rusqlite::Result<i64> {
        connection.query_row("PRAGMA trading.user_version", [], |row| row.get(0))
    };
    let found = version(connection)?;
    if found > VERSION {
        return Ok(Err(format!(
            "its tables have version {found}, this program knows up to {VERSION}; use a newer vela or another file"
        )));
    }
    if found == VERSION {
        return Ok(Ok(()));
    }
    // Another process may be at the same: all statements stand to be run twice.
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {TABLES} PRAGMA trading.user_version = {VERSION}; COMMIT"
    ))?;
    Ok(Ok(()))
}
