//! `vela demo`: a simulated live market through the whole pipeline, with the models that the program carries.

mod assets;
mod screen;

use super::report::Report;
use super::settings::SetOptions;
use super::{CliError, signals};
use crate::config::{Loaded, SetBy, Settings, SourceKind, SourceSettings, StoreUrl};
use crate::domain::Timestamp;
use crate::engine::{Engine, Overrides};
use crate::serve::Server;
use crate::source::market::{Instrument, Market, MarketSettings};
use crate::source::{Pace, Simulated, Source as _};
use crate::store::SqliteStore;
use screen::Screen;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Enough for every feature of the demo's models to be stable.
const WARM_UP_MINUTES: u64 = 300;
/// Live minutes of `--once`.
const ONCE_MINUTES: u64 = 500;
/// The seed of the market that one sees; the models were trained on another.
const SEED: u64 = 7;
/// The open time of the first bar of `--once` and of an export: 2026-01-05, a Monday.
const FIXED_START: Timestamp = Timestamp::from_secs(1_767_571_200);
/// The file of its rows.
const DATABASE: &str = "vela.db";
const TICK: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Run a fixed number of bars as fast as possible, print the summary and end
    #[arg(long)]
    once: bool,
    /// Print the summary as JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// How many symbols: the first six have names, the others numbers
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=2000))]
    symbols: u16,
    /// Minutes of the market in a minute of yours
    #[arg(long, default_value_t = 60.0, value_name = "FACTOR", value_parser = speed)]
    speed: f64,
    /// Minutes of live market with --once or --export
    #[arg(long, default_value_t = ONCE_MINUTES, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    minutes: u64,
    /// Where the demo keeps its models and its SQLite file; made anew at every start
    #[arg(long, default_value = "vela-demo", value_name = "DIR")]
    dir: PathBuf,
    /// Where to serve HTTP while it runs: an address and a port, or "" for nowhere
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Only write the market's bars as CSV files into this folder
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
    /// The seed of the market
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    #[command(flatten)]
    set: SetOptions,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "write a number, such as 60")?;
    if (0.1..=6000.0).contains(&speed) { Ok(speed) } else { Err("from 0.1 to 6000".into()) }
}

fn instruments(count: usize) -> Vec<Instrument> {
    let mut instruments = Instrument::majors();
    instruments.truncate(count);
    let more = count - instruments.len();
    instruments.extend(Instrument::synthetic(more));
    instruments
}

fn market(arguments: &Arguments) -> Result<Market, CliError> {
    let live = !arguments.once && arguments.export.is_none();
    let start = if live {
        // The first live bar is about to close now, in the market's own time.
        let minute = crate::domain::Timeframe::MINUTE;
        minute.open_of(Timestamp::now()).plus_millis(-(WARM_UP_MINUTES as i64 + 1) * minute.as_millis())
    } else {
        FIXED_START
    };
    let settings = MarketSettings {
        seed: arguments.seed,
        instruments: instruments(arguments.symbols.into()),
        timeframe: crate::domain::Timeframe::MINUTE,
        start,
    };
    Market::new(settings).map_err(|error| CliError::Failed(error.to_string()))
}

fn export(arguments: &Arguments, folder: &Path) -> Result<(), CliError> {
    let pace = Pace { warm_up_minutes: 0, minutes: Some(arguments.minutes), interval: Duration::ZERO };
    let mut source = Simulated::new(market(arguments)?, pace);
    let failed =
        |error: std::io::Error| CliError::Failed(format!("{} cannot be written: {error}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let stop = signals::stop_requests()?.receiver;
    // A file has its name once it is whole.
    let partial = |name: &str| folder.join(format!("{name}.partial"));
    let mut files = BTreeMap::new();
    let mut bars = Vec::new();
    while source.poll(&mut bars)? != crate::source::Poll::End {
        if stop.try_recv().is_ok() {
            files.keys().try_for_each(|name: &String| std::fs::remove_file(partial(name))).map_err(failed)?;
            return Err(CliError::Interrupted(format!("nothing was written into {}", folder.display())));
        }
        for bar in bars.drain(..) {
            let name = format!("{}_{}.csv", bar.series.symbol, bar.series.timeframe);
            let file = match files.entry(name) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let file = std::fs::File::create(partial(entry.key())).map_err(failed)?;
                    let mut file = std::io::BufWriter::new(file);
                    writeln!(file, "ts,open,high,low,close,volume").map_err(failed)?;
                    entry.insert(file)
                }
            };
            let b = bar.bar;
            writeln!(file, "{},{},{},{},{},{}", b.ts, b.open, b.high, b.low, b.close, b.volume)
                .map_err(failed)?;
        }
    }
    for (name, file) in &mut files {
        file.flush().map_err(failed)?;
        std::fs::rename(partial(name), folder.join(name)).map_err(failed)?;
    }
    writeln!(
        std::io::stdout(),
        "{} files of {} bars in {}",
        files.len(),
        arguments.minutes,
        folder.display()
    )?;
    Ok(())
}

/// A fresh folder for this run's models and rows.
fn prepare(dir: &Path, settings: &Settings) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::Failed(format!(
            "the demo's folder {} cannot be written: {error} (--dir names another)",
            dir.display()
        ))
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    for suffix in ["", "-wal", "-shm"] {
        let path = dir.join(format!("{DATABASE}{suffix}"));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    assets::write(&settings.models.path).map_err(failed)
}

/// The settings by environment and `--set`, with what is the demo's own in place of theirs; and whether nobody chose the
/// address of HTTP. No file is read: what is said there is said of a service.
fn settings(arguments: &Arguments) -> Result<(Settings, bool), CliError> {
    let Loaded { mut settings, origins } = arguments.set.load(None)?;
    let chosen = |key: &str| origins.get(key).is_some_and(|set_by| *set_by != SetBy::Default);
    let own = |key: &str| key.starts_with("source.") || ["store.url", "models.path"].contains(&key);
    if let Some((key, _)) = origins.iter().find(|(key, set_by)| own(key) && **set_by == SetBy::Override) {
        return Err(CliError::Failed(format!(
            "--set {key}: the demo has bars, models and a store of its own (--dir says where); `vela run` takes yours"
        )));
    }
    settings.models.path = arguments.dir.join("models");
    settings.source = SourceSettings { kind: SourceKind::None, ..SourceSettings::default() };
    settings.store.url = StoreUrl::Sqlite(arguments.dir.join(DATABASE));
    if !chosen("log.path") {
        settings.log.path = PathBuf::new();
    }
    if let Some(listen) = &arguments.listen {
        settings.serve.listen.clone_from(listen);
    }
    let by_default = arguments.listen.is_none() && !chosen("serve.listen");
    Ok((settings, by_default))
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    if let Some(folder) = &arguments.export {
        return export(arguments, folder);
    }
    let stop = signals::stop_requests()?.receiver;
    let (settings, listens_by_default) = settings(arguments)?;
    prepare(&arguments.dir, &settings)?;
    let database = arguments.dir.join(DATABASE);
    let _log = super::run::start_log(&settings)?;
    let models = super::runtime::open_models(&settings)?;
    models.preload_all();
    let pace = Pace {
        warm_up_minutes: WARM_UP_MINUTES,
        minutes: arguments.once.then_some(arguments.minutes),
        interval: if arguments.once {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(60.0 / arguments.speed)
        },
    };
    let source = Simulated::new(market(arguments)?, pace);
    let overrides = Overrides {
        source: Some(Box::new(source)),
        store: Some(Box::new(SqliteStore::open(&database)?)),
        models: Some(models),
        accept_future: true,
        ..Overrides::default()
    };
    let begin = Instant::now();
    let engine = Arc::new(Engine::start_with(settings, overrides)?);
    let mut server = None;
    // The live market is ended so; a fixed number of bars is not.
    let mut interrupted = false;
    if !arguments.once {
        server = super::run::start_server(&engine, listens_by_default)?;
        let address = server.as_ref().map(Server::address);
        if let Some(address) = address.filter(|_| !std::io::stdout().is_terminal()) {
            super::run::say(format_args!("http://{address} shows what it does"));
        }
        let mut screen = Screen::new(&engine, address);
        while !engine.wait_source(TICK) {
            if stop.try_recv().is_ok() {
                break;
            }
            screen.tick(&engine)?;
        }
        screen.clear()?;
    } else {
        while !interrupted && !engine.wait_source(TICK) {
            interrupted = stop.try_recv().is_ok();
        }
    }
    let report = engine.stop()?;
    drop(server);
    let report = Report {
        metrics: engine.metrics(),
        stop: report,
        wall: begin.elapsed(),
        at_full_speed: arguments.once,
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", report.json())?;
    } else {
        let database = database.display();
        write!(out, "{}", report.text())?;
        writeln!(out, "\nstored in {database}: try")?;
        writeln!(out, "  sqlite3 {database} 'SELECT * FROM agentpreds ORDER BY ts DESC LIMIT 5'")?;
    }
    match report.stop.failure() {
        Some(failure) => Err(CliError::Failed(failure)),
        None if interrupted => Err(CliError::Interrupted("these are not all bars".to_owned())),
        None => Ok(()),
    }
}
