//! Rows on disk while their database is away: a folder of files that are written to their end, read once, and removed.
//!
//! Every line has a checksum, and nothing counts as taken before it is on the disk. Reading a file again after a crash
//! does no harm, since the database takes a row once. So there is no position to keep.

mod line;
#[cfg(test)]
mod tests;

use super::StoreError;
use super::Watermark;
use super::row::Row;
use crate::domain::AlertEvent;
pub(super) use line::Entry;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The size at which a file is closed and another one begun: what is lost to a reader's failure is read again.
const FILE_BYTES: u64 = 1 << 20;

/// Rows that wait for their database.
pub(super) struct Spool {
    folder: PathBuf,
    store: String,
    bytes_max: u64,
    /// Held as long as this process uses the folder.
    _lock: File,
    /// Whole files, the oldest first, with their sizes.
    closed: VecDeque<(u64, u64)>,
    open: Option<OpenFile>,
    next: u64,
    line: Vec<u8>,
}

struct OpenFile {
    number: u64,
    file: File,
    bytes: u64,
}

/// What is in a spool's folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Bytes that wait for their database.
    pub bytes: u64,
    /// Files with lines that could not be read, or never be stored.
    pub aside: usize,
}

impl Waiting {
    /// Looks into `folder`, whoever uses it; a folder that is not there holds nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.path().extension().and_then(|end| end.to_str()) {
                // It may have been stored meanwhile.
                Some("rows") => found.bytes += entry.metadata().map_or(0, |file| file.len()),
                Some("bad") => found.aside += 1,
                _ => {}
            }
        }
        Ok(found)
    }
}

/// What one file holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Batch {
    pub rows: Vec<Row>,
    pub watermarks: Vec<Watermark>,
    pub alerts: Vec<AlertEvent>,
    /// Lines that were put aside, with what is wrong with each.
    pub bad: Vec<String>,
    number: u64,
}

impl Spool {
    /// The spool in `folder`, made where it is missing, for rows of the store `store`, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When the folder cannot be used, another process uses it, or it has rows of another store.
    pub(super) fn open(folder: &Path, store: &str, bytes_max: u64) -> Result<Self, StoreError> {
        let failed = |problem: String| StoreError {
            store: format!("the spool {}", folder.display()),
            problem,
            retryable: false,
        };
        std::fs::create_dir_all(folder).map_err(|error| failed(format!("cannot be made: {error}")))?;
        let lock = File::create(folder.join("lock")).map_err(|error| failed(format!("lock: {error}")))?;
        lock.try_lock().map_err(|error| {
            failed(format!("another vela uses it ({error}); give each its own by store.spool_path"))
        })?;
        let mut numbers = Vec::new();
        let entries =
            std::fs::read_dir(folder).map_err(|error| failed(format!("cannot be read: {error}")))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed(format!("cannot be read: {error}")))?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".rows")?.parse::<u64>().ok());
            if let Some(number) = number {
                let size = entry.metadata().map_err(|error| failed(error.to_string()))?.len();
                numbers.push((number, size));
            }
        }
        numbers.sort_unstable();
        let next = numbers.last().map_or(1, |(number, _)| number + 1);
        let spool = Self {
            folder: folder.to_owned(),
            store: store.to_owned(),
            bytes_max,
            _lock: lock,
            closed: numbers.into(),
            open: None,
            next,
            line: Vec::new(),
        };
        for (number, _) in &spool.closed {
            let whose = first_line(&spool.path(*number)).map_err(|error| failed(error.to_string()))?;
            if let Some(Entry::Store(whose)) = whose
                && whose != store
            {
                let problem = format!(
                    "it holds rows for {whose}, not for {store}; run vela with that URL until it is empty, \
                     or name another folder by store.spool_path"
                );
                return Err(failed(problem));
            }
        }
        Ok(spool)
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:012}.rows"))
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> u64 {
        self.closed.iter().map(|(_, bytes)| bytes).sum::<u64>()
            + self.open.as_ref().map_or(0, |open| open.bytes)
    }

    /// Takes rows, then the watermarks that are true with them. When it returns they are on the disk.
    ///
    /// # Errors
    /// When there is no room, or the disk fails: then nothing was taken.
    pub(super) fn append(&mut self, rows: &[Row], watermarks: &[Watermark]) -> Result<(), StoreError> {
        self.line.clear();
        for row in rows {
            line::put(&mut self.line, &Entry::Row(row.clone()));
        }
        for watermark in watermarks {
            line::put(&mut self.line, &Entry::Watermark(watermark.clone()));
        }
        self.take()
    }

    /// Takes alerts, as [`Self::append`] takes rows.
    ///
    /// # Errors
    /// As there.
    pub(super) fn append_alerts(&mut self, alerts: &[AlertEvent]) -> Result<(), StoreError> {
        self.line.clear();
        for alert in alerts {
            line::put(&mut self.line, &Entry::Alert(alert.clone()));
        }
        self.take()
    }

    /// Takes the lines.
    fn take(&mut self) -> Result<(), StoreError> {
        let (waiting, more) = (self.bytes(), self.line.len() as u64);
        let name = format!("the spool {}", self.folder.display());
        let failed = |problem: String| StoreError { store: name, problem, retryable: true };
        if waiting + more > self.bytes_max {
            return Err(failed(format!(
                "it is full: {waiting} bytes wait, {more} more do not fit into store.spool_size_max_mb = {}",
                self.bytes_max >> 20
            )));
        }
        self.write_lines().map_err(|error| failed(format!("write: {error}")))
    }

    fn write_lines(&mut self) -> io::Result<()> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let written = open.file.write_all(&self.line).and_then(|()| open.file.sync_data());
        if let Err(error) = written {
            // What was written in part must not stand before what comes. Where that fails too, nothing comes after it.
            let restored = open.file.set_len(open.bytes).and_then(|()| open.file.sync_data());
            match restored {
                Ok(()) => self.open = Some(open),
                Err(_) => self.closed.push_back((open.number, open.bytes)),
            }
            return Err(error);
        }
        open.bytes += self.line.len() as u64;
        if open.bytes < FILE_BYTES {
            self.open = Some(open);
        } else {
            self.closed.push_back((open.number, open.bytes));
        }
        Ok(())
    }

    /// A new file, whose first line says whose rows it has.
    fn begin(&mut self) -> io::Result<OpenFile> {
        let number = self.next;
        let path = self.path(number);
        let mut header = Vec::new();
        line::put(&mut header, &Entry::Store(self.store.clone()));
        let mut file = OpenOptions::new().append(true).create_new(true).open(&path)?;
        let written = file
            .write_all(&header)
            .and_then(|()| file.sync_data())
            .and_then(|()| File::open(&self.folder)?.sync_all());
        if let Err(error) = written {
            // Without a row in it: nothing is lost with it.
            drop(std::fs::remove_file(&path));
            return Err(error);
        }
        self.next += 1;
        Ok(OpenFile { number, file, bytes: header.len() as u64 })
    }

    /// The path of the oldest file, closed so that nothing is added to it; `None` when nothing waits.
    pub(super) fn oldest(&mut self) -> Option<Oldest> {
        if self.closed.is_empty()
            && let Some(open) = self.open.take()
        {
            self.closed.push_back((open.number, open.bytes));
        }
        let (number, _) = *self.closed.front()?;
        Some(Oldest { path: self.path(number), number })
    }

    /// Removes the file that `batch` came from: its rows are stored. Lines that could not be read, or rows that can
    /// never be stored, `kept_aside`, go into a file beside it first.
    ///
    /// # Errors
    /// When the disk fails: the file is read again then.
    pub(super) fn done(&mut self, batch: &Batch, kept_aside: &[u8]) -> io::Result<()> {
        let path = self.path(batch.number);
        if !kept_aside.is_empty() {
            let mut aside = OpenOptions::new().append(true).create(true).open(path.with_extension("bad"))?;
            aside.write_all(kept_aside)?;
            aside.sync_data()?;
        }
        std::fs::remove_file(path)?;
        self.closed.retain(|(number, _)| *number != batch.number);
        Ok(())
    }
}

/// A file to be read, without the spool.
pub(super) struct Oldest {
    path: PathBuf,
    number: u64,
}

impl Oldest {
    /// Everything in it, and the bytes of the lines that cannot be read.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn read(&self) -> io::Result<(Batch, Vec<u8>)> {
        let bytes = std::fs::read(&self.path)?;
        let mut batch = Batch { number: self.number, ..Batch::default() };
        let mut aside = Vec::new();
        for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let entry = line.strip_suffix(b"\n").ok_or("it is cut short".to_owned()).and_then(line::read);
            match entry {
                Ok(Entry::Store(_)) => {}
                Ok(Entry::Row(row)) => batch.rows.push(row),
                Ok(Entry::Alert(alert)) => batch.alerts.push(alert),
                Ok(Entry::Watermark((series, ts))) => {
                    match batch.watermarks.iter_mut().find(|(s, _)| *s == series) {
                        Some(found) => found.1 = found.1.max(ts),
                        None => batch.watermarks.push((series, ts)),
                    }
                }
                Err(problem) => {
                    batch.bad.push(format!("{}, line {}: {problem}", self.path.display(), index + 1));
                    aside.extend_from_slice(line);
                }
            }
        }
        Ok((batch, aside))
    }
}

/// `entry` as a line, to be kept aside.
pub(super) fn line_of(entry: &Entry) -> Vec<u8> {
    let mut line = Vec::new();
    line::put(&mut line, entry);
    line
}

/// What the first line of a file says; `None` where it cannot be read.
fn first_line(path: &Path) -> io::Result<Option<Entry>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.split(|byte| *byte == b'\n').next().and_then(|line| line::read(line).ok()))
}
