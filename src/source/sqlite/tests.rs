//! The table source against a feed that writes into the same file.

use super::*;
use crate::config::CatchUp;
use crate::domain::Timeframe;
use crate::source::testing::drained;
use rusqlite::types::Value;
use tempfile::TempDir;

const TABLE: &str = "CREATE TABLE bars (symbol TEXT, timeframe TEXT, ts, open REAL, high REAL, low REAL, \
     close REAL, volume REAL, UNIQUE (symbol, timeframe, ts))";
const ALL: History = History::new(0, CatchUp::All, 1000);
/// 2024-06-01T00:00:00Z.
const DAY_S: i64 = 1_717_200_000;

struct Feed {
    folder: TempDir,
    connection: Connection,
}

impl Feed {
    fn new(create: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("bars.db")).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF").unwrap();
        connection.execute_batch(create).unwrap();
        Self { folder, connection }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("bars.db")
    }

    /// Adds the bar that opens `minute` minutes into the day.
    fn add(&self, symbol: &str, timeframe: &str, minute: i64) {
        let ts = Timestamp::from_secs(DAY_S + minute * 60).to_string();
        self.add_at(symbol, timeframe, ts);
    }

    fn add_at(&self, symbol: &str, timeframe: &str, ts: impl Into<Value>) {
        self.connection
            .execute("INSERT INTO bars VALUES (?1, ?2, ?3, 1, 1, 1, 1, 1)", (symbol, timeframe, ts.into()))
            .unwrap();
    }

    fn follow(&self, history: History, watermarks: &[(&str, i64)]) -> SqliteSource {
        let watermarks: Vec<_> = watermarks
            .iter()
            .map(|(symbol, minute)| {
                let key = SeriesKey::new(symbol, Timeframe::MINUTE).unwrap();
                (Arc::new(key), Timestamp::from_secs(DAY_S + minute * 60))
            })
            .collect();
        SqliteSource::open(&self.path(), "bars", history, &watermarks, Duration::ZERO).unwrap()
    }

    fn refused(&self) -> String {
        let opened = SqliteSource::open(&self.path(), "bars", ALL, &[], Duration::ZERO);
        opened.err().map(|error| error.to_string()).unwrap_or_default()
    }
}

/// What there is by now.
fn drain(source: &mut SqliteSource) -> Vec<String> {
    drained(source, DAY_S)
}

#[test]
fn what_is_there_comes_merged_and_what_is_added_comes_live() {
    let feed = Feed::new(TABLE);
    for (symbol, timeframe, minute) in
        [("A", "1m", 6), ("A", "1m", 4), ("A", "5m", 0), ("B", "1m", 3), ("A", "1m", 5), ("B", "1m", 4)]
    {
        feed.add(symbol, timeframe, minute);
    }
    let mut source = feed.follow(ALL, &[("A", 4)]);
    assert_eq!(drain(&mut source), ["B 1m 3 c", "A 5m 0 c", "A 1m 4 w", "B 1m 4 c", "A 1m 5 c", "A 1m 6 c"]);
    assert!(drain(&mut source).is_empty());
    feed.add("A", "1m", 7);
    feed.add("C", "1m", 1);
    assert_eq!(drain(&mut source), ["A 1m 7 l", "C 1m 1 l"]);
    assert!(drain(&mut source).is_empty());
}

#[test]
fn the_history_rule_holds_over_many_pages_with_and_without_an_index() {
    for create in [TABLE.to_owned(), TABLE.replace(", UNIQUE (symbol, timeframe, ts)", "")] {
        let feed = Feed::new(&create);
        feed.connection.execute_batch("BEGIN").unwrap();
        for minute in (0..1000).rev() {
            feed.add("A", "1m", minute);
            feed.add("B", "1m", minute);
        }
        feed.connection.execute_batch("COMMIT").unwrap();
        let history = History::new(300, CatchUp::All, 200);
        let mut source = feed.follow(history, &[("A", 989)]);
        let bars = drain(&mut source);
        let of = |symbol: &str| -> Vec<String> {
            bars.iter().filter(|bar| bar.starts_with(symbol)).cloned().collect()
        };
        let expected = |symbol: &str, first: i64, predicted: i64| -> Vec<String> {
            (first..1000)
                .map(|m| format!("{symbol} 1m {m} {}", if m < predicted { 'w' } else { 'c' }))
                .collect()
        };
        assert_eq!(of("A"), expected("A", 690, 990));
        assert_eq!(of("B"), expected("B", 500, 800));
        feed.add("A", "1m", 1000);
        assert_eq!(drain(&mut source), ["A 1m 1000 l"]);
        // Everything, which is delivered without walking back through it.
        let all = History::new(0, CatchUp::Latest, 0);
        let bars = drain(&mut feed.follow(all, &[]));
        assert_eq!(bars.len(), 2001);
        assert_eq!(bars.iter().filter(|bar| bar.ends_with('c')).count(), 2);
    }
}

#[test]
fn rows_that_commit_during_the_start_come_once_and_live() {
    let feed = Feed::new(TABLE);
    feed.connection.execute_batch("BEGIN").unwrap();
    (0..3000).for_each(|minute| feed.add("A", "1m", minute));
    feed.connection.execute_batch("COMMIT").unwrap();
    let mut source = feed.follow(ALL, &[]);
    let mut bars = Vec::new();
    assert_eq!(source.poll(&mut bars).unwrap(), Poll::Ready);
    assert_eq!(bars.len(), BARS_PER_POLL);
    feed.add("A", "1m", 3000);
    feed.add("A", "1m", -1);
    let rest = drain(&mut source);
    assert_eq!(rest.len(), 3002 - BARS_PER_POLL);
    assert_eq!(rest[rest.len() - 3..], ["A 1m 2999 c", "A 1m 3000 l", "A 1m -1 l"]);
}

#[test]
fn file_and_table_may_come_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bars.db");
    let mut source = SqliteSource::open(&path, "trading.bars", ALL, &[], Duration::ZERO).unwrap();
    assert!(drain(&mut source).is_empty());
    let connection = Connection::open(&path).unwrap();
    assert!(drain(&mut source).is_empty());
    connection.execute_batch(TABLE).unwrap();
    assert!(drain(&mut source).is_empty());
    let feed = Feed { folder, connection };
    feed.add("A", "1m", 1);
    assert_eq!(drain(&mut source), ["A 1m 1 l"]);
}

#[test]
fn a_locked_file_is_waited_for() {
    let feed = Feed::new("PRAGMA journal_mode = DELETE");
    feed.connection.execute_batch(TABLE).unwrap();
    let mut source = feed.follow(ALL, &[]);
    assert!(drain(&mut source).is_empty());
    feed.add("A", "1m", 1);
    feed.connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(drain(&mut source).is_empty());
    feed.connection.execute_batch("COMMIT").unwrap();
    assert_eq!(drain(&mut source), ["A 1m 1 l"]);
}

#[test]
fn tables_that_cannot_be_followed_are_refused() {
    let feed = Feed::new("CREATE TABLE bars (symbol, tf, ts, open, high, low, close)");
    let error = feed.refused();
    assert!(error.contains("has the columns symbol, tf, ts"), "{error}");
    assert!(error.contains("expected symbol, timeframe, ts, open, high, low, close, volume"), "{error}");
    let keyed = TABLE.replace("UNIQUE", "PRIMARY KEY") + " WITHOUT ROWID";
    assert!(Feed::new(&keyed).refused().contains("WITHOUT ROWID"));
    let view = TABLE.replace("bars", "other") + "; CREATE VIEW bars AS SELECT * FROM other";
    assert!(Feed::new(&view).refused().contains("is a view"));
    let feed = Feed::new(TABLE);
    std::fs::write(feed.folder.path().join("text.db"), "no database, but text of some length".repeat(50))
        .unwrap();
    let path = feed.folder.path().join("text.db");
    let error = SqliteSource::open(&path, "bars", ALL, &[], Duration::ZERO).err().unwrap();
    assert!(error.to_string().contains("not a database"), "{error}");
}

#[test]
fn integer_times_are_read_and_mixed_ones_refused() {
    let declared = [TABLE, &TABLE.replace("ts,", "ts TEXT,"), &TABLE.replace("ts,", "ts INTEGER,")];
    for (factor, create) in [1, 1000, 1_000_000].into_iter().zip(declared) {
        let feed = Feed::new(create);
        feed.add_at("A", "1m", DAY_S * factor);
        let mut source = feed.follow(ALL, &[("A", 0)]);
        assert_eq!(drain(&mut source), ["A 1m 0 w"]);
        feed.add_at("A", "1m", (DAY_S + 60) * factor);
        assert_eq!(drain(&mut source), ["A 1m 1 l"]);
    }
    let feed = Feed::new(TABLE);
    feed.add_at("A", "1m", DAY_S);
    feed.add_at("A", "1m", DAY_S * 1000 + 60_000);
    let error = feed.follow(ALL, &[]).poll(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("in one unit"), "{error}");
    let feed = Feed::new(TABLE);
    feed.add_at("A", "1m", 20_240_601);
    assert!(feed.follow(ALL, &[]).poll(&mut Vec::new()).unwrap_err().to_string().contains("20240601"));
}

#[test]
fn decimals_that_are_kept_as_text_are_numbers() {
    let feed = Feed::new(TABLE);
    feed.connection
        .execute(
            "INSERT INTO bars VALUES ('A', '1m', '2024-06-01T00:00:00Z', '0.1', '0.30000000000000004', '1e-8', '0.2', '3')",
            [],
        )
        .unwrap();
    let mut bars = Vec::new();
    assert_eq!(feed.follow(ALL, &[]).poll(&mut bars).unwrap(), Poll::Ready);
    let bar = bars[0].bar;
    // As the compiler reads them: to the nearest number.
    assert_eq!([bar.open, bar.high, bar.low, bar.close, bar.volume], [0.1, 0.1 + 0.2, 1e-8, 0.2, 3.0]);
}

#[test]
fn unreadable_rows_are_counted_and_bad_prices_passed_on() {
    let feed = Feed::new(TABLE);
    feed.add_at("A", "1m", "soon".to_owned());
    feed.add("A", "1M", 0);
    feed.add("A", "1m", 1);
    let mut source = feed.follow(ALL, &[]);
    assert_eq!(drain(&mut source), ["A 1m 1 c"]);
    assert_eq!(source.rows_skipped(), 2);
    feed.add_at("A", "1m", DAY_S);
    feed.add("A", "two", 2);
    feed.connection
        .execute("INSERT INTO bars VALUES ('A', '1m', '2024-06-01T00:02:00Z', NULL, 'x', 1, 2, 3)", [])
        .unwrap();
    let mut bars = Vec::new();
    assert_eq!(source.poll(&mut bars).unwrap(), Poll::Ready);
    assert_eq!(source.rows_skipped(), 4);
    let bar = bars[0].bar;
    assert!(bar.open.is_nan() && bar.high.is_nan());
    assert_eq!((bar.low, bar.close, bar.volume), (1.0, 2.0, 3.0));
}

#[test]
fn a_table_that_was_emptied_or_replaced_is_read_anew() {
    let feed = Feed::new(TABLE);
    (0..5).for_each(|minute| feed.add("A", "1m", minute));
    let mut source = feed.follow(ALL, &[]);
    assert_eq!(drain(&mut source).len(), 5);
    feed.connection.execute_batch("DELETE FROM bars").unwrap();
    feed.add("A", "1m", 4);
    feed.add("A", "1m", 5);
    assert_eq!(drain(&mut source), ["A 1m 4 w", "A 1m 5 c"]);
    feed.connection.execute_batch("DROP TABLE bars").unwrap();
    assert!(drain(&mut source).is_empty());
    feed.connection.execute_batch(TABLE).unwrap();
    feed.add("A", "1m", 6);
    assert_eq!(drain(&mut source), ["A 1m 6 c"]);
}

#[test]
fn another_file_of_the_same_name_is_noticed() {
    let create = format!("PRAGMA journal_mode = DELETE; {TABLE}");
    let (feed, other) = (Feed::new(&create), Feed::new(&create));
    feed.add("A", "1m", 1);
    let mut source = feed.follow(ALL, &[]);
    assert_eq!(drain(&mut source), ["A 1m 1 c"]);
    other.add("A", "1m", 1);
    other.add("A", "1m", 2);
    std::fs::rename(other.path(), feed.path()).unwrap();
    source.look_at = Instant::now();
    assert_eq!(drain(&mut source), ["A 1m 1 w", "A 1m 2 c"]);
}
