//! One growing CSV file: where its history begins, and its next complete line.

use crate::domain::{Origin, SeriesKey, Timestamp};
use crate::source::csv::Columns;
use crate::source::history::Given;
use crate::source::lines::{Lines, backwards};
use crate::source::{History, SourceBar};
use std::fs::Metadata;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file of a series.
#[derive(Debug)]
pub(super) struct GrowingFile {
    pub(super) path: PathBuf,
    series: Arc<SeriesKey>,
    watermark: Option<Timestamp>,
    lines: Lines,
    columns: Option<Columns>,
    /// Lines from this offset on are predicted although they were there at the start.
    catch_up_from: u64,
    /// Lines from this offset on were not there at the start.
    live_from: u64,
    identity: Option<(u64, u64)>,
    /// Its header is no header: nothing is read until another file takes its name.
    refused: bool,
    /// Lines left out, and whether that was logged.
    skipped: u64,
}

#[cfg(unix)]
fn identity_of(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

/// Elsewhere only a file that became shorter is noticed.
#[cfg(not(unix))]
fn identity_of(_: &Metadata) -> Option<(u64, u64)> {
    None
}

impl GrowingFile {
    /// A file that came while the folder was followed: every line of it is live.
    pub(super) fn new(path: PathBuf, series: SeriesKey) -> Self {
        Self {
            lines: Lines::new(&path, 0),
            path,
            series: Arc::new(series),
            watermark: None,
            columns: None,
            catch_up_from: u64::MAX,
            live_from: 0,
            identity: None,
            refused: false,
            skipped: 0,
        }
    }

    /// A file that was there: its complete lines are history by the rule, what comes behind them is live.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn with_history(
        path: PathBuf,
        series: SeriesKey,
        history: &History,
        watermark: Option<Timestamp>,
    ) -> io::Result<Self> {
        let mut file = Self::new(path, series);
        let metadata = file.path.metadata()?;
        file.identity = identity_of(&metadata);
        file.watermark = watermark;
        file.read_header()?;
        let Some(columns) = &mut file.columns else { return Ok(file) };
        let mut given = Given::default();
        let mut live_from = None;
        let mut start = None;
        let mut catch_up_from = u64::MAX;
        let header_end = file.lines.offset();
        backwards(&file.path, metadata.len(), |offset, line| {
            if live_from.is_none() {
                // What stands behind the last line end is a line that is still being written.
                live_from = Some(offset);
                return ControlFlow::Continue(());
            }
            if offset < header_end {
                return ControlFlow::Break(());
            }
            // Lines that are no bar are passed over here, and counted when they are read.
            let Ok(bar) = columns.bar(line) else { return ControlFlow::Continue(()) };
            match history.origin(bar.ts, watermark, &mut given) {
                Some(Origin::CatchUp) => catch_up_from = offset,
                Some(_) => {}
                None => return ControlFlow::Break(()),
            }
            start = Some(offset);
            ControlFlow::Continue(())
        })?;
        // A header without its line end is none yet; then everything is live.
        file.live_from = live_from.unwrap_or(0).max(header_end);
        file.catch_up_from = catch_up_from;
        file.lines = Lines::new(&file.path, start.unwrap_or(file.live_from));
        Ok(file)
    }

    fn read_header(&mut self) -> io::Result<()> {
        if self.columns.is_some() || self.refused {
            return Ok(());
        }
        let Some((_, header)) = self.lines.next_line()? else { return Ok(()) };
        match Columns::of_header(header) {
            Ok(columns) => self.columns = Some(columns),
            Err(problem) => {
                self.refused = true;
                tracing::warn!("{}:1: {problem}; the file is left out", self.path.display());
            }
        }
        Ok(())
    }

    /// Looks whether the file has grown; starts anew when it is another one, or shorter than what was read.
    pub(super) fn has_grown(&mut self) -> bool {
        let Ok(metadata) = self.path.metadata() else {
            // It is away, perhaps between a removal and a new one of the same name.
            self.identity = None;
            return false;
        };
        let identity = identity_of(&metadata);
        let fresh = self.lines.end() == 0;
        if !fresh && (metadata.len() < self.lines.end() || identity != self.identity) {
            tracing::warn!("{}: truncated or replaced; reading it from its start", self.path.display());
            self.lines = Lines::new(&self.path, 0);
            self.columns = None;
            self.refused = false;
            self.catch_up_from = u64::MAX;
            self.live_from = 0;
        }
        self.identity = identity;
        !self.refused && metadata.len() > self.lines.end()
    }

    /// The next bar of a complete line. What is no bar is passed over, counted in `skipped`, the first one logged.
    pub(super) fn next(&mut self, skipped: &mut u64) -> Option<SourceBar> {
        if let Err(error) = self.read_header() {
            return self.unreadable(&error);
        }
        let columns = self.columns.as_mut()?;
        loop {
            let (offset, line) = match self.lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return None,
                Err(error) => return self.unreadable(&error),
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            match columns.bar(line) {
                Ok(bar) => {
                    let origin = if offset >= self.live_from {
                        Origin::Live
                    } else if offset >= self.catch_up_from && self.watermark.is_none_or(|w| bar.ts > w) {
                        Origin::CatchUp
                    } else {
                        Origin::WarmUp
                    };
                    return Some(SourceBar { series: Arc::clone(&self.series), bar, origin });
                }
                Err(problem) => {
                    if self.skipped == 0 {
                        let path = self.path.display();
                        tracing::warn!(
                            "{path}: line at byte {offset}: {problem}; it is skipped, further ones are only counted"
                        );
                    }
                    self.skipped += 1;
                    *skipped += 1;
                }
            }
        }
    }

    fn unreadable(&mut self, error: &io::Error) -> Option<SourceBar> {
        if error.kind() != io::ErrorKind::NotFound {
            self.refused = true;
            tracing::warn!("{}: {error}; the file is left out", self.path.display());
        }
        None
    }

    /// Whether this is the file of that path.
    pub(super) fn is(&self, path: &Path) -> bool {
        self.path == path
    }

    /// The series of its bars.
    pub(super) fn series(&self) -> &SeriesKey {
        &self.series
    }
}
