//! The tables of schema `trading`, and bringing a database to the version that this program writes.
//!
//! A database is changed by `vela db init` alone: whoever runs the service need not have the right to.

use super::{Client, DatabaseError, Session};
use postgres::{Error, GenericClient};
use std::time::Duration;

/// What each version adds to the one before it, the first to nothing. What was released is never changed.
const MIGRATIONS: &[&str] =
    &[include_str!("1.sql"), include_str!("2.sql"), include_str!("3.sql"), include_str!("4.sql")];

/// The version that this program reads and writes.
pub const VERSION: i32 = MIGRATIONS.len() as i32;

/// The tables, in the order in which they are shown.
pub const TABLES: [&str; 6] =
    ["ohlcv", "agentpreds", "inference_errors", "inference_state", "inference_metrics", "alerts"];

/// Any number that nobody else locks: whoever changes the tables holds it until the transaction ends.
const LOCK: i64 = 0x7665_6c61;

/// Changing tables may have to wait for those who use them.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a database has.
#[derive(Clone, Debug)]
pub struct Status {
    /// The server's version, as it says it.
    pub server: String,
    /// The version of the tables; `None` where there are none.
    pub version: Option<i32>,
    /// Of each of [`TABLES`] its rows as the planner estimates them, and its size on disk with its indices, in bytes;
    /// `None` where it is missing.
    pub tables: Vec<(&'static str, Option<(i64, i64)>)>,
}

/// What [`init`] found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initialised {
    /// The version before; 0 where there was none.
    pub from: i32,
    /// The version now.
    pub to: i32,
}

/// Creates what is missing, in one transaction, then runs `more` in it; twice and by two at once is as good as once.
///
/// Tables of a newer program are left as they are.
///
/// # Errors
/// When the server is away, or refuses: then nothing was changed.
pub fn init(session: &mut Session, more: Vec<String>) -> Result<Initialised, DatabaseError> {
    session.run("create the tables", DEADLINE, move |client| {
        let mut transaction = client.driver().transaction()?;
        // Waiting for the other one is no work of the server's: let it take its time.
        transaction.batch_execute("SET LOCAL statement_timeout = 0")?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
        if !exists(&mut transaction, "SELECT to_regnamespace('trading') IS NOT NULL")? {
            transaction.batch_execute("CREATE SCHEMA trading")?;
        }
        let from = version(&mut transaction)?.unwrap_or(0);
        if from == 0 {
            transaction.batch_execute(
                "CREATE TABLE IF NOT EXISTS trading.schema_version (
                     version    integer     PRIMARY KEY,
                     applied_at timestamptz NOT NULL DEFAULT now()
                 )",
            )?;
        }
        for (index, sql) in MIGRATIONS.iter().enumerate().skip(usize::try_from(from).unwrap_or(0)) {
            transaction.batch_execute(sql)?;
            let version = index as i32 + 1;
            transaction.execute("INSERT INTO trading.schema_version (version) VALUES ($1)", &[&version])?;
        }
        for sql in more {
            transaction.batch_execute(&sql)?;
        }
        transaction.commit()?;
        Ok(Initialised { from, to: from.max(VERSION) })
    })
}

/// What the database has.
///
/// # Errors
/// When the server is away, or does not let this user see it.
pub fn status(session: &mut Session) -> Result<Status, DatabaseError> {
    session.run("look at the tables", DEADLINE, |client: &mut Client| {
        let driver = client.driver();
        let server: String = driver.query_one("SELECT current_setting('server_version')", &[])?.get(0);
        let version = version(driver)?;
        let sql = "SELECT reltuples::bigint, pg_total_relation_size(oid)::bigint FROM pg_class
                   WHERE oid = to_regclass('trading.' || $1::text)";
        let size = |table| {
            let row = driver.query_opt(sql, &[&table])?;
            Ok((table, row.map(|row| (row.get::<_, i64>(0).max(0), row.get(1)))))
        };
        let tables = TABLES.into_iter().map(size).collect::<Result<_, Error>>()?;
        Ok(Status { server, version, tables })
    })
}

/// Says what to do where the tables are not those that this program writes.
///
/// # Errors
/// As [`status`]; and with the trouble [`super::Trouble::Refused`] where the tables are missing, older or newer.
pub fn require(session: &mut Session, server: &str) -> Result<(), DatabaseError> {
    let found = session.run("look for the tables", DEADLINE, |client| version(client.driver()))?;
    let problem = match found {
        Some(VERSION) => return Ok(()),
        None => "it has no tables of vela's; `vela db init` with this URL makes them".to_owned(),
        Some(older @ ..VERSION) => format!(
            "its tables have version {older}, this program writes version {VERSION}; `vela db init` brings them up"
        ),
        Some(newer) => {
            format!("its tables have version {newer}, this program knows up to {VERSION}; use a newer vela")
        }
    };
    Err(DatabaseError { server: server.to_owned(), problem, trouble: super::Trouble::Refused })
}

fn exists(client: &mut impl GenericClient, sql: &str) -> Result<bool, Error> {
    Ok(client.query_one(sql, &[])?.get(0))
}

/// The version of the tables; `None` where there are none.
fn version(client: &mut impl GenericClient) -> Result<Option<i32>, Error> {
    if !exists(client, "SELECT to_regclass('trading.schema_version') IS NOT NULL")? {
        return Ok(None);
    }
    Ok(client.query_one("SELECT max(version) FROM trading.schema_version", &[])?.get(0))
}
