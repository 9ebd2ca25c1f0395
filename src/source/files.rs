//! Files of bars: `SYMBOL_TIMEFRAME.csv` or `.parquet`, one a series, and folders of them.

use super::SourceError;
use super::csv::{CsvReader, unreadable};
use super::parquet::ParquetReader;
use crate::domain::{Bar, SeriesKey, Timeframe, Timestamp};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What the names of files of bars end in.
const EXTENSIONS: [&str; 2] = ["csv", "parquet"];
/// Bytes of a text file that are read to estimate its number of bars.
const SAMPLE_BYTES: u64 = 32 * 1024;

/// A file that holds the bars of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarFile {
    /// The series, as the file's name says it.
    pub series: SeriesKey,
    /// The file.
    pub path: PathBuf,
}

/// So many steps back in time from the first bar on, and none forward, are no bars that came late: the file stands on its head.
const STEPS_BACK_MAX: u32 = 16;
/// The same for a file that ends before.
const STEPS_BACK_MAX_OF_ALL: u32 = 3;

/// A forward reader of the bars of one file, in the order in which they stand there.
#[derive(Debug)]
pub struct BarReader {
    path: PathBuf,
    rows: Rows,
    /// The open time of the bar before and the steps back so far; `None` once time went forward.
    falling: Option<(Option<Timestamp>, u32)>,
}

#[derive(Debug)]
enum Rows {
    Csv(CsvReader),
    Parquet(Box<ParquetReader>),
}

impl BarReader {
    /// The next bar; `None` at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read, a row is no bar (then with file, place, column and value), or its bars stand newest
    /// first.
    pub fn next_bar(&mut self) -> Result<Option<Bar>, SourceError> {
        let bar = match &mut self.rows {
            Rows::Csv(reader) => reader.next_bar(),
            Rows::Parquet(reader) => reader.next_bar(),
        }?;
        if let Some((before, steps)) = self.falling {
            self.look_at_order(before, steps, bar.as_ref())?;
        }
        Ok(bar)
    }

    fn look_at_order(
        &mut self,
        before: Option<Timestamp>,
        mut steps: u32,
        bar: Option<&Bar>,
    ) -> Result<(), SourceError> {
        let most = match (before, bar) {
            (Some(before), Some(bar)) if bar.ts > before => {
                self.falling = None;
                return Ok(());
            }
            (before, Some(bar)) => {
                steps += u32::from(before.is_some_and(|before| bar.ts < before));
                self.falling = Some((Some(bar.ts), steps));
                STEPS_BACK_MAX
            }
            (_, None) => STEPS_BACK_MAX_OF_ALL,
        };
        if steps < most {
            return Ok(());
        }
        let problem = "its bars stand newest first; they are read oldest first, and all but the newest would be refused as \
                       late: turn the file around, a CSV such as by `(head -n 1 FILE; tail -n +2 FILE | tac) > TURNED`";
        Err(SourceError::Row { place: self.path.display().to_string(), problem: problem.to_owned() })
    }
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet")
}

impl BarFile {
    /// Opens the file.
    ///
    /// # Errors
    /// When it cannot be read, or has not the columns of bars.
    pub fn reader(&self) -> Result<BarReader, SourceError> {
        let rows = if is_parquet(&self.path) {
            Rows::Parquet(Box::new(ParquetReader::open(&self.path)?))
        } else {
            Rows::Csv(CsvReader::open(&self.path)?)
        };
        Ok(BarReader { path: self.path.clone(), rows, falling: Some((None, 0)) })
    }

    /// About how many bars it holds: by its size and first lines where it is a long text, else exactly.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bars_hint(&self) -> Result<u64, SourceError> {
        if is_parquet(&self.path) {
            return Ok(ParquetReader::open(&self.path)?.rows());
        }
        estimated_bars(&self.path).map_err(|error| unreadable(&self.path, error))
    }
}

/// The series whose bars `path` holds, by its name `SYMBOL_TIMEFRAME.csv` or `.parquet`; the symbol may
/// contain underscores.
///
/// # Errors
/// When the name has another form, or the symbol or the timeframe is none.
pub fn series_of(path: &Path) -> Result<SeriesKey, SourceError> {
    let refused = |problem: String| SourceError::Row {
        place: path.display().to_string(),
        problem: format!(
            "{problem}; name the file SYMBOL_TIMEFRAME.csv, such as BTCUSDT_1m.csv (or .parquet)"
        ),
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name
        .rsplit_once('.')
        .and_then(|(stem, extension)| EXTENSIONS.contains(&extension).then_some(stem))
        .ok_or_else(|| refused(format!("`{name}` does not end in .csv or .parquet")))?;
    let (symbol, timeframe) =
        stem.rsplit_once('_').ok_or_else(|| refused(format!("`{name}` has no `_` before a timeframe")))?;
    let timeframe: Timeframe = timeframe.parse().map_err(|error| refused(format!("{error}")))?;
    SeriesKey::new(symbol, timeframe).map_err(|error| refused(format!("{error}")))
}

/// The files that `paths` mean: files, or folders of which every `*.csv` and `*.parquet` is taken, by name.
///
/// # Errors
/// When there is no file, a folder has none, a name is refused, or two files hold the same series.
pub fn bar_files(paths: &[PathBuf]) -> Result<Vec<BarFile>, SourceError> {
    let mut found = Vec::new();
    for path in paths {
        // Asked first: what a wrong path lacks is not the right ending.
        if std::fs::metadata(path).map_err(|error| unreadable(path, error))?.is_dir() {
            found.extend(files_of(path)?);
        } else {
            found.push(path.clone());
        }
    }
    if found.is_empty() {
        let problem = "no file is given; name a SYMBOL_TIMEFRAME.csv or a folder of them".to_owned();
        return Err(SourceError::Row { place: "bars".to_owned(), problem });
    }
    let mut seen: HashMap<SeriesKey, PathBuf> = HashMap::new();
    let file = |path: PathBuf| {
        let series = series_of(&path)?;
        if let Some(other) = seen.insert(series.clone(), path.clone()) {
            return Err(SourceError::Row {
                place: path.display().to_string(),
                problem: format!("{} holds {series} too; give one file a series", other.display()),
            });
        }
        Ok(BarFile { series, path })
    };
    found.into_iter().map(file).collect()
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let read = |error| unreadable(folder, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        let problem = "no *.csv or *.parquet in this folder; files are named SYMBOL_TIMEFRAME.csv".to_owned();
        return Err(SourceError::Row { place: folder.display().to_string(), problem });
    }
    files.sort();
    Ok(files)
}

fn estimated_bars(path: &Path) -> std::io::Result<u64> {
    let mut sample = Vec::new();
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    file.take(SAMPLE_BYTES).read_to_end(&mut sample)?;
    let ends = sample.iter().filter(|byte| **byte == b'\n').count() as u64;
    let read = sample.len() as u64;
    if size <= read {
        let unended = u64::from(sample.last().is_some_and(|byte| *byte != b'\n'));
        return Ok((ends + unended).saturating_sub(1));
    }
    Ok(ends * size / read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_tell_the_series() {
        for (name, symbol, timeframe) in [
            ("BTCUSDT_1m.csv", "BTCUSDT", "1m"),
            ("a/b/BTC_USDT_4h.csv", "BTC_USDT", "4h"),
            ("BTC.X_1d.parquet", "BTC.X", "1d"),
        ] {
            let key = series_of(Path::new(name)).unwrap();
            assert_eq!((&*key.symbol, key.timeframe.to_string().as_str()), (symbol, timeframe));
        }
        for name in
            ["BTCUSDT.csv", "BTCUSDT_1M.csv", "_1m.csv", "BTC USDT_1m.csv", "BTCUSDT_1m.json", "csv", ""]
        {
            let error = series_of(Path::new(name)).unwrap_err().to_string();
            assert!(error.contains("SYMBOL_TIMEFRAME.csv"), "{error}");
        }
    }
}
