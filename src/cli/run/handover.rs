//! What `vela run` hands to the process that replaces it: the settings in force, and which state of the file they know;
//! and what is known of each series.

use super::super::reload::{Reload, Stamp};
use crate::config::Settings;
use crate::control::reexec;
use crate::engine::Engine;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fs::File;
use std::time::Instant;

/// The name that the settings have among what is handed over.
const KEPT: &str = "settings";
/// The names of what is known of the series begin so.
const SERIES: &str = "series";
/// Into how many files it is written at most, each by a thread.
const FILES_MAX: usize = 8;

#[derive(Serialize, Deserialize)]
struct Written {
    settings: String,
    wanted: String,
    read: Stamp,
}

/// What the process before this one went by.
pub(super) struct Handed {
    /// In force.
    pub(super) settings: Settings,
    /// Asked for last: the same, and what waits for the next start. Being replaced is none.
    pub(super) wanted: Settings,
    /// The file as it was when it was last read.
    pub(super) read: Stamp,
}

/// What was handed to this process, where there was one before it. A file that has become wrong since must not end a
/// service that refused it, and what was changed over HTTP stays changed.
pub(super) fn take_over() -> Option<Handed> {
    let bytes = reexec::adopt_bytes(KEPT)?;
    let taken = || -> Result<Handed, Box<dyn Error>> {
        let Written { settings, wanted, read } = serde_json::from_slice(&bytes)?;
        let (settings, wanted) = (Settings::taken_over(&settings)?, Settings::taken_over(&wanted)?);
        Ok(Handed { settings, wanted, read })
    };
    taken()
        .inspect_err(|error| tracing::error!(%error, "the settings did not come over: the file is read"))
        .ok()
}

/// Has the process that replaces this one go by the same settings.
pub(super) fn hand_over(engine: &Engine, reload: &Reload) {
    let (settings, wanted) = (engine.settings().handed_over(), engine.settings_wanted().handed_over());
    let kept = serde_json::to_vec(&Written { settings, wanted, read: reload.read() })
        .map_err(std::io::Error::from)
        .and_then(|bytes| reexec::keep_bytes(KEPT, &bytes));
    if let Err(error) = kept {
        tracing::error!(%error, "the settings are not handed over: the file is read");
    }
}

/// The names of the files of what is known of the series.
fn names() -> impl Iterator<Item = String> {
    (0..FILES_MAX).map(|number| format!("{SERIES}-{number}"))
}

/// What was known of each series to the process before this one.
pub(super) fn take_over_series() -> Vec<File> {
    names().map_while(|name| reexec::adopt(&name)).map(File::from).collect()
}

/// Has the process that replaces this one go on with what is known of each series, where `engine` left nothing behind.
pub(super) fn hand_over_series(engine: &Engine) {
    let begin = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(FILES_MAX));
    let files = names().take(threads).map(|name| reexec::keep_file(&name)).collect::<Result<Vec<_>, _>>();
    match files.and_then(|files| engine.save_series(&files)) {
        Ok(series) => {
            let took_ms = begin.elapsed().as_millis() as u64;
            tracing::info!(series, took_ms, "what is known of the series goes over");
        }
        Err(error) => {
            names().for_each(|name| reexec::forget(&name));
            tracing::warn!(%error, "what is known of the series does not go over: their history is read again");
        }
    }
}
