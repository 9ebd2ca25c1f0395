//! What commits wait for, and having the server write to its disk what it committed.

use crate::database::Client;
use postgres::Error;

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Commit {
    /// What the server is set to: as a rule its disk.
    AsSet,
    /// Nothing: its rows can be seen at once, and are on the disk a moment later unless the server crashes before.
    Buffered,
    /// The disk, for its rows and all that was committed before: so also for those of its rows that were there already.
    Flushed,
}

/// For the transaction that it is evaluated in, whatever connection or pooler that runs on.
const BUFFERED: &str = "set_config('synchronous_commit', 'off', true) <> ''";

/// A transaction that changed nothing waits for nothing: so this one leaves a message in the log, which means nothing to
/// anybody. What the log holds before it is on the disk with it (and on the standbys that the server waits for).
macro_rules! flushed {
    () => {
        "CASE current_setting('synchronous_commit') WHEN 'off'
        THEN set_config('synchronous_commit', 'on', true) <> '' ELSE true END
    AND pg_logical_emit_message(true, 'vela', '') IS NOT NULL"
    };
}

const FLUSH: &str =
    concat!("SELECT coalesce(current_setting('vela.session', true) = $1, false) WHERE ", flushed!());

impl Commit {
    /// A condition that is true, and makes it so for the transaction that it is evaluated in.
    pub(super) fn condition(self) -> Option<&'static str> {
        match self {
            Self::AsSet => None,
            Self::Buffered => Some(BUFFERED),
            Self::Flushed => Some(flushed!()),
        }
    }
}

/// Has the server write to its disk all that it has committed. Whether it can be said of what was committed on this
/// connection: not where another process of the server answers (a pooler is between), as the server may have crashed
/// meanwhile and nobody noticed.
pub(super) fn flush(client: &mut Client) -> Result<bool, Error> {
    let mark = client.mark().to_owned();
    let (driver, statement) = client.prepared(FLUSH)?;
    driver.query_one(&statement, &[&mark])?.try_get(0)
}

/// Whether the server can be asked for that at all: a standby cannot, nor those that are much like PostgreSQL.
pub(super) fn can_flush(client: &mut Client) -> Result<bool, Error> {
    client.driver().query_one("SELECT NOT pg_is_in_recovery()", &[])?.try_get(0)
}
