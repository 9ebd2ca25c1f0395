//! How `vela run` replaces itself: stop taking bars, store what is on its way, `exec`; and what the copy does first.

use super::super::CliError;
use super::super::signals::StopRequests;
use super::{handover, say};
use crate::config::Settings;
use crate::control::Cause;
use crate::control::reexec::{self, Budget, Next, Restart, generation};
use crate::control::systemd::Manager;
use crate::domain::Timestamp;
use crate::engine::{Engine, StopReport};
use crate::observe::log::LogGuard;
use crate::serve::Server;
use crossbeam::channel::{RecvTimeoutError, bounded};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a service manager is told that a pause is one.
const SAY_SO: Duration = Duration::from_secs(1);

/// How often the settings allow the process to replace itself.
fn budget(settings: &Settings) -> Budget {
    let watchdog = &settings.watchdog;
    Budget {
        restarts_max: watchdog.restarts_max,
        window: Duration::from_secs(watchdog.restarts_window_s),
        pause: Duration::from_millis(watchdog.restart_pause_ms),
    }
}

/// What a copy does first: it says which it is and why, and waits as long as it was told to.
pub(super) fn begin(stop: &StopRequests, manager: &Manager) -> Result<(), CliError> {
    let generation = generation();
    let Some(last) = &generation.last else { return Ok(()) };
    if let Some(name) =
        std::env::args_os().next().as_ref().and_then(|path| std::path::Path::new(path).file_name())
    {
        // Started by another path it would be called after that; only `ps` reads it.
        let _ = std::fs::write("/proc/self/comm", name.as_encoded_bytes());
    }
    tracing::warn!(
        generation = generation.number,
        cause = last.cause,
        left = last.left,
        pause_ms = last.pause_ms,
        "a fresh copy of this process: {}",
        last.detail
    );
    say(format_args!("vela has replaced itself, generation {}: {}", generation.number, last.detail));
    let pause = Duration::from_millis(last.pause_ms);
    let begin = Instant::now();
    while let Some(left) = pause.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        manager.extend(SAY_SO * 10);
        manager.status(&format!("waiting {} s before going on: {}", left.as_secs() + 1, last.detail));
        if stop.receiver.recv_timeout(left.min(SAY_SO)) != Err(RecvTimeoutError::Timeout) {
            return Err(CliError::Interrupted("the copy had not begun to work".to_owned()));
        }
    }
    Ok(())
}

/// Stops engine and server, and replaces the process. Comes back where it must not or cannot be replaced: `Ok` with what
/// the stop came to where a stop was asked for meanwhile.
pub(super) fn replace(
    (engine, server): (&Arc<Engine>, Option<Server>),
    cause: &Cause,
    (stop, manager): (&StopRequests, &Manager),
    log: &mut Option<LogGuard>,
) -> Result<StopReport, CliError> {
    let settings = engine.settings();
    let budget = budget(&settings);
    let now_ms = u64::try_from(Timestamp::now().as_millis()).unwrap_or(0);
    let next = budget.next(&generation().past_ms, now_ms);
    let pause = match next {
        Next::After(pause) => pause,
        Next::Never { .. } => Duration::ZERO,
    };
    manager.reloading(&format!("replacing itself: {cause}"));
    manager.extend(Duration::from_millis(settings.watchdog.drain_deadline_ms) + pause + SAY_SO * 30);
    let mut restart = Restart::now(cause, pause);
    let begin = Instant::now();
    let drained = drained((engine, server), Duration::from_millis(settings.watchdog.drain_deadline_ms))?;
    let (left, what) = match &drained {
        Some(report) => (report.undrained as u64 + report.unsaved, "everything was drained"),
        None => (engine.in_flight() as u64, "the drain is not waited for any longer"),
    };
    restart.left = left;
    tracing::warn!(cause = cause.word(), left, drain_ms = begin.elapsed().as_millis() as u64, "{what}");
    if stop.is_asked() {
        // It ends, as it was asked to: what is left is waited for as at any stop.
        return drained.map_or_else(|| engine.stop().map_err(CliError::from), Ok);
    }
    if let Next::Never { restarts } = next {
        let message = format!(
            "{cause}. The process has replaced itself {restarts} times within {} s and does not do so again \
             (watchdog.restarts_max = {}): raise max_memory_mb if this much is needed, or find what takes it",
            settings.watchdog.restarts_window_s, settings.watchdog.restarts_max
        );
        tracing::error!("{message}");
        return Err(CliError::GaveUp(message));
    }
    if drained.is_some() {
        handover::hand_over_series(engine);
    }
    // What is logged from here on would be lost.
    drop(log.take());
    let error = reexec::replace(restart, &budget);
    Err(CliError::GaveUp(format!("{cause}. The process cannot replace itself: {error}")))
}

/// Stops engine and server on a thread of its own, so that a stage that never ends cannot hold this one up; `None` where
/// it took longer than `deadline`.
fn drained(
    (engine, server): (&Arc<Engine>, Option<Server>),
    deadline: Duration,
) -> Result<Option<StopReport>, CliError> {
    let (done, drained) = bounded(1);
    let engine = Arc::clone(engine);
    let drain = move || {
        let report = engine.stop();
        // Last, so that until then it is said what happens; whoever connects from now on waits for the next image.
        drop(server);
        // Nobody waits any more where the deadline has passed.
        let _ = done.send(report);
    };
    std::thread::Builder::new()
        .name("vela-end".into())
        .spawn(drain)
        .map_err(|error| CliError::GaveUp(format!("no thread to stop the engine: {error}")))?;
    match drained.recv_timeout(deadline) {
        Ok(Ok(report)) => Ok(Some(report)),
        Ok(Err(error)) => {
            // What it could not make durable is predicted again: the watermarks are older.
            tracing::error!(%error, "the store was not finished");
            Ok(None)
        }
        Err(_) => Ok(None),
    }
}
