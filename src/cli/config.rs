//! `vela config check|show|reference`.

use super::CliError;
use crate::config::{Settings, environment, render_effective, render_reference};
use std::io::Write as _;
use std::path::PathBuf;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Check a configuration file; every problem is named with its line
    Check {
        /// The file to check
        file: PathBuf,
    },
    /// Print the effective value of every key and where it came from
    Show {
        #[command(flatten)]
        options: super::settings::ConfigOptions,
    },
    /// Print a file with every key, its meaning, its range and its default
    Reference,
}

pub(super) fn run(command: &Command) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match command {
        Command::Check { file } => {
            Settings::load(Some(file), environment(), &[])?;
            writeln!(out, "{}: no problem found", file.display())?;
        }
        Command::Show { options } => write!(out, "{}", render_effective(&options.load()?))?,
        Command::Reference => write!(out, "{}", render_reference())?,
    }
    Ok(())
}
