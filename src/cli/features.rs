//! `vela features`: training tables of bars, by the kernels that serve; and what features there are.

mod list;

use super::{CliError, settings::ConfigOptions, signals};
use crate::domain::{FeatureSet, Timeframe};
use crate::export::{Description, Dtype, Export, ExportError, Label, Request, Rules};
use crate::feature::catalogue;
use crate::ingest::AnyPrice;
use crate::topology::feature_rules;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Files named SYMBOL_TIMEFRAME.csv or .parquet, or folders of them; all become one table
    #[arg(long, required_unless_present_any = ["list", "warmup"], num_args = 1.., value_name = "FILE_OR_DIR")]
    bars: Vec<PathBuf>,
    /// Feature names and named sets, separated by commas; what two sets share is one column
    #[arg(long, value_name = "NAMES", default_value = "default")]
    features: String,
    /// What is to be learnt of later bars: kind=logret|ret|direction,horizon=H[,by=bars|clock]
    #[arg(long, value_name = "LABEL", allow_hyphen_values = true)]
    label: Option<String>,
    /// The table to write: a name in .csv or .parquet
    #[arg(long, required_unless_present_any = ["list", "warmup"], value_name = "FILE")]
    out: Option<PathBuf>,
    /// The kind of its numbers; without it, f64 in CSV and f32 in Parquet
    #[arg(long, value_name = "f32|f64", value_parser = dtype)]
    dtype: Option<Dtype>,
    /// Leave out rows with an undefined value, or features that are still warming up
    #[arg(long)]
    complete: bool,
    /// Show every family of features and the named sets
    #[arg(long, conflicts_with_all = ["bars", "out", "label", "dtype", "complete", "warmup", "features"])]
    list: bool,
    /// Show how many bars each of these features takes to warm up
    #[arg(
        long,
        value_name = "NAMES",
        conflicts_with_all = ["bars", "out", "label", "dtype", "complete", "features"]
    )]
    warmup: Option<String>,
    /// The length of the bars that --warmup counts, for names such as rsi_14@1h
    #[arg(long, value_name = "TF", requires = "warmup", default_value_t = Timeframe::MINUTE)]
    timeframe: Timeframe,
    /// Print JSON
    #[arg(long)]
    json: bool,
    // Gaps, market hours, what can change: as they are configured for serving.
    #[command(flatten)]
    options: ConfigOptions,
}

fn dtype(text: &str) -> Result<Dtype, String> {
    match text {
        "f32" => Ok(Dtype::F32),
        "f64" => Ok(Dtype::F64),
        _ => Err("write f32 or f64".to_owned()),
    }
}

impl From<ExportError> for CliError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Interrupted => Self::Interrupted("no table was written".to_owned()),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// The names that `text` lists, a named set standing for those of its own that are not listed before it.
fn names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Some(set) = catalogue::set(part) else {
            names.push(part.to_owned());
            continue;
        };
        for name in set {
            if !names.iter().any(|listed| listed == name) {
                names.push((*name).to_owned());
            }
        }
    }
    names
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    if arguments.list {
        return list::families(arguments.json);
    }
    if let Some(text) = &arguments.warmup {
        return list::warm_up(&names(text), arguments.timeframe, arguments.json);
    }
    let settings = arguments.options.load()?.settings;
    let label = arguments.label.as_deref().map(|text| text.parse::<Label>());
    let request = Request {
        bars: arguments.bars.clone(),
        features: FeatureSet::new(names(&arguments.features)),
        label: label.transpose().map_err(|error| CliError::Failed(format!("--label: {error}")))?,
        out: arguments.out.clone().unwrap_or_default(),
        dtype: arguments.dtype,
        rules: Rules {
            features: feature_rules(&settings),
            clamp_ohlc: settings.ingest.clamp_ohlc,
            any_price: AnyPrice::of(&settings.ingest.any_price_symbols),
            dialect: settings.dialect(),
        },
        complete: arguments.complete,
    };
    let out = request.out.clone();
    let stop = signals::stop_requests()?.receiver;
    let export = Export::open(request)?;
    for warning in export.warnings() {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    let bar = progress_bar(export.bars_total_hint()?);
    let result = export.run(&mut |bars| {
        bar.set_position(bars);
        if stop.try_recv().is_ok() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let description = result.map_err(|error| match error {
        ExportError::Interrupted => CliError::Interrupted(format!("{} was not written", out.display())),
        error => error.into(),
    })?;
    let mut stdout = std::io::stdout().lock();
    if arguments.json {
        writeln!(stdout, "{}", description.json())?;
    } else {
        write!(stdout, "{}: {}", out.display(), summary(&description))?;
    }
    Ok(())
}

/// On a terminal alone.
fn progress_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    // A constant template: it is valid, or no test of this command passes.
    #[allow(clippy::unwrap_used)]
    let style = ProgressStyle::with_template(
        "{bar:40} {percent:>3} %  {human_pos} of about {human_len} bars  {per_sec}  {eta} left",
    )
    .unwrap();
    bar.with_style(style)
}

/// What was written, and what was not.
fn summary(table: &Description) -> String {
    let label = table.label.as_ref().map_or(String::new(), |label| format!(" and {}", label.column));
    let of = match table.series.as_slice() {
        [_] => String::new(),
        series => format!(" of {} series", series.len()),
    };
    let mut text = format!(
        "{} rows{of}, {} features{label}, {}, feature set {}\n",
        table.rows,
        table.features.len(),
        table.dtype,
        table.feature_set_hash
    );
    let left_out: u64 = table.series.iter().map(|series| series.left_out).sum();
    if left_out > 0 {
        text += &format!("  left out, undefined or warming up: {left_out}\n");
    }
    let changed: u64 = table.series.iter().map(|series| series.changed).sum();
    if changed > 0 {
        text +=
            &format!("  changed after they closed, or came late and were put in their place: {changed}\n");
    }
    for series in &table.series {
        if !series.adjustments.is_empty() {
            let (symbol, timeframe) = (&series.symbol, &series.timeframe);
            text += &format!("  came in force in {symbol} {timeframe}: {}\n", series.adjustments.join(", "));
        }
        for ((reason, count), (ts, refusal)) in series.refused.iter().zip(&series.first_refused) {
            let (symbol, timeframe) = (&series.symbol, &series.timeframe);
            text += &format!(
                "  refused, {reason}: {count} bars of {symbol} {timeframe}; the first opened {ts}: {}\n",
                refusal.detail
            );
        }
    }
    text
}
