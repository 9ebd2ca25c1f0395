//! The log's file: put aside when it has grown large, and when a day has passed; and begun anew where somebody else took it away.

use crate::domain::Timestamp;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const DAY_MS: i64 = 86_400_000;

/// Lines go to `path`; `path.1` is what was put aside last.
pub(super) struct Rotating {
    path: PathBuf,
    open: Open,
    /// The size at which it is put aside, and how many are kept beside it.
    bytes_max: u64,
    files_max: usize,
    /// What time it is.
    now: fn() -> Timestamp,
    /// Lines that could not be written since one last was.
    lost: u64,
}

/// The file that lines go to.
struct Open {
    file: File,
    /// Device and inode: those of no other file, for as long as it is open.
    is: (u64, u64),
    /// The day that its newest line is of, in UTC and counted from 1970; `None` where it has none.
    day: Option<i64>,
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl Open {
    /// Goes on with the file at `path`, whose newest line is as old as the file's last change.
    fn at(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let metadata = file.metadata()?;
        let day = (metadata.len() > 0).then(|| metadata.mtime().div_euclid(DAY_MS / 1000));
        Ok(Self { file, is: identity(&metadata), day })
    }
}

impl Rotating {
    /// Goes on with the file at `path`.
    ///
    /// # Errors
    /// When it cannot be made or written to.
    pub(super) fn open(
        path: &Path,
        (bytes_max, files_max): (u64, usize),
        now: fn() -> Timestamp,
    ) -> Result<Self> {
        Ok(Self { path: path.to_owned(), open: Open::at(path)?, bytes_max, files_max, now, lost: 0 })
    }

    /// Looks before every line at what lies at the path: logrotate and its like rename the file, or empty it.
    fn put(&mut self, line: &[u8]) -> Result<()> {
        let bytes = match self.path.metadata() {
            Ok(there) if identity(&there) == self.open.is => there.len(),
            _ => self.begin()?,
        };
        let today = (self.now)().as_millis().div_euclid(DAY_MS);
        // A clock that goes back begins no day anew.
        if bytes > 0 && (self.open.day.is_some_and(|day| today > day) || bytes > self.bytes_max) {
            self.put_aside()?;
            self.begin()?;
        }
        self.open.day = self.open.day.max(Some(today));
        self.open.file.write_all(line)
    }

    /// Opens what lies at the path now, and says how long it is.
    fn begin(&mut self) -> Result<u64> {
        self.path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        self.open = Open::at(&self.path)?;
        Ok(self.open.file.metadata()?.len())
    }

    /// The name of the file that was put aside so many times ago.
    fn aside(&self, nth: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{nth}"));
        name.into()
    }

    /// Makes the file `path.1`, and each that has such a name the next one, up to the first name that is free.
    fn put_aside(&self) -> Result<()> {
        let free = (1..self.files_max).find(|nth| !self.aside(*nth).exists()).unwrap_or(self.files_max);
        for nth in (1..free).rev() {
            rename_if_there(&self.aside(nth), &self.aside(nth + 1))?;
        }
        rename_if_there(&self.path, &self.aside(1))?;
        // As many as were kept while more were.
        for old in (self.files_max + 1..).map(|nth| self.aside(nth)).take_while(|old| old.exists()) {
            std::fs::remove_file(old)?;
        }
        Ok(())
    }
}

/// Somebody else may take files away meanwhile.
fn rename_if_there(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })
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
        self.open.file.flush()
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

    #[test]
    fn a_file_that_somebody_else_took_away_emptied_or_removed_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vela.log");
        let mut log = Rotating::open(&path, (1000, 2), Timestamp::now).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        log.write_all(b"one\n").unwrap();
        // As logrotate does: a rename, and nothing there; or the new file made by it.
        std::fs::rename(&path, folder.path().join("renamed")).unwrap();
        log.write_all(b"two\n").unwrap();
        std::fs::rename(&path, folder.path().join("again")).unwrap();
        std::fs::write(&path, "").unwrap();
        log.write_all(b"three\n").unwrap();
        assert_eq!([read("renamed"), read("again"), read("vela.log")], ["one\n", "two\n", "three\n"]);
        // Emptied (copytruncate): lines go to its new end, and its size is the new one.
        log.write_all(&[b'x'; 1000]).unwrap();
        File::options().write(true).truncate(true).open(&path).unwrap();
        log.write_all(b"four\n").unwrap();
        assert_eq!(read("vela.log"), "four\n");
        assert!(!folder.path().join("vela.log.1").exists());
        std::fs::remove_file(&path).unwrap();
        log.write_all(b"five\n").unwrap();
        // Names that somebody else made are moved on like its own; some of them gone is no matter.
        for (name, text) in [("vela.log.1", "theirs"), ("vela.log.3", "old"), ("vela.log.4", "older")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        log.write_all(&[b'x'; 1000]).unwrap();
        log.write_all(b"six\n").unwrap();
        assert_eq!([read("vela.log"), read("vela.log.2")], ["six\n", "theirs"]);
        assert!(read("vela.log.1").starts_with("five\nxxx"));
        assert!(["vela.log.3", "vela.log.4"].iter().all(|name| !folder.path().join(name).exists()));
        assert_eq!(log.lost, 0);
    }
}
