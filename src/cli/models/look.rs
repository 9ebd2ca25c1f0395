//! `vela models list | inspect | check`.

use super::super::{CliError, report::short_us};
use crate::config::Settings;
use crate::predict::check::{self, CheckReport};
use crate::predict::signature::shown;
use crate::predict::{Catalogue, Registry, Runtime, Slots, pool_limits};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

fn runtime(settings: &Settings) -> Result<&'static Runtime, CliError> {
    Ok(Runtime::open(&settings.runtime, &mut |_| {})?)
}

fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Failed(error.to_string()))?;
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

pub(super) fn list(folder: &Path) -> Result<(), CliError> {
    let catalogue =
        Catalogue::read(folder, &Slots::default(), crate::feature::check).map_err(CliError::Failed)?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<28}{:>8}  {:<14}{:<6}{:>8}{:>10}",
        "model", "version", "symbol", "tf", "horizon", "features"
    )?;
    for model in catalogue.models() {
        let manifest = &model.manifest;
        writeln!(
            out,
            "{:<28}{:>8}  {:<14}{:<6}{:>8}{:>10}",
            model.name,
            model.version().number,
            manifest.symbols.to_string(),
            manifest.timeframe.to_string(),
            manifest.horizon,
            manifest.features.len()
        )?;
    }
    for problem in catalogue.problems() {
        writeln!(out, "problem: {problem}")?;
    }
    for entry in Registry::scan(folder).models.iter().filter(|entry| entry.is_bare()) {
        let name = &entry.name;
        match versions_in(entry.folder()).as_slice() {
            [] => writeln!(out, "{name}: no version yet: put one into {name}/1/")?,
            [.., newest] => writeln!(
                out,
                "{name}: no version is promoted and none serves: vela models promote {name} {newest}"
            )?,
        }
    }
    if catalogue.models().is_empty() && catalogue.problems().is_empty() {
        writeln!(out, "no model serves from {}", folder.display())?;
    }
    Ok(())
}

/// The versions whose folders are there, ascending.
fn versions_in(folder: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let mut versions: Vec<u32> = entries.filter_map(number).collect();
    versions.sort_unstable();
    versions
}

pub(super) fn inspect(settings: &Settings, file: &Path, as_json: bool) -> Result<(), CliError> {
    let found = check::inspect(runtime(settings)?, file, pool_limits(settings));
    let found = found.map_err(CliError::Failed)?;
    if as_json {
        return json(&found);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "# {}: {} bytes", file.display(), found.file_bytes)?;
    lines(&mut out, "# input  ", &found.inputs)?;
    lines(&mut out, "# output ", &found.outputs)?;
    lines(&mut out, "# ", told(&found.metadata))?;
    writeln!(out, "\n{}", found.manifest.trim_end())?;
    Ok(())
}

/// Writes what a graph tells of itself, as far as a person reads on: the rest is in `--json`.
fn lines<T: AsRef<str>>(
    out: &mut impl std::io::Write,
    head: &str,
    all: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
) -> std::io::Result<()> {
    const LINES_MAX: usize = 40;
    let all = all.into_iter();
    let more = all.len().saturating_sub(LINES_MAX);
    all.take(LINES_MAX).try_for_each(|line| writeln!(out, "{head}{}", line.as_ref()))?;
    if more > 0 { writeln!(out, "{head}… and {more} more") } else { Ok(()) }
}

/// What the exporter wrote, each on one line: nobody knows what it is.
fn told(metadata: &BTreeMap<String, String>) -> impl ExactSizeIterator<Item = String> {
    metadata.iter().map(|(name, value)| format!("{:<9} {}", shown(name), shown(value)))
}

/// Tries the version in `folder`.
pub(super) fn check_folder(settings: &Settings, folder: &Path) -> Result<CheckReport, CliError> {
    let mut report = check::check(runtime(settings)?, folder, pool_limits(settings));
    if report.passed
        && let Ok(manifest) = crate::predict::Manifest::read(&folder.join("model.toml"))
        && let Err(error) = crate::feature::check(&manifest.features, manifest.timeframe)
    {
        (report.passed, report.error) = (false, Some(error));
    }
    Ok(report)
}

pub(super) fn check(settings: &Settings, model: &str, as_json: bool) -> Result<(), CliError> {
    let root = &settings.models.path;
    let (name, version) = match model.split_once('@') {
        Some((name, version)) => {
            let number = version.parse::<u32>();
            let wrong =
                |_| CliError::Failed(format!("`{version}` is no version: write {name}@3, a whole number"));
            (name, number.map_err(wrong)?)
        }
        None => {
            let registry = Registry::scan(root);
            let entry = registry.models.iter().find(|entry| &*entry.name == model);
            let entry = entry.ok_or_else(|| {
                CliError::Failed(format!("there is no model `{model}` in {}", root.display()))
            })?;
            let newest = entry.newest().ok_or_else(|| {
                let known: Vec<String> = versions_in(entry.folder()).iter().map(u32::to_string).collect();
                let known = if known.is_empty() { "none is there".to_owned() } else { known.join(", ") };
                CliError::Failed(format!(
                    "{model} has no promoted version: name one, {model}@1 (there: {known})"
                ))
            })?;
            (model, newest)
        }
    };
    let folder = root.join(name).join(version.to_string());
    if !crate::predict::registry::is_model_name(name) || !folder.is_dir() {
        return Err(CliError::Failed(format!(
            "there is no version {version} of `{name}` in {}: `vela models list` shows what there is",
            root.display()
        )));
    }
    let report = check_folder(settings, &folder)?;
    if as_json {
        json(&report)?;
    } else {
        print(name, version, &report)?;
    }
    match report.error {
        // The report says it already.
        Some(error) => Err(CliError::Failed(format!("version {version} of {name} fails its check: {error}"))),
        None => Ok(()),
    }
}

fn print(name: &str, version: u32, report: &CheckReport) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name} version {version}: {}", if report.passed { "may serve" } else { "FAILS" })?;
    lines(&mut out, "  input     ", &report.inputs)?;
    lines(&mut out, "  output    ", &report.outputs)?;
    lines(&mut out, "  ", told(&report.metadata))?;
    if !report.passed {
        return Ok(());
    }
    if let Some(value) = report.values.get(report.value) {
        writeln!(out, "  predicts  {value}, of {}", report.values.join(", "))?;
    }
    match &report.golden {
        Some(golden) => {
            writeln!(out, "  golden    {} rows, worst difference {:.1e}", golden.rows, golden.worst)?;
        }
        None => writeln!(out, "  golden    no golden.csv: nothing says that it answers as it was trained")?,
    }
    writeln!(out, "  batches   up to {} rows: {}", report.batch_max, report.batching)?;
    let runs: Vec<String> =
        report.runs_us.iter().map(|(rows, us)| format!("{rows} in {}", short_us(*us))).collect();
    writeln!(out, "  loads in  {}; rows of a run: {}", short_us(report.load_ms * 1e3), runs.join(", "))?;
    let kept_kib = report.kept_bytes >> 10;
    write!(out, "  memory    {kept_kib} KiB of weights; the file has {} KiB", report.file_bytes >> 10)?;
    match report.resident_kib {
        Some(kib) => writeln!(out, "; the process grew by {kib} KiB")?,
        None => writeln!(out)?,
    }
    Ok(())
}
