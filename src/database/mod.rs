//! One PostgreSQL server: its URL, TLS, connections that cannot hang, and a pool of them.
//!
//! The driver blocks its caller for as long as a socket is silent, and has no deadline of its own. So a client lives
//! on a thread of its own, a [`Session`]; whoever wants something done hands it over and waits for so long and no
//! longer. A session that did not answer in time is given up: its thread ends when the system gives the socket up.

mod answer;
mod passfile;
mod pool;
pub mod schema;
mod server;
mod session;
mod tls;

pub use pool::{Connections, Pooled};
pub use server::Server;
pub use session::{Begun, Client, Session};

/// Something that a server did not do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{server}: {problem}")]
pub struct DatabaseError {
    /// Which server: host, port and database, without credentials.
    pub server: String,
    /// What was tried and what came back.
    pub problem: String,
    /// What kind of trouble it is.
    pub trouble: Trouble,
}

/// What can be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server is away, starting, stopping, full or silent: it may do it later.
    Away,
    /// The server refuses whoever asks, or has no such table: somebody has to change something.
    Refused,
    /// The data themselves cannot be stored.
    Data,
}

impl DatabaseError {
    /// Whether the same may succeed later without anybody's doing.
    pub fn is_away(&self) -> bool {
        self.trouble == Trouble::Away
    }
}

/// What kind of trouble `error` is: by its SQLSTATE class, PostgreSQL's appendix A.
fn trouble_of(error: &postgres::Error) -> Trouble {
    let Some(code) = error.code() else {
        return if is_refusal(error) { Trouble::Refused } else { Trouble::Away };
    };
    match (&code.code()[..2], code.code()) {
        // Connection, resources, operator, system, a standby that was promoted away, deadlocks, timeouts, locks.
        ("08" | "53" | "57" | "58" | "40" | "XX", _) | (_, "25006" | "55P03") => Trouble::Away,
        ("22" | "23", _) => Trouble::Data,
        _ => Trouble::Refused,
    }
}

/// Whether `error`, which came with no code, is not of the kind that passes: TLS is not to be had, or the server is not
/// who it should be; it asks for a password, and there is none.
fn is_refusal(error: &postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    // The driver tells its kinds of errors apart by their texts alone.
    let kind = error.to_string();
    let is = |begin: &str| kind.starts_with(begin);
    if !is("error performing TLS handshake") {
        return is("invalid configuration") || is("authentication error");
    }
    let Some(io) = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>()) else { return true };
    let tls = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)))
}

/// What `error` says, with what is behind it.
fn text_of(error: &postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        let detail = error.detail().map_or_else(String::new, |detail| format!(" ({detail})"));
        return format!("{}{detail}, SQLSTATE {}", error.message(), error.code().code());
    }
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    format!("{error}{cause}")
}
