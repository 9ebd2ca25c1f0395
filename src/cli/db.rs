//! `vela db init|status`: the tables of a PostgreSQL database.

use super::{CliError, settings::ConfigOptions};
use crate::config::{BarTable, Settings, StoreUrl};
use crate::database::{Server, Session, schema};
use crate::source;
use crate::store::Waiting;
use std::io::Write as _;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Make what is missing in schema `trading`; does nothing where all is there
    Init(Init),
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

#[derive(clap::Args)]
pub(super) struct Init {
    #[command(flatten)]
    arguments: Arguments,
    /// Have a bar table of your own announce its new bars, so that it need not be polled. Its columns are those of
    /// source.tables, where it is among them, or else called like those of trading.ohlcv. May be given several times
    #[arg(long, value_name = "TABLE")]
    watch: Vec<String>,
}

/// A connection to the database that is meant.
fn connect(arguments: &Arguments, settings: &Settings, watch: bool) -> Result<(Session, String), CliError> {
    let url = match &arguments.url {
        Some(url) => url.parse().map_err(|error| CliError::Failed(format!("--url: {error}")))?,
        None => match settings.source_url() {
            Some(url) if watch => StoreUrl::Postgres(url.clone()),
            _ => settings.store.url.clone(),
        },
    };
    let StoreUrl::Postgres(url) = url else {
        let problem = format!("{url} is no PostgreSQL database: give --url postgres://USER@HOST:PORT/NAME");
        return Err(CliError::Failed(problem));
    };
    let server = Server::new(&url, &settings.database)?;
    Ok((server.connect()?, server.name().to_owned()))
}

fn init(Init { arguments, watch }: &Init) -> Result<(), CliError> {
    let settings = arguments.options.load()?.settings;
    let (mut session, name) = connect(arguments, &settings, !watch.is_empty())?;
    let mut more = Vec::new();
    for table in watch {
        let configured = settings.source.tables.iter().find(|configured| configured.name == *table);
        let wanted = configured.cloned().unwrap_or_else(|| BarTable::named(table));
        more.extend(source::watch(&mut session, &name, &wanted)?);
    }
    let schema::Initialised { from, to } = schema::init(&mut session, more)?;
    let mut out = std::io::stdout().lock();
    match (from, to) {
        (0, _) => writeln!(out, "{name}: the tables of schema `trading` are made, version {to}")?,
        _ if from == to => writeln!(out, "{name}: the tables are there, version {to}; nothing to do")?,
        _ => writeln!(out, "{name}: the tables are brought from version {from} to {to}")?,
    }
    for table in watch {
        writeln!(out, "{table} announces its new bars")?;
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
    let (mut session, name) = connect(arguments, &arguments.options.load()?.settings, false)?;
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
