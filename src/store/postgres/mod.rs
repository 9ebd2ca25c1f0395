//! The PostgreSQL store: rows go to the database within a deadline, or into the spool until it is back.

mod archive;
mod drain;
mod report;
mod write;

pub use write::CHANNEL;

use super::row::{Numbers, Row};
use super::spool::Spool;
use super::{Archive, Gauge, Store, StoreError, StoreReading, Watermark};
use crate::config::{PostgresUrl, Settings};
use crate::database::{Connections, DatabaseError, Pooled, Server, Trouble, schema};
use crate::domain::{AlertEvent, Outcome, SeriesKey, SymbolPerformance, Timestamp};
use crossbeam::channel::{Receiver, Sender, bounded};
use drain::Drain;
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use write::Statements;

/// How long a batch out of the spool may take: nobody waits for it.
const PATIENT: Duration = Duration::from_secs(30);
/// How long a stop waits for the spool to empty.
const FINISH_MAX: Duration = Duration::from_secs(3);

/// Predictions, refusals and watermarks in the tables of schema `trading`.
pub struct PostgresStore {
    name: String,
    server: Arc<Server>,
    statements: Arc<Statements>,
    numbers: Numbers,
    deadline: Duration,
    recycle: Duration,
    /// The connection in use, and since when; `None` while the database is away.
    session: Option<(Pooled, Instant)>,
    spool: Arc<Mutex<Spool>>,
    spool_bytes_max: u64,
    /// Since when the database takes no rows.
    away_since: Arc<Mutex<Option<Instant>>>,
    drain: Option<Running>,
}

/// The thread that brings the spool's rows to the database, and connections to the store.
struct Running {
    /// Asks it to connect and to empty the spool; it ends with the sender.
    wake: Sender<()>,
    fresh: Receiver<Pooled>,
    thread: JoinHandle<()>,
}

impl PostgresStore {
    /// Connects to `url`, stores what an earlier run left in the spool, and reads how far each series is done.
    ///
    /// # Errors
    /// When the URL or the spool cannot be used, or the tables are missing. Retryable when the database is away.
    pub fn open(url: &PostgresUrl, settings: &Settings) -> Result<(Self, Vec<Watermark>), StoreError> {
        let database = &settings.database;
        let server = Arc::new(Server::new(url, database).map_err(failed)?);
        let name = server.name().to_owned();
        let connections = Connections::new(Arc::clone(&server), database);
        let mut session = connections.get().map_err(failed)?;
        schema::require(&mut session, &name).map_err(failed)?;
        let store = &settings.store;
        let spool = Spool::open(&store.spool_path, &name, store.spool_size_max_mb << 20)?;
        let spool = Arc::new(Mutex::new(spool));
        let statements = Arc::new(Statements::new(store.notify));
        let (wake, woken) = bounded(1);
        let (hand_over, fresh) = bounded(1);
        let away_since = Arc::default();
        let drain = Drain {
            connections,
            away_since: Arc::clone(&away_since),
            spool: Arc::clone(&spool),
            statements: Arc::clone(&statements),
            woken,
            hand_over,
        };
        // Before the watermarks are read: they are true then.
        drain.empty(&mut session).map_err(|error| match error {
            drain::Failure::Database(error) => failed(error),
            drain::Failure::Disk(error) => StoreError {
                store: format!("the spool {}", store.spool_path.display()),
                problem: error.to_string(),
                retryable: false,
            },
        })?;
        let watermarks = watermarks(&mut session, &name)?;
        let numbers = numbers(&mut session).map_err(failed)?;
        let thread = std::thread::Builder::new().name("vela-drain".to_owned()).spawn(move || drain.run());
        let thread = thread.map_err(|error| StoreError {
            store: name.clone(),
            problem: format!("no thread for the spool: {error}"),
            retryable: false,
        })?;
        let store = Self {
            name,
            server,
            statements,
            numbers,
            deadline: Duration::from_millis(store.write_timeout_ms),
            recycle: Duration::from_secs(database.pool_recycle),
            session: Some((session, Instant::now())),
            spool,
            spool_bytes_max: settings.store.spool_size_max_mb << 20,
            away_since,
            drain: Some(Running { wake, fresh, thread }),
        };
        Ok((store, watermarks))
    }

    /// The connection to write with, if there is one: a new one where the old one is too old.
    fn session(&mut self) -> Option<&mut Pooled> {
        let running = self.drain.as_ref()?;
        if let Ok(fresh) = running.fresh.try_recv() {
            if self.session.is_none() {
                tracing::info!(store = self.name, "the database takes rows again");
            }
            self.session = Some((fresh, Instant::now()));
        }
        let (session, since) = self.session.as_mut()?;
        if since.elapsed() >= self.recycle {
            // The old one serves until the new one is there.
            *since = Instant::now();
            let _ = running.wake.try_send(());
        }
        Some(session)
    }

    /// The connection is of no use any more.
    fn lost(&mut self, error: &DatabaseError) {
        tracing::error!(%error, spool = %self.spool.lock().folder().display(),
            "the database takes no rows: they go into the spool until it does");
        self.session = None;
        self.away_since.lock().get_or_insert_with(Instant::now);
    }

    /// Has the drain look after what waits.
    fn wake(&self) {
        if let Some(running) = &self.drain {
            // Full: it was woken already, and looks after this.
            let _ = running.wake.try_send(());
        }
    }
}

impl Store for PostgresStore {
    fn write(&mut self, outcomes: &[Outcome], watermarks: &[Watermark]) -> Result<(), StoreError> {
        let (numbers, created_at) = (self.numbers, Timestamp::now());
        let row = |outcome| Row::of(outcome, numbers, created_at, None);
        let rows: Vec<Row> = outcomes.iter().filter_map(row).collect();
        if rows.is_empty() && watermarks.is_empty() {
            return Ok(());
        }
        let (deadline, statements) = (self.deadline, Arc::clone(&self.statements));
        // The connection's thread has the rows while it writes them; afterwards they may be needed here.
        let shared = Arc::new((rows, watermarks.to_vec()));
        if let Some(session) = self.session() {
            let batch = Arc::clone(&shared);
            let written = session
                .run("store", deadline, move |client| write::write(client, &statements, &batch.0, &batch.1));
            match written {
                Ok(()) => return Ok(()),
                Err(error) if error.trouble == Trouble::Data => return Err(failed(error)),
                Err(error) => self.lost(&error),
            }
        }
        // Written or not, as the database may have done it unheard: it takes a row once.
        let taken = self.spool.lock().append(&shared.0, &shared.1);
        self.wake();
        taken
    }

    fn gauge(&self) -> Option<Gauge> {
        let (spool, away_since) = (Arc::clone(&self.spool), Arc::clone(&self.away_since));
        let spool_bytes_max = self.spool_bytes_max;
        Some(Box::new(move || StoreReading {
            away: away_since.lock().map(|since| since.elapsed()),
            spool_bytes: spool.lock().bytes(),
            spool_bytes_max,
        }))
    }

    fn archive(&self) -> Option<Box<dyn Archive>> {
        Some(Box::new(archive::PostgresArchive::new(Arc::clone(&self.server))))
    }

    /// Alerts wait in the spool while the database is away; the performance does not: the next one says as much.
    fn report(&mut self, performance: &[SymbolPerformance], alerts: &[AlertEvent]) -> Result<(), StoreError> {
        if performance.is_empty() && alerts.is_empty() {
            return Ok(());
        }
        let deadline = self.deadline;
        if let Some(session) = self.session() {
            let batch = (performance.to_vec(), alerts.to_vec());
            let stored = session.run("store performance and alerts", deadline, move |client| {
                report::write(client, &batch.0, &batch.1)
            });
            match stored {
                Ok(()) => return Ok(()),
                Err(error) if !error.is_away() => return Err(failed(error)),
                Err(error) => self.lost(&error),
            }
        }
        let taken = if alerts.is_empty() { Ok(()) } else { self.spool.lock().append_alerts(alerts) };
        self.wake();
        taken
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let Some(Running { wake, fresh, thread }) = self.drain.take() else { return Ok(()) };
        self.session = None;
        drop((wake, fresh));
        let begin = Instant::now();
        while !thread.is_finished() && begin.elapsed() < FINISH_MAX {
            std::thread::sleep(Duration::from_millis(10));
        }
        let bytes = self.spool.lock().bytes();
        if bytes > 0 {
            let spool = self.spool.lock().folder().display().to_string();
            tracing::warn!(spool, bytes, "rows wait in the spool: the next start stores them");
        }
        Ok(())
    }
}

fn failed(error: DatabaseError) -> StoreError {
    StoreError { retryable: error.is_away(), store: error.server, problem: error.problem }
}

/// How far each series is done.
fn watermarks(session: &mut Pooled, name: &str) -> Result<Vec<Watermark>, StoreError> {
    let rows = session.run("read the watermarks", PATIENT, |client| {
        let sql = "SELECT symbol, timeframe, watermark FROM trading.inference_state ORDER BY 1, 2";
        let rows = client.driver().query(sql, &[])?;
        let row = |row: &postgres::Row| (row.get(0), row.get(1), row.get(2));
        Ok(rows.iter().map(row).collect::<Vec<(String, String, SystemTime)>>())
    });
    let parse = |(symbol, timeframe, ts): &(String, String, SystemTime)| -> Result<Watermark, String> {
        let timeframe = timeframe.parse().map_err(|error| format!("{error}"))?;
        let series = SeriesKey::new(symbol, timeframe).map_err(|error| error.to_string())?;
        let ms = match ts.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Ok((Arc::new(series), Timestamp::from_millis(ms)))
    };
    let parse = |row: &(String, String, SystemTime)| {
        parse(row).map_err(|problem| StoreError {
            store: name.to_owned(),
            problem: format!("trading.inference_state, {} {}: {problem}", row.0, row.1),
            retryable: false,
        })
    };
    rows.map_err(failed)?.iter().map(parse).collect()
}

/// From which revision on a run counts.
fn numbers(session: &mut Pooled) -> Result<Numbers, DatabaseError> {
    let sql = "SELECT greatest((SELECT max(revision) FROM trading.agentpreds WHERE revision > 0),
                               (SELECT max(revision) FROM trading.inference_errors WHERE revision > 0),
                               (SELECT 0 WHERE EXISTS (SELECT FROM trading.agentpreds)
                                            OR EXISTS (SELECT FROM trading.inference_errors)))::bigint";
    let highest = session.run("read the highest revision", PATIENT, move |client| {
        Ok(client.driver().query_one(sql, &[])?.get(0))
    })?;
    Ok(Numbers::after(highest))
}
