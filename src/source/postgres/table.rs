//! A table of bars as the database has it: its columns and their types, its index, and the statements that read it.

use super::column::{Closed, Number, Part, quoted};
use crate::config::BarTable;
use crate::database::Client;
use crate::domain::Timestamp;
use crate::source::times::Times;
use parking_lot::Mutex;
use postgres::Error;
use postgres::types::Oid;

/// The trigger that announces bars as they are inserted; its like for changes ends in `_update`.
pub(super) const TRIGGER: &str = "vela_announce_insert";

/// Tables and columns that a message names at most.
const NAMED_MAX: usize = 40;

/// What a table's times are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// `timestamptz`.
    Instant,
    /// `timestamp` or `date`: UTC.
    Utc,
    /// A whole number since 1970.
    Whole,
}

/// A table that can be read.
#[derive(Debug)]
pub(super) struct Table {
    /// Its quoted name, with its schema.
    pub name: String,
    pub oid: Oid,
    /// It is no view: it can have triggers, and indices of its own.
    pub is_table: bool,
    pub symbol: Part,
    pub timeframe: Part,
    /// The column of the time, quoted.
    pub ts: String,
    pub clock: Clock,
    /// What a time has to be, as a condition behind it: there are some that are no bar's, or that no cast takes.
    pub times_allowed: &'static str,
    /// Open, high, low, close and volume.
    pub numbers: Vec<Number>,
    /// The column that says whether a bar is closed.
    pub closed: Option<Closed>,
    /// Whether its bars are announced.
    pub announces: bool,
    /// Why nothing could be heard if it did, where that is so.
    pub deaf: Option<&'static str>,
    /// An index leads to the bars of a series.
    pub indexed: bool,
    /// The unit of whole numbers, once one was seen.
    pub times: Mutex<Times>,
    /// Lists the series: symbol and timeframe as texts. Empty where there is but one.
    pub list: String,
    /// The newest bars of a series, newest first: `$1` symbol, `$2` timeframe, `$3` how many, and as many more, at most
    /// `$5`, as are newer than `$4`.
    pub newest: String,
    /// The bars of many series, each from a time on: arrays of symbols `$1`, timeframes `$2`, times `$3`; at most `$4`
    /// bars each. A row is the place in the arrays from 1, the time, and five numbers.
    pub since: String,
}

struct Column {
    name: String,
    /// As SQL writes it.
    full_type: String,
    /// The type it is made of.
    base: String,
}

/// Looks for the table that `wanted` describes; what it is not like is said.
pub(super) fn inspect(client: &mut Client, wanted: &BarTable) -> Result<Result<Table, String>, Error> {
    let driver = client.driver();
    let written = wanted.parts().iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".");
    let sql = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind IN ('r', 'p'),
                      has_any_column_privilege(c.oid, 'SELECT'), current_user::text
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";
    let Some(row) = driver.query_opt(sql, &[&written])? else {
        return Ok(Err(format!("there is no table {written}; {}", tables(driver)?)));
    };
    let (oid, schema, table): (Oid, String, String) = (row.get(0), row.get(1), row.get(2));
    let name = format!("{}.{}", quoted(&schema), quoted(&table));
    let (is_table, is_readable, user): (bool, bool, String) = (row.get(3), row.get(4), row.get(5));
    if !is_readable {
        return Ok(Err(format!("{user} may not read {name}: GRANT SELECT ON {name} TO {}", quoted(&user))));
    }
    let sql = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
                      format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, NULL)
               FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
               WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let column = |row: &postgres::Row| Column { name: row.get(0), full_type: row.get(1), base: row.get(2) };
    let columns: Vec<Column> = driver.query(sql, &[&oid])?.iter().map(column).collect();
    let sql = "SELECT array_agg(a.attname::text ORDER BY k.n)
               FROM pg_index i
               CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, n)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
               WHERE i.indrelid = $1 AND i.indisvalid AND i.indpred IS NULL GROUP BY i.indexrelid";
    let indices: Vec<Vec<String>> = driver.query(sql, &[&oid])?.iter().map(|row| row.get(0)).collect();
    let sql =
        "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1 AND tgname = $2 AND tgenabled <> 'D')";
    let announces = driver.query_one(sql, &[&oid, &TRIGGER])?.get(0);
    let described = match describe(wanted, &columns) {
        Ok(described) => described,
        Err(problem) => return Ok(Err(format!("{name}: {problem}"))),
    };
    let table = Table { is_table, ..described.table((name, oid), &indices, announces) };
    if table.clock == Clock::Whole {
        let Table { ts, name, times_allowed, .. } = &table;
        let sql = format!("SELECT t.{ts}::bigint FROM {name} AS t WHERE t.{ts} {times_allowed} LIMIT 1");
        if let Some(row) = driver.query_opt(&sql, &[])?
            && let Err(problem) = table.times.lock().read_integer(row.get::<_, Option<i64>>(0).unwrap_or(0))
        {
            return Ok(Err(format!("{}, column {}: {problem}", table.name, table.ts)));
        }
    }
    Ok(Ok(table))
}

/// What tables there are.
fn tables(driver: &mut postgres::Client) -> Result<String, Error> {
    let sql = "SELECT table_schema || '.' || table_name FROM information_schema.tables
               WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
    let names: Vec<String> = driver.query(sql, &[])?.iter().map(|row| row.get(0)).collect();
    Ok(match names.len() {
        0 => "this user sees no tables in this database".to_owned(),
        _ => format!("there are {}", listed(&names)),
    })
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// The columns that were asked for, found.
struct Described {
    symbol: Part,
    timeframe: Part,
    ts: String,
    clock: Clock,
    times_allowed: &'static str,
    numbers: Vec<Number>,
    closed: Option<Closed>,
}

fn describe(wanted: &BarTable, columns: &[Column]) -> Result<Described, String> {
    let find = |what: &str, name: &str| {
        columns.iter().find(|column| column.name == name).ok_or_else(|| {
            let names: Vec<String> =
                columns.iter().map(|column| format!("{} ({})", column.name, column.full_type)).collect();
            format!("it has no column `{name}` ({what}); it has {}", listed(&names))
        })
    };
    let part = |what: &str, constant: Option<String>, name: &str| match constant {
        Some(constant) => Ok(Part::Constant(constant)),
        None => find(what, name)
            .map(|column| Part::Column(quoted(&column.name), column.full_type.clone()))
            .map_err(|problem| {
                format!("{problem}; where all its bars have the same, write {what} = \"...\"")
            }),
    };
    let names = &wanted.columns;
    let symbol = part("symbol", wanted.symbol.clone(), &names.symbol)?;
    let timeframe = match part("timeframe", wanted.timeframe.map(|tf| tf.to_string()), &names.timeframe)? {
        Part::Column(column, of_type) => lengths(column, of_type, wanted.timeframe_unit)?,
        constant => constant,
    };
    let ts = find("ts", &names.ts)?;
    let clock = match ts.base.as_str() {
        "timestamp with time zone" => Clock::Instant,
        "timestamp without time zone" | "date" => Clock::Utc,
        "bigint" | "integer" | "numeric" => Clock::Whole,
        other => {
            let problem = format!("column `{}` (ts) is {other}", ts.name);
            return Err(format!("{problem}: a time, or a whole number since 1970, is needed"));
        }
    };
    let times_allowed = match ts.base.as_str() {
        "date" => "BETWEEN '4714-11-24 BC' AND '294276-12-31'",
        "numeric" => "BETWEEN -9223372036854775808 AND 9223372036854775807",
        "bigint" | "integer" => "IS NOT NULL",
        _ => "NOT IN ('infinity', '-infinity')",
    };
    let numbers = [
        ("open", &names.open),
        ("high", &names.high),
        ("low", &names.low),
        ("close", &names.close),
        ("volume", &names.volume),
    ];
    let number = |(what, name): (&str, &String)| {
        let column = find(what, name)?;
        let numeric = ["double precision", "real", "numeric", "bigint", "integer", "smallint"];
        if numeric.contains(&column.base.as_str()) {
            return Ok(Number { column: quoted(&column.name), is_numeric: column.base == "numeric" });
        }
        Err(format!("column `{name}` ({what}) is {}: a number is needed", column.full_type))
    };
    let closed = match names.closed.as_deref() {
        Some("") => None,
        Some(name) => Some(find("closed", name)?),
        None => columns.iter().find(|column| column.name == "closed"),
    };
    let closed =
        closed.map(|column| Closed { column: quoted(&column.name), is_boolean: column.base == "boolean" });
    Ok(Described {
        symbol,
        timeframe,
        ts: quoted(&ts.name),
        clock,
        times_allowed,
        numbers: numbers.into_iter().map(number).collect::<Result<_, String>>()?,
        closed,
    })
}

/// A column of timeframes: as texts, as intervals, or as whole numbers of `unit`.
fn lengths(column: String, of_type: String, unit: Option<char>) -> Result<Part, String> {
    let is_whole = ["bigint", "integer", "smallint"].contains(&of_type.as_str());
    match unit {
        Some(unit) if is_whole => Ok(Part::Count(column, of_type, unit)),
        Some(_) => {
            Err(format!("column {column} (timeframe) is {of_type}: timeframe_unit is for whole numbers"))
        }
        // Some feeds count minutes and others seconds.
        None if is_whole => Err(format!(
            "column {column} (timeframe) is {of_type}: say what it counts, timeframe_unit = \"s\", \"m\", \"h\", \"d\" or \"w\""
        )),
        None if of_type.starts_with("interval") => Ok(Part::Interval(column)),
        None => Ok(Part::Column(column, of_type)),
    }
}

impl Described {
    fn table(self, (name, oid): (String, Oid), indices: &[Vec<String>], announces: bool) -> Table {
        let Self { symbol, timeframe, ts, clock, times_allowed, numbers, closed } = self;
        let key: Vec<&str> = [&symbol, &timeframe].into_iter().filter_map(Part::column).collect();
        // The columns of the series, in either order, then the time.
        let leading = indices.iter().find_map(|index| {
            let index: Vec<String> = index.iter().map(|name| quoted(name)).collect();
            let (first, rest) = index.split_at_checked(key.len())?;
            let fits =
                key.iter().all(|name| first.iter().any(|other| other == name)) && rest.first() == Some(&ts);
            fits.then(|| first.to_vec())
        });
        let indexed = leading.is_some();
        let list = list(&name, &leading.unwrap_or_default(), &key, &symbol, &timeframe);
        let time = if clock == Clock::Whole {
            format!("t.{ts}::bigint")
        } else {
            format!("t.{ts}::{}", clock.sql())
        };
        let bar = numbers.iter().fold(time, |bar, number| format!("{bar}, {}", number.double("t")));
        let closed_only =
            closed.as_ref().map_or_else(String::new, |closed| format!(" AND {}", closed.condition("t")));
        let of_series = |[symbol_text, timeframe_text]: [&str; 2]| {
            format!("{} AND {}{closed_only}", symbol.is(symbol_text), timeframe.is(timeframe_text))
        };
        let after = clock.of_parameter("$4");
        let one = of_series(["$1::text", "$2::text"]);
        let newest = format!(
            "SELECT {bar} FROM {name} AS t WHERE {one} AND t.{ts} {times_allowed} ORDER BY t.{ts} DESC
             LIMIT $3::bigint + (SELECT count(*) FROM
                (SELECT FROM {name} AS t WHERE {one} AND t.{ts} > {after} LIMIT $5::bigint) AS newer)"
        );
        let many = of_series(["h.symbol", "h.timeframe"]);
        let since = format!(
            "SELECT h.n, b.* FROM unnest($1::text[], $2::text[], $3::{}[]) WITH ORDINALITY AS h(symbol, timeframe, since, n)
             CROSS JOIN LATERAL (SELECT {bar} FROM {name} AS t WHERE {many} AND t.{ts} >= {} AND t.{ts} {times_allowed}
                                 ORDER BY t.{ts} LIMIT $4::bigint) AS b
             ORDER BY 1, 2",
            clock.parameter_type(),
            clock.of_parameter("h.since"),
        );
        let times = Mutex::new(Times::default());
        Table {
            name,
            oid,
            is_table: true,
            symbol,
            timeframe,
            ts,
            clock,
            times_allowed,
            numbers,
            closed,
            announces,
            deaf: None,
            indexed,
            times,
            list,
            newest,
            since,
        }
    }
}

/// The statement that lists the series: along the index, one step a series, where there is one.
fn list(name: &str, leading: &[String], key: &[&str], symbol: &Part, timeframe: &Part) -> String {
    if key.is_empty() {
        return String::new();
    }
    let texts = |alias| format!("{}, {}", symbol.text(alias), timeframe.text(alias));
    let not_null = |alias: &str| {
        key.iter().map(|column| format!("{alias}.{column} IS NOT NULL")).collect::<Vec<_>>().join(" AND ")
    };
    if leading.is_empty() {
        return format!("SELECT DISTINCT {} FROM {name} AS t WHERE {}", texts("t"), not_null("t"));
    }
    let of =
        |alias: &str| leading.iter().map(|column| format!("{alias}.{column}")).collect::<Vec<_>>().join(", ");
    format!(
        "WITH RECURSIVE s AS (
             (SELECT {0} FROM {name} AS t WHERE {nulls} ORDER BY {0} LIMIT 1)
             UNION ALL
             SELECT {n} FROM s CROSS JOIN LATERAL
                 (SELECT {0} FROM {name} AS t WHERE ({0}) > ({s}) AND {nulls} ORDER BY {0} LIMIT 1) AS n
         ) SELECT {texts} FROM s",
        of("t"),
        n = of("n"),
        s = of("s"),
        nulls = not_null("t"),
        texts = texts("s"),
    )
}

impl Clock {
    fn sql(self) -> &'static str {
        match self {
            Self::Instant => "timestamptz",
            Self::Utc => "timestamp",
            Self::Whole => "bigint",
        }
    }

    fn parameter_type(self) -> &'static str {
        if self == Self::Whole { "bigint" } else { "timestamptz" }
    }

    /// A parameter of this clock's type as what the column holds.
    fn of_parameter(self, parameter: &str) -> String {
        match self {
            Self::Instant => format!("{parameter}::timestamptz"),
            Self::Utc => format!("({parameter}::timestamptz AT TIME ZONE 'UTC')"),
            Self::Whole => format!("{parameter}::bigint"),
        }
    }
}

impl Table {
    /// Says what somebody may want to change.
    pub(super) fn describe(&self) {
        let name = &self.name;
        // What is beneath a view is not looked into.
        if !self.indexed && self.is_table {
            tracing::warn!(
                "{name} has no index of its series' columns and {}: every read goes through the whole table",
                self.ts
            );
        }
        if let Some(why) = self.deaf {
            tracing::info!("{why}: {name} is polled");
        } else if !self.is_table {
            tracing::info!("{name} is a view, which announces nothing: it is polled");
        } else if !self.announces {
            tracing::info!(
                "{name} does not announce its bars: it is polled; `vela db init --watch` changes that"
            );
        }
    }

    /// The whole number that `ts` is in this table; the smallest there is before its unit is known.
    pub(super) fn whole(&self, ts: Timestamp) -> i64 {
        self.times.lock().write_integer(ts).unwrap_or(i64::MIN)
    }
}
