//! The log's file: put aside when it has grown large, and when a day has passed.

use crate::domain::Timestamp;
use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use std::io::{Result, Write};
use std::path::{Path, PathBuf};

const DAY_MS: i64 = 86_400_000;

/// Lines go to `path`; `path.1` is what was put aside last.
pub(super) struct Rotating {
    file: FileRotate<AppendCount>,
    path: PathBuf,
    /// How large the file is, and when it is put aside.
    bytes: usize,
    bytes_max: usize,
    /// The day that the newest line is of, in UTC and counted from 1970; `None` where there is none yet.
    day: Option<i64>,
    /// What time it is.
    now: fn() -> Timestamp,
    /// Lines that could not be written since one last was.
    lost: u64,
}

impl Rotating {
    /// Goes on with the file at `path`, whose newest line is as old as the file's last change.
    ///
    /// # Errors
    /// When it cannot be made or written to.
    pub(super) fn open(
        path: &Path,
        (bytes_max, files_max): (usize, usize),
        now: fn() -> Timestamp,
    ) -> Result<Self> {
        // The rotating writer says nothing where it cannot open its file; an error is found here instead.
        let opened = std::fs::OpenOptions::new().append(true).create(true).open(path)?.metadata()?;
        let changed = opened.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let changed = changed.filter(|_| opened.len() > 0);
        let day = changed.and_then(|since| i64::try_from(since.as_millis()).ok()).map(|ms| ms / DAY_MS);
        let bytes = usize::try_from(opened.len()).unwrap_or(usize::MAX);
        let (suffix, limit) = (AppendCount::new(files_max), ContentLimit::None);
        let file = FileRotate::new(path, suffix, limit, Compression::None, None);
        Ok(Self { file, path: path.to_owned(), bytes, bytes_max, day, now, lost: 0 })
    }

    fn put(&mut self, line: &[u8]) -> Result<()> {
        let today = (self.now)().as_millis() / DAY_MS;
        // A clock that goes back begins no day anew.
        if self.day.is_some_and(|day| today > day) || self.bytes > self.bytes_max {
            // The writer panics where the folder is gone and cannot be made, and says nothing where its file cannot.
            self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            self.file.rotate()?;
            self.bytes = usize::try_from(self.path.metadata()?.len()).unwrap_or(usize::MAX);
        }
        self.day = self.day.max(Some(today));
        self.file.write_all(line)?;
        self.bytes = self.bytes.saturating_add(line.len());
        Ok(())
    }
}

impl Write for Rotating {
    /// Takes a line, whole. Where it cannot be written that is said on standard error, the first time, and again when one
    /// can: nobody else hears of it.
    fn write(&mut self, line: &[u8]) -> Result<usize> {
        let written = self.put(line);
        let path = self.path.display();
        match written {
            Ok(()) if self.lost > 0 => {
                let _ = writeln!(
                    std::io::stderr(),
                    "the log {path} is written again; {} lines are lost",
                    self.lost
                );
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    let _ = writeln!(
                        std::io::stderr(),
                        "the log {path} cannot be written: {error}; what it would say is lost until it can be"
                    );
                }
                self.lost += 1;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    static NOW_MS: AtomicI64 = AtomicI64::new(0);

    fn now() -> Timestamp {
        Timestamp::from_millis(NOW_MS.load(Ordering::Relaxed))
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_those_after_them_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (logs, away) = (folder.path().join("logs"), folder.path().join("away"));
        std::fs::create_dir(&logs).unwrap();
        let path = logs.join("vela.log");
        let mut log = Rotating::open(&path, (10, 3), Timestamp::now).unwrap();
        log.write_all(b"more than ten bytes\n").unwrap();
        // The folder is gone, and none can be made there.
        std::fs::rename(&logs, &away).unwrap();
        std::fs::write(&logs, "a file").unwrap();
        log.write_all(b"lost\n").unwrap();
        log.write_all(b"lost\n").unwrap();
        assert_eq!(log.lost, 2);
        std::fs::remove_file(&logs).unwrap();
        log.write_all(b"again\n").unwrap();
        assert_eq!(log.lost, 0);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "again\n");
        assert_eq!(std::fs::read_to_string(away.join("vela.log")).unwrap(), "more than ten bytes\n");
    }

    #[test]
    fn a_day_and_a_size_begin_a_new_file_and_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vela.log");
        let open = || Rotating::open(&path, (100, 3), now).unwrap();
        let files = || {
            let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
            ["vela.log", "vela.log.1", "vela.log.2", "vela.log.3", "vela.log.4"].map(read)
        };
        // An hour before midnight of a day that is to come: files that are made now are older.
        let evening = (Timestamp::now().as_millis() / DAY_MS + 10) * DAY_MS - 3_600_000;
        NOW_MS.store(evening, Ordering::Relaxed);
        let mut log = open();
        log.write_all(b"one\n").unwrap();
        log.write_all(b"two\n").unwrap();
        assert_eq!(files(), ["one\ntwo\n", "", "", "", ""], "the first line of a file begins none");
        NOW_MS.store(evening + 3_599_999, Ordering::Relaxed);
        log.write_all(b"three\n").unwrap();
        assert_eq!(files()[0], "one\ntwo\nthree\n");
        NOW_MS.store(evening + 3_600_000, Ordering::Relaxed);
        log.write_all(b"four\n").unwrap();
        assert_eq!(files(), ["four\n", "one\ntwo\nthree\n", "", "", ""], "midnight");
        NOW_MS.store(evening, Ordering::Relaxed);
        log.write_all(b"five\n").unwrap();
        NOW_MS.store(evening + 3_600_000, Ordering::Relaxed);
        log.write_all(b"six\n").unwrap();
        assert_eq!(files()[0], "four\nfive\nsix\n", "the clock went back and came again");
        let long = [b'x'; 100];
        log.write_all(&long).unwrap();
        log.write_all(b"seven\n").unwrap();
        let [newest, before, ..] = files();
        assert_eq!((newest.as_str(), before.len()), ("seven\n", "four\nfive\nsix\n".len() + 100));
        for _ in 0..5 {
            NOW_MS.fetch_add(DAY_MS, Ordering::Relaxed);
            log.write_all(b"next\n").unwrap();
        }
        assert_eq!(files(), ["next\n", "next\n", "next\n", "next\n", ""], "three are kept beside the file");
        // After a start, a file of another day is put aside, too: these were changed today, by the machine's clock.
        drop(log);
        let mut log = open();
        log.write_all(b"after a start\n").unwrap();
        assert_eq!(files()[..2], ["after a start\n", "next\n"]);
    }
}
