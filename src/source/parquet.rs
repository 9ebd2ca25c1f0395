//! Parquet bars: the same columns as in CSV, whatever else the file has.
//!
//! ```text
//! ts                              TIMESTAMP in UTC, of any unit: the bar's OPEN time
//! open, high, low, close, volume  DOUBLE, FLOAT or whole numbers; null is no number
//! ```

use super::SourceError;
use super::columns::{COLUMNS, locate};
use super::csv::unreadable;
use crate::domain::{Bar, Timestamp};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Rows that are read at once.
const BATCH_ROWS: usize = 4096;

/// What one of the file's times counts.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

impl Unit {
    /// What is finer than a millisecond is cut off, as in CSV: no bar opens inside one.
    fn timestamp(self, value: i64) -> Timestamp {
        Timestamp::from_millis(match self {
            Self::Milliseconds => value,
            Self::Microseconds => value.div_euclid(1000),
            Self::Nanoseconds => value.div_euclid(1_000_000),
        })
    }
}

/// A forward reader of the bars of one file, in the order in which they stand there.
pub struct ParquetReader {
    path: PathBuf,
    file: SerializedFileReader<File>,
    /// Where the file has each of [`COLUMNS`].
    at: [usize; COLUMNS.len()],
    unit: Unit,
    rows: u64,
    /// The row group to read after this one.
    next_group: usize,
    /// This row group's columns, in the order of [`COLUMNS`]; empty between groups.
    columns: Vec<ColumnReader>,
    /// Rows of this group that are still to be read.
    left: u64,
    batch: std::vec::IntoIter<Bar>,
    /// How many rows were read into batches.
    row: u64,
}

impl std::fmt::Debug for ParquetReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetReader")
            .field("path", &self.path)
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

/// The unit of the column `ts`.
fn unit_of(column: &ColumnDescriptor) -> Result<Unit, String> {
    let write_utc = "write it as a TIMESTAMP in UTC, such as pandas does of a datetime64 column with tz=UTC";
    if column.physical_type() == Physical::INT64 {
        match (column.logical_type_ref(), column.converted_type()) {
            (Some(LogicalType::Timestamp(time)), _) if !time.is_adjusted_to_u_t_c => {
                return Err(format!("column `ts` has no time zone: {write_utc}"));
            }
            (Some(LogicalType::Timestamp(time)), _) => {
                return Ok(match time.unit {
                    TimeUnit::MILLIS => Unit::Milliseconds,
                    TimeUnit::MICROS => Unit::Microseconds,
                    TimeUnit::NANOS => Unit::Nanoseconds,
                });
            }
            // Older writers name the unit alone, and mean UTC.
            (None, ConvertedType::TIMESTAMP_MILLIS) => return Ok(Unit::Milliseconds),
            (None, ConvertedType::TIMESTAMP_MICROS) => return Ok(Unit::Microseconds),
            _ => {}
        }
    }
    Err(format!("column `ts` is {}: {write_utc}", column.physical_type()))
}

/// Whether `column` holds one plain number a row.
fn is_number(column: &ColumnDescriptor) -> bool {
    let plain = matches!(column.logical_type_ref(), None | Some(LogicalType::Integer(_)))
        && !matches!(column.converted_type(), ConvertedType::DECIMAL);
    let physical = column.physical_type();
    plain && matches!(physical, Physical::DOUBLE | Physical::FLOAT | Physical::INT32 | Physical::INT64)
}

/// Where `file` has each of [`COLUMNS`], and the unit of its times.
fn columns_of(file: &SerializedFileReader<File>) -> Result<([usize; COLUMNS.len()], Unit), String> {
    let schema = file.metadata().file_metadata().schema_descr();
    let names: Vec<_> = (0..schema.num_columns()).map(|i| schema.column(i).path().string()).collect();
    let at = locate(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    for (name, at) in COLUMNS.iter().zip(at) {
        let column = schema.column(at);
        if column.max_rep_level() > 0 || (*name != "ts" && !is_number(&column)) {
            let found = column.physical_type();
            return Err(format!("column `{name}` is no plain number ({found}): write it as DOUBLE"));
        }
    }
    Ok((at, unit_of(&schema.column(at[0]))?))
}

/// The next `rows` values of a column, `None` where null.
fn read<T: DataType>(
    column: &mut ColumnReaderImpl<T>,
    rows: usize,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut defined, mut values) = (Vec::new(), Vec::new());
    let (read, ..) = column.read_records(rows, Some(&mut defined), None, &mut values)?;
    if read < rows {
        return Err(ParquetError::EOF(format!("{read} rows where the file promises {rows}")));
    }
    let mut values = values.into_iter();
    if defined.is_empty() {
        return Ok(values.map(Some).collect());
    }
    // Plain columns have one level: 0 is null, 1 is a value.
    Ok(defined.into_iter().map(|level| if level > 0 { values.next() } else { None }).collect())
}

fn numbers(column: &mut ColumnReader, rows: usize) -> Result<Vec<f64>, ParquetError> {
    fn of<T>(values: Vec<Option<T>>, number: impl Fn(T) -> f64) -> Vec<f64> {
        values.into_iter().map(|value| value.map_or(f64::NAN, &number)).collect()
    }
    Ok(match column {
        ColumnReader::DoubleColumnReader(column) => of(read(column, rows)?, |v| v),
        ColumnReader::FloatColumnReader(column) => of(read(column, rows)?, f64::from),
        ColumnReader::Int32ColumnReader(column) => of(read(column, rows)?, f64::from),
        ColumnReader::Int64ColumnReader(column) => of(read(column, rows)?, |v| v as f64),
        _ => return Err(ParquetError::General("a column changed its type".to_owned())),
    })
}

impl ParquetReader {
    /// Opens `path` and looks for its columns.
    ///
    /// # Errors
    /// When the file cannot be read, is no Parquet file, or lacks a column or has one of another type.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let refused = |problem: String| SourceError::Row { place: path.display().to_string(), problem };
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        let file = SerializedFileReader::new(file).map_err(|error| refused(error.to_string()))?;
        let (at, unit) = columns_of(&file).map_err(refused)?;
        let rows = u64::try_from(file.metadata().file_metadata().num_rows()).unwrap_or(0);
        let batch = Vec::new().into_iter();
        let path = path.to_owned();
        Ok(Self { path, file, at, unit, rows, next_group: 0, columns: Vec::new(), left: 0, batch, row: 0 })
    }

    /// How many bars the file says that it holds.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The next bar; `None` at the end of the file. A null price or volume is NaN: ingest refuses and counts it.
    ///
    /// # Errors
    /// When the file cannot be read, or a time is null: then with file and row.
    pub fn next_bar(&mut self) -> Result<Option<Bar>, SourceError> {
        loop {
            if let Some(bar) = self.batch.next() {
                return Ok(Some(bar));
            }
            match self.read_batch() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(problem) => {
                    let place = format!("{}: behind row {}", self.path.display(), self.row);
                    return Err(SourceError::Row { place, problem });
                }
            }
        }
    }

    /// Reads the next rows; false when there are none.
    fn read_batch(&mut self) -> Result<bool, String> {
        while self.left == 0 {
            if self.next_group == self.file.num_row_groups() {
                return Ok(false);
            }
            self.open_group().map_err(|error| error.to_string())?;
        }
        let rows = self.left.min(BATCH_ROWS as u64) as usize;
        let [ts, numeric @ ..] = self.columns.as_mut_slice() else { return Err("no columns".to_owned()) };
        let ColumnReader::Int64ColumnReader(ts) = ts else {
            return Err("column `ts` changed its type".to_owned());
        };
        let times = read(ts, rows).map_err(|error| format!("column `ts`: {error}"))?;
        let mut read = [const { Vec::new() }; COLUMNS.len() - 1];
        for ((values, column), name) in read.iter_mut().zip(numeric).zip(&COLUMNS[1..]) {
            *values = numbers(column, rows).map_err(|error| format!("column `{name}`: {error}"))?;
        }
        let [open, high, low, close, volume] = read;
        let bar = |(i, ts): (usize, Option<i64>)| {
            let ts = ts.ok_or_else(|| format!("column `ts` is null {} rows on", i + 1))?;
            let ts = self.unit.timestamp(ts);
            Ok(Bar { ts, open: open[i], high: high[i], low: low[i], close: close[i], volume: volume[i] })
        };
        self.batch = times.into_iter().enumerate().map(bar).collect::<Result<Vec<_>, String>>()?.into_iter();
        self.left -= rows as u64;
        self.row += rows as u64;
        Ok(true)
    }

    fn open_group(&mut self) -> Result<(), ParquetError> {
        let group = self.file.get_row_group(self.next_group)?;
        self.next_group += 1;
        self.left = u64::try_from(group.metadata().num_rows()).unwrap_or(0);
        self.columns = self.at.iter().map(|at| group.get_column_reader(*at)).collect::<Result<_, _>>()?;
        Ok(())
    }
}
