//! A server as a URL names it, in libpq's words.

use super::session::{Client, Session};
use super::tls::{Files, Verify, connector};
use super::{DatabaseError, Trouble, passfile};
use crate::config::{DatabaseSettings, PostgresUrl};
use postgres::config::{Host, SslMode};
use r2d2_postgres::PostgresConnectionManager;
use r2d2_postgres::r2d2::ManageConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A silent peer is noticed after about six seconds, by whatever side of the connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(3);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(6);

/// Where to connect, and how.
pub struct Server {
    name: String,
    manager: Arc<PostgresConnectionManager<MakeRustlsConnect>>,
    connect_timeout: Duration,
    statement_timeout_ms: u64,
    echo: bool,
}

impl Server {
    /// The server that `url` names.
    ///
    /// # Errors
    /// When the URL or a file that it names cannot be used.
    pub fn new(url: &PostgresUrl, settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let refused = |problem| DatabaseError { server: url.to_string(), problem, trouble: Trouble::Refused };
        let Read { mut config, verify, files, passfile } = read(url.reveal()).map_err(refused)?;
        if config.get_application_name().is_none() {
            config.application_name("vela");
        }
        // As libpq does, so that a password need not stand in a URL.
        if config.get_password().is_none() {
            match std::env::var("PGPASSWORD") {
                Ok(password) => _ = config.password(password),
                Err(_) => from_file(&mut config, passfile.as_deref()).map_err(refused)?,
            }
        }
        let connect_timeout = Duration::from_millis(settings.connect_timeout_ms);
        // Each of several servers has its part of it: one that does not answer keeps nobody from the next.
        let servers = u32::try_from(config.get_hosts().len()).unwrap_or(1).max(1);
        config
            .connect_timeout(connect_timeout / servers)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(UNACKNOWLEDGED_MAX);
        let name = name_of(&config);
        let tls = connector(verify, &files).map_err(refused)?;
        Ok(Self {
            name,
            manager: Arc::new(PostgresConnectionManager::new(config, tls)),
            connect_timeout,
            statement_timeout_ms: settings.statement_timeout_ms,
            echo: settings.echo,
        })
    }

    /// Host, port and database, without credentials.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new connection, ready for statements.
    ///
    /// # Errors
    /// When there is none within `connect_timeout_ms`, handshakes included.
    pub fn connect(&self) -> Result<Session, DatabaseError> {
        let (manager, echo) = (Arc::clone(&self.manager), self.echo);
        let mark = mark();
        let settings = format!(
            "SET statement_timeout = {}; SET TIME ZONE 'UTC'; SET vela.session = '{mark}'",
            self.statement_timeout_ms
        );
        Session::open(&self.name, self.connect_timeout, move || {
            let mut driver = manager.connect()?;
            driver.batch_execute(&settings)?;
            Ok(Client::new(driver, echo, mark))
        })
    }
}

/// A text that no other connection has, of whatever process.
fn mark() -> String {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{number}", std::process::id(), since.as_nanos())
}

impl Server {
    /// A new connection, and whether a pooler gives it away after each transaction: nothing that it listens to is heard then. A
    /// further connection is given the same process of the server, and leaves its own mark there.
    ///
    /// # Errors
    /// As [`Server::connect`].
    pub fn connect_to_listen(&self) -> Result<(Session, bool), DatabaseError> {
        let mut session = self.connect()?;
        // Where there is no room for another one, nothing is known of a pooler.
        let Ok(other) = self.connect() else { return Ok((session, false)) };
        drop(other);
        let is_mine = session.run("look for a pooler", self.connect_timeout, |client| {
            let mine = format!("SELECT WHERE current_setting('vela.session', true) = '{}'", client.mark());
            let rows = client.driver().simple_query(&mine)?;
            Ok(rows.iter().any(|row| matches!(row, postgres::SimpleQueryMessage::Row(_))))
        })?;
        Ok((session, !is_mine))
    }
}

fn name_of(config: &postgres::Config) -> String {
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let ports = config.get_ports();
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(address) if address.contains(':') => format!("[{address}]:{port}"),
            Host::Tcp(host) => format!("{host}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

/// Takes the password of the first host that has one in the file.
fn from_file(config: &mut postgres::Config, named: Option<&str>) -> Result<(), String> {
    let Some(path) = passfile::path(named) else { return Ok(()) };
    let user = config.get_user().map_or_else(whoami, ToOwned::to_owned);
    let database = config.get_dbname().unwrap_or(&user).to_owned();
    for (index, host) in config.get_hosts().iter().enumerate() {
        let port = config.get_ports().get(index).or(config.get_ports().first()).copied().unwrap_or(5432);
        let host = match host {
            Host::Tcp(host) => host.clone(),
            // As libpq calls whatever is not reached by a network.
            Host::Unix(_) => "localhost".to_owned(),
        };
        if let Some(password) = passfile::password(&path, [&host, &port.to_string(), &database, &user])? {
            config.password(password);
            return Ok(());
        }
    }
    Ok(())
}

/// Whom a URL without a user means.
fn whoami() -> String {
    std::env::var("USER").unwrap_or_default()
}

/// What a URL says.
struct Read {
    config: postgres::Config,
    verify: Verify,
    files: Files,
    passfile: Option<String>,
}

/// What the driver knows of a URL, and what it does not: `sslmode=verify-*`, the files of TLS and of passwords.
fn read(url: &str) -> Result<Read, String> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut verify, mut files, mut passfile, mut rest) = (None, Files::default(), None, Vec::new());
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match (key, value) {
            ("sslmode", "verify-full") => verify = Some(Verify::Full),
            ("sslmode", "verify-ca") => verify = Some(Verify::Authority),
            // Never worse than asked for.
            ("sslmode", "allow") => rest.push("sslmode=prefer"),
            ("sslrootcert", path) => files.root = Some(path.to_owned()),
            ("sslcert", path) => files.certificate = Some(path.to_owned()),
            ("sslkey", path) => files.key = Some(path.to_owned()),
            ("passfile", path) => passfile = Some(path.to_owned()),
            // Kerberos is never asked for: that is what both allow.
            ("gssencmode", "disable" | "prefer") => {}
            ("service", _) => {
                return Err(
                    "the URL cannot be used: service files are not read; write host, port, database and user"
                        .to_owned(),
                );
            }
            _ => rest.push(parameter),
        }
    }
    let joined = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    let mut config: postgres::Config = joined.parse().map_err(|error: postgres::Error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        // The commonest cause, and the parser takes the rest of the password for something else.
        let hint = if base.contains('@') {
            "; in a user or password whatever is no letter, digit or one of -._~ is written as % and two digits: \
             @ is %40, : is %3A, / is %2F"
        } else {
            ""
        };
        format!("the URL cannot be used: {error}{cause}{hint}")
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err("the URL names no server: write postgres://USER@HOST:PORT/NAME, or \
                    postgres:///NAME?user=USER&host=/run/postgresql for a socket of this machine"
            .to_owned());
    }
    if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) && !config.get_hosts().is_empty() {
        // As libpq does: nothing of this passes a network.
        config.ssl_mode(SslMode::Disable);
        return Ok(Read { config, verify: Verify::Nothing, files: Files::default(), passfile });
    }
    if let Some(verify) = verify {
        config.ssl_mode(SslMode::Require);
        return Ok(Read { config, verify, files, passfile });
    }
    // As libpq does: whoever names an authority wants it checked where encryption is required.
    let required = config.get_ssl_mode() == SslMode::Require;
    let verify = if required && files.root.is_some() { Verify::Authority } else { Verify::Nothing };
    Ok(Read { config, verify, files, passfile })
}
