//! A table as CSV: `ts,<names>`, or `symbol,timeframe,ts,<names>` where there are several series.
//!
//! Numbers are the shortest text that reads back as the same number of the table's kind; `nan` is undefined.

use super::partial::{Partial, beside};
use super::{Columns, Description, Dtype, ExportError, Row, Sink, unwritable};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// How much is written at once, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

pub(super) struct CsvTable {
    file: BufWriter<File>,
    out: PathBuf,
    partial: Partial,
    series: bool,
    dtype: Dtype,
}

impl CsvTable {
    pub(super) fn new(partial: Partial, columns: &Columns) -> Result<Self, ExportError> {
        let out = partial.out().to_owned();
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, partial.handle()?);
        writeln!(file, "{}", columns.names().join(",")).map_err(unwritable(&out))?;
        Ok(Self { file, out, partial, series: columns.series, dtype: columns.dtype })
    }
}

fn write_row(file: &mut impl Write, row: Row<'_>, series: bool, dtype: Dtype) -> std::io::Result<()> {
    if series {
        write!(file, "{},{},", row.series.symbol, row.series.timeframe)?;
    }
    write!(file, "{}", row.ts)?;
    for value in row.values {
        match dtype {
            _ if value.is_nan() => file.write_all(b",nan")?,
            Dtype::F32 => write!(file, ",{}", *value as f32)?,
            Dtype::F64 => write!(file, ",{value}")?,
        }
    }
    file.write_all(b"\n")
}

impl Sink for CsvTable {
    fn row(&mut self, row: Row<'_>) -> Result<(), ExportError> {
        write_row(&mut self.file, row, self.series, self.dtype).map_err(unwritable(&self.out))
    }

    fn finish(self: Box<Self>, description: &Description) -> Result<(), ExportError> {
        let Self { mut file, out, partial, .. } = *self;
        file.flush().map_err(unwritable(&out))?;
        let beside = Partial::create(&beside(&out, ".meta.json"))?;
        writeln!(beside.handle()?, "{}", description.json()).map_err(unwritable(beside.out()))?;
        // An older description must not stand beside the new table, not even for a moment.
        match std::fs::remove_file(beside.out()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unwritable(beside.out())(error));
            }
            _ => {}
        }
        partial.commit()?;
        beside.commit()
    }
}
