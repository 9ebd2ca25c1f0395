//! Whether a path still leads to the database that was opened there.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells a database's files from all others that there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    file: Number,
    log: Option<Number>,
}

/// The device and the number of a file.
type Number = (u64, u64);

impl Identity {
    /// That of the database at `path`; `None` where there is none, or none can be seen.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Some(Self { file: number(path)?, log: number(&log_of(path)) })
    }

    /// Whether the database is what `path` leads to.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        number(path) == Some(self.file)
    }

    /// Removes this database's write-ahead log, where it lies beside another database at `path`: SQLite would take it
    /// for that one's, and write its pages into it.
    pub(super) fn remove_log(&self, path: &Path) {
        let log = log_of(path);
        if self.log.is_some()
            && number(&log) == self.log
            && let Err(error) = std::fs::remove_file(&log)
        {
            tracing::error!(log = %log.display(), %error, "the log of a removed database cannot be removed");
        }
    }
}

fn number(path: &Path) -> Option<Number> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}
