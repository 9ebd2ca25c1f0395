//! `vela runtime status|install`.

use super::CliError;
use crate::predict::runtime;
use std::io::Write as _;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show where ONNX Runtime is looked for, and which one is used
    Status {
        #[command(flatten)]
        options: super::settings::ConfigOptions,
    },
    /// Fetch the pinned ONNX Runtime into the cache, its checksum verified
    Install,
}

pub(super) fn run(command: &Command) -> Result<(), CliError> {
    todo_runtime(command)
}
