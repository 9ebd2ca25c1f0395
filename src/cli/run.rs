//! `vela run`: the service.

use super::{CliError, reload::Reload, settings::ConfigOptions, signals};
use crate::config::{SetBy, Settings, SourceKind, StoreUrl};
use crate::domain::pause_ms;
use crate::engine::{Engine, Overrides};
use crate::observe::log::{self, LogOptions};
use crate::serve::{ServeError, Server};
use crate::store::{self, Store, Watermark};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a source that ended by itself is noticed.
const TICK: Duration = Duration::from_millis(500);

/// How often it is said again that the store is waited for.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// The key of the address that HTTP is served at.
const LISTEN: &str = "serve.listen";

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: ConfigOptions,
}

/// Starts the log as the settings say.
pub(super) fn start_log(settings: &Settings) -> Result<log::LogGuard, CliError> {
    let path = &settings.log.path;
    let megabytes = usize::try_from(settings.log.file_size_max_mb).unwrap_or(usize::MAX);
    log::start(&LogOptions {
        file: (!path.as_os_str().is_empty()).then_some(path.as_path()),
        level: settings.log.level.tracing(),
        terminal_level: tracing::Level::WARN,
        file_bytes_max: megabytes.saturating_mul(1024 * 1024),
        files_max: settings.log.files_max,
    })
    .map_err(|error| CliError::Failed(format!("the log {}: {error}", path.display())))
}

/// A line for whoever started it. A service goes on when nobody reads what it says.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Opens the store, however long its database is away.
fn open_store(
    settings: &Settings,
    stop: &Receiver<()>,
) -> Result<(Box<dyn Store>, Vec<Watermark>), CliError> {
    let (begin, mut said) = (Instant::now(), None::<Instant>);
    for attempt in 1.. {
        let error = match store::open(settings) {
            Ok(opened) => return Ok(opened),
            // A file that cannot be opened is a mistake; a server may be starting still.
            Err(error) if error.retryable && matches!(settings.store.url, StoreUrl::Postgres(_)) => error,
            Err(error) => return Err(error.into()),
        };
        if said.is_none_or(|at| at.elapsed() >= SAY_AGAIN) {
            let waited = begin.elapsed().as_secs();
            tracing::warn!(%error, waited_s = waited, "waiting for the store");
            say(format_args!("waiting for the store since {waited} s: {error}"));
            said = Some(Instant::now());
        }
        let pause = Duration::from_millis(pause_ms(attempt, begin.elapsed().as_nanos() as u64));
        if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return Err(CliError::Interrupted);
        }
    }
    unreachable!("attempts do not run out")
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

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let stop = signals::stop_requests()?;
    let mut reload = Reload::new(&arguments.options)?;
    let loaded = arguments.options.load()?;
    let listens_by_default = loaded.origins.get(LISTEN) == Some(&SetBy::Default);
    let settings = loaded.settings;
    let _log = start_log(&settings)?;
    let models = super::runtime::open_models(&settings)?;
    models.preload_some();
    let (store, watermarks) = open_store(&settings, &stop)?;
    let overrides =
        Overrides { models: Some(models), store: Some(store), watermarks, ..Overrides::default() };
    let engine = Arc::new(Engine::start_with(settings, overrides)?);
    let server = start_server(&engine, listens_by_default)?;
    let models = engine.catalogue().models().len();
    tracing::info!(models, version = env!("CARGO_PKG_VERSION"), "started");
    if let Some(server) = &server {
        say(format_args!("http://{} shows what it does", server.address()));
    }
    say(format_args!("vela runs with {models} models; Ctrl-C or SIGTERM stops it cleanly"));
    let has_source = engine.settings().source.kind != SourceKind::None;
    let mut last_report = Instant::now();
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(TICK) {
        if has_source && engine.wait_source(Duration::ZERO) {
            // A source that follows never ends by itself, but by an error.
            break;
        }
        reload.look(&engine);
        let interval = Duration::from_secs(engine.settings().log.performance_interval_s);
        if last_report.elapsed() >= interval {
            last_report += interval;
            log_performance(&engine);
        }
    }
    let report = engine.stop()?;
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

/// One line for everything, and one a symbol.
fn log_performance(engine: &Engine) {
    let metrics = engine.metrics();
    let performance = &metrics.performance;
    tracing::info!(
        bars = performance.total_bars,
        predictions = performance.total_predictions,
        latency_avg_ms = performance.avg_latency_ms,
        latency_p99_us = performance.latency.p99,
        error_rate = performance.error_rate,
        memory_mb = metrics.system.memory_usage_mb,
        cpu_percent = metrics.system.cpu_usage_percent,
        "performance"
    );
    for (symbol, tally) in &metrics.symbols {
        tracing::info!(
            symbol,
            predictions = tally.predictions_count,
            errors = tally.errors_count,
            latency_avg_ms = tally.avg_latency_ms,
            latency_max_ms = tally.max_latency_ms,
            "performance of a symbol"
        );
    }
}
