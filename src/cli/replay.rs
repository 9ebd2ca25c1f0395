//! `vela replay`: files of bars through the pipeline, as fast as possible.

use super::report::Report;
use super::{CliError, settings::ConfigOptions, signals};
use crate::config::{Stale, StoreUrl};
use crate::domain::{SeriesKey, Timestamp};
use crate::engine::{Engine, Overrides};
use crate::predict::Models;
use crate::source::{Replay, Source};
use crate::store::{Completion, CsvStore, Null, SqliteStore, Store, Tee};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the progress is drawn and a stop looked for.
const TICK: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Files named SYMBOL_TIMEFRAME.csv or .parquet, or folders of them
    #[arg(long, required = true, num_args = 1.., value_name = "FILE_OR_DIR")]
    bars: Vec<PathBuf>,
    /// The folder of models
    #[arg(long, value_name = "DIR")]
    models: PathBuf,
    /// Where rows are stored: sqlite:FILE or none
    #[arg(long, default_value = "none", value_name = "URL")]
    store: String,
    /// A CSV file for the predictions, in the order of the bars
    #[arg(long, value_name = "FILE.csv")]
    out: Option<PathBuf>,
    /// The first bar to predict (RFC 3339 open time); bars before it only warm the features up
    #[arg(long, value_name = "TS")]
    from: Option<Timestamp>,
    /// The last bar to predict (RFC 3339 open time)
    #[arg(long, value_name = "TS")]
    to: Option<Timestamp>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ConfigOptions,
}

/// The store of a replay: the one that was asked for, and the CSV beside it, with its last step.
fn store_of(
    url: &str,
    out: Option<&Path>,
    models: &Models,
) -> Result<(Box<dyn Store>, Option<Completion>), CliError> {
    let url: StoreUrl = url.parse().map_err(|error| CliError::Failed(format!("--store: {error}")))?;
    let mut stores: Vec<Box<dyn Store>> = Vec::new();
    match &url {
        StoreUrl::None => {}
        StoreUrl::Sqlite(path) => stores.push(Box::new(SqliteStore::open(path)?)),
        StoreUrl::Postgres(url) => {
            let problem = format!(
                "--store: {url}: a replay writes into sqlite:FILE, or into none and --out FILE.csv, not into PostgreSQL"
            );
            return Err(CliError::Failed(problem));
        }
    }
    let mut completion = None;
    if let Some(out) = out {
        let mut csv = CsvStore::create(out, models.output_names())?;
        completion = Some(csv.completion());
        stores.push(Box::new(csv));
    }
    Ok((if stores.is_empty() { Box::new(Null) } else { Box::new(Tee(stores)) }, completion))
}

fn progress_bar(total: u64, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    // A constant template: it is valid, or no test of this command passes.
    #[allow(clippy::unwrap_used)]
    let style = ProgressStyle::with_template(
        "{bar:40} {percent:>3} %  {human_pos} of about {human_len} bars  {per_sec}  {eta} left",
    )
    .unwrap();
    bar.with_style(style)
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let stop = signals::stop_requests()?.receiver;
    let mut settings = arguments.options.load()?.settings;
    settings.models.path = arguments.models.clone();
    // The same bars give the same predictions, whatever happens in the folder meanwhile.
    settings.models.look_interval_ms = 0;
    // What is superseded depends on how fast this machine is.
    settings.priority.stale = Stale::Predict;
    if let (Some(from), Some(to)) = (arguments.from, arguments.to)
        && from > to
    {
        return Err(CliError::Failed(format!("--from {from} is after --to {to}: no bar lies between")));
    }
    let source = Replay::open(&arguments.bars, arguments.from, arguments.to)?;
    let bars_total = source.bars_total_hint();
    let models = super::runtime::open_models(&settings)?;
    let catalogue = models.catalogue();
    for problem in catalogue.problems() {
        let _ = writeln!(std::io::stderr(), "warning: {problem}");
    }
    let aliases = &settings.ingest.symbol_aliases;
    let meant: BTreeSet<SeriesKey> =
        source.series().flat_map(|name| aliases.meanings(name)).map(|meaning| meaning.series).collect();
    let unserved = meant.iter().filter(|series| catalogue.demands(series).is_empty());
    let hints = unserved.filter_map(|series| catalogue.spelled_otherwise(series, aliases));
    for warning in source.warnings().iter().cloned().chain(hints) {
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    if catalogue.models().is_empty() {
        let folder = settings.models.path.display();
        let _ = writeln!(std::io::stderr(), "warning: no model in {folder} has a promoted version");
    }
    // All sessions first: their outputs are the columns of the file.
    models.preload_all();
    // A version that failed, and what serves instead: nobody else tells it where no engine has begun.
    for alert in models.alerts.recent() {
        let _ = writeln!(std::io::stderr(), "warning: model {}: {}", alert.subject, alert.detail);
    }
    let (store, completion) = store_of(&arguments.store, arguments.out.as_deref(), &models)?;
    let begin = Instant::now();
    let overrides = Overrides {
        source: Some(Box::new(source) as Box<dyn Source>),
        store: Some(store),
        models: Some(models),
        accept_future: true,
        ..Overrides::default()
    };
    let engine = Engine::start_with(settings, overrides)?;
    let bar = progress_bar(bars_total, arguments.json);
    let mut interrupted = false;
    while !engine.wait_source(TICK) {
        bar.set_position(engine.bars());
        if stop.try_recv().is_ok() {
            interrupted = true;
            break;
        }
    }
    let report = engine.stop()?;
    bar.finish_and_clear();
    let report =
        Report { metrics: engine.metrics(), stop: report, wall: begin.elapsed(), at_full_speed: true };
    let whole = !interrupted && report.stop.failure().is_none();
    let mut predictions = arguments.out.clone();
    if let Some(completion) = completion {
        // What an interrupted or failed run wrote must not be taken for all.
        if whole {
            completion.complete()?;
        } else {
            predictions = Some(completion.partial().to_owned());
        }
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", report.json())?;
    } else {
        write!(out, "{}", report.text())?;
        if let Some(path) = &predictions {
            writeln!(out, "predictions: {}", path.display())?;
        }
    }
    match report.stop.failure() {
        Some(failure) => Err(CliError::Failed(failure)),
        None if interrupted => Err(CliError::Interrupted("these are not all bars".to_owned())),
        None => Ok(()),
    }
}
