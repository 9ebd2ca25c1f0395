//! Has a user's own table announce its bars: a function and two triggers like those of `trading.ohlcv`.

use super::column::quoted;
use super::read::CHANNEL;
use super::table::{Clock, TRIGGER, Table, inspect};
use crate::config::BarTable;
use crate::database::{DatabaseError, Session, Trouble};
use std::time::Duration;

/// What the function announces: 1 which series have new bars, 2 a lone bar with its numbers as well.
const VERSION: i32 = 2;

const INSPECT_MAX: Duration = Duration::from_secs(10);

/// The statements that make the table which `wanted` describes announce new and changed closed bars; twice is as good as
/// once, and a table that an older program made announce its bars does so as this one has it. They need schema `trading`.
///
/// # Errors
/// When the server is away, or the table is not there or not as described.
pub fn watch(session: &mut Session, server: &str, wanted: &BarTable) -> Result<Vec<String>, DatabaseError> {
    let wanted = wanted.clone();
    let inspected = session.run("look at the table", INSPECT_MAX, move |client| inspect(client, &wanted))?;
    let announcing = |table: Table| match table.is_table {
        true => Ok(statements(&table)),
        false => Err(format!(
            "{} is a view, which announces nothing: have the table beneath it announce, and read that, or let the view be polled",
            table.name
        )),
    };
    inspected.and_then(announcing).map_err(|problem| DatabaseError {
        server: server.to_owned(),
        problem,
        trouble: Trouble::Refused,
    })
}

fn statements(table: &Table) -> Vec<String> {
    let Table { name, oid, symbol, timeframe, ts, numbers, times_allowed, .. } = table;
    let function = format!("trading.{}", quoted(&format!("announce_{oid}")));
    let closed = table.closed.as_ref().map_or_else(|| "true".to_owned(), |closed| closed.condition("b"));
    let millis = |time: &str| match table.clock {
        Clock::Whole => format!("{time}::bigint"),
        Clock::Instant => format!("floor(extract(epoch FROM {time}) * 1000)::bigint"),
        // Of a time without a zone the epoch is counted as if it were UTC.
        Clock::Utc => format!("floor(extract(epoch FROM {time}::timestamp) * 1000)::bigint"),
    };
    let (first, lone) = (millis(&format!("min(b.{ts})")), millis(&format!("b.{ts}")));
    let (symbol, timeframe) = (symbol.text("b"), timeframe.text("b"));
    let bits: Vec<String> =
        numbers.iter().map(|number| format!("float8send({})", number.double("b"))).collect();
    let bits = bits.join(" || ");
    let mut all = vec![
        // As for `trading.ohlcv`: a lone bar goes with its numbers, as their bits; of others which series have new ones.
        format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $announce$
             DECLARE
                 named text;
             BEGIN
                 SELECT json_build_array({symbol}, {timeframe}, {lone}, encode({bits}, 'hex'))::text INTO named
                 FROM bars AS b WHERE (SELECT count(*) FROM bars) = 1 AND {closed} AND b.{ts} {times_allowed};
                 IF FOUND AND octet_length(named) <= 1000 THEN
                     PERFORM pg_notify('{CHANNEL}', '[{oid},' || named || ']');
                     RETURN NULL;
                 END IF;
                 PERFORM pg_notify('{CHANNEL}', '[' || {oid} || ',' || string_agg(entry, ',') || ']')
                 FROM (
                     SELECT entry, sum(octet_length(entry) + 1) OVER (ORDER BY entry ROWS UNBOUNDED PRECEDING) / 6000 AS part
                     FROM (
                         SELECT CASE WHEN octet_length(series.named) <= 1000 THEN series.named ELSE 'null' END AS entry
                         FROM (
                             SELECT json_build_array(symbol, timeframe, first)::text AS named
                             FROM (SELECT {symbol} AS symbol, {timeframe} AS timeframe, {first} AS first
                                   FROM bars AS b WHERE {closed} AND b.{ts} {times_allowed} GROUP BY 1, 2) AS series
                         ) AS series
                     ) AS short
                 ) AS parts
                 GROUP BY part;
                 RETURN NULL;
             END
             $announce$"
        ),
        format!(
            "COMMENT ON FUNCTION {function}() IS 'Announces closed bars of {} that are new or have changed; version {VERSION}.'",
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
