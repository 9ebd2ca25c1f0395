//! Training tables: the features of bars, by the kernels that serve, and the label that belongs to each.
//!
//! ```text
//! files of bars ─► one series after another: refused? ─► kernels ─► waits for its label ─► CSV or Parquet
//! ```
//!
//! What serving refuses (a bar that is none, one that comes twice or late) is refused here by the same rules
//! and counted, so that the kernels see what they see when they serve. A table is written under another name
//! until it is whole, and describes itself: see [`Description`].

mod bars;
mod csv;
mod describe;
pub mod label;
mod parquet;
mod partial;
mod series;
#[cfg(test)]
mod tests;

pub use describe::{Description, LabelDescription, SeriesDescription};
pub use label::{HorizonBy, Label, LabelError, LabelKind};

use crate::domain::{Dialect, FeatureSet, SeriesKey, Timeframe, Timestamp};
use crate::feature::{FeatureError, FeatureRules, Plan};
use crate::ingest::AnyPrice;
use crate::source::{BarFile, SourceError, bar_files};
use bars::SeriesFiles;
use partial::Partial;
use series::SeriesRows;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// How many bars are taken between two looks at whether to go on.
const BARS_PER_LOOK: u64 = 256;

/// The kind of file that a table goes to: by the name's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.csv`: text; `nan` where undefined; the description in a file of its own, `NAME.csv.meta.json`.
    Csv,
    /// `.parquet`: columns; null where undefined; the description under the key `vela` of the file's metadata.
    Parquet,
}

/// What the numbers of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// What nearly every exported model takes: trained on it, a tree puts no threshold where serving cannot tell.
    F32,
    /// What the kernels compute, exactly.
    F64,
}

impl Dtype {
    /// `float32` or `float64`, as NumPy says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// `value` as a number of this kind; NaN where it is too large for one, as serving refuses it then.
    fn cast(self, value: f64) -> f64 {
        let cast = match self {
            Self::F32 => f64::from(value as f32),
            Self::F64 => value,
        };
        if cast.is_finite() { cast } else { f64::NAN }
    }
}

/// What holds for bars and features when they are served, and so has to hold here.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Gaps, market hours, how long features warm up, how many bars can change.
    pub features: FeatureRules,
    /// Whether a bar's low and high are moved to hold its open and close.
    pub clamp_ohlc: bool,
    /// The symbols whose prices may be 0 or below.
    pub any_price: AnyPrice,
    /// What the names of files stand for, and their prices.
    pub dialect: Dialect,
}

/// What is to be exported.
#[derive(Clone, Debug)]
pub struct Request {
    /// Files `SYMBOL_TIMEFRAME.csv` or `.parquet`, or folders of them.
    pub bars: Vec<PathBuf>,
    /// The features, in the order of their columns.
    pub features: FeatureSet,
    /// The label, which becomes the last column.
    pub label: Option<Label>,
    /// Where the table goes: a name in `.csv` or `.parquet`.
    pub out: PathBuf,
    /// What its numbers are; without it, [`Dtype::F32`] in Parquet and [`Dtype::F64`] in CSV.
    pub dtype: Option<Dtype>,
    /// The rules of serving.
    pub rules: Rules,
    /// Whether rows are left out that have an undefined value, or features that are still warming up.
    pub complete: bool,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The bars cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The features cannot be computed of these bars.
    #[error("{error} (for bars of {timeframe})")]
    Feature {
        /// The bars' timeframe.
        timeframe: Timeframe,
        /// What is wrong with which name.
        error: FeatureError,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Request(String),
    /// The table cannot be written.
    #[error("{}: {problem}", path.display())]
    Out {
        /// Which file.
        path: PathBuf,
        /// What was tried and what came back.
        problem: String,
    },
    /// It was asked to stop; nothing is left behind.
    #[error("interrupted")]
    Interrupted,
}

/// The error of a file that the system does not take.
fn unwritable(path: &Path) -> impl Fn(std::io::Error) -> ExportError {
    move |error| ExportError::Out { path: path.to_owned(), problem: error.to_string() }
}

/// One row of a table.
#[derive(Clone, Copy, Debug)]
struct Row<'a> {
    series: &'a SeriesKey,
    ts: Timestamp,
    /// The features, and behind them the label where there is one; NaN where undefined.
    values: &'a [f64],
}

/// Where rows go.
trait Sink {
    fn row(&mut self, row: Row<'_>) -> Result<(), ExportError>;

    /// Writes what is left, and `description` where it belongs. The file then has its own name.
    fn finish(self: Box<Self>, description: &Description) -> Result<(), ExportError>;
}

/// A table's columns.
#[derive(Clone, Debug)]
struct Columns {
    /// Whether symbol and timeframe stand in front.
    series: bool,
    /// The names of the numbers: the features, and the label where there is one.
    values: Vec<String>,
    dtype: Dtype,
}

impl Columns {
    fn names(&self) -> Vec<&str> {
        let series: &[&str] = if self.series { &["symbol", "timeframe"] } else { &[] };
        series.iter().copied().chain(["ts"]).chain(self.values.iter().map(String::as_str)).collect()
    }
}

/// An export that was checked and can begin.
#[derive(Debug)]
pub struct Export {
    request: Request,
    format: Format,
    columns: Columns,
    files: Vec<BarFile>,
    series: Vec<SeriesFiles>,
    plans: HashMap<Timeframe, Plan>,
}

fn format_of(out: &Path) -> Result<Format, ExportError> {
    let refused = |problem: &str| Err(ExportError::Out { path: out.to_owned(), problem: problem.to_owned() });
    if out.is_dir() {
        return refused(
            "is a folder; name one file for all series, such as features.parquet: it has the columns symbol \
             and timeframe where there are several",
        );
    }
    match out.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Ok(Format::Csv),
        Some("parquet") => Ok(Format::Parquet),
        _ => refused("the name must end in .csv or .parquet, which says how the table is written"),
    }
}

impl Export {
    /// Checks `request` as far as that goes without reading the bars.
    ///
    /// # Errors
    /// When a name, a file's name or header, or the output's name is refused.
    pub fn open(request: Request) -> Result<Self, ExportError> {
        let format = format_of(&request.out)?;
        let names = request.features.names();
        if names.is_empty() {
            return Err(ExportError::Request("there is no feature to export: name at least one".to_owned()));
        }
        if let Some((_, name)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return Err(ExportError::Request(format!(
                "feature `{name}` is named twice: a column is there once"
            )));
        }
        let mut plans = HashMap::new();
        let files = bar_files(&request.bars)?;
        for file in &files {
            if same_file(&file.path, &request.out) {
                let problem = "is a file of bars that is read: name another file for the table".to_owned();
                return Err(ExportError::Out { path: request.out, problem });
            }
            let timeframe = file.series.timeframe;
            if let std::collections::hash_map::Entry::Vacant(entry) = plans.entry(timeframe) {
                entry.insert(plan(&request, timeframe)?);
            }
            // A bad header is told now, not when the series before it have been computed.
            file.reader()?;
        }
        let values = names.iter().map(|name| name.to_string()).chain(request.label.map(|l| l.column()));
        let dtype = request.dtype.unwrap_or(match format {
            Format::Csv => Dtype::F64,
            Format::Parquet => Dtype::F32,
        });
        let series = bars::by_series(&files, &request.rules.dialect.aliases);
        let columns = Columns { series: series.len() > 1, values: values.collect(), dtype };
        Ok(Self { request, format, columns, files, series, plans })
    }

    /// What is doubtful about the files of bars.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.files.iter().filter_map(BarFile::warning)
    }

    /// About how many bars all files hold.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn bars_total_hint(&self) -> Result<u64, ExportError> {
        self.files.iter().map(|file| Ok(file.bars_hint()?)).sum()
    }

    /// Writes the table. `look` gets the number of bars so far, every few hundred, and can end it.
    ///
    /// # Errors
    /// When a line is no bar or the file cannot be written; `Interrupted` when `look` breaks. The partial
    /// file is removed.
    pub fn run(self, look: &mut dyn FnMut(u64) -> ControlFlow<()>) -> Result<Description, ExportError> {
        let Self { request, format, columns, series, plans, .. } = self;
        let file = Partial::create(&request.out)?;
        let mut sink: Box<dyn Sink> = match format {
            Format::Csv => Box::new(csv::CsvTable::new(file, &columns)?),
            Format::Parquet => Box::new(parquet::ParquetTable::new(file, &columns)?),
        };
        let mut description = Description::new(&request, &columns);
        let mut bars = 0;
        for one in &series {
            let mut reader = one.reader(&request.rules.dialect)?;
            let plan = &plans[&one.series.timeframe];
            let kind = (columns.dtype, request.complete);
            let mut rows = SeriesRows::new(&one.series, plan, &request.rules, request.label, kind);
            while let Some(bar) = reader.next_bar()? {
                rows.push(bar, sink.as_mut())?;
                bars += 1;
                if bars % BARS_PER_LOOK == 0 && look(bars).is_break() {
                    return Err(ExportError::Interrupted);
                }
            }
            let told = rows.finish(sink.as_mut())?;
            if told.bars > 0 || !told.refused.is_empty() || !one.perhaps {
                description.add(told, one.files.iter().map(|file| file.path.clone()));
            }
        }
        if look(bars).is_break() {
            return Err(ExportError::Interrupted);
        }
        sink.finish(&description)?;
        Ok(description)
    }
}

/// The kernels for bars of `timeframe`.
fn plan(request: &Request, timeframe: Timeframe) -> Result<Plan, ExportError> {
    let grid = request.rules.features.grid(timeframe);
    Plan::new(request.features.names(), grid).map_err(|error| ExportError::Feature { timeframe, error })
}

/// Whether both are there and are one file, whatever they are called.
fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}
