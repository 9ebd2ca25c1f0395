//! Replay: files of bars as one stream, the same one every time.

use super::files::{BarReader, bar_files};
use super::merge::Merge;
use super::{Poll, Source, SourceBar, SourceError};
use crate::domain::{Origin, SeriesKey, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;

/// Bars that one poll delivers at most.
const BARS_PER_POLL: usize = 1024;

/// Files merged by (close time, coarser timeframe first, symbol), in bounded memory.
///
/// A file that is not sorted keeps its own order: nothing is silently put right.
pub struct Replay {
    files: Vec<ReplayFile>,
    merge: Merge,
    bounds: Bounds,
    bars_read: u64,
    bars_total_hint: u64,
    warnings: Vec<String>,
    started: bool,
    /// Reported by the next poll, because this one still delivers the bars before it.
    failed: Option<SourceError>,
}

struct ReplayFile {
    series: Arc<SeriesKey>,
    reader: BarReader,
}

#[derive(Clone, Copy)]
struct Bounds {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Replay {
    /// Opens `paths`: files or folders, as [`bar_files`] takes them.
    /// Bars that open before `from` are delivered as warm-up; bars that open after `to` are not delivered.
    ///
    /// # Errors
    /// When there is no file, a folder has none, a name or a header is refused, or two files hold the same series.
    pub fn open(
        paths: &[PathBuf],
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Self, SourceError> {
        let found = bar_files(paths)?;
        let mut files = Vec::with_capacity(found.len());
        let mut bars_total_hint = 0;
        let mut warnings = Vec::new();
        for file in found {
            bars_total_hint += file.bars_hint()?;
            warnings.extend(file.warning());
            files.push(ReplayFile { reader: file.reader()?, series: Arc::new(file.series) });
        }
        Ok(Self {
            files,
            merge: Merge::default(),
            bounds: Bounds { from, to },
            bars_read: 0,
            bars_total_hint,
            warnings,
            started: false,
            failed: None,
        })
    }

    /// What is doubtful about the files.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The series of all files.
    pub fn series(&self) -> impl Iterator<Item = &SeriesKey> {
        self.files.iter().map(|file| &*file.series)
    }

    /// About how many bars all files hold: exact for small ones, by their size and first lines for others.
    pub fn bars_total_hint(&self) -> u64 {
        self.bars_total_hint
    }

    /// How many bars were read so far, those behind `to` included: reaches about the total at the end.
    pub fn bars_read(&self) -> u64 {
        self.bars_read
    }

    fn read(&mut self, bars: &mut Vec<SourceBar>) -> Result<(), SourceError> {
        let Self { files, merge, bounds, bars_read, started, .. } = self;
        if !*started {
            for (cursor, file) in files.iter_mut().enumerate() {
                if let Some(bar) = file.next(*bounds, bars_read)? {
                    merge.enter(cursor, bar);
                }
            }
            *started = true;
        }
        merge.take(BARS_PER_POLL, bars, |cursor| files[cursor].next(*bounds, bars_read))
    }
}

impl ReplayFile {
    fn next(&mut self, bounds: Bounds, bars_read: &mut u64) -> Result<Option<SourceBar>, SourceError> {
        while let Some(bar) = self.reader.next_bar()? {
            *bars_read += 1;
            // Not the end of what is wanted: the file need not be sorted.
            if bounds.to.is_some_and(|to| bar.ts > to) {
                continue;
            }
            let early = bounds.from.is_some_and(|from| bar.ts < from);
            let origin = if early { Origin::WarmUp } else { Origin::Live };
            return Ok(Some(SourceBar { series: Arc::clone(&self.series), bar, origin }));
        }
        Ok(None)
    }
}

impl Source for Replay {
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
        if let Some(error) = self.failed.take() {
            // Asked again after a fatal error there is nothing more.
            self.merge.clear();
            return Err(error);
        }
        let before = bars.len();
        match self.read(bars) {
            Err(error) if bars.len() == before => Err(error),
            Err(error) => {
                self.failed = Some(error);
                Ok(Poll::Ready)
            }
            Ok(()) if bars.len() == before => Ok(Poll::End),
            Ok(()) => Ok(Poll::Ready),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const HEADER: &str = "ts,open,high,low,close,volume";

    fn folder(files: &[(&str, &[&str])]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, times) in files {
            let rows: String = times.iter().map(|t| format!("2024-06-01T{t}:00Z,1,1,1,1,1\n")).collect();
            std::fs::write(folder.path().join(name), format!("{HEADER}\n{rows}")).unwrap();
        }
        folder
    }

    fn at(time: &str) -> Option<Timestamp> {
        Some(format!("2024-06-01T{time}:00Z").parse().unwrap())
    }

    fn drain(replay: &mut Replay) -> Result<Vec<String>, SourceError> {
        let mut bars = Vec::new();
        while replay.poll(&mut bars)? == Poll::Ready {}
        Ok(bars
            .iter()
            .map(|b| format!("{} {} {:?}", b.series, &b.bar.ts.to_string()[11..16], b.origin))
            .collect())
    }

    fn refused(paths: &[PathBuf]) -> String {
        Replay::open(paths, None, None).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn files_become_one_stream_with_bounds() {
        let folder = folder(&[
            ("B_1m.csv", &["00:03", "00:04", "00:05", "00:06"]),
            ("A_5m.csv", &["00:00", "00:05"]),
            ("A_1m.csv", &["00:04", "00:05"]),
        ]);
        let mut replay = Replay::open(&[folder.path().to_owned()], at("00:04"), at("00:05")).unwrap();
        assert_eq!(replay.bars_total_hint(), 8);
        assert_eq!(
            drain(&mut replay).unwrap(),
            [
                "B 1m 00:03 WarmUp",
                "A 5m 00:00 WarmUp",
                "A 1m 00:04 Live",
                "B 1m 00:04 Live",
                "A 1m 00:05 Live",
                "B 1m 00:05 Live",
                "A 5m 00:05 Live",
            ]
        );
        assert_eq!(replay.bars_read(), 8);
    }

    #[test]
    fn a_file_that_stands_newest_first_is_refused_and_what_to_do_is_said() {
        let minutes: Vec<String> = (0..40).rev().map(|m| format!("00:{m:02}")).collect();
        let minutes: Vec<&str> = minutes.iter().map(String::as_str).collect();
        for turned in [&minutes[..], &minutes[..4]] {
            let folder = folder(&[("A_1m.csv", turned)]);
            let mut replay = Replay::open(&[folder.path().to_owned()], None, None).unwrap();
            let error = drain(&mut replay).unwrap_err().to_string();
            assert!(
                error.contains("A_1m.csv") && error.contains("newest first") && error.contains("tac"),
                "{error}"
            );
        }
        // Bars that are late, and a few that came twice, are something else.
        let late = ["00:09", "00:08", "00:08", "00:07", "00:10", "00:11", "00:02"];
        let folder = folder(&[("A_1m.csv", &late)]);
        let mut replay = Replay::open(&[folder.path().to_owned()], None, None).unwrap();
        assert_eq!(drain(&mut replay).unwrap().len(), late.len());
    }

    #[test]
    fn an_unsorted_file_keeps_its_order() {
        let folder = folder(&[("A_1m.csv", &["00:03", "00:01", "00:02", "00:02"])]);
        let mut replay = Replay::open(&[folder.path().join("A_1m.csv")], None, None).unwrap();
        assert_eq!(
            drain(&mut replay).unwrap(),
            ["A 1m 00:03 Live", "A 1m 00:01 Live", "A 1m 00:02 Live", "A 1m 00:02 Live"]
        );
    }

    #[test]
    fn a_bad_row_ends_the_replay_after_the_bars_before_it() {
        let folder = folder(&[("A_1m.csv", &["00:01", "00:02", "xx:03", "00:04"])]);
        let mut replay = Replay::open(&[folder.path().to_owned()], None, None).unwrap();
        let mut bars = Vec::new();
        assert_eq!(replay.poll(&mut bars).unwrap(), Poll::Ready);
        assert_eq!(bars.len(), 1, "the bar before the bad row stays back: what follows it is not known");
        let error = replay.poll(&mut bars).unwrap_err().to_string();
        assert!(error.contains("A_1m.csv:4: column `ts`"), "{error}");
    }

    #[test]
    fn what_cannot_be_replayed_is_refused_with_names() {
        let one = folder(&[("A_1m.csv", &[])]);
        let two = folder(&[("A_60s.csv", &[])]);
        let error = refused(&[one.path().to_owned(), two.path().to_owned()]);
        assert!(error.contains("A_1m.csv") && error.contains("A_60s.csv"), "{error}");
        let empty = folder(&[]);
        assert!(refused(&[empty.path().to_owned()]).contains("no *.csv"));
        assert!(refused(&[]).contains("no file"));
        assert!(refused(&[one.path().join("B_1m.csv")]).contains("B_1m.csv: "));
        assert!(refused(&[folder(&[("A.csv", &[])]).path().to_owned()]).contains("SYMBOL_TIMEFRAME"));
    }

    #[test]
    fn the_estimate_of_a_large_file_is_near() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("A_1m.csv");
        let rows: String = (0..5000).map(|_| "2024-06-01T00:00:00Z,1.5,1.5,1.5,1.5,100\n").collect();
        std::fs::write(&path, format!("{HEADER}\n{rows}")).unwrap();
        let hint = Replay::open(&[path], None, None).unwrap().bars_total_hint();
        assert!(hint.abs_diff(5000) < 50, "{hint}");
    }
}
