//! The configuration of a command: file, environment, `--set`.

use super::CliError;
use crate::config::{Loaded, Settings, environment};
use std::path::{Path, PathBuf};

/// The option of every command that has settings.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct SetOptions {
    /// Set one key on top of the file and the environment; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,
}

/// The options of every command that reads the configuration.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct ConfigOptions {
    /// The configuration file (TOML); else the one VELA_CONFIG names, else every key has its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    set: SetOptions,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as workers_max=4")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl SetOptions {
    /// The settings over a file, each with where it came from.
    pub(super) fn load(&self, file: Option<&Path>) -> Result<Loaded, CliError> {
        Ok(Settings::load(file, environment(), &self.overrides)?)
    }
}

impl ConfigOptions {
    /// The file that is read, if one is named.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let named = std::env::var_os("VELA_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.config.clone().or(named)
    }

    /// The settings, each with where it came from.
    pub(super) fn load(&self) -> Result<Loaded, CliError> {
        self.set.load(self.file().as_deref())
    }
}
