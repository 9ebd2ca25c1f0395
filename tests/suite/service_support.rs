//! A `vela` of the tests: its folder, bars to feed it, its tables, its end.

use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use vela::domain::{Bar, SeriesKey, Timeframe, Timestamp};
use vela::source::market::{Instrument, Market, MarketSettings};

/// How long anything that must happen may take on a slow machine.
pub const LIMIT: Duration = Duration::from_secs(90);
/// The repository's models.
pub const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models");
/// Predictions and refusals of one good bar: the horizons of [`MODELS`].
pub const OUTCOMES_PER_BAR: usize = 3;
/// The header of a file of bars.
pub const HEADER: &str = "ts,open,high,low,close,volume\n";
/// Monday, 2024-01-01: past for every clock.
const START: Timestamp = Timestamp::from_secs(1_704_067_200);

/// A bar with its series.
pub type Fed = (Arc<SeriesKey>, Bar);

/// Asks until `look` gives something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Minute after minute of a market with `symbols` symbols, in the order in which the bars close.
pub fn market(symbols: usize, minutes: usize) -> Vec<Fed> {
    let mut instruments = Instrument::majors();
    instruments.truncate(symbols);
    instruments.extend(Instrument::synthetic(symbols - instruments.len()));
    let timeframe = Timeframe::MINUTE;
    let settings = MarketSettings { seed: 3, instruments, timeframe, start: START };
    let mut market = Market::new(settings).unwrap();
    let mut bars = Vec::new();
    (0..minutes).for_each(|_| market.next_minute(&mut bars));
    bars
}

/// A bar as a line of a file.
pub fn line(bar: &Bar) -> String {
    format!("{},{},{},{},{},{}\n", bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume)
}

/// A folder with models and a configuration, in which `vela` runs.
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// A folder with the repository's models and a configuration: a table `ohlcv` and the store in `vela.db`.
    pub fn new() -> Self {
        let home = Self::bare();
        copy(Path::new(MODELS), &home.path("models"));
        home.configure("[source]\npath = \"vela.db\"\n");
        home
    }

    /// An empty folder.
    pub fn bare() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, with its folder.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Appends to a file.
    pub fn append(&self, name: &str, text: &str) {
        let mut file = File::options().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Writes the configuration: where models, rows and log are, that features serve as soon as they are defined (after an
    /// hour of bars), and `more`.
    pub fn configure(&self, more: &str) {
        let text = "store.url = \"sqlite:vela.db\"\nmodels.path = \"models\"\n\
                    log.path = \"logs/infer_realtime.log\"\nfeature.warm_up = \"defined\"\n\
                    serve.listen = \"\"\n";
        self.write("vela.toml", format!("{text}{more}"));
    }

    /// The database of the configuration.
    pub fn database(&self) -> PathBuf {
        self.path("vela.db")
    }

    /// The program, in this folder, without the variables of whoever runs the tests.
    pub fn vela(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vela"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("VELA_") && name != "VELA_CACHE_DIR" {
                command.env_remove(name);
            }
        }
        command
    }

    /// `vela run` with the configuration, once it says that it runs.
    pub fn run(&self) -> Service {
        let mut service = self.spawn_run();
        service.says("vela runs with");
        service
    }

    /// `vela run` with the configuration, as soon as it is a process.
    pub fn spawn_run(&self) -> Service {
        Service::start(self, &mut self.vela(&["run", "--config", "vela.toml"]))
    }

    /// The predictions and refusals of a replay of `bars/` over `models/`, kept in `database`, which is made anew.
    pub fn replayed(&self, database: &str) -> Table {
        let _ = std::fs::remove_file(self.path(database));
        let store = format!("sqlite:{database}");
        let replay = ["replay", "--bars", "bars", "--models", "models", "--store", &store];
        self.finish(&[&replay[..], &["--set", "feature.warm_up=defined"]].concat()).done();
        Table::watch(&self.path(database))
    }

    /// Runs `vela` to its end.
    pub fn finish(&self, arguments: &[&str]) -> Ended {
        Service::start(self, &mut self.vela(arguments)).ended()
    }
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, target) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a process came to.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// It was refused as it must be: with `code`, the words on standard error, nothing else, no panic.
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.lines().any(|line| line.starts_with("error:")), "{self:?}");
        assert!(!self.stdout.contains("error:"), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing: {}", self.stderr);
        }
    }

    /// It did what it was asked; its standard output.
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// A running process; killed when it is dropped.
pub struct Service {
    child: Child,
    // Files and not pipes: what nobody reads must not stop it.
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Service {
    /// Starts `command`.
    pub fn start(home: &Home, command: &mut Command) -> Self {
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let [stdout, stderr] = ["out", "err"].map(|kind| home.path(&format!(".{number}.{kind}")));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Self { child: command.spawn().unwrap(), stdout, stderr }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stderr).unwrap()).into_owned()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.stdout).unwrap()).into_owned()
    }

    /// Waits until it wrote `text` to standard error.
    pub fn says(&mut self, text: &str) {
        eventually(text, || {
            let stderr = self.stderr();
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() || stderr.contains(text), "it ended without `{text}`: {stderr}");
            stderr.contains(text).then_some(())
        });
    }

    /// Where it says that it serves HTTP.
    pub fn address(&mut self) -> String {
        self.says("shows what it does");
        let stderr = self.stderr();
        stderr.split_once("http://").unwrap().1.split(' ').next().unwrap().to_owned()
    }

    /// It must not have ended by itself.
    pub fn lives(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it ended by itself: {}", self.stderr());
    }

    /// Sends it a signal: `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) {
        self.lives();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, which must come, and without a panic.
    pub fn ended(mut self) -> Ended {
        let deadline = Instant::now() + LIMIT;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            assert!(Instant::now() < deadline, "it hangs: {}{}", self.stdout(), self.stderr());
            std::thread::sleep(Duration::from_millis(2));
        };
        let ended = Ended { code, stdout: self.stdout(), stderr: self.stderr() };
        assert!(!format!("{ended:?}").contains("panicked"), "{ended:?}");
        ended
    }

    /// Stops it by SIGTERM: it must end cleanly.
    pub fn stop(self) -> Ended {
        self.signal("TERM");
        let ended = self.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection of somebody else to a database that vela writes.
pub struct Table(pub Connection);

impl Table {
    /// Opens a file for feeding; the tables are made as the store makes them.
    pub fn create(path: &Path) -> Self {
        drop(vela::store::SqliteStore::open(path).unwrap());
        Self::open(path)
    }

    /// Opens a file that is there.
    pub fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(LIMIT).unwrap();
        Self(connection)
    }

    /// Opens a file for reading only.
    pub fn watch(path: &Path) -> Self {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        connection.busy_timeout(LIMIT).unwrap();
        Self(connection)
    }

    /// Adds bars in one transaction; one that is there takes the place of the other, as a new row. NaN is stored as NULL,
    /// as SQLite has none.
    pub fn feed(&mut self, bars: &[Fed]) {
        let transaction = self.0.transaction().unwrap();
        {
            let sql = "INSERT OR REPLACE INTO ohlcv VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let mut insert = transaction.prepare_cached(sql).unwrap();
            for (series, Bar { ts, open, high, low, close, volume }) in bars {
                let (timeframe, ts) = (series.timeframe.to_string(), ts.to_string());
                insert.execute((&*series.symbol, timeframe, ts, open, high, low, close, volume)).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    /// (predictions, refusals) stored so far.
    pub fn counts(&self) -> (usize, usize) {
        let sql = "SELECT (SELECT count(*) FROM agentpreds), (SELECT count(*) FROM inference_errors)";
        let mut statement = self.0.prepare_cached(sql).unwrap();
        statement
            .query_row([], |row| Ok((row.get::<_, i64>(0)? as usize, row.get::<_, i64>(1)? as usize)))
            .unwrap()
    }

    /// Outcomes stored so far.
    pub fn outcomes(&self) -> usize {
        let (predictions, refusals) = self.counts();
        predictions + refusals
    }

    /// Waits until exactly `count` outcomes are stored.
    pub fn reaches(&self, count: usize) {
        eventually(&format!("{count} outcomes"), || {
            let found = self.outcomes();
            assert!(found <= count, "{found} outcomes, more than {count}");
            (found == count).then_some(())
        });
    }

    /// Every stored prediction without its times; the value by its bits.
    pub fn predictions(&self) -> Vec<String> {
        let sql = "SELECT symbol, timeframe, horizon, ts, model, version, value, outputs FROM agentpreds ORDER BY 1, 2, 3, 4, 5, 6";
        self.rows(sql)
    }

    /// Every stored refusal without its time.
    pub fn refusals(&self) -> Vec<String> {
        let sql = "SELECT symbol, timeframe, horizon, ts, reason, model, detail FROM inference_errors ORDER BY 1, 2, 3, 4, 5, 6";
        self.rows(sql)
    }

    /// The last word on every bar: of each model's predictions that of the highest revision, by series, bar and horizon.
    pub fn last_words(&self) -> Vec<(String, f64)> {
        let sql = "SELECT symbol || ' ' || ts || ' ' || horizon || ' ' || model, value, max(revision) FROM agentpreds \
                   GROUP BY symbol, ts, horizon, model ORDER BY 1";
        let mut statement = self.0.prepare_cached(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn rows(&self, sql: &str) -> Vec<String> {
        use rusqlite::types::ValueRef;
        let mut statement = self.0.prepare(sql).unwrap();
        let columns = statement.column_count();
        let cell = |value: ValueRef<'_>| match value {
            ValueRef::Real(value) => format!("{value} ({:016x})", value.to_bits()),
            ValueRef::Integer(value) => value.to_string(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            other => format!("{other:?}"),
        };
        let rows = statement.query_map([], |row| {
            Ok((0..columns).map(|i| cell(row.get_ref(i).unwrap())).collect::<Vec<_>>().join(" | "))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// How far each series is done: (symbol, watermark).
    pub fn watermarks(&self) -> Vec<String> {
        self.rows("SELECT symbol, watermark FROM inference_state ORDER BY 1")
    }
}

/// Two dumps are the same; only what differs is shown.
pub fn assert_same(what: &str, found: &[String], expected: &[String]) {
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        let b: std::collections::HashSet<&String> = b.iter().collect();
        a.iter().filter(|row| !b.contains(row)).take(5).cloned().collect()
    };
    let (extra, missing) = (only(found, expected), only(expected, found));
    assert!(
        extra.is_empty() && missing.is_empty() && found.len() == expected.len(),
        "{what}: {} rows instead of {}; not expected: {extra:#?}; missing: {missing:#?}",
        found.len(),
        expected.len()
    );
}
