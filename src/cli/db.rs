//! `vela db init|status`: the tables of a PostgreSQL database.

use super::{CliError, settings::ConfigOptions};
use crate::config::{Settings, StoreUrl};
use crate::database::{Server, Session, schema};
use crate::store::Waiting;
use std::io::Write as _;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make what is missing in schema `trading`; does nothing where all is there
    Init(Arguments),
    /// Show the server, the version of the tables, and how large they are
    Status(Arguments),
}

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The database, postgres://USER@HOST:PORT/NAME; else store.url of the configuration. Give a password by PGPASSWORD
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    options: ConfigOptions,
}

/// A connection to the database that is meant.
fn connect(arguments: &Arguments) -> Result<(Session, String), CliError> {
    let settings: Settings = arguments.options.load()?.settings;
    let url = match &arguments.url {
        Some(url) => url.parse().map_err(|error| CliError::Failed(format!("--url: {error}")))?,
        None => settings.store.url.clone(),
    };
    let StoreUrl::Postgres(url) = url else {
        let problem = format!("{url} is no PostgreSQL database: give --url postgres://USER@HOST:PORT/NAME");
        return Err(CliError::Failed(problem));
    };
    let server = Server::new(&url, &settings.database)?;
    Ok((server.connect()?, server.name().to_owned()))
}

fn init(arguments: &Arguments) -> Result<(), CliError> {
    let (mut session, name) = connect(arguments)?;
    let schema::Initialised { from, to } = schema::init(&mut session, Vec::new())?;
    let mut out = std::io::stdout().lock();
    match (from, to) {
        (0, _) => writeln!(out, "{name}: the tables of schema `trading` are made, version {to}")?,
        _ if from == to => writeln!(out, "{name}: the tables are there, version {to}; nothing to do")?,
        _ => writeln!(out, "{name}: the tables are brought from version {from} to {to}")?,
    }
    Ok(())
}

/// What waits on this machine, for whatever database.
fn spool(out: &mut impl std::io::Write, folder: &std::path::Path) -> std::io::Result<()> {
    let name = folder.display();
    match Waiting::of(folder) {
        Ok(Waiting { bytes: 0, aside: 0 }) => writeln!(out, "spool {name}: nothing waits"),
        Ok(Waiting { bytes, aside }) => {
            writeln!(out, "spool {name}: {bytes} bytes wait; files with lines put aside (.bad): {aside}")
        }
        Err(error) => writeln!(out, "spool {name}: cannot be read: {error}"),
    }
}

fn status(arguments: &Arguments) -> Result<(), CliError> {
    let (mut session, name) = connect(arguments)?;
    let status = schema::status(&mut session)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name}: PostgreSQL {}", status.server)?;
    for (table, size) in &status.tables {
        match size {
            Some((rows, bytes)) => {
                writeln!(
                    out,
                    "trading.{table:<20} about {rows} rows, {:.1} MiB",
                    *bytes as f64 / 1_048_576.0
                )?;
            }
            None => writeln!(out, "trading.{table:<20} missing")?,
        }
    }
    match status.version {
        Some(version) => {
            let pending = (version + 1)..=schema::VERSION;
            write!(out, "version {version}, this program writes {}", schema::VERSION)?;
            match pending.count() {
                0 => writeln!(out)?,
                count => writeln!(out, "; migrations pending: {count}, `vela db init` applies them")?,
            }
        }
        None => writeln!(out, "no tables of vela's: `vela db init` makes them")?,
    }
    spool(&mut out, &arguments.options.load()?.settings.store.spool_path)?;
    // For scripts: success means that `vela run` can use it.
    Ok(schema::require(&mut session, &name)?)
}

pub(super) fn run(command: &Command) -> Result<(), CliError> {
    match command {
        Command::Init(arguments) => init(arguments),
        Command::Status(arguments) => status(arguments),
    }
}
