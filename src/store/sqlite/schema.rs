//! The tables, and bringing a file to the version that this program writes.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// What `PRAGMA user_version` says of a file with the tables below.
pub(super) const VERSION: i64 = 5;

/// The predictions, what has none and why, the bars a feed may write, how far each series is done, and what the
/// process says of itself.
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
    revision   INTEGER NOT NULL DEFAULT 0, -- higher each time the bar was answered anew; the highest is in force
    PRIMARY KEY (symbol, timeframe, horizon, ts, model, version, revision)
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
    revision   INTEGER NOT NULL DEFAULT 0, -- as in agentpreds
    PRIMARY KEY (symbol, timeframe, horizon, ts, reason, model, revision)
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
CREATE TABLE IF NOT EXISTS trading.inference_metrics (
    symbol         TEXT    NOT NULL,
    measured_at    TEXT    NOT NULL,
    predictions    INTEGER NOT NULL, -- since the process started, as are the errors
    errors         INTEGER NOT NULL,
    latency_avg_ms REAL    NOT NULL,
    latency_max_ms REAL    NOT NULL,
    host           TEXT    NOT NULL,
    pid            INTEGER NOT NULL,
    PRIMARY KEY (symbol, measured_at, host, pid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trading.alerts (
    at       TEXT    NOT NULL,
    code     TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    severity TEXT    NOT NULL, -- info, warning, error
    state    TEXT    NOT NULL, -- raised, repeated, cleared
    detail   TEXT    NOT NULL,
    count    INTEGER NOT NULL, -- how often it was seen since it was raised
    host     TEXT    NOT NULL,
    pid      INTEGER NOT NULL,
    PRIMARY KEY (at, code, subject, state, host, pid)
) WITHOUT ROWID;
";

/// A start asks for the highest revision. Rows that are answered once are in no index but the table's.
const INDICES: &str = "
CREATE INDEX IF NOT EXISTS trading.agentpreds_revised ON agentpreds (revision) WHERE revision > 0;
CREATE INDEX IF NOT EXISTS trading.inference_errors_revised ON inference_errors (revision) WHERE revision > 0;
";

/// Tables that got a last column `revision`, and the version since which they have it: older rows have revision 0.
const REVISION_SINCE: [(&str, i64); 2] = [("agentpreds", 2), ("inference_errors", 3)];

/// What comes before and after the creation of the tables in a file of version `found`: rows of tables that have
/// another form by now move into new ones. A file of version 0 is new.
fn moves(found: i64) -> (String, String) {
    let moved = REVISION_SINCE.iter().filter(|(_, since)| (1..*since).contains(&found));
    moved.fold(Default::default(), |(before, after), (table, _)| {
        let rename = format!("ALTER TABLE trading.{table} RENAME TO {table}_old;");
        let refill = format!("INSERT INTO trading.{table} SELECT *, 0 FROM trading.{table}_old;");
        (before + &rename, after + &refill + &format!("DROP TABLE trading.{table}_old;"))
    })
}

/// Creates what is missing. The outer error is SQLite's, the inner one what is wrong with the file.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<Result<(), String>> {
    let version = |connection: &Connection| -> rusqlite::Result<i64> {
        connection.query_row("PRAGMA trading.user_version", [], |row| row.get(0))
    };
    // The usual file needs no lock: whoever writes into it all the time would keep a start waiting.
    if version(connection)? == VERSION {
        return Ok(Ok(()));
    }
    // Another process may be at the same: whoever is second finds nothing left to do.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    if found > VERSION {
        return Ok(Err(format!(
            "its tables have version {found}, this program knows up to {VERSION}; use a newer vela or another file"
        )));
    }
    if found < VERSION {
        let (before, after) = moves(found);
        transaction.execute_batch(&format!(
            "{before} {TABLES} {after} {INDICES} PRAGMA trading.user_version = {VERSION};"
        ))?;
    }
    transaction.commit()?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of before, without the revisions that `tables` have now.
    fn without_revisions(tables: &[&str]) -> String {
        let mut of = "";
        let mut text = String::new();
        for line in TABLES.lines() {
            of = line.split("EXISTS trading.").nth(1).map_or(of, |rest| rest.trim_end_matches([' ', '(']));
            let old = tables.contains(&of);
            if !(old && line.trim_start().starts_with("revision")) {
                text += &if old { line.replace(", revision)", ")") } else { line.to_owned() };
                text.push('\n');
            }
        }
        text
    }

    #[test]
    fn rows_of_a_file_without_revisions_are_kept() {
        for (version, old) in [(1, &["agentpreds", "inference_errors"][..]), (2, &["inference_errors"])] {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch("ATTACH DATABASE ':memory:' AS trading").unwrap();
            connection.execute_batch(&without_revisions(old)).unwrap();
            let columns = "symbol, timeframe, horizon, ts, model, version, value, created_at";
            let row = "'BTC', '1m', 5, '2026-01-01T00:00:00Z', 'm', 1, 0.25, 'now'";
            connection
                .execute(&format!("INSERT INTO trading.agentpreds ({columns}) VALUES ({row})"), [])
                .unwrap();
            let row = "INSERT INTO trading.inference_errors VALUES ('BTC', '1m', 5, '2026-01-01T00:00:00Z', 'late', '', 'x', 'now')";
            connection.execute(row, []).unwrap();
            connection.execute_batch(&format!("PRAGMA trading.user_version = {version}")).unwrap();
            for _ in 0..2 {
                assert_eq!(prepare(&connection), Ok(Ok(())));
                let sql = "SELECT value, revision, created_at FROM trading.agentpreds";
                let found: (f64, i64, String) =
                    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
                assert_eq!(found, (0.25, 0, "now".to_owned()));
                let sql = "SELECT reason, revision, created_at FROM trading.inference_errors";
                let found: (String, i64, String) =
                    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
                assert_eq!(found, ("late".to_owned(), 0, "now".to_owned()));
            }
        }
    }
}
