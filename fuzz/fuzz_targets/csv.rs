//! Any bytes as a file of bars, and as the name of one.
//!
//! Nothing panics; every error names its line, and the reader and the line parser agree; a name that is taken is
//! spelled by its series.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use vela::source::csv::Columns;
use vela::source::{CsvReader, series_of};

/// One file that every run overwrites, in memory where the system has such a folder.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    folder.join(format!("vela-fuzz-{}_1m.csv", std::process::id()))
});

fn read_file(content: &[u8]) {
    std::fs::write(&*FILE, content).expect("the temporary file is written");
    let lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
    let place = |line: usize| format!("{}:{line}: ", FILE.display());
    let mut reader = match CsvReader::open(&FILE) {
        Ok(reader) => reader,
        Err(error) => return assert!(error.to_string().starts_with(&place(1)), "{error}"),
    };
    let bare = |line: usize| lines[line].strip_suffix(b"\r").unwrap_or(lines[line]);
    let mut columns = Columns::of_header(bare(0)).expect("the reader took this header");
    // Line by line: blank ones are passed over, and an error does not end the file.
    let wanted = (1..lines.len()).filter(|line| !bare(*line).trim_ascii().is_empty());
    for line in wanted {
        match (reader.next_bar(), columns.bar(bare(line))) {
            (Ok(Some(read)), Ok(expected)) => {
                // NaN is a number here, and equals nothing.
                assert_eq!(format!("{read:?}"), format!("{expected:?}"), "line {}", line + 1);
                assert_eq!(read.ts.to_string().parse(), Ok(read.ts), "line {}", line + 1);
            }
            (Err(error), Err(problem)) => {
                let error = error.to_string();
                assert_eq!(error, format!("{}{problem}", place(line + 1)));
            }
            (read, expected) => panic!("line {}: {read:?}, by itself {expected:?}", line + 1),
        }
    }
    assert!(matches!(reader.next_bar(), Ok(None)), "there is nothing after the last line");
}

fn read_name(name: &[u8]) {
    let Ok(name) = std::str::from_utf8(name) else { return };
    match series_of(Path::new(name)) {
        Ok(series) => {
            let spelled = format!("{}_{}.csv", series.symbol, series.timeframe);
            let again = series_of(Path::new(&spelled)).expect("a series spells a file name");
            assert_eq!(again, series);
        }
        Err(error) => assert!(error.to_string().contains("SYMBOL_TIMEFRAME.csv"), "{error}"),
    }
}

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((b'n', name)) => read_name(name),
        // A good header, so that the lines behind it are reached at once.
        Some((b'h', rest)) => {
            read_file(&[b"ts,open,high,low,close,volume\n".as_slice(), rest].concat());
        }
        _ => read_file(data),
    }
});
