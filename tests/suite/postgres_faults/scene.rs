//! A running `vela` between a file of bars and a PostgreSQL server, a proxy before the server, and the checker.

use crate::service_support::{Fed, HEADER, Home, MODELS, Service, Table, eventually, line, market};
use crate::support::Random;
use crate::support::cluster::Cluster;
use crate::support::postgres::{count, session};
use crate::support::proxy::Proxy;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vela::config::Settings;
use vela::database::schema;

const SYMBOLS: usize = 8;
/// Bars of each symbol that there can be.
const MINUTES_MAX: usize = 6000;
/// How long the checker's question may take.
const PATIENT: Duration = Duration::from_secs(120);

/// A number out of the environment: the full size of a test.
pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Everything that a fault test needs.
pub struct Scene {
    pub cluster: Cluster,
    pub proxy: Proxy,
    pub home: Home,
    /// Straight to the server, for the test's own questions.
    direct: Settings,
}

/// Bars that are fed until somebody says stop.
pub struct Feed {
    stop: Arc<AtomicBool>,
    handle: JoinHandle<Vec<Fed>>,
}

impl Scene {
    /// A server with the tables, a folder with models, bars' table and configuration (`more` of it).
    pub fn new(more: &str) -> Option<Self> {
        Self::on(Cluster::start(&[])?, more)
    }

    /// The same with a server that writes nothing to its disk before somebody asks for it.
    pub fn lazy() -> Option<Self> {
        Self::on(Cluster::start(&["wal_writer_delay=10s", "wal_writer_flush_after=1GB"])?, "")
    }

    fn on(cluster: Cluster, more: &str) -> Option<Self> {
        let home = Home::bare();
        let mut direct = Settings::default();
        direct.store.url = cluster.url().parse().unwrap();
        schema::init(&mut session(&direct), Vec::new()).unwrap();
        let proxy = Proxy::start(cluster.port);
        home.write(
            "vela.toml",
            format!(
                "store.url = \"postgres://vela@127.0.0.1:{}/postgres?sslmode=disable\"\nstore.spool_path = \"spool\"\n\
                 source.path = \"bars.db\"\nmodels.path = \"{MODELS}\"\nlog.path = \"logs/vela.log\"\n\
                 feature.warm_up = \"defined\"\ndatabase.connect_timeout_ms = 1000\n{more}",
                proxy.port
            ),
        );
        drop(Table::create(&home.path("bars.db")));
        Some(Self { cluster, proxy, home, direct })
    }

    /// `vela run`, once it says that it runs.
    pub fn run(&self) -> Service {
        self.home.run()
    }

    /// Feeds bars from now on, `rate` a second on average, in transactions of a few.
    pub fn feed(&self, rate: u64, seed: u64) -> Feed {
        let mut table = Table::open(&self.home.path("bars.db"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let handle = std::thread::spawn(move || {
            let mut bars = market(SYMBOLS, MINUTES_MAX);
            let (mut random, mut fed, begin) = (Random(seed), 0, Instant::now());
            while !stopped.load(Ordering::Relaxed) {
                let some = 1 + random.below(SYMBOLS as u64) as usize;
                assert!(fed + some <= bars.len(), "the bars ran out after {:?}", begin.elapsed());
                table.feed(&bars[fed..fed + some]);
                fed += some;
                let due = Duration::from_micros(fed as u64 * 1_000_000 / rate);
                std::thread::sleep(due.saturating_sub(begin.elapsed()));
            }
            bars.truncate(fed);
            bars
        });
        Feed { stop, handle }
    }

    /// The bytes that wait in the spool.
    pub fn spool_bytes(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(self.home.path("spool")) else { return 0 };
        let rows =
            entries.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "rows"));
        // A file may go between being listed and being asked.
        rows.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    }

    /// Waits until something waits in the spool; how long that took.
    pub fn spool_fills(&self) -> Duration {
        let begin = Instant::now();
        eventually("rows in the spool", || (self.spool_bytes() > 0).then_some(()));
        begin.elapsed()
    }

    /// Waits until nothing waits in the spool.
    pub fn spool_drains(&self) -> Duration {
        let begin = Instant::now();
        eventually("an empty spool", || (self.spool_bytes() == 0).then_some(()));
        begin.elapsed()
    }

    /// What `vela replay` makes of `bars`.
    fn expected(&self, bars: &[Fed]) -> Vec<String> {
        let mut files = BTreeMap::<&str, String>::new();
        for (series, bar) in bars {
            files.entry(&series.symbol).or_insert_with(|| HEADER.to_owned()).push_str(&line(bar));
        }
        files.iter().for_each(|(symbol, text)| {
            self.home.write(&format!("expected/{symbol}_1m.csv"), text);
        });
        let replay = ["replay", "--config", "vela.toml", "--bars", "expected", "--models", MODELS];
        let ended = self.home.finish(&[&replay[..], &["--store", "sqlite:expected.db", "--json"]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let table = Table::watch(&self.home.path("expected.db"));
        let mut all = table.predictions();
        all.extend(table.refusals());
        all
    }

    /// What is stored, in the same words.
    fn stored(&self) -> Vec<String> {
        let rows = session(&self.direct).run("read all", PATIENT, |client| {
            let time = "to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
            let sql = format!(
                "SELECT concat_ws(' | ', symbol, timeframe, horizon, {time}, model, version), value, \
                 coalesce(outputs::text, 'Null') FROM trading.agentpreds"
            );
            let row = |row: &postgres::Row| {
                let value: f64 = row.get(1);
                format!(
                    "{} | {value} ({:016x}) | {}",
                    row.get::<_, String>(0),
                    value.to_bits(),
                    row.get::<_, String>(2)
                )
            };
            let mut all: Vec<String> = client.driver().query(&sql, &[])?.iter().map(row).collect();
            let sql = format!(
                "SELECT concat_ws(' | ', symbol, timeframe, horizon, {time}, reason, model, detail) \
                 FROM trading.inference_errors"
            );
            all.extend(client.driver().query(&sql, &[])?.iter().map(|row| row.get::<_, String>(0)));
            Ok(all)
        });
        rows.unwrap()
    }

    /// How many outcomes are stored.
    pub fn outcomes(&self) -> i64 {
        let sql = "SELECT (SELECT count(*) FROM trading.agentpreds) + (SELECT count(*) FROM trading.inference_errors)";
        count(&mut session(&self.direct), sql)
    }

    /// Waits until every outcome of `bars` is stored: each once, none that a replay has not, values bit for bit.
    pub fn check(&self, bars: &[Fed]) {
        let expected = self.expected(bars);
        let wanted = expected.len() as i64;
        let mut look = session(&self.direct);
        let sql = "SELECT (SELECT count(*) FROM trading.agentpreds) + (SELECT count(*) FROM trading.inference_errors)";
        eventually(&format!("{wanted} outcomes"), || (count(&mut look, sql) >= wanted).then_some(()));
        let stored = self.stored();
        let only = |a: &[String], b: &[String]| -> Vec<String> {
            let b: HashSet<&String> = b.iter().collect();
            a.iter().filter(|row| !b.contains(row)).take(5).cloned().collect()
        };
        let (extra, lost) = (only(&stored, &expected), only(&expected, &stored));
        let distinct = stored.iter().collect::<HashSet<_>>().len();
        assert!(
            extra.is_empty() && lost.is_empty() && stored.len() == expected.len() && distinct == stored.len(),
            "{} rows stored, {distinct} distinct, {wanted} expected; extra {extra:#?}; lost {lost:#?}",
            stored.len()
        );
        let bad =
            self.files_of_spool().into_iter().filter(|path| path.extension().is_some_and(|end| end == "bad"));
        let predictions = expected.iter().filter(|row| row.contains(" (")).count();
        assert!(
            predictions > expected.len() / 4,
            "too few predictions to say anything: {predictions} of {wanted}"
        );
        println!(
            "{} bars, {wanted} outcomes ({predictions} predictions): lost 0, twice 0; put aside: {}",
            bars.len(),
            bad.count()
        );
    }

    fn files_of_spool(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.home.path("spool")) else { return Vec::new() };
        entries.flatten().map(|entry| entry.path()).collect()
    }

    /// A path inside the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.home.path(name)).to_owned()
    }
}

impl Feed {
    /// Ends it; the bars that were fed.
    pub fn stop(self) -> Vec<Fed> {
        self.stop.store(true, Ordering::Relaxed);
        self.handle.join().unwrap()
    }
}
