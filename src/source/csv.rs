//! CSV bars: which columns a file's header has, and the bar of a line.
//!
//! ```text
//! ts,open,high,low,close,volume               in any order; see `columns.rs`
//! 2024-06-01T12:34:00Z,1.0,2.5,0.5,2.0,1200   ts is the bar's OPEN time, RFC 3339
//! ```
//!
//! Or `ts` is a whole number since 1970, in seconds, milliseconds, microseconds or nanoseconds: its size tells which.
//! All times of a file are of one kind.

use super::SourceError;
use super::columns::{COLUMNS, locate};
use super::lines::Lines;
use super::times::Times;
use crate::domain::{Bar, Excerpt, Timestamp};
use std::path::{Path, PathBuf};

/// The cells of one line: trimmed, with quotes around a cell taken off.
struct Cells<'a>(Option<&'a str>);

impl<'a> Iterator for Cells<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let line = self.0?;
        if let Some(quoted) = line.trim_start().strip_prefix('"')
            && let Some(end) = quoted.find('"')
        {
            self.0 = quoted[end + 1..].split_once(',').map(|(_, rest)| rest);
            return Some(&quoted[..end]);
        }
        let (cell, rest) = line.split_once(',').map_or((line, None), |(cell, rest)| (cell, Some(rest)));
        self.0 = rest;
        Some(cell.trim())
    }
}

/// What makes a header that of another kind of text file, and what to do.
fn foreign(header: &str, names: &[&str]) -> Option<String> {
    if header.contains('\r') {
        return Some("its lines end with CR alone: end them with LF, or CR and LF".to_owned());
    }
    let [only] = names else { return None };
    let separator = [';', '\t', '|'].into_iter().find(|separator| only.contains(*separator))?;
    let separator = separator.escape_debug();
    Some(format!(
        "the cells of `{:.120}` stand apart by `{separator}`: put a comma between two",
        Excerpt(only)
    ))
}

/// Where a file has its columns.
#[derive(Clone, Debug)]
pub struct Columns {
    /// For every column of the file, which of [`COLUMNS`] it is.
    meanings: Vec<Option<usize>>,
    times: Times,
}

impl Columns {
    /// Reads a header line; a byte order mark before it is taken off, case does not matter.
    ///
    /// # Errors
    /// The problem, when a column is missing or named twice.
    pub fn of_header(header: &[u8]) -> Result<Self, String> {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let text = std::str::from_utf8(header).map_err(|_| "the header is not UTF-8".to_owned())?;
        let names: Vec<_> = Cells(Some(text)).collect();
        if let Some(problem) = foreign(text, &names) {
            return Err(problem);
        }
        let mut meanings = vec![None; names.len()];
        for (meaning, at) in locate(&names)?.into_iter().enumerate() {
            meanings[at] = Some(meaning);
        }
        Ok(Self { meanings, times: Times::default() })
    }

    /// The bar of one line. `nan` and `inf` are numbers here, and an empty cell is `nan`, as many write it: ingest
    /// refuses and counts them.
    ///
    /// # Errors
    /// The problem, with column, value and what is expected.
    pub fn bar(&mut self, line: &[u8]) -> Result<Bar, String> {
        let line = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
        let mut ts = Timestamp::default();
        let mut numbers = [0.0; COLUMNS.len()];
        let mut cells = Cells(Some(line));
        for (index, meaning) in self.meanings.iter().enumerate() {
            let Some(cell) = cells.next() else {
                return Err(format!("{index} cells, expected {}", self.meanings.len()));
            };
            match *meaning {
                None => {}
                Some(0) => {
                    ts = self.times.read_text(cell).map_err(|error| format!("column `ts`: {error}"))?;
                }
                Some(column) if cell.is_empty() => numbers[column] = f64::NAN,
                Some(column) => {
                    numbers[column] = cell.parse().map_err(|_| {
                        format!("column `{}`: `{:.120}` is not a number", COLUMNS[column], Excerpt(cell))
                    })?;
                }
            }
        }
        if cells.next().is_some() {
            return Err(format!("more than the {} cells that the header has", self.meanings.len()));
        }
        let [_, open, high, low, close, volume] = numbers;
        Ok(Bar { ts, open, high, low, close, volume })
    }
}

/// A forward reader of the bars of one file, in the order in which they stand there.
#[derive(Debug)]
pub struct CsvReader {
    path: PathBuf,
    lines: Lines,
    columns: Columns,
    line: u64,
}

impl CsvReader {
    /// Opens `path` and reads its header.
    ///
    /// # Errors
    /// When the file cannot be read, is empty, or lacks a column.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let mut lines = Lines::new(path, 0);
        let header = match lines.next_or_rest() {
            Err(error) => return Err(unreadable(path, error)),
            Ok(None) => Err("the file is empty".to_owned()),
            Ok(Some((_, line))) => Columns::of_header(line),
        };
        match header {
            Ok(columns) => Ok(Self { path: path.to_owned(), lines, columns, line: 1 }),
            Err(problem) => Err(SourceError::Row { place: format!("{}:1", path.display()), problem }),
        }
    }

    /// The next bar; `None` at the end of the file. Blank lines are passed over.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is no bar: then with file, line, column and value.
    pub fn next_bar(&mut self) -> Result<Option<Bar>, SourceError> {
        loop {
            self.line += 1;
            let line = match self.lines.next_or_rest() {
                Ok(Some((_, line))) => line,
                Ok(None) => return Ok(None),
                Err(error) => return Err(unreadable(&self.path, error)),
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            return match self.columns.bar(line) {
                Ok(bar) => Ok(Some(bar)),
                Err(problem) => {
                    let place = format!("{}:{}", self.path.display(), self.line);
                    Err(SourceError::Row { place, problem })
                }
            };
        }
    }
}

/// The error of a file that the system does not give.
pub(super) fn unreadable(path: &Path, error: std::io::Error) -> SourceError {
    SourceError::File { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: impl AsRef<[u8]>) -> Result<Vec<Bar>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("X_1m.csv");
        std::fs::write(&path, text).unwrap();
        let shown =
            |error: SourceError| error.to_string().replace(&format!("{}/", folder.path().display()), "");
        let mut reader = CsvReader::open(&path).map_err(shown)?;
        let mut bars = Vec::new();
        while let Some(bar) = reader.next_bar().map_err(shown)? {
            bars.push(bar);
        }
        Ok(bars)
    }

    #[test]
    fn plain_reordered_quoted_and_windows_files_read_alike() {
        let bar = Bar {
            ts: "2024-06-01T00:00:00Z".parse().unwrap(),
            open: 1.0,
            high: 3.0,
            low: 0.5,
            close: 2.0,
            volume: 10.0,
        };
        for text in [
            "ts,open,high,low,close,volume\n2024-06-01T00:00:00Z,1,3,0.5,2,10\n",
            "ts,open,high,low,close,volume\n2024-06-01T00:00:00Z,1,3,0.5,2,10",
            "\u{feff}ts,open,high,low,close,volume\r\n2024-06-01T00:00:00Z,1,3,0.5,2,10\r\n\r\n",
            "close,low, High ,note,open,volume,TS\n2,.5,3e0,\"a, b\",1,10,\"2024-06-01T02:00:00+02:00\"\n",
        ] {
            assert_eq!(read(text).as_deref(), Ok(&[bar][..]), "{text}");
        }
    }

    #[test]
    fn a_time_stamp_unit_is_told_by_its_size_and_refused_where_it_changes_within_a_file() {
        let noon: Timestamp = "2024-06-01T12:00:00Z".parse().unwrap();
        let file = |times: &[&str]| {
            let rows = times.iter().map(|ts| format!("{ts},1,1,1,1,1\n"));
            read(format!("ts,open,high,low,close,volume\n{}", rows.collect::<String>()))
        };
        for zeros in ["", "000", "000000", "000000000"] {
            let times = [format!("1717243200{zeros}"), format!("\"1717243260{zeros}\"")];
            let bars = file(&times.each_ref().map(String::as_str)).unwrap();
            assert_eq!(bars.iter().map(|bar| bar.ts).collect::<Vec<_>>(), [noon, noon.plus_millis(60_000)]);
        }
        for (times, problem) in [
            (
                ["1717243200", "1717243260000"],
                "X_1m.csv:3: column `ts`: 2024-06-01T12:01:00Z is written as milliseconds",
            ),
            (
                ["1717243200", "2024-06-01T12:01:00Z"],
                "X_1m.csv:3: column `ts`: 2024-06-01T12:01:00Z is written as RFC",
            ),
            (["1717243200", "17172"], "X_1m.csv:3: column `ts`: 17172 is neither seconds"),
        ] {
            let error = file(&times).unwrap_err();
            assert!(error.starts_with(problem), "{error}");
        }
    }

    #[test]
    fn a_time_without_its_zone_is_refused_and_one_with_summer_time_is_the_same_moment() {
        let file = |ts: &str| read(format!("ts,open,high,low,close,volume\n{ts},1,1,1,1,1\n"));
        assert!(file("2024-06-01T12:00:00").unwrap_err().contains("write RFC 3339"));
        assert_eq!(file("2024-07-01T08:00:00-04:00"), file("2024-07-01T12:00:00Z"));
        assert_eq!(file("2024-01-01T07:00:00-05:00"), file("2024-01-01T12:00:00Z"));
    }

    #[test]
    fn nan_infinity_and_empty_cells_are_passed_on() {
        const HEADER: &str = "ts,open,high,low,close,volume\n2024-06-01T00:00:00Z,";
        let bars = read(format!("{HEADER}nan,inf,-inf,NaN,1\n")).unwrap();
        assert!(bars[0].open.is_nan() && bars[0].close.is_nan());
        assert_eq!((bars[0].high, bars[0].low), (f64::INFINITY, f64::NEG_INFINITY));
        // As pandas writes what is not there.
        let bars = read(format!("{HEADER}1,\"\",1, ,\n")).unwrap();
        assert!(bars[0].high.is_nan() && bars[0].close.is_nan() && bars[0].volume.is_nan());
        assert_eq!((bars[0].open, bars[0].low), (1.0, 1.0));
    }

    #[test]
    fn problems_name_file_line_column_and_value() {
        const HEADER: &str = "ts,open,high,low,close,volume\n";
        for (text, expected) in [
            (String::new(), "X_1m.csv:1: the file is empty"),
            (
                "ts,open,high,low,close\n".into(),
                "X_1m.csv:1: column `volume` is missing in `ts,open,high,low,close`",
            ),
            ("ts,ts,open,high,low,close,volume\n".into(), "X_1m.csv:1: column `ts` is there twice"),
            (
                format!("{HEADER}\n2024-06-01T00:00:00Z,1,1,x7,1,1"),
                "X_1m.csv:3: column `low`: `x7` is not a number",
            ),
            (
                "ts;open;high;low;close;volume\n".into(),
                "X_1m.csv:1: the cells of `ts;open;high;low;close;volume` ",
            ),
            (
                "ts\topen\thigh\n".into(),
                "X_1m.csv:1: the cells of `ts\\topen\\thigh` stand apart by `\\t`: put a",
            ),
            (HEADER.replace('\n', "\r").repeat(999), "X_1m.csv:1: its lines end with CR alone"),
            (format!("{HEADER}2024-06-01,1,1,1,1,1"), "X_1m.csv:2: column `ts`: `2024-06-01` is not a time"),
            (format!("{HEADER}2024-06-01T00:00:00Z,1,1,1,1"), "X_1m.csv:2: 5 cells, expected 6"),
            (format!("{HEADER}2024-06-01T00:00:00Z,1,1,1,1,1,1"), "X_1m.csv:2: more than the 6 cells"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.starts_with(expected), "{error} / {expected}");
        }
        assert!(read(b"ts,open,high,low,close,volume\n\xff,1,1,1,1,1").unwrap_err().contains("UTF-8"));
        // A file that is none of this is told in a line of a terminal, whatever it says.
        for text in [
            "\u{1b}[2J".repeat(9_999),
            format!("{HEADER}2024-06-01T00:00:00Z,1,1,{},1,1", "é\0".repeat(9_999)),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.len() < 1_000 && !error.contains(char::is_control), "{error}");
        }
    }
}
