//! Whether a file is still the one that was looked at, told without reading it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells a file from the one that stood there before; `None` where none can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Option<[i64; 7]>);

impl Stamp {
    /// The stamp of the file or folder at `path`, links followed.
    pub fn of(path: &Path) -> Self {
        let read = |m: std::fs::Metadata| {
            // The change time tells what keeps its modification time: another owner, other permissions.
            let (modified, changed) = ((m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()));
            [modified.0, modified.1, changed.0, changed.1, m.size() as i64, m.ino() as i64, m.dev() as i64]
        };
        Self(path.metadata().ok().map(read))
    }

    /// Whether there was a file.
    pub fn is_there(self) -> bool {
        self.0.is_some()
    }
}
