//! The configuration file while `vela run` runs: what has changed in it is taken up, by itself and on SIGHUP.

use super::{CliError, settings::ConfigOptions};
use crate::engine::Engine;
use signal_hook::consts::SIGHUP;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

/// What tells one state of a file from another: times, size, inode.
pub(super) type Stamp = Option<(SystemTime, u64, u64)>;

/// Watches the file that the configuration came from.
pub(super) struct Reload {
    options: ConfigOptions,
    file: Option<PathBuf>,
    /// As it was when it was read.
    read: Stamp,
    /// As it was at the look before: a file that still changes is not read yet.
    seen: Stamp,
    hung_up: Arc<AtomicBool>,
}

fn stamp(file: Option<&Path>) -> Stamp {
    let metadata = std::fs::metadata(file?).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// Whether something else lies there than what can be read at once.
fn is_pipe(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

impl Reload {
    /// To be made before the configuration is read: what changes afterwards is seen. Where it was read by the process before
    /// this one, `read` is the file as it was then.
    pub(super) fn new(options: &ConfigOptions, read: Option<Stamp>) -> Result<Self, CliError> {
        let hung_up = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGHUP, Arc::clone(&hung_up))
            .map_err(|error| CliError::Failed(format!("SIGHUP cannot be handled: {error}")))?;
        let file = options.file();
        let read = read.unwrap_or_else(|| stamp(file.as_deref()));
        Ok(Self { options: options.clone(), file, read, seen: read, hung_up })
    }

    /// The file as it was when it was last read.
    pub(super) fn read(&self) -> Stamp {
        self.read
    }

    /// Takes up what has changed since the last look, and says whether there was something; to be called a few times a
    /// second. `before` is called first.
    pub(super) fn look(&mut self, engine: &Engine, before: impl FnOnce()) -> bool {
        let now = stamp(self.file.as_deref());
        let settled = now == self.seen;
        self.seen = now;
        let asked = self.hung_up.swap(false, Ordering::Relaxed);
        // A file that is gone or empty for a moment is being replaced.
        let changed = settled && now.is_some_and(|(_, bytes, _)| bytes > 0) && now != self.read;
        if !(asked || changed) {
            return false;
        }
        before();
        self.read = now;
        if let Some(file) = self.file.as_deref().filter(|file| is_pipe(file)) {
            // Reading it would wait for whoever writes: signals and the service manager with it.
            engine.refuse(&format!("{}: it is no regular file, and is read at a start only", file.display()));
            return true;
        }
        match self.options.load() {
            // Said to whom it concerns by the engine itself.
            Ok(loaded) => drop(engine.reconfigure(loaded.settings)),
            Err(error) => engine.refuse(&error.to_string()),
        }
        true
    }
}
