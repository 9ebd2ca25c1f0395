//! What is done on the connection's thread: look for announcements, read bars.

use super::column::Part;
use super::heard;
use super::look::{Ask, Found, Look, Named, Seen, Skipped};
use super::table::{Clock, Table, inspect};
use crate::config::BarTable;
use crate::database::Client;
use crate::domain::{Bar, Timestamp};
use crate::source::times::TimeProblem;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Error, Row, SimpleQueryMessage};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The channel on which bars are announced.
pub(super) const CHANNEL: &str = "vela_bars";

/// How long the connection may be silent before the server is asked whether it is there.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(2);

/// How long the server may take to say that it is there.
pub(super) const PING: Duration = Duration::from_secs(2);

/// Bars of one series that one look reads at most.
const BARS_MAX: i64 = 1000;

/// Before every bar there is, and a time that PostgreSQL knows: the year 1.
const EARLIEST: Timestamp = Timestamp::from_secs(-62_135_596_800);

/// Listens from now on, where the connection is not `pooled`, and looks at the tables. The inner error says what is not as configured.
pub(super) fn prepare(
    client: &mut Client,
    wanted: &[BarTable],
    pooled: bool,
) -> Result<Result<Vec<Arc<Table>>, String>, Error> {
    // Plans are made once, and use the index whatever the statistics say of a table that has just been filled.
    client.driver().batch_execute(
        "SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = off;
         SET plan_cache_mode = force_generic_plan",
    )?;
    // A standby passes no announcements on, and refuses to listen.
    let standby: bool = client.driver().query_one("SELECT pg_is_in_recovery()", &[])?.get(0);
    if pooled {
        tracing::warn!(
            "a pooler gives the connection away after each transaction, so that no announcement comes through: the tables are \
             polled; use pool_mode = session, or connect past the pooler"
        );
    }
    let deaf = match (standby, pooled) {
        (true, _) => Some("the server is a standby, which announces nothing"),
        (_, true) => Some("announcements do not come through the pooler"),
        _ => None,
    };
    if deaf.is_none() {
        client.driver().batch_execute(&format!("LISTEN {CHANNEL}"))?;
    }
    let mut tables = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        match inspect(client, wanted)? {
            Ok(table) => {
                let announces = table.announces && deaf.is_none();
                tables.push(Arc::new(Table { announces, deaf, ..table }));
            }
            Err(problem) => return Ok(Err(problem)),
        }
    }
    Ok(Ok(tables))
}

/// The series of all tables.
pub(super) fn list(client: &mut Client, tables: &[Arc<Table>]) -> Result<Vec<Named>, Error> {
    let mut all = Vec::new();
    for (number, table) in tables.iter().enumerate() {
        let named = |symbol: &str, timeframe: &str| Named {
            table: number,
            symbol: symbol.into(),
            timeframe: timeframe.into(),
        };
        if let (Part::Constant(symbol), Part::Constant(timeframe)) = (&table.symbol, &table.timeframe) {
            all.push(named(symbol, timeframe));
            continue;
        }
        let (driver, statement) = client.prepared(&table.list)?;
        let rows = driver.query(&statement, &[])?;
        all.extend(rows.iter().map(|row| named(row.get(0), row.get(1))));
    }
    Ok(all)
}

/// The newest bars of a series, newest first: `count` of them, and as many more as are newer than `watermark`, at most
/// `newer_max`.
pub(super) fn newest(
    client: &mut Client,
    table: &Table,
    series: &Named,
    (count, watermark, newer_max): (i64, Option<Timestamp>, i64),
    skipped: &mut Skipped,
) -> Result<Vec<Bar>, Error> {
    let mut bars = Vec::new();
    let (driver, statement) = client.prepared(&table.newest)?;
    let watermark = watermark.unwrap_or(EARLIEST);
    let (whole, instant) = (table.whole(watermark), system_time(watermark));
    let after: &(dyn ToSql + Sync) = if table.clock == Clock::Whole { &whole } else { &instant };
    let (symbol, timeframe) = (&*series.symbol, &*series.timeframe);
    let parameters: [&(dyn ToSql + Sync); 5] = [&symbol, &timeframe, &count, after, &newer_max];
    let mut rows = driver.query_raw(&statement, parameters)?;
    while let Some(row) = rows.next()? {
        match bar(table, &row, 0)? {
            Ok(bar) => bars.push(bar),
            Err(problem) => skipped.add(&format_args!("{} {symbol} {timeframe}: {problem}", table.name)),
        }
    }
    Ok(bars)
}

/// Waits for announcements, and reads what they name and what is asked, in one statement a table.
pub(super) fn look(client: &mut Client, tables: &[Arc<Table>], look: Look) -> Result<Seen, Error> {
    let heard = heard::listen(client, tables, look.wait)?;
    let silent = look.wait >= SILENCE_MAX && look.asks.is_empty() && heard.nothing;
    let mut seen = Seen { told: heard.told, anything: heard.anything, ..Seen::default() };
    let asks = by_table(look.asks.into_iter().chain(heard.asks), tables.len());
    if look.polled {
        // Before the rows: what commits in between shows as a change the next time.
        let (driver, statement) = client.prepared("SELECT txid_current_snapshot()::text")?;
        seen.snapshot = Some(driver.query_one(&statement, &[])?.get(0));
    } else if silent {
        // Silence may be a connection that is dead.
        client.driver().is_valid(PING)?;
        // Or one that a pooler gave to others: prepared on one of the server's processes, it may not be on the next.
        let listening = format!("SELECT WHERE '{CHANNEL}' IN (SELECT pg_listening_channels())");
        let rows = client.driver().simple_query(&listening)?;
        seen.deaf = !rows.iter().any(|row| matches!(row, SimpleQueryMessage::Row(_)));
    }
    for (number, of_table) in asks.into_iter().enumerate() {
        if !of_table.is_empty() {
            read(client, &tables[number], of_table, &mut seen)?;
        }
    }
    Ok(seen)
}

/// The questions of each table, one a series.
fn by_table(asks: impl Iterator<Item = Ask>, tables: usize) -> Vec<Vec<Ask>> {
    let mut of_series: HashMap<Named, (Timestamp, Timestamp)> = HashMap::new();
    for Ask { series, since, announced } in asks {
        let entry = of_series.entry(series).or_insert((since, announced));
        *entry = (entry.0.min(since), entry.1.min(announced));
    }
    let mut by_table: Vec<Vec<Ask>> = (0..tables).map(|_| Vec::new()).collect();
    for (series, (since, announced)) in of_series {
        by_table[series.table].push(Ask { series, since, announced });
    }
    by_table
}

fn read(client: &mut Client, table: &Table, asks: Vec<Ask>, seen: &mut Seen) -> Result<(), Error> {
    let symbols: Vec<&str> = asks.iter().map(|ask| &*ask.series.symbol).collect();
    let timeframes: Vec<&str> = asks.iter().map(|ask| &*ask.series.timeframe).collect();
    let (mut wholes, mut instants) = (Vec::new(), Vec::new());
    let times: &(dyn ToSql + Sync) = if table.clock == Clock::Whole {
        wholes.extend(asks.iter().map(|ask| table.whole(ask.since)));
        &wholes
    } else {
        instants.extend(asks.iter().map(|ask| system_time(ask.since.max(EARLIEST))));
        &instants
    };
    let (driver, statement) = client.prepared(&table.since)?;
    let rows = driver.query(&statement, &[&symbols, &timeframes, times, &BARS_MAX])?;
    let mut rows = rows.iter().peekable();
    for (place, ask) in asks.iter().enumerate() {
        let (mut bars, mut count) = (Vec::new(), 0);
        while let Some(row) = rows.next_if(|row| row.get::<_, i64>(0) == place as i64 + 1) {
            count += 1;
            match bar(table, row, 1)? {
                Ok(bar) => bars.push(bar),
                Err(problem) => {
                    let Named { symbol, timeframe, .. } = &ask.series;
                    seen.skipped.add(&format_args!("{} {symbol} {timeframe}: {problem}", table.name));
                }
            }
        }
        let more = count == BARS_MAX;
        seen.found.push(Found { ask: ask.clone(), bars, more });
    }
    Ok(())
}

/// The bar in the columns from `first` on. What is no number is NaN: ingest refuses and counts such a bar, which says
/// more than leaving it out.
fn bar(table: &Table, row: &Row, first: usize) -> Result<Result<Bar, String>, Error> {
    let ts = match table.clock {
        Clock::Whole => match table.times.lock().read_integer(row.try_get(first)?) {
            Ok(ts) => ts,
            Err(TimeProblem::Unreadable(problem) | TimeProblem::Doubtful(problem)) => {
                return Ok(Err(problem));
            }
        },
        _ => timestamp(row.try_get(first)?),
    };
    let number = |place: usize| -> Result<f64, Error> {
        Ok(row.try_get::<_, Option<f64>>(first + place)?.unwrap_or(f64::NAN))
    };
    let [open, high, low, close, volume] = [number(1)?, number(2)?, number(3)?, number(4)?, number(5)?];
    Ok(Ok(Bar { ts, open, high, low, close, volume }))
}

/// What the driver takes for a time.
fn system_time(ts: Timestamp) -> SystemTime {
    let since = Duration::from_millis(ts.as_millis().unsigned_abs());
    if ts.as_millis() < 0 { UNIX_EPOCH - since } else { UNIX_EPOCH + since }
}

/// What the driver gives for a time; what is finer than a millisecond is cut off.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from_millis(match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // Rounded down: away from the epoch.
        Err(before) => {
            i64::try_from(before.duration().as_nanos().div_ceil(1_000_000)).map_or(i64::MIN, |ms| -ms)
        }
    })
}
