//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 75 gave up for now (it uses too much memory or stands still, again
//! and again: a service manager may start it again later), 130 interrupted.

mod config;
mod db;
mod demo;
mod features;
mod models;
mod predict;
mod reload;
mod replay;
mod report;
mod run;
mod runtime;
mod settings;
mod signals;
mod top;

use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::process::ExitCode;

/// `EX_TEMPFAIL` of `sysexits.h`.
const TEMPORARY_FAILURE: u8 = 75;
/// `EX_CONFIG` of `sysexits.h`.
const MISCONFIGURED: u8 = 78;

/// What a command can end with besides success.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("{0}")]
    Failed(String),
    /// It cannot go on, and may if it is started again later.
    #[error("{0}")]
    GaveUp(String),
    /// The configuration is refused: trying again does not help.
    #[error("{0}")]
    Misconfigured(String),
    /// And what came of it until then.
    #[error("interrupted: {0}")]
    Interrupted(String),
    /// Standard output was closed: whoever read it has enough.
    #[error("standard output was closed")]
    OutputClosed,
}

impl From<std::io::Error> for CliError {
    /// An error of writing to standard output.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("writing to standard output: {error}")),
        }
    }
}

macro_rules! failed_from {
    ($($Error:ty),+) => { $(impl From<$Error> for CliError {
        fn from(error: $Error) -> Self {
            Self::Failed(error.to_string())
        }
    })+ };
}
failed_from!(
    crate::predict::RuntimeError,
    crate::source::SourceError,
    crate::store::StoreError,
    crate::database::DatabaseError,
    crate::feature::FeatureError
);

impl From<crate::config::ConfigError> for CliError {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::Misconfigured(error.to_string())
    }
}

impl From<crate::engine::EngineError> for CliError {
    fn from(error: crate::engine::EngineError) -> Self {
        match error {
            crate::engine::EngineError::Config(error) => error.into(),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Every closed bar becomes a stored, served prediction.
#[derive(Parser)]
#[command(name = "vela", version, arg_required_else_help = true, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a simulated live market with real ONNX models: the whole pipeline, nothing to set up
    Demo(demo::Arguments),
    /// Run the service: follow a table or a folder of bars, predict every closed bar, store
    Run(run::Arguments),
    /// Run files of bars through the pipeline as fast as possible, the same result every time
    Replay(replay::Arguments),
    /// Compute features with the code that serves them
    Features(features::Arguments),
    /// Predict from the newest closed bar of a series
    Predict(predict::Arguments),
    /// Look at models, try them, choose the versions that serve
    #[command(subcommand)]
    Models(models::Command),
    /// Check and show the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Make or look at the tables of a PostgreSQL database
    #[command(subcommand)]
    Db(db::Command),
    /// Watch a running vela at a terminal
    Top(top::Arguments),
    /// Find or fetch ONNX Runtime
    #[command(subcommand)]
    Runtime(runtime::Command),
}

/// Runs the program with the process's own arguments.
pub fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Features(arguments) => features::run(&arguments),
        Command::Predict(arguments) => predict::run(&arguments),
        Command::Models(command) => models::run(&command),
        Command::Config(command) => config::run(&command),
        Command::Db(command) => db::run(&command),
        Command::Top(arguments) => top::run(&arguments),
        Command::Runtime(command) => runtime::run(&command),
    };
    match result {
        Ok(()) | Err(CliError::OutputClosed) => ExitCode::SUCCESS,
        // Standard error may be closed too; there is nobody left to tell then.
        Err(error @ CliError::Interrupted(_)) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::from(130)
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            match error {
                CliError::Misconfigured(_) => ExitCode::from(MISCONFIGURED),
                CliError::GaveUp(_) => ExitCode::from(TEMPORARY_FAILURE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
