//! The bar table: whether it can be followed, and the statements that read it.

use rusqlite::Connection;

/// The columns that a bar table must have.
const COLUMNS: [&str; 8] = ["symbol", "timeframe", "ts", "open", "high", "low", "close", "volume"];

/// A table name, with every statement that is run on it.
#[derive(Debug)]
pub(super) struct Table {
    name: String,
    /// New rows behind a row number.
    pub(super) new_rows: String,
    /// The greatest row number.
    pub(super) last_row: String,
    /// The bars that are there at the start.
    pub(super) there: There,
}

/// Reading the bars that are there, series by series.
#[derive(Debug)]
pub(super) struct There {
    /// The first (symbol, timeframe) after a given one.
    pub(super) next_series: String,
    /// How many rows one has.
    pub(super) rows_of_series: String,
    /// Its times and row numbers, newest first.
    pub(super) newest_first: String,
    /// A page of its bars behind a (ts, row number), oldest first.
    pub(super) page: String,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl There {
    /// Reads keys (symbol, timeframe, ts, row number in column `row`) from `keys`; `join` leads to the bar table `b`.
    fn new(keys: &str, row: &str, join: &str) -> Self {
        let of_series = format!("k.symbol = ?1 AND k.timeframe = ?2 AND k.{row} <= ?3");
        Self {
            next_series: format!(
                "SELECT k.symbol, k.timeframe FROM {keys} AS k WHERE (k.symbol, k.timeframe) > (?1, ?2) \
                 ORDER BY k.symbol, k.timeframe LIMIT 1"
            ),
            rows_of_series: format!("SELECT count(*) FROM {keys} AS k WHERE {of_series}"),
            newest_first: format!(
                "SELECT k.ts, k.{row} FROM {keys} AS k WHERE {of_series} ORDER BY k.ts DESC, k.{row} DESC"
            ),
            page: format!(
                "SELECT k.ts, k.{row}, {b}.open, {b}.high, {b}.low, {b}.close, {b}.volume FROM {keys} AS k {join} \
                 WHERE {of_series} AND (k.ts, k.{row}) > (?4, ?5) ORDER BY k.ts, k.{row} LIMIT ?6",
                b = if join.is_empty() { "k" } else { "b" },
            ),
        }
    }
}

impl Table {
    /// The statements for the table `name`; a leading `trading.` is the schema's name in other stores and is
    /// taken off.
    pub(super) fn new(name: &str) -> Self {
        let name = name.strip_prefix("trading.").unwrap_or(name);
        let table = format!("main.{}", quoted(name));
        Self {
            name: name.to_owned(),
            new_rows: format!(
                "SELECT _rowid_, symbol, timeframe, ts, open, high, low, close, volume FROM {table} \
                 WHERE _rowid_ > ?1 ORDER BY _rowid_ LIMIT ?2"
            ),
            last_row: format!("SELECT max(_rowid_) FROM {table}"),
            there: There::new(&table, "_rowid_", ""),
        }
    }

    /// Whether the table is there and can be followed: `None` while it is not there, the problem when it never can.
    pub(super) fn check(&self, connection: &Connection) -> rusqlite::Result<Option<Result<(), String>>> {
        let mut kinds = connection.prepare_cached(
            "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE",
        )?;
        let mut rows = kinds.query([&self.name])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (kind, without_rowid): (String, bool) = (row.get(0)?, row.get(1)?);
        if kind != "table" {
            let problem =
                format!("table `{}` is a {kind}: new rows can be followed in a table only", self.name);
            return Ok(Some(Err(problem)));
        }
        if without_rowid {
            return Ok(Some(Err(format!(
                "table `{}` is WITHOUT ROWID: new rows are found by their row number; create it without that clause",
                self.name
            ))));
        }
        let mut columns = connection.prepare_cached("SELECT lower(name) FROM pragma_table_info(?1)")?;
        let found: Vec<String> =
            columns.query_map([&self.name], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        if COLUMNS.iter().all(|column| found.iter().any(|name| name == column)) {
            return Ok(Some(Ok(())));
        }
        Ok(Some(Err(format!(
            "table `{}` has the columns {}; expected {}",
            self.name,
            found.join(", "),
            COLUMNS.join(", ")
        ))))
    }

    /// Makes `there` fast: where no index over (symbol, timeframe, ts) serves it, from a temporary copy of the
    /// keys (which SQLite keeps on disk when it is large), because each page would sort the whole table otherwise.
    pub(super) fn index(&mut self, connection: &Connection, last_row: i64) -> rusqlite::Result<()> {
        let table = format!("main.{}", quoted(&self.name));
        self.there = There::new(&table, "_rowid_", "");
        let plan = format!("EXPLAIN QUERY PLAN {}", self.there.page);
        let mut statement = connection.prepare(&plan)?;
        let steps: Vec<String> =
            statement.query_map(("", "", 0, 0, 0, 0), |row| row.get(3))?.collect::<rusqlite::Result<_>>()?;
        if steps.iter().all(|step| step.starts_with("SEARCH") && step.contains("INDEX")) {
            return Ok(());
        }
        tracing::warn!(
            table = self.name,
            "no index over (symbol, timeframe, ts): starting takes longer; create one"
        );
        connection.execute_batch(&format!(
            "DROP TABLE IF EXISTS temp.vela_keys; \
             CREATE TEMP TABLE vela_keys AS \
             SELECT symbol, timeframe, ts, _rowid_ AS number FROM {table} WHERE _rowid_ <= {last_row}; \
             CREATE INDEX temp.vela_keys_order ON vela_keys (symbol, timeframe, ts, number)"
        ))?;
        let join = format!("CROSS JOIN {table} AS b ON b._rowid_ = k.number");
        self.there = There::new("temp.vela_keys", "number", &join);
        Ok(())
    }

    /// Gives back what `index` made.
    pub(super) fn drop_index(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch("DROP TABLE IF EXISTS temp.vela_keys")
    }
}
