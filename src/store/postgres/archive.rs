//! Reads rows out of the tables, on a connection of its own that is made when somebody asks.

use super::{failed, write::system_time};
use crate::database::{Server, Session};
use crate::domain::{Said, Stored, Timestamp, Wanted};
use crate::store::{Archive, StoreError};
use parking_lot::Mutex;
use postgres::Row;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take, and how long somebody waits for whoever asked before.
const DEADLINE: Duration = Duration::from_secs(5);

/// A question of one table. The horizons of a series are looked for one behind the other, and of each the newest rows are
/// read along the key: no row is read that is not wanted.
macro_rules! newest {
    ($table:literal, $columns:literal) => {
        concat!(
            "WITH RECURSIVE horizons(horizon) AS (
                (SELECT min(horizon) FROM trading.",
            $table,
            " WHERE symbol = $1 AND timeframe = $2)
                UNION ALL
                SELECT (SELECT min(one.horizon) FROM trading.",
            $table,
            " one WHERE one.symbol = $1 AND one.timeframe = $2 AND one.horizon > horizons.horizon)
                FROM horizons WHERE horizon IS NOT NULL)
             SELECT horizons.horizon, floor(extract(epoch FROM ts) * 1000)::bigint, model, revision, ",
            $columns,
            " FROM horizons CROSS JOIN LATERAL (
                SELECT * FROM trading.",
            $table,
            " one WHERE one.symbol = $1 AND one.timeframe = $2 AND one.horizon = horizons.horizon
                    AND one.ts < coalesce($3::timestamptz, 'infinity') AND ($4::text IS NULL OR one.model = $4)
                ORDER BY one.ts DESC LIMIT $6) AS newest
             WHERE horizons.horizon IS NOT NULL AND ($5::bigint IS NULL OR horizons.horizon = $5)
             ORDER BY ts DESC LIMIT $6"
        )
    };
}

const PREDICTIONS: &str = newest!("agentpreds", "version, value, outputs::text, latency_us");
const REFUSALS: &str = newest!("inference_errors", "reason, detail");

/// The tables of a server.
pub(super) struct PostgresArchive {
    server: Arc<Server>,
    session: Mutex<Option<Session>>,
}

impl PostgresArchive {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server, session: Mutex::new(None) }
    }
}

impl Archive for PostgresArchive {
    fn newest(&self, wanted: &Wanted) -> Result<Vec<Stored>, StoreError> {
        let Some(mut kept) = self.session.try_lock_for(DEADLINE) else {
            return Err(StoreError {
                store: self.server.name().to_owned(),
                problem: "others read what is stored, and it takes long".to_owned(),
                retryable: true,
            });
        };
        let mut session = match kept.take().filter(|session| !session.is_broken()) {
            Some(session) => session,
            None => self.server.connect().map_err(failed)?,
        };
        let asked = wanted.clone();
        let rows = session.run("read what is stored", DEADLINE, move |client| {
            let (timeframe, before) = (asked.series.timeframe.to_string(), asked.before.map(system_time));
            let (horizon, limit) = (asked.horizon.map(i64::from), asked.limit as i64);
            let mut ask = |sql: &str, said: fn(&Row) -> Result<Said, postgres::Error>| {
                let (driver, statement) = client.prepared(sql)?;
                let rows = driver.query(
                    &statement,
                    &[&&*asked.series.symbol, &timeframe, &before, &asked.model, &horizon, &limit],
                )?;
                rows.iter().map(|row| stored(row, said(row)?)).collect::<Result<Vec<_>, _>>()
            };
            let mut rows = ask(PREDICTIONS, prediction)?;
            if asked.refusals {
                rows.extend(ask(REFUSALS, refusal)?);
            }
            Ok(rows)
        });
        let rows = rows.map_err(failed)?;
        *kept = Some(session);
        Ok(Stored::newest(rows, wanted.limit))
    }
}

/// Numbers of a table that this program wrote, from 0 and not as large.
fn number(row: &Row, column: usize) -> Result<u32, postgres::Error> {
    Ok(u32::try_from(row.try_get::<_, i64>(column)?).unwrap_or(u32::MAX))
}

fn stored(row: &Row, said: Said) -> Result<Stored, postgres::Error> {
    Ok(Stored {
        horizon: number(row, 0)?,
        ts: Timestamp::from_millis(row.try_get(1)?),
        model: row.try_get(2)?,
        revision: number(row, 3)?,
        said,
    })
}

fn prediction(row: &Row) -> Result<Said, postgres::Error> {
    Ok(Said::Prediction {
        version: number(row, 4)?,
        value: row.try_get(5)?,
        outputs: row.try_get(6)?,
        latency_us: row.try_get(7)?,
    })
}

fn refusal(row: &Row) -> Result<Said, postgres::Error> {
    Ok(Said::Refusal { reason: row.try_get(4)?, detail: row.try_get(5)? })
}
