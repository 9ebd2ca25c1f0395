//! Follows a folder of growing `SYMBOL_TIMEFRAME.csv` files: what is there at the start, then every line that
//! is added.
//!
//! Each poll asks the system for the size of every file (about a microsecond each), so no
//! notification service is needed.

mod file;
#[cfg(test)]
mod tests;

use super::files::series_of;
use super::merge::Merge;
use super::{History, Poll, Source, SourceBar, SourceError};
use crate::domain::{SeriesKey, Timestamp};
use file::GrowingFile;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Bars that one poll delivers at most.
const BARS_PER_POLL: usize = 1024;
/// How often the folder is listed although its time did not change.
const SAFETY_NET: Duration = Duration::from_secs(1);

/// A folder of CSV files that others append to.
pub struct Follow {
    folder: PathBuf,
    poll_interval: Duration,
    files: Vec<GrowingFile>,
    /// Whether each file has a bar in `merge`.
    entered: Vec<bool>,
    merge: Merge,
    /// Names that were refused, so that each is logged once.
    refused: HashSet<PathBuf>,
    lines_skipped: u64,
    changed: Option<SystemTime>,
    list_at: Instant,
}

impl Follow {
    /// Follows `folder`, which may appear later. A series' bars up to its watermark only warm up;
    /// `poll_interval` is how long to wait between two looks at the files.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn open(
        folder: &Path,
        history: History,
        watermarks: &[(Arc<SeriesKey>, Timestamp)],
        poll_interval: Duration,
    ) -> Result<Self, SourceError> {
        let mut follow = Self {
            folder: folder.to_owned(),
            poll_interval,
            files: Vec::new(),
            entered: Vec::new(),
            merge: Merge::default(),
            refused: HashSet::new(),
            lines_skipped: 0,
            changed: None,
            list_at: Instant::now(),
        };
        let watermarks: HashMap<&SeriesKey, Timestamp> =
            watermarks.iter().map(|(series, ts)| (&**series, *ts)).collect();
        follow.list(|path, series| {
            let (watermark, history) = (watermarks.get(&series).copied(), history.of_series(&series));
            GrowingFile::with_history(path, series, &history, watermark)
        })?;
        if !folder.exists() {
            tracing::info!("{}: no such folder yet; waiting for it", folder.display());
        }
        // Entered before the first poll, so that their first bars are merged, whatever is appended until then.
        follow.enter(|_| true);
        Ok(follow)
    }

    /// How many lines were left out because they are no bar.
    pub fn lines_skipped(&self) -> u64 {
        self.lines_skipped
    }

    /// Takes up the files that are not followed yet.
    fn list(
        &mut self,
        make: impl Fn(PathBuf, SeriesKey) -> std::io::Result<GrowingFile>,
    ) -> Result<(), SourceError> {
        let failed = |error| super::csv::unreadable(&self.folder, error);
        // The time is read before the names: what comes in between changes it once more.
        self.changed = self.folder.metadata().and_then(|metadata| metadata.modified()).ok();
        self.list_at = Instant::now() + SAFETY_NET;
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let is_csv = path.extension().is_some_and(|extension| extension == "csv");
            if is_csv && !self.refused.contains(&path) && !self.files.iter().any(|file| file.is(&path)) {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let made = series_of(&path).map_err(|error| error.to_string()).and_then(|series| {
                if let Some(other) = self.files.iter().find(|file| *file.series() == series) {
                    return Err(format!("{}: {} holds {series} too", path.display(), other.path.display()));
                }
                make(path.clone(), series).map_err(|error| format!("{}: {error}", path.display()))
            });
            match made {
                Ok(file) => {
                    self.files.push(file);
                    self.entered.push(false);
                }
                Err(problem) => {
                    tracing::warn!("{problem}; the file is left out");
                    self.refused.insert(path);
                }
            }
        }
        Ok(())
    }

    /// Enters the next bar of every file that has one and is asked for.
    fn enter(&mut self, mut asked: impl FnMut(&mut GrowingFile) -> bool) {
        for (cursor, file) in self.files.iter_mut().enumerate() {
            if !self.entered[cursor]
                && asked(file)
                && let Some(bar) = file.next(&mut self.lines_skipped)
            {
                self.merge.enter(cursor, bar);
                self.entered[cursor] = true;
            }
        }
    }
}

impl Source for Follow {
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
        let changed = self.folder.metadata().and_then(|metadata| metadata.modified()).ok();
        if changed != self.changed || Instant::now() >= self.list_at {
            self.list(|path, series| Ok(GrowingFile::new(path, series)))?;
        }
        self.enter(GrowingFile::has_grown);
        let before = bars.len();
        let Self { merge, files, entered, lines_skipped, .. } = self;
        let taken: Result<(), std::convert::Infallible> = merge.take(BARS_PER_POLL, bars, |cursor| {
            let bar = files[cursor].next(lines_skipped);
            entered[cursor] = bar.is_some();
            Ok(bar)
        });
        let Ok(()) = taken;
        Ok(if bars.len() > before { Poll::Ready } else { Poll::Idle(self.poll_interval) })
    }
}
