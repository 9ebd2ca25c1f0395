//! A table as Parquet: the same columns as in CSV, null where undefined.
//!
//! `symbol` and `timeframe` are strings, `ts` is a TIMESTAMP(MILLIS, UTC), all others FLOAT or DOUBLE. The
//! description is the value of the key `vela` of the file's metadata.

use super::partial::Partial;
use super::{Columns, Description, Dtype, ExportError, Row, Sink};
use crate::domain::SeriesKey;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

/// The key of the file's metadata under which the description stands.
const METADATA_KEY: &str = "vela";
/// The most rows of a row group: what is held in memory until it is written.
const GROUP_ROWS_MAX: usize = 64 * 1024;
/// The most numbers of a row group, for tables with many columns: 32 MiB of doubles.
const GROUP_VALUES_MAX: usize = 4 * 1024 * 1024;

/// Rows that wait to be written together.
struct Group {
    rows_max: usize,
    /// (series, rows of it) in the order of the rows.
    series: Vec<(SeriesKey, usize)>,
    ts: Vec<i64>,
    values: Numbers,
}

/// A list for each column of numbers, NaN where undefined.
enum Numbers {
    F32(Vec<Vec<f32>>),
    F64(Vec<Vec<f64>>),
}

pub(super) struct ParquetTable {
    writer: SerializedFileWriter<BufWriter<File>>,
    partial: Partial,
    with_series: bool,
    group: Group,
}

fn schema(columns: &Columns) -> ParquetResult<TypePtr> {
    let text = |name: &str| {
        Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(Some(LogicalType::String))
            .build()
    };
    let mut fields = Vec::new();
    if columns.series {
        fields.extend([text("symbol")?, text("timeframe")?]);
    }
    let utc_ms = LogicalType::timestamp(true, TimeUnit::MILLIS);
    fields.push(
        Type::primitive_type_builder("ts", Physical::INT64)
            .with_repetition(Repetition::REQUIRED)
            .with_logical_type(Some(utc_ms))
            .build()?,
    );
    let number = match columns.dtype {
        Dtype::F32 => Physical::FLOAT,
        Dtype::F64 => Physical::DOUBLE,
    };
    for name in &columns.values {
        fields
            .push(Type::primitive_type_builder(name, number).with_repetition(Repetition::OPTIONAL).build()?);
    }
    let fields = fields.into_iter().map(Arc::new).collect();
    Ok(Arc::new(Type::group_type_builder("vela").with_fields(fields).build()?))
}

fn properties(columns: &Columns) -> ParquetResult<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("vela ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Numbers hardly repeat: a dictionary would only be built to be thrown away.
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(None);
    for name in ["symbol", "timeframe"].iter().filter(|_| columns.series) {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(*name), true);
    }
    for name in &columns.values {
        // The name is one part of a path, whatever dots are in it.
        let path = ColumnPath::new(vec![name.clone()]);
        properties = properties.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
    }
    Ok(properties.build())
}

impl ParquetTable {
    pub(super) fn new(partial: Partial, columns: &Columns) -> Result<Self, ExportError> {
        let file = BufWriter::new(partial.handle()?);
        let made = schema(columns)
            .and_then(|schema| SerializedFileWriter::new(file, schema, Arc::new(properties(columns)?)));
        let width = columns.values.len();
        let group = Group {
            rows_max: (GROUP_VALUES_MAX / width.max(1)).clamp(1, GROUP_ROWS_MAX),
            series: Vec::new(),
            ts: Vec::new(),
            values: match columns.dtype {
                Dtype::F32 => Numbers::F32(vec![Vec::new(); width]),
                Dtype::F64 => Numbers::F64(vec![Vec::new(); width]),
            },
        };
        match made {
            Ok(writer) => Ok(Self { writer, partial, with_series: columns.series, group }),
            Err(error) => Err(refused(&partial, &error)),
        }
    }

    fn flush(&mut self) -> ParquetResult<()> {
        if self.group.ts.is_empty() {
            return Ok(());
        }
        let mut rows = self.writer.next_row_group()?;
        self.group.write(&mut rows, self.with_series)?;
        rows.close()?;
        Ok(())
    }
}

fn refused(partial: &Partial, error: &ParquetError) -> ExportError {
    let problem = match error {
        // A full disk is one, whoever passes it on.
        ParquetError::External(error) => error.to_string(),
        error => error.to_string(),
    };
    ExportError::Out { path: partial.out().to_owned(), problem }
}

/// Writes the next column of the row group.
fn column<T: DataType>(
    rows: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
    values: &[T::T],
    definition: Option<&[i16]>,
) -> ParquetResult<()> {
    let missing = || ParquetError::General("the schema has fewer columns than the table".to_owned());
    let mut column = rows.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, definition, None)?;
    column.close()
}

/// Writes a column of numbers that may be undefined, and empties it.
fn numbers<T: DataType>(
    rows: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
    values: &mut Vec<T::T>,
    is_nan: impl Fn(&T::T) -> bool,
    defined: &mut Vec<i16>,
) -> ParquetResult<()> {
    defined.clear();
    defined.extend(values.iter().map(|value| i16::from(!is_nan(value))));
    values.retain(|value| !is_nan(value));
    column::<T>(rows, values, Some(defined))?;
    values.clear();
    Ok(())
}

impl Group {
    fn push(&mut self, row: Row<'_>) {
        match self.series.last_mut() {
            Some((series, rows)) if series == row.series => *rows += 1,
            _ => self.series.push((row.series.clone(), 1)),
        }
        self.ts.push(row.ts.as_millis());
        match &mut self.values {
            Numbers::F32(columns) => columns.iter_mut().zip(row.values).for_each(|(c, v)| c.push(*v as f32)),
            Numbers::F64(columns) => columns.iter_mut().zip(row.values).for_each(|(c, v)| c.push(*v)),
        }
    }

    /// Writes all rows and forgets them.
    fn write(
        &mut self,
        rows: &mut SerializedRowGroupWriter<'_, BufWriter<File>>,
        with_series: bool,
    ) -> ParquetResult<()> {
        if with_series {
            let texts = |of: fn(&SeriesKey) -> ByteArray| -> Vec<ByteArray> {
                self.series.iter().flat_map(|(key, rows)| std::iter::repeat_n(of(key), *rows)).collect()
            };
            column::<ByteArrayType>(rows, &texts(|key| key.symbol.as_bytes().to_vec().into()), None)?;
            column::<ByteArrayType>(rows, &texts(|key| key.timeframe.to_string().into_bytes().into()), None)?;
        }
        column::<Int64Type>(rows, &self.ts, None)?;
        let mut defined = Vec::with_capacity(self.ts.len());
        match &mut self.values {
            Numbers::F32(columns) => columns
                .iter_mut()
                .try_for_each(|c| numbers::<FloatType>(rows, c, |v| v.is_nan(), &mut defined))?,
            Numbers::F64(columns) => columns
                .iter_mut()
                .try_for_each(|c| numbers::<DoubleType>(rows, c, |v| v.is_nan(), &mut defined))?,
        }
        self.series.clear();
        self.ts.clear();
        Ok(())
    }
}

impl Sink for ParquetTable {
    fn row(&mut self, row: Row<'_>) -> Result<(), ExportError> {
        self.group.push(row);
        if self.group.ts.len() < self.group.rows_max {
            return Ok(());
        }
        self.flush().map_err(|error| refused(&self.partial, &error))
    }

    fn finish(mut self: Box<Self>, description: &Description) -> Result<(), ExportError> {
        let described = KeyValue::new(METADATA_KEY.to_owned(), description.json());
        let flushed = self.flush();
        let Self { mut writer, partial, .. } = *self;
        writer.append_key_value_metadata(described);
        flushed.and_then(|()| writer.finish()).map_err(|error| refused(&partial, &error))?;
        drop(writer);
        partial.commit()
    }
}
