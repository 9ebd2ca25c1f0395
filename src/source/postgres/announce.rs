//! Has a user's own table announce its bars: a function and two triggers like those of `trading.ohlcv`.

use super::read::CHANNEL;
use super::table::{Clock, TRIGGER, Table, inspect, quoted};
use crate::config::BarTable;
use crate::database::{DatabaseError, Session, Trouble};
use std::time::Duration;

const INSPECT_MAX: Duration = Duration::from_secs(10);

/// The statements that make the table which `wanted` describes announce new and changed closed bars; twice is as good as
/// once. They need schema `trading`.
///
/// # Errors
/// When the server is away, or the table is not there or not as described.
pub fn watch(session: &mut Session, server: &str, wanted: &BarTable) -> Result<Vec<String>, DatabaseError> {
    let wanted = wanted.clone();
    let inspected = session.run("look at the table", INSPECT_MAX, move |client| inspect(client, &wanted))?;
    inspected.map(|table| statements(&table)).map_err(|problem| DatabaseError {
        server: server.to_owned(),
        problem,
        trouble: Trouble::Refused,
    })
}

fn statements(table: &Table) -> Vec<String> {
    let Table { name, oid, symbol, timeframe, ts, .. } = table;
    let function = format!("trading.{}", quoted(&format!("announce_{oid}")));
    let closed = table.closed.as_ref().map_or_else(String::new, |closed| format!("b.{closed}::boolean AND "));
    let (first, finite) = match table.clock {
        Clock::Whole => (format!("min(b.{ts})::bigint"), format!("b.{ts} IS NOT NULL")),
        Clock::Instant => {
            (format!("floor(extract(epoch FROM min(b.{ts})) * 1000)::bigint"), format!("isfinite(b.{ts})"))
        }
        // Of a time without a zone the epoch is counted as if it were UTC.
        Clock::Utc => (
            format!("floor(extract(epoch FROM min(b.{ts})::timestamp) * 1000)::bigint"),
            format!("isfinite(b.{ts})"),
        ),
    };
    let (symbol, timeframe) = (symbol.text("b"), timeframe.text("b"));
    let mut all = vec![
        format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $announce$
             BEGIN
                 PERFORM pg_notify('{CHANNEL}', '[' || {oid} || ',' || string_agg(entry, ',') || ']')
                 FROM (
                     SELECT entry, sum(octet_length(entry) + 1) OVER (ORDER BY entry ROWS UNBOUNDED PRECEDING) / 6000 AS part
                     FROM (
                         SELECT CASE WHEN octet_length(named) <= 1000 THEN named ELSE 'null' END AS entry
                         FROM (
                             SELECT json_build_array(symbol, timeframe, first)::text AS named
                             FROM (SELECT {symbol} AS symbol, {timeframe} AS timeframe, {first} AS first
                                   FROM bars AS b WHERE {closed}{finite} GROUP BY 1, 2) AS series
                         ) AS named
                     ) AS short
                 ) AS parts
                 GROUP BY part;
                 RETURN NULL;
             END
             $announce$"
        ),
        format!(
            "COMMENT ON FUNCTION {function}() IS 'Announces closed bars of {} that are new or have changed.'",
            name.replace('\'', "''")
        ),
    ];
    for (event, trigger) in [("INSERT", TRIGGER), ("UPDATE", "vela_announce_update")] {
        // Only where it is missing: making it locks the table for a moment.
        all.push(format!(
            "DO $watch$ BEGIN
                 IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = {oid} AND tgname = '{trigger}') THEN
                     CREATE TRIGGER {trigger} AFTER {event} ON {name}
                         REFERENCING NEW TABLE AS bars FOR EACH STATEMENT EXECUTE FUNCTION {function}();
                 END IF;
             END $watch$"
        ));
    }
    all
}
