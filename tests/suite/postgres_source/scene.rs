//! A database with a feed, a `vela run` that reads it, and the checker: a replay of the same bars.

use crate::service_support::{Ended, Fed, HEADER, Home, assert_same, eventually, line};
use crate::support::cluster::Cluster;
use crate::support::reference;
use postgres::types::ToSql;
use postgres::{Client, NoTls};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vela::domain::{Bar, SeriesKey};
use vela::source::CsvReader;

/// What every run of these tests is configured to.
const SETTINGS: &str = "models.path = \"models\"\nlog.path = \"logs/infer_realtime.log\"\nstore.spool_path = \"spool\"\n\
                        feature.warm_up = \"defined\"\n[source]\nkind = \"postgres\"\n";

/// `full` where VELA_TEST_FULL is set, `short` for every day.
pub fn size<T>(short: T, full: T) -> T {
    if std::env::var_os("VELA_TEST_FULL").is_some_and(|value| value != "0") { full } else { short }
}

/// A server with vela's tables, and the folder of a vela that reads and writes them.
pub struct Scene {
    pub cluster: Cluster,
    pub home: Home,
}

impl Scene {
    /// With further settings of the server; `None` where there is no PostgreSQL.
    pub fn new(conf: &[&str]) -> Option<Self> {
        let scene = Self { cluster: Cluster::start(conf)?, home: Home::new() };
        scene.configure(&scene.cluster.url(), "");
        scene.vela(&["db", "init"]);
        Some(scene)
    }

    /// Writes vela's configuration: the database, and `more` of `[source]`.
    pub fn configure(&self, url: &str, more: &str) {
        self.home.write("vela.toml", format!("store.url = \"{url}\"\n{SETTINGS}{more}"));
    }

    /// Runs a command of vela's with the configuration, which must succeed.
    pub fn vela(&self, arguments: &[&str]) -> String {
        self.ended(arguments).done()
    }

    /// Runs a command of vela's with the configuration.
    pub fn ended(&self, arguments: &[&str]) -> Ended {
        self.home.finish(&[arguments, &["--config", "vela.toml"]].concat())
    }

    /// A connection to the database.
    pub fn feed(&self) -> Feed {
        Feed::connect(&self.cluster.url())
    }

    /// The predictions of a replay of `bars`: what must be in the database in the end.
    pub fn replayed(&self, bars: &[Fed]) -> Vec<String> {
        let mut files: BTreeMap<Arc<SeriesKey>, BTreeMap<i64, &Bar>> = BTreeMap::new();
        for (series, bar) in bars {
            // The last of a time stands.
            files.entry(Arc::clone(series)).or_default().insert(bar.ts.as_millis(), bar);
        }
        for (series, bars) in files {
            let lines: String = bars.values().map(|bar| line(bar)).collect();
            let name = format!("bars/{}_{}.csv", series.symbol, series.timeframe);
            self.home.write(&name, format!("{HEADER}{lines}"));
        }
        self.home.replayed("replay.db").predictions()
    }

    /// Waits until the database has a prediction for each of `expected`, and checks that it has those, bit for bit.
    pub fn must_have(&self, feed: &mut Feed, expected: &[String]) {
        eventually(&format!("{} predictions", expected.len()), || {
            let count = feed.count(
                "SELECT count(*) FROM
                 (SELECT DISTINCT symbol, timeframe, horizon, ts, model FROM trading.agentpreds) a",
            );
            assert!(count <= expected.len() as i64, "{count} predictions, more than {}", expected.len());
            (count == expected.len() as i64).then_some(())
        });
        // What is answered anew may come a moment later.
        eventually("the same as a replay", || {
            let found = feed.predictions();
            (found == expected || !self.is_moving(feed)).then_some(())
        });
        assert_same("agentpreds", &feed.predictions(), expected);
    }

    /// Whether rows still come in.
    fn is_moving(&self, feed: &mut Feed) -> bool {
        let sql = "SELECT count(*) FROM trading.agentpreds";
        let before = feed.count(sql);
        std::thread::sleep(Duration::from_secs(1));
        feed.count(sql) != before
    }
}

/// Somebody else's connection to the database.
pub struct Feed(pub Client);

impl Feed {
    pub fn connect(url: &str) -> Self {
        Self(Client::connect(url, NoTls).unwrap())
    }

    /// Adds or replaces bars in one statement and transaction.
    pub fn try_insert(&mut self, bars: &[Fed]) -> Result<(), postgres::Error> {
        let sql = "INSERT INTO trading.ohlcv (symbol, timeframe, ts, open, high, low, close, volume)
                   SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::float8[], $5::float8[], $6::float8[],
                                        $7::float8[], $8::float8[])
                   ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET open = excluded.open, high = excluded.high,
                       low = excluded.low, close = excluded.close, volume = excluded.volume";
        let symbols: Vec<&str> = bars.iter().map(|(series, _)| &*series.symbol).collect();
        let timeframes: Vec<String> = bars.iter().map(|(series, _)| series.timeframe.to_string()).collect();
        let times: Vec<SystemTime> = bars.iter().map(|(_, bar)| time(bar)).collect();
        let column = |of: fn(&Bar) -> f64| bars.iter().map(|(_, bar)| of(bar)).collect::<Vec<f64>>();
        let numbers = [
            column(|b| b.open),
            column(|b| b.high),
            column(|b| b.low),
            column(|b| b.close),
            column(|b| b.volume),
        ];
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&symbols, &timeframes, &times];
        parameters.extend(numbers.iter().map(|column| column as &(dyn ToSql + Sync)));
        self.0.execute(sql, &parameters).map(drop)
    }

    pub fn insert(&mut self, bars: &[Fed]) {
        self.try_insert(bars).unwrap();
    }

    /// The one number that `sql` gives.
    pub fn count(&mut self, sql: &str) -> i64 {
        self.0.query_one(sql, &[]).unwrap().get(0)
    }

    /// The predictions in force, as [`Table::predictions`] writes them.
    pub fn predictions(&mut self) -> Vec<String> {
        let sql = "SELECT DISTINCT ON (symbol, timeframe, horizon, ts, model) symbol, timeframe, horizon,
                          to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), model, version, value, outputs::text
                   FROM trading.agentpreds ORDER BY symbol, timeframe, horizon, ts, model, revision DESC";
        let row = |row: &postgres::Row| {
            let value: f64 = row.get(6);
            let outputs: Option<String> = row.get(7);
            [
                row.get::<_, String>(0),
                row.get(1),
                row.get::<_, i64>(2).to_string(),
                row.get(3),
                row.get(4),
                row.get::<_, i64>(5).to_string(),
                format!("{value} ({:016x})", value.to_bits()),
                outputs.unwrap_or_else(|| "Null".to_owned()),
            ]
            .join(" | ")
        };
        let mut rows: Vec<String> = self.0.query(sql, &[]).unwrap().iter().map(row).collect();
        rows.sort();
        rows
    }
}

/// When a bar opens, as the driver takes it.
pub fn time(bar: &Bar) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(bar.ts.as_millis().unsigned_abs())
}

/// The first `count` bars of every real series of one minute, in the order in which they close; `None` where there are none.
pub fn real_bars(count: usize) -> Option<Vec<Fed>> {
    let folder = reference("data")?;
    let mut bars = Vec::new();
    for file in crate::support::csv_files(&folder) {
        let (symbol, timeframe) = crate::support::series_of(&file);
        if timeframe != "1m" {
            continue;
        }
        let series = Arc::new(SeriesKey::new(&symbol, timeframe.parse().unwrap()).unwrap());
        let mut reader = CsvReader::open(&file).unwrap();
        let next = std::iter::from_fn(|| reader.next_bar().unwrap());
        bars.extend(next.take(count).enumerate().map(|(place, bar)| (place, (Arc::clone(&series), bar))));
    }
    // Real series lie years apart: place by place, as if they were of one day.
    bars.sort_by_key(|(place, _)| *place);
    Some(bars.into_iter().map(|(_, fed)| fed).collect())
}
