//! `vela run`: the service.

mod handover;
mod restart;

use super::{CliError, reload::Reload, settings::ConfigOptions, signals};
use crate::config::{LogFormat, SetBy, Settings, SourceKind};
use crate::control::{Cause, reexec, systemd::Manager};
use crate::domain::pause_ms;
use crate::engine::{Engine, Overrides};
use crate::observe::log::{self, LogOptions};
use crate::serve::{ServeError, Server};
use crate::store::{self, Store, Watermark};
use crossbeam::channel::{Receiver, RecvTimeoutError, select};
use handover::Handed;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a source that ended by itself is noticed.
const TICK: Duration = Duration::from_millis(500);

/// How long the watchdog may be silent before the service manager is told no more that all is well.
const WATCHDOG_SILENCE_MAX: Duration = Duration::from_secs(70);

/// How often it is said again that the store is waited for.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// The key of the address that HTTP is served at.
const LISTEN: &str = "serve.listen";

/// The name under which the socket of HTTP passes into the next image, and under which systemd hands it over.
const HTTP_SOCKET: &str = "http";

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: ConfigOptions,
}

/// Starts the log as the settings say.
pub(super) fn start_log(settings: &Settings) -> Result<log::LogGuard, CliError> {
    let path = &settings.log.path;
    log::start(&LogOptions {
        file: (!path.as_os_str().is_empty()).then_some(path.as_path()),
        level: settings.log.level.tracing(),
        json: settings.log.format == LogFormat::Json,
        terminal_level: tracing::Level::WARN,
        file_bytes_max: settings.log.file_size_max_mb * 1024 * 1024,
        files_max: settings.log.files_max,
    })
    .map_err(|error| {
        CliError::Failed(format!("the log {}: {error} (log.path names another, \"\" none)", path.display()))
    })
}

/// A line for whoever started it. A service goes on when nobody reads what it says.
pub(super) fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Opens the store, however long its database is away or locked by another process.
fn open_store(
    settings: &Settings,
    stop: &Receiver<()>,
    manager: &Manager,
) -> Result<(Box<dyn Store>, Vec<Watermark>), CliError> {
    let (begin, mut said) = (Instant::now(), None::<Instant>);
    for attempt in 1.. {
        let error = match store::open(settings) {
            Ok(opened) => return Ok(opened),
            // A file that is not there is a mistake; one that is locked, and a server that is starting, will do.
            Err(error) if error.retryable => error,
            Err(error) => return Err(error.into()),
        };
        if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            let waited = begin.elapsed().as_secs();
            tracing::warn!(%error, waited_s = waited, "waiting for the store");
            say(format_args!("waiting for the store since {waited} s: {error}"));
            manager.status(&format!("waiting for the store since {waited} s: {error}"));
            said = Some(Instant::now());
        }
        manager.extend(SAY_AGAIN);
        let pause = Duration::from_millis(pause_ms(attempt, begin.elapsed().as_nanos() as u64));
        if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return Err(CliError::Interrupted("nothing was predicted".to_owned()));
        }
    }
    unreachable!("attempts do not run out")
}

/// Why the service ends.
enum End {
    /// It was asked to, or its source is at an end.
    Stop,
    /// It has to be replaced by a fresh copy.
    Restart(Cause),
}

/// Serves the engine over HTTP. An address that nobody chose and another program has is no reason not to predict.
pub(super) fn start_server(engine: &Arc<Engine>, by_default: bool) -> Result<Option<Server>, CliError> {
    match Server::start(engine) {
        Err(error @ ServeError::Listen { .. }) if by_default => {
            tracing::warn!(%error, "HTTP is not served");
            say(format_args!("HTTP is not served: {error}"));
            Ok(None)
        }
        started => started.map_err(|error| CliError::Failed(error.to_string())),
    }
}

/// Serves on the socket that the image before, or systemd, handed over: whoever opened it chose its address. Where there is
/// none a new one is opened. It is kept for the next image.
fn start_kept_server(engine: &Arc<Engine>, by_default: bool) -> Result<Option<Server>, CliError> {
    let handed = reexec::adopt(HTTP_SOCKET).filter(|_| !engine.settings().serve.listen.is_empty());
    let server = match handed {
        Some(socket) => {
            let server = Server::start_on(engine, TcpListener::from(socket));
            Some(server.map_err(|error| CliError::Failed(error.to_string()))?)
        }
        None => start_server(engine, by_default)?,
    };
    if let Some(listener) = server.as_ref().and_then(Server::listener)
        && let Err(error) = reexec::keep(HTTP_SOCKET, &*listener)
    {
        tracing::warn!(%error, "the socket of HTTP will be opened anew when the process replaces itself");
    }
    Ok(server)
}

/// The settings to start with.
struct Configured {
    settings: Settings,
    /// What waits for the next start, which being replaced is not.
    waiting: Option<Settings>,
    /// Whether nobody chose the address of HTTP.
    listens_by_default: bool,
    reload: Reload,
}

fn configured(options: &ConfigOptions) -> Result<Configured, CliError> {
    if let Some(Handed { settings, wanted, read }) = handover::take_over() {
        let listens_by_default = settings.serve.listen == Settings::default().serve.listen;
        let waiting = (wanted != settings).then_some(wanted);
        let reload = Reload::new(options, Some(read))?;
        return Ok(Configured { settings, waiting, listens_by_default, reload });
    }
    let reload = Reload::new(options, None)?;
    let loaded = options.load()?;
    let listens_by_default = loaded.origins.get(LISTEN) == Some(&SetBy::Default);
    Ok(Configured { settings: loaded.settings, waiting: None, listens_by_default, reload })
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let stop = signals::stop_requests()?;
    let manager = Manager::of_environment();
    let Configured { settings, waiting, listens_by_default, mut reload } = configured(&arguments.options)?;
    let mut log = Some(start_log(&settings)?);
    restart::begin(&stop, &manager)?;
    let models = super::runtime::open_models(&settings)?;
    models.preload_some();
    let (store, watermarks) = open_store(&settings, &stop.receiver, &manager)?;
    let series = handover::take_over_series();
    let overrides =
        Overrides { models: Some(models), store: Some(store), watermarks, series, ..Overrides::default() };
    let engine = Arc::new(Engine::start_with(settings, overrides)?);
    if let Some(waiting) = waiting {
        // Whoever asked for it is told again.
        engine.reconfigure(waiting)?;
    }
    let mut server = start_kept_server(&engine, listens_by_default)?;
    let models = engine.catalogue().models().len();
    tracing::info!(models, version = env!("CARGO_PKG_VERSION"), "started");
    if let Some(server) = &server {
        say(format_args!("http://{} shows what it does", server.address()));
    }
    say(format_args!("vela runs with {models} models; Ctrl-C or SIGTERM stops it cleanly"));
    manager.ready(&format!("{models} models"));
    let report = match serve((&engine, &mut reload), &stop.receiver, &manager) {
        End::Stop => {
            manager.stopping("storing what is on its way");
            engine.stop()?
        }
        // Comes back only where it is not to be replaced, or cannot be.
        End::Restart(cause) => {
            handover::hand_over(&engine, &reload);
            restart::replace((&engine, server.take()), &cause, (&stop, &manager), &mut log)?
        }
    };
    // Until then it is said what stops, and what comes out of it.
    drop(server);
    log_performance(&engine);
    let metrics = engine.metrics();
    let performance = &metrics.performance;
    tracing::info!(
        bars = performance.total_bars,
        predictions = performance.total_predictions,
        undrained = report.undrained,
        unsaved = report.unsaved,
        "stopped"
    );
    say(format_args!(
        "stopped: {} bars in, {} predictions stored, {} items left",
        performance.total_bars, performance.total_predictions, report.undrained
    ));
    report.failure().map_or(Ok(()), |failure| Err(CliError::Failed(failure)))
}

/// Looks after the engine until the service ends.
fn serve((engine, reload): (&Engine, &mut Reload), stop: &Receiver<()>, manager: &Manager) -> End {
    let has_source = engine.settings().source.kind != SourceKind::None;
    let wanted = engine.restart_wanted();
    // Half of what a manager waits for, as it asks for.
    let tick = manager.patience().map_or(TICK, |patience| (patience / 2).min(TICK));
    let mut last_report = Instant::now();
    loop {
        select! {
            recv(stop) -> _ => return End::Stop,
            recv(wanted) -> cause => if let Ok(cause) = cause { return End::Restart(cause) },
            default(tick) => {}
        }
        if engine.is_well(WATCHDOG_SILENCE_MAX) {
            manager.alive();
        }
        if has_source && engine.wait_source(Duration::ZERO) {
            // A source that follows never ends by itself, but by an error.
            return End::Stop;
        }
        if reload.look(engine, || manager.reloading("reading the configuration")) {
            manager.ready("the configuration was read");
        }
        let interval = Duration::from_secs(engine.settings().log.performance_interval_s);
        if last_report.elapsed() >= interval {
            last_report += interval;
            log_performance(engine);
            manager.status(&format!("{} bars, {} predictions and reasons", engine.bars(), engine.outcomes()));
        }
    }
}

/// One line for everything, and one a symbol.
fn log_performance(engine: &Engine) {
    // To the µs.
    let ms = |ms: f64| (ms * 1000.0).round() / 1000.0;
    let metrics = engine.metrics();
    let performance = &metrics.performance;
    tracing::info!(
        bars = performance.total_bars,
        predictions = performance.total_predictions,
        latency_avg_ms = ms(performance.avg_latency_ms),
        latency_p99_us = performance.latency.p99,
        error_rate = performance.error_rate,
        memory_mb = metrics.system.memory_usage_mb.round(),
        cpu_percent = metrics.system.cpu_usage_percent.round(),
        "performance"
    );
    for (symbol, tally) in &metrics.symbols {
        tracing::info!(
            symbol,
            predictions = tally.predictions_count,
            errors = tally.errors_count,
            latency_avg_ms = ms(tally.avg_latency_ms),
            latency_max_ms = ms(tally.max_latency_ms),
            "performance of a symbol"
        );
    }
}
