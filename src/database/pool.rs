//! A pool of sessions, with SQLAlchemy's meaning of its settings.

use super::{DatabaseError, Server, Session, Trouble};
use crate::config::DatabaseSettings;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a connection that is tried before it is used may take to answer.
const PING: Duration = Duration::from_secs(2);

/// Connections to one server: at most `pool_size + max_overflow`, made when they are needed; those beyond `pool_size`
/// are closed when they come back.
pub struct Connections {
    pool: r2d2::Pool<Manager>,
    server: Arc<Server>,
}

/// A connection out of the pool, which goes back to it.
pub struct Pooled(r2d2::PooledConnection<Manager>);

struct Manager {
    server: Arc<Server>,
    kept: usize,
    recycle: Duration,
    pre_ping: bool,
    open: Arc<AtomicUsize>,
}

/// A session that is counted.
struct Counted {
    session: Session,
    open: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    /// No connection yet.
    pub fn new(server: Arc<Server>, settings: &DatabaseSettings) -> Self {
        let open = Arc::new(AtomicUsize::new(0));
        let manager = Manager {
            server: Arc::clone(&server),
            kept: settings.pool_size,
            recycle: Duration::from_secs(settings.pool_recycle),
            pre_ping: settings.pool_pre_ping,
            open,
        };
        let pool = r2d2::Pool::builder()
            .max_size((settings.pool_size + settings.max_overflow) as u32)
            .min_idle(Some(0))
            .max_lifetime(None)
            .idle_timeout(None)
            .test_on_check_out(true)
            .error_handler(Box::new(Quiet))
            .connection_timeout(Duration::from_millis(settings.connect_timeout_ms))
            .build_unchecked(manager);
        Self { pool, server }
    }

    /// A connection that answers.
    ///
    /// # Errors
    /// When there is none within `connect_timeout_ms`.
    pub fn get(&self) -> Result<Pooled, DatabaseError> {
        self.pool.get().map(Pooled).map_err(|error| DatabaseError {
            server: self.server.name().to_owned(),
            problem: error.to_string(),
            trouble: Trouble::Away,
        })
    }
}

impl std::ops::Deref for Pooled {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0.session
    }
}

impl std::ops::DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.0.session
    }
}

/// Whoever asked for a connection is told what is wrong; it need not be logged beside.
#[derive(Debug)]
struct Quiet;

impl r2d2::HandleError<DatabaseError> for Quiet {
    fn handle_error(&self, error: DatabaseError) {
        tracing::debug!(%error, "no connection");
    }
}

impl r2d2::ManageConnection for Manager {
    type Connection = Counted;
    type Error = DatabaseError;

    fn connect(&self) -> Result<Counted, DatabaseError> {
        let session = self.server.connect()?;
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(Counted { session, open: Arc::clone(&self.open) })
    }

    fn is_valid(&self, counted: &mut Counted) -> Result<(), DatabaseError> {
        let session = &mut counted.session;
        if session.age() >= self.recycle {
            let problem = "the connection is old enough to be replaced".to_owned();
            return Err(DatabaseError {
                server: self.server.name().to_owned(),
                problem,
                trouble: Trouble::Away,
            });
        }
        if self.pre_ping {
            session.run("ping", PING, |client| client.driver().simple_query("").map(|_| ()))?;
        }
        Ok(())
    }

    fn has_broken(&self, counted: &mut Counted) -> bool {
        counted.session.is_broken() || self.open.load(Ordering::Relaxed) > self.kept
    }
}
