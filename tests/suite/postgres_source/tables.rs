//! Tables as users have them: other names, types, constants, partitions, with announcements and without.

use super::scene::{Feed, Scene};
use crate::support::cluster::Cluster;
use std::time::{Duration, Instant};
use vela::config::Settings;
use vela::domain::Origin;
use vela::source::{History, Poll, PostgresSource, Source as _, SourceBar};

const LIMIT: Duration = Duration::from_secs(60);

/// Settings of a source with these tables.
fn settings(cluster: &Cluster, tables: &str) -> Settings {
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let overrides = [
        set("source.kind", "postgres"),
        set("source.url", &cluster.url()),
        set("source.tables", tables),
        set("source.recheck_interval_s", "1"),
    ];
    Settings::load(None, std::iter::empty(), &overrides).unwrap().settings
}

fn open(settings: &Settings) -> Result<PostgresSource, String> {
    PostgresSource::open(settings, History::of(&settings.source), &[]).map_err(|error| error.to_string())
}

/// `SYMBOL timeframe minute close origin` of every bar, until there are `count`.
fn bars(source: &mut PostgresSource, count: usize) -> Vec<String> {
    let (mut bars, deadline): (Vec<SourceBar>, _) = (Vec::new(), Instant::now() + LIMIT);
    while bars.len() < count {
        assert!(Instant::now() < deadline, "{} bars instead of {count}: {bars:?}", bars.len());
        let news = source.news();
        match source.poll(&mut bars).unwrap() {
            Poll::Idle(pause) | Poll::Reading(pause) => drop(news.recv_timeout(pause)),
            Poll::Ready | Poll::End => {}
        }
    }
    let text = |SourceBar { series, bar, origin }: &SourceBar| {
        let origin = match origin {
            Origin::Live => 'l',
            Origin::CatchUp => 'c',
            _ => 'w',
        };
        format!("{series} {} {} {origin}", bar.ts.as_secs() / 60, bar.close)
    };
    bars.iter().map(text).collect()
}

fn start(sql: &str) -> Option<(Cluster, Feed)> {
    let cluster = Cluster::start(&[])?;
    let mut feed = Feed::connect(&cluster.url());
    feed.0.batch_execute(sql).unwrap();
    Some((cluster, feed))
}

/// `vela db init --watch` for a table as configured.
fn watch(cluster: &Cluster, table: &str, tables: &str) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vela"))
        .args([
            "db",
            "init",
            "--url",
            &cluster.url(),
            "--watch",
            table,
            "--set",
            &format!("source.tables={tables}"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&format!("{table} announces its new bars")), "{text}");
}

/// A table, what it is configured as, a row of it, and the bar that this is; `$1` is the minute.
const SHAPES: &[(&str, &str, &str, &str)] = &[
    (
        "CREATE TABLE b (symbol varchar(20), timeframe char(4), ts timestamptz, open real, high real, low real, close real,
                         volume bigint, PRIMARY KEY (symbol, timeframe, ts))",
        r#"[{ name = "b" }]"#,
        "INSERT INTO b VALUES ('BTC/USDT', '1m', to_timestamp($1 * 60), 1, 2, 0.5, 1.5, 7)",
        "BTC/USDT 1m $1 1.5",
    ),
    (
        "CREATE SCHEMA \"My Feeds\"; CREATE TYPE tick AS ENUM ('ETH', 'BTC');
         CREATE TABLE \"My Feeds\".\"b.1\"\"m\" (\"Ticker\" tick, \"open time\" timestamp, o numeric(20, 8), h numeric, l numeric,
                         c numeric, v numeric, done integer);
         CREATE INDEX ON \"My Feeds\".\"b.1\"\"m\" (\"Ticker\", \"open time\")",
        r#"[{ name = "My Feeds.\"b.1\"\"m\"", timeframe = "1m", columns = { symbol = "Ticker", ts = "open time", open = "o",
            high = "h", low = "l", close = "c", volume = "v", closed = "done" } }]"#,
        "INSERT INTO \"My Feeds\".\"b.1\"\"m\" VALUES ('BTC', to_timestamp($1 * 60) AT TIME ZONE 'UTC', 1, 2, 0.5, 0.1, NULL, 1)",
        "BTC 1m $1 0.1",
    ),
    (
        "CREATE TABLE btc_5m (t bigint PRIMARY KEY, open float8, high float8, low float8, close float8, volume float8)",
        r#"[{ name = "btc_5m", symbol = "BTC", timeframe = "5m", columns = { ts = "t" } }]"#,
        "INSERT INTO btc_5m VALUES ($1::bigint * 60000, 1, 2, 0.5, 1.5, 7)",
        "BTC 5m $1 1.5",
    ),
    (
        "CREATE TABLE b (tf text, symbol text, ts integer, open float8, high float8, low float8, close float8, volume float8,
                         PRIMARY KEY (tf, symbol, ts))",
        r#"[{ name = "public.b", columns = { timeframe = "tf" } }]"#,
        "INSERT INTO b VALUES ('1m', 'X', $1 * 60, 1, 2, 0.5, 1.5, 7)",
        "X 1m $1 1.5",
    ),
    (
        "CREATE TABLE b (symbol text, timeframe interval, ts timestamptz, open float8, high float8, low float8, close float8,
                         volume float8, closed text, PRIMARY KEY (symbol, timeframe, ts));
         ALTER ROLE vela SET IntervalStyle = 'iso_8601'; ALTER ROLE vela SET TimeZone = 'Asia/Kolkata'",
        r#"[{ name = "b" }]"#,
        "INSERT INTO b VALUES ('I', '5 minutes', to_timestamp($1 * 60), 1, 2, 0.5, 1.5, 7, 'Yes')",
        "I 5m $1 1.5",
    ),
    (
        "CREATE TABLE b (symbol text, \"Seconds\" integer, ts timestamp, open float8, high float8, low float8, close float8,
                         volume float8, PRIMARY KEY (symbol, \"Seconds\", ts))",
        r#"[{ name = "b", timeframe_unit = "s", columns = { timeframe = "Seconds" } }]"#,
        "INSERT INTO b VALUES ('S', 60, to_timestamp($1 * 60) AT TIME ZONE 'UTC', 1, 2, 0.5, 1.5, 7)",
        "S 1m $1 1.5",
    ),
    (
        "CREATE TABLE b (symbol text, timeframe text, ts timestamptz, open float8, high float8, low float8, close float8,
                         volume float8, PRIMARY KEY (symbol, timeframe, ts)) PARTITION BY RANGE (ts);
         CREATE TABLE b_old PARTITION OF b FOR VALUES FROM (MINVALUE) TO ('2024-01-01T00:05:00Z');
         CREATE TABLE b_new PARTITION OF b FOR VALUES FROM ('2024-01-01T00:05:00Z') TO (MAXVALUE)",
        r#"[{ name = "b" }]"#,
        "INSERT INTO b VALUES ('P', '1m', to_timestamp($1 * 60), 1, 2, 0.5, 1.5, 7)",
        "P 1m $1 1.5",
    ),
];

/// Monday, 2024-01-01, in minutes.
const FIRST: i64 = 28_401_120;

#[test]
fn tables_of_every_shape_are_read_announced_and_polled() {
    for (create, tables, insert, expected) in SHAPES {
        let Some((cluster, mut feed)) = start(create) else { return };
        let tables = tables.replace('\n', " ");
        let fill = |text: &str, minute: i64| text.replace("$1", &(FIRST + 5 * minute).to_string());
        let mut add = |minute: i64| feed.0.batch_execute(&fill(insert, minute)).unwrap();
        (0..3).for_each(&mut add);
        let settings = settings(&cluster, &tables);
        let name = settings.source.tables[0].name.clone();
        for announced in [false, true] {
            if announced {
                watch(&cluster, &name, &tables);
                watch(&cluster, &name, &tables);
            }
            let before = if announced { 5 } else { 3 };
            let mut source = open(&settings).unwrap();
            let caught_up: Vec<String> =
                (0..before).map(|minute| format!("{} c", fill(expected, minute))).collect();
            assert_eq!(bars(&mut source, before as usize), caught_up, "{create}");
            for minute in before..before + 2 {
                add(minute);
                assert_eq!(bars(&mut source, 1), [format!("{} l", fill(expected, minute))], "{create}");
            }
        }
    }
}

#[test]
fn what_is_not_there_is_said_with_what_there_is() {
    let create = "CREATE TABLE bars (symbol text, tf text, ts timestamptz, o float8, high text, low float8, close float8, volume float8);
                  CREATE TABLE counts (symbol text, timeframe integer, ts timestamptz, open float8, high float8, low float8,
                                       close float8, volume float8)";
    let Some((cluster, _feed)) = start(create) else { return };
    for (tables, words) in [
        ("[]", &["there is no table \"trading\".\"ohlcv\"", "public.bars"][..]),
        ("barz", &["there is no table \"barz\"", "there are public.bars"]),
        (
            "counts",
            &["column \"timeframe\" (timeframe) is integer: say what it counts, timeframe_unit = \"s\""],
        ),
        (
            "[{ name = \"bars\", timeframe_unit = \"s\", columns = { timeframe = \"tf\" } }]",
            &["column \"tf\" (timeframe) is text: timeframe_unit is for whole numbers"],
        ),
        ("bars", &["\"bars\": it has no column `timeframe` (timeframe)", "tf (text)", "timeframe = \"...\""]),
        ("[{ name = \"bars\", timeframe = \"1m\" }]", &["no column `open` (open)", "o (double precision)"]),
        (
            "[{ name = \"bars\", timeframe = \"1m\", columns = { open = \"o\" } }]",
            &["column `high` (high) is text: a number is needed"],
        ),
        (
            "[{ name = \"bars\", timeframe = \"1m\", columns = { ts = \"tf\" } }]",
            &["column `tf` (ts) is text: a time, or a whole number since 1970, is needed"],
        ),
    ] {
        let error = open(&settings(&cluster, tables)).err().unwrap();
        assert!(words.iter().all(|word| error.contains(word)), "{tables}: {error}");
    }
}

#[test]
fn views_are_polled_and_who_may_not_read_is_told_at_the_start() {
    let create =
        "CREATE TABLE b (symbol text, timeframe text, ts timestamptz, open float8, high float8, low float8,
                                  close float8, volume float8, PRIMARY KEY (symbol, timeframe, ts));
                  CREATE VIEW seen AS SELECT * FROM b WHERE symbol <> 'X';
                  CREATE ROLE \"O'Hara\" LOGIN; GRANT SELECT ON seen TO \"O'Hara\"";
    let Some((cluster, mut feed)) = start(create) else { return };
    let url = cluster.url().replace("vela@", "O%27Hara@");
    let of_other = |table: &str| {
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let overrides =
            [set("source.kind", "postgres"), set("source.url", &url), set("source.tables", table)];
        Settings::load(None, std::iter::empty(), &overrides).unwrap().settings
    };
    let error = open(&of_other("b")).err().unwrap();
    assert!(
        error.contains("O'Hara may not read") && error.contains("GRANT SELECT ON \"public\".\"b\""),
        "{error}"
    );
    let mut source = open(&of_other("seen")).unwrap();
    let mut add = |symbol: &str| {
        let sql =
            format!("INSERT INTO b VALUES ('{symbol}', '1m', to_timestamp({FIRST} * 60), 1, 2, 0.5, 1.5, 7)");
        feed.0.batch_execute(&sql).unwrap();
    };
    add("X");
    add("V");
    let seen = bars(&mut source, 1);
    assert!(seen[0].starts_with(&format!("V 1m {FIRST} 1.5")), "{seen:?}");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_vela"))
        .args(["db", "init", "--url", &cluster.url(), "--watch", "seen"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("is a view, which announces nothing"), "{text}");
}

#[test]
fn several_tables_are_followed_at_once_and_unclosed_bars_are_waited_for() {
    let create = "CREATE TABLE a (symbol text, ts timestamptz, open float8, high float8, low float8, close float8, volume float8,
                                 PRIMARY KEY (symbol, ts));
                  CREATE TABLE c (symbol text, ts timestamptz, open float8, high float8, low float8, close float8, volume float8,
                                 closed boolean, PRIMARY KEY (symbol, ts))";
    let Some((cluster, mut feed)) = start(create) else { return };
    let tables = r#"[{ name = "a", timeframe = "1s" }, { name = "c", timeframe = "1m" }]"#;
    watch(&cluster, "a", tables);
    watch(&cluster, "c", tables);
    let mut source = open(&settings(&cluster, tables)).unwrap();
    feed.0
        .batch_execute("INSERT INTO c VALUES ('C', to_timestamp(1704067200), 1, 1, 1, 1, 1, false)")
        .unwrap();
    // A bar of the second that is coming: nobody says when it has closed but the clock.
    feed.0
        .batch_execute(
            "INSERT INTO a VALUES ('A', date_trunc('second', now()) + interval '1 second', 1, 1, 1, 2, 1)",
        )
        .unwrap();
    let seen = bars(&mut source, 1);
    let closed: bool =
        feed.0.query_one("SELECT max(ts) + interval '1 second' <= now() FROM a", &[]).unwrap().get(0);
    assert!(closed && seen[0].starts_with("A 1s "), "{seen:?}");
    feed.0.batch_execute("UPDATE c SET closed = true").unwrap();
    assert_eq!(bars(&mut source, 1), ["C 1m 28401120 1 l"]);
    feed.0.batch_execute("UPDATE c SET close = 3").unwrap();
    assert_eq!(bars(&mut source, 1), ["C 1m 28401120 3 l"], "it was revised");
}

#[test]
fn a_number_that_no_double_is_costs_its_own_bar_alone() {
    let create =
        "CREATE TABLE n (symbol text, ts timestamptz, open numeric, high numeric, low numeric, close numeric,
                                 volume numeric, closed text, PRIMARY KEY (symbol, ts))";
    let Some((cluster, mut feed)) = start(create) else { return };
    let tables = r#"[{ name = "n", timeframe = "1m" }]"#;
    let add = |feed: &mut Feed, minute: i64, close: &str| {
        let sql = format!(
            "INSERT INTO n VALUES ('N', to_timestamp({} * 60), 1, 2, 0.5, {close}, 7, 'yes')",
            FIRST + minute
        );
        feed.0.batch_execute(&sql).unwrap();
    };
    add(&mut feed, 0, "1.5");
    add(&mut feed, 1, "1e400");
    add(&mut feed, 2, "'NaN'");
    let mut source = open(&settings(&cluster, tables)).unwrap();
    let bar = |minute: i64, close: &str, origin: &str| format!("N 1m {} {close} {origin}", FIRST + minute);
    assert_eq!(bars(&mut source, 3), [bar(0, "1.5", "c"), bar(1, "inf", "c"), bar(2, "NaN", "c")]);
    // With its announcement, which is part of the feed's own transaction.
    watch(&cluster, "n", tables);
    let mut source = open(&settings(&cluster, tables)).unwrap();
    assert_eq!(bars(&mut source, 3).len(), 3);
    for (minute, close, read) in
        [(3, "-1e400", "-inf"), (4, "1e-400", "0"), (5, "NULL", "NaN"), (6, "1.25", "1.25")]
    {
        add(&mut feed, minute, close);
        assert_eq!(bars(&mut source, 1), [bar(minute, read, "l")]);
    }
    feed.0
        .batch_execute("UPDATE n SET closed = 'perhaps' WHERE close = 1.5; UPDATE n SET volume = 8")
        .unwrap();
    let changed = bars(&mut source, 6);
    assert!(changed.iter().all(|bar| !bar.starts_with(&format!("N 1m {FIRST} "))), "{changed:?}");
}

#[test]
fn a_users_own_table_tells_a_lone_bar_also_where_an_older_program_made_it_announce() {
    let create = "CREATE TABLE o (sym text, t timestamp, o real, h numeric, l numeric, c numeric, v bigint,
                                 PRIMARY KEY (sym, t))";
    let Some((cluster, mut feed)) = start(create) else { return };
    let columns = r#"symbol = "sym", ts = "t", open = "o", high = "h", low = "l", close = "c", volume = "v""#;
    let tables = format!(r#"[{{ name = "o", timeframe = "1m", columns = {{ {columns} }} }}]"#);
    watch(&cluster, "o", &tables);
    let oid: u32 = feed.0.query_one("SELECT 'o'::regclass::oid", &[]).unwrap().get(0);
    feed.0
        .batch_execute(&format!(
            "CREATE OR REPLACE FUNCTION trading.announce_{oid}() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_notify('vela_bars', 'old'); RETURN NULL; END $$"
        ))
        .unwrap();
    let mut listener = Feed::connect(&cluster.url());
    listener.0.batch_execute("LISTEN vela_bars").unwrap();
    let mut heard = || {
        use postgres::fallible_iterator::FallibleIterator as _;
        let next = listener.0.notifications().timeout_iter(LIMIT).next().unwrap();
        next.expect("an announcement").payload().replace(", ", ",")
    };
    let add = |feed: &mut Feed, values: &str| {
        let sql = format!(
            "INSERT INTO o SELECT s, to_timestamp({FIRST} * 60) AT TIME ZONE 'UTC' + m * interval '1 minute',
                                  0.1, 0.3, 0.1, 0.2, 7 FROM (VALUES {values}) AS b(s, m)"
        );
        feed.0.batch_execute(&sql).unwrap();
    };
    add(&mut feed, "('A', 0)");
    assert_eq!(heard(), "old");
    watch(&cluster, "o", &tables);
    add(&mut feed, "('A', 1)");
    let bits = [f64::from(0.1_f32), 0.3, 0.1, 0.2, 7.0].map(|n| format!("{:016x}", n.to_bits())).concat();
    let ms = |minute: i64| (FIRST + minute) * 60_000;
    assert_eq!(heard(), format!(r#"[{oid},["A","1m",{},"{bits}"]]"#, ms(1)).replace(' ', ""));
    add(&mut feed, "('A', 2), ('A', 3)");
    assert_eq!(heard().replace(' ', ""), format!(r#"[{oid},["A","1m",{}]]"#, ms(2)), "which series");
    // What is told and what is read are the same bits: the look a second later finds nothing new.
    let mut source = open(&settings(&cluster, &tables)).unwrap();
    assert_eq!(bars(&mut source, 4).len(), 4);
    add(&mut feed, "('A', 4)");
    assert_eq!(bars(&mut source, 1), [format!("A 1m {} 0.2 l", FIRST + 4)]);
    let (mut more, until) = (Vec::new(), Instant::now() + Duration::from_millis(2500));
    while Instant::now() < until {
        let news = source.news();
        if let Poll::Idle(pause) | Poll::Reading(pause) = source.poll(&mut more).unwrap() {
            let _ = news.recv_timeout(pause.min(Duration::from_millis(100)));
        }
    }
    assert!(more.is_empty(), "{more:?}");
}

#[test]
fn predict_asks_the_database_for_the_history_of_one_series() {
    let all = crate::service_support::market(3, 80);
    let Some(scene) = Scene::new(&[]) else { return };
    scene.feed().insert(&all);
    let symbol = &all[0].0.symbol;
    let said = scene.vela(&["predict", symbol, "1m", "5"]);
    assert!(said.contains(&format!("{symbol} 1m at horizon 5")), "{said}");
    let ended = scene.ended(&["predict", "NOSUCH", "1m", "5"]);
    ended.refused(1, &["bars are read from postgres://"]);
}
