//! The bars that are there when a table is first seen: one cursor a series, a page of rows in memory each.
//!
//! Cursors by (ts, row number) rather than one long read transaction: a transaction that stays open while the
//! features warm up would keep the write-ahead log from being checkpointed. What commits in between has a row
//! number above the bound that was taken with the plan, so the live part delivers it.

use super::rows::{SeriesNames, bar, time};
use super::table::Table;
use crate::domain::{Origin, SeriesKey, Timestamp};
use crate::source::history::Given;
use crate::source::times::{TimeProblem, Times};
use crate::source::{History, SourceBar};
use rusqlite::Connection;
use rusqlite::types::{Value, ValueRef};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Rows that a cursor holds in memory.
const PAGE_ROWS: i64 = 128;

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum StartError {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// The table's times are in doubt.
    Doubtful(String),
}

impl From<rusqlite::Error> for StartError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// What stands in a table at one moment.
#[derive(Debug)]
pub(super) struct Plan {
    /// The greatest row number: what is above is live.
    pub(super) last_row: i64,
    /// One a series.
    pub(super) cursors: Vec<Cursor>,
    /// Rows whose series cannot be read, with the first problem.
    pub(super) skipped: (u64, Option<String>),
}

/// Reads one series, oldest bar first.
#[derive(Debug)]
pub(super) struct Cursor {
    series: Arc<SeriesKey>,
    symbol: Value,
    timeframe: Value,
    watermark: Option<Timestamp>,
    /// The (ts, row number) before the next page.
    after: (Value, i64),
    /// The oldest (time, row number) that is predicted.
    catch_up_from: Option<(Timestamp, i64)>,
    page: VecDeque<SourceBar>,
    last_page: bool,
}

/// Decides which bars of which series are delivered as what. The caller holds a read transaction.
pub(super) fn plan(
    connection: &Connection,
    table: &mut Table,
    times: &mut Times,
    names: &mut SeriesNames,
    history: &History,
    watermarks: &HashMap<Arc<SeriesKey>, Timestamp>,
) -> Result<Plan, StartError> {
    let last_row: Option<i64> = connection.query_row(&table.last_row, [], |row| row.get(0))?;
    let last_row = last_row.unwrap_or(0);
    let mut plan = Plan { last_row, cursors: Vec::new(), skipped: (0, None) };
    if last_row == 0 {
        return Ok(plan);
    }
    table.index(connection, last_row)?;
    let mut next_series = connection.prepare(&table.there.next_series)?;
    let mut pair = (Value::Text(String::new()), Value::Text(String::new()));
    loop {
        // NULL in a name compares as nothing: such rows are left out without being counted.
        let mut rows = next_series.query((&pair.0, &pair.1))?;
        let Some(row) = rows.next()? else { return Ok(plan) };
        pair = (row.get(0)?, row.get(1)?);
        let series = match names.get(ValueRef::from(&pair.0), ValueRef::from(&pair.1)) {
            Ok(series) => series,
            Err(problem) => {
                let count: i64 = connection.query_row(
                    &table.there.rows_of_series,
                    (&pair.0, &pair.1, last_row),
                    |row| row.get(0),
                )?;
                plan.skipped.0 += count.unsigned_abs();
                plan.skipped.1.get_or_insert(problem);
                continue;
            }
        };
        let watermark = watermarks.get(&series).copied();
        let cursor = Cursor::plan(connection, table, times, history, series, &pair, watermark, last_row)?;
        plan.cursors.extend(cursor);
    }
}

impl Cursor {
    #[expect(clippy::too_many_arguments, reason = "one caller, which has each of them at hand")]
    fn plan(
        connection: &Connection,
        table: &Table,
        times: &mut Times,
        history: &History,
        series: Arc<SeriesKey>,
        (symbol, timeframe): &(Value, Value),
        watermark: Option<Timestamp>,
        last_row: i64,
    ) -> Result<Option<Self>, StartError> {
        // Below every time that can be stored.
        let mut after = (Value::Integer(i64::MIN), i64::MIN);
        let mut catch_up_from = None;
        let history = history.of_series(&series);
        let mut given = Given::default();
        let mut statement = connection.prepare_cached(&table.there.newest_first)?;
        let mut rows = statement.query((symbol, timeframe, last_row))?;
        while let Some(row) = rows.next()? {
            let ts = match time(times, row.get_ref(0)?) {
                Ok(ts) => ts,
                // Counted when its page is read.
                Err(TimeProblem::Unreadable(_)) => continue,
                Err(TimeProblem::Doubtful(problem)) => return Err(StartError::Doubtful(problem)),
            };
            let number: i64 = row.get(1)?;
            match history.origin(ts, watermark, &mut given) {
                Some(Origin::CatchUp) => catch_up_from = Some((ts, number)),
                // All older ones are wanted too: they need not be looked at.
                Some(_) if history.history_bars == 0 => {
                    after = (Value::Integer(i64::MIN), i64::MIN);
                    break;
                }
                Some(_) => {}
                None => break,
            }
            after = (row.get(0)?, number - 1);
        }
        if given == Given::default() {
            return Ok(None);
        }
        Ok(Some(Self {
            series,
            symbol: symbol.clone(),
            timeframe: timeframe.clone(),
            watermark,
            after,
            catch_up_from,
            page: VecDeque::new(),
            last_page: false,
        }))
    }

    /// The next bar; `skip` is told of every row that is none.
    pub(super) fn next(
        &mut self,
        connection: &Connection,
        table: &Table,
        last_row: i64,
        times: &mut Times,
        skip: &mut dyn FnMut(i64, String),
    ) -> Result<Option<SourceBar>, StartError> {
        while self.page.is_empty() && !self.last_page {
            self.read_page(connection, table, last_row, times, skip)?;
        }
        Ok(self.page.pop_front())
    }

    fn read_page(
        &mut self,
        connection: &Connection,
        table: &Table,
        last_row: i64,
        times: &mut Times,
        skip: &mut dyn FnMut(i64, String),
    ) -> Result<(), StartError> {
        let mut statement = connection.prepare_cached(&table.there.page)?;
        let (ts, number) = &self.after;
        let mut rows = statement.query((&self.symbol, &self.timeframe, last_row, ts, number, PAGE_ROWS))?;
        let mut after = None;
        let mut count = 0;
        let mut page = VecDeque::new();
        while let Some(row) = rows.next()? {
            count += 1;
            let number: i64 = row.get(1)?;
            after = Some((row.get::<_, Value>(0)?, number));
            match time(times, row.get_ref(0)?) {
                Ok(ts) => {
                    let predicted = self.catch_up_from.is_some_and(|from| (ts, number) >= from)
                        && self.watermark.is_none_or(|watermark| ts > watermark);
                    let origin = if predicted { Origin::CatchUp } else { Origin::WarmUp };
                    page.push_back(SourceBar {
                        series: Arc::clone(&self.series),
                        bar: bar(row, 2, ts)?,
                        origin,
                    });
                }
                Err(TimeProblem::Unreadable(problem)) => skip(number, problem),
                Err(TimeProblem::Doubtful(problem)) => return Err(StartError::Doubtful(problem)),
            }
        }
        drop(rows);
        // Only now, so that a page that could not be read to its end is read again as a whole.
        self.page = page;
        self.last_page = count < PAGE_ROWS;
        if let Some(after) = after {
            self.after = after;
        }
        Ok(())
    }
}
