//! `vela models …`: looking at models, trying them, promoting them.

mod change;
mod look;

use super::{CliError, settings::ConfigOptions};
use crate::config::Settings;
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
    /// Show what an ONNX file declares, and a first model.toml for it
    Inspect {
        /// The file
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        options: ConfigOptions,
    },
    /// Try a version as it is tried before it serves: load, golden rows, batches, times
    Check {
        /// The model, and its version: NAME@3; without one, the newest promoted
        #[arg(value_name = "NAME[@VERSION]")]
        model: String,
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Make a version serve, after a check; a running vela follows within a second
    Promote {
        /// The model
        name: String,
        /// The version: the name of its folder
        version: u32,
        /// Why, for the history
        #[arg(long, default_value = "")]
        reason: String,
        /// Promote without trying it first
        #[arg(long)]
        unchecked: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Go back to the version promoted before
    Rollback {
        /// The model
        name: String,
        /// Why, for the history
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show who promoted and rolled back what, and why
    History {
        /// The model
        name: String,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the models are.
#[derive(clap::Args)]
pub(super) struct Place {
    /// The folder of models; without it, the configured one
    #[arg(long = "models", value_name = "FOLDER")]
    models: Option<PathBuf>,
    #[command(flatten)]
    options: ConfigOptions,
}

impl Place {
    fn settings(&self) -> Result<Settings, CliError> {
        let mut settings = self.options.load()?.settings;
        if let Some(models) = &self.models {
            settings.models.path = models.clone();
        }
        Ok(settings)
    }
}

pub(super) fn run(command: &Command) -> Result<(), CliError> {
    match command {
        Command::List { folder, options } => {
            let folder = match folder {
                Some(folder) => folder.clone(),
                None => options.load()?.settings.models.path,
            };
            look::list(&folder)
        }
        Command::Inspect { file, json, options } => look::inspect(&options.load()?.settings, file, *json),
        Command::Check { model, json, place } => look::check(&place.settings()?, model, *json),
        Command::Promote { name, version, reason, unchecked, place } => {
            change::promote(&place.settings()?, (name, *version), reason, *unchecked)
        }
        Command::Rollback { name, reason, place } => change::rollback(&place.settings()?, name, reason),
        Command::History { name, json, place } => change::history(&place.settings()?, name, *json),
    }
}
