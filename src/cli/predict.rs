//! `vela predict`: one answer for the newest closed bar.

use super::{CliError, settings::ConfigOptions};
use crate::config::{CatchUp, SourceKind};
use crate::domain::{Outcome, Reason, SeriesKey, Timeframe, Timestamp};
use crate::engine::{Engine, Overrides, history};
use crate::link::clock;
use crate::source::{OneSeries, open as open_source};
use crate::store::Null;
use std::io::Write as _;
use std::time::Duration;

/// How long reading the history and the answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The symbol, as the source spells it
    symbol: String,
    /// The timeframe, such as 1m
    timeframe: Timeframe,
    /// How many bars ahead
    horizon: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: ConfigOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let settings = arguments.options.load()?.settings;
    let series = SeriesKey::new(&arguments.symbol, arguments.timeframe)
        .map_err(|error| CliError::Failed(error.to_string()))?;
    let aliases = settings.ingest.symbol_aliases.clone();
    let series = aliases.series(&series, Timestamp::now()).unwrap_or(series);
    // The history warms the features up; the answer is not stored, the service does that.
    let models = super::runtime::open_models(&settings)?;
    let mut history = history(&settings, &models.catalogue()).only(series.clone());
    history.catch_up = CatchUp::None;
    let source = open_source(&settings, history, &[])?.ok_or_else(|| {
        CliError::Failed("[source] kind is \"none\": there are no bars to predict from".into())
    })?;
    models.preload_some();
    let overrides = Overrides {
        source: Some(Box::new(OneSeries::new(source, series, aliases))),
        store: Some(Box::new(Null)),
        models: Some(models),
        ..Overrides::default()
    };
    let engine = Engine::start_with(settings, overrides)?;
    if !engine.wait_source(PATIENCE) {
        return Err(CliError::Failed(format!("reading the history took longer than {PATIENCE:?}")));
    }
    let pending = engine.predict(&arguments.symbol, arguments.timeframe, arguments.horizon);
    let outcome = pending.wait(PATIENCE);
    let report = engine.stop()?;
    if let Some(error) = report.source_error {
        return Err(CliError::Failed(error));
    }
    let outcome = outcome.ok_or_else(|| CliError::Failed(format!("no answer within {PATIENCE:?}")))?;
    if let Err(refusal) = &outcome.result
        && refusal.reason == Reason::NoBar
    {
        let settings = engine.settings();
        let from = match settings.source_url() {
            Some(url) if settings.source.kind == SourceKind::Postgres => format!("{url} (source.url)"),
            _ => format!("{} (source.path)", settings.source.path.display()),
        };
        return Err(CliError::Failed(format!(
            "no prediction: {refusal}; bars are read from {from}: check it, and how the symbol is spelled"
        )));
    }
    print(&outcome, arguments.json)
}

/// (name, µs) of each part of the journey.
fn latencies(outcome: &Outcome) -> Vec<(&'static str, f64)> {
    let stamps = outcome.stamps;
    let points = [stamps.arrived_ns, stamps.ingested_ns, stamps.featured_ns, stamps.predicted_ns];
    let names = ["ingest_us", "feature_us", "predict_us"];
    let mut parts: Vec<_> = (names.into_iter().zip(points.windows(2)))
        .map(|(name, pair)| (name, pair[1].saturating_sub(pair[0]) as f64 / 1e3))
        .collect();
    parts.push(("total_us", stamps.predicted_ns.saturating_sub(stamps.arrived_ns) as f64 / 1e3));
    parts
}

fn print(outcome: &Outcome, json: bool) -> Result<(), CliError> {
    let prediction = match &outcome.result {
        Ok(prediction) => prediction,
        Err(refusal) => return Err(CliError::Failed(format!("no prediction: {refusal}"))),
    };
    debug_assert!(outcome.stamps.predicted_ns <= clock::now_ns());
    let mut out = std::io::stdout().lock();
    let outputs =
        prediction.names.iter().map(|name| name.to_string()).zip(prediction.outputs.iter().copied());
    if json {
        let outputs: serde_json::Map<String, serde_json::Value> =
            outputs.map(|(name, value)| (name, value.into())).collect();
        let latency: serde_json::Map<String, serde_json::Value> =
            latencies(outcome).into_iter().map(|(name, us)| (name.to_owned(), us.into())).collect();
        let answer = serde_json::json!({
            "symbol": &*outcome.series.symbol,
            "timeframe": outcome.series.timeframe.to_string(),
            "horizon": outcome.horizon,
            "ts": outcome.ts.to_string(),
            "model": &*prediction.model,
            "version": prediction.version,
            "value": prediction.value,
            "outputs": outputs,
            "latency": latency,
        });
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    writeln!(out, "{} at horizon {}: {}", outcome.series, outcome.horizon, prediction.value)?;
    for (name, value) in outputs {
        writeln!(out, "  {name} = {value}")?;
    }
    writeln!(out, "model   {} version {}", prediction.model, prediction.version)?;
    writeln!(out, "bar     opened {}", outcome.ts)?;
    let parts: Vec<String> = latencies(outcome)
        .iter()
        .map(|(name, us)| format!("{} {us:.0} µs", name.trim_end_matches("_us")))
        .collect();
    writeln!(out, "latency {}", parts.join(", "))?;
    Ok(())
}
