//! `vela models list`.

use super::{CliError, settings::ConfigOptions};
use crate::predict::{Catalogue, Slots};
use std::io::Write as _;
use std::path::PathBuf;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the models that serve, and what is wrong with those that do not
    List {
        /// The folder of models; without it, the configured one
        folder: Option<PathBuf>,
        #[command(flatten)]
        options: ConfigOptions,
    },
}

pub(super) fn run(command: &Command) -> Result<(), CliError> {
    let Command::List { folder, options } = command;
    let folder = match folder {
        Some(folder) => folder.clone(),
        None => options.load()?.settings.models.path,
    };
    let catalogue =
        Catalogue::read(&folder, &Slots::default(), crate::feature::check).map_err(CliError::Failed)?;
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
    Ok(())
}
