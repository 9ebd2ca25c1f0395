//! The PostgreSQL store: rows go to the database within a deadline, or into the spool until it is back.
//!
//! Their commits do not wait for the server's disk. Each batch is kept until the server has flushed it, which it is asked to
//! do on the connection that the batch went over: a server that crashed meanwhile has lost that connection. With the
//! connection, what is kept goes into the spool, before anything newer is written, and from there to the database again.

mod archive;
mod commit;
mod drain;
mod report;
mod unflushed;
mod write;

pub use write::CHANNEL;

use super::row::{Numbers, Row};
use super::spool::Spool;
use super::{Archive, Gauge, Store, StoreError, StoreReading, Watermark};
use crate::config::{PostgresUrl, Settings};
use crate::database::{Client, Connections, DatabaseError, Pooled, Server, Trouble, schema};
use crate::domain::{AlertEvent, Outcome, SeriesKey, SymbolPerformance, Timestamp};
use commit::Commit;
use crossbeam::channel::{Receiver, Sender, bounded};
use drain::Drain;
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use unflushed::{Batch, Unflushed};
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
    notify: bool,
    numbers: Numbers,
    deadline: Duration,
    recycle: Duration,
    /// The connection in use, and since when; `None` while the database is away.
    session: Option<(Pooled, Instant)>,
    /// Whether another one is asked for.
    renewing: bool,
    /// What went over it and may not be on the server's disk; what is here without a connection must go into the spool.
    unflushed: Unflushed,
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
        // Not where it is refused, either: then commits wait, as the server is set.
        let (can_flush, is_same) = match session.run("flush", PATIENT, probe) {
            Err(error) if error.is_away() => return Err(failed(error)),
            Err(error) => {
                tracing::info!(%error, "each commit waits for the database's disk");
                (false, false)
            }
            Ok(probed) => probed,
        };
        let buffered = can_flush && is_same && !store.synchronous_commit;
        let live = if buffered { Commit::Buffered } else { Commit::AsSet };
        let waits = if can_flush { Commit::Flushed } else { Commit::AsSet };
        let statements = Arc::new(Statements::new(store.notify, live));
        let (wake, woken) = bounded(1);
        let (hand_over, fresh) = bounded(1);
        let away_since = Arc::default();
        let drain = Drain {
            connections,
            away_since: Arc::clone(&away_since),
            spool: Arc::clone(&spool),
            statements: Arc::new(Statements::new(store.notify, waits)),
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
        if can_flush {
            // What was read, of a process that has just ended, must not be lost behind what is written from now on.
            session.run("flush", PATIENT, commit::flush).map_err(failed)?;
        }
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
            notify: store.notify,
            numbers,
            deadline: Duration::from_millis(store.write_timeout_ms),
            recycle: Duration::from_secs(database.pool_recycle),
            session: Some((session, Instant::now())),
            renewing: false,
            unflushed: Unflushed::default(),
            spool,
            spool_bytes_max: settings.store.spool_size_max_mb << 20,
            away_since,
            drain: Some(Running { wake, fresh, thread }),
        };
        Ok((store, watermarks))
    }

    /// The connection to write with, if there is one: a new one where the old one is too old.
    ///
    /// # Errors
    /// When what the old one left does not go into the spool: nothing newer may be written before.
    fn session(&mut self) -> Result<Option<&mut Pooled>, StoreError> {
        if self.session.is_none() {
            self.spill()?;
        }
        let wanted = self.session.is_none() || self.renewing;
        if let Some(fresh) = self.fresh().filter(|_| wanted) {
            match self.session {
                Some(_) => self.flush()?,
                None => tracing::info!(store = self.name, "the database takes rows again"),
            }
            (self.session, self.renewing) = (Some((fresh, Instant::now())), false);
        }
        if let Some((_, since)) = &mut self.session
            && since.elapsed() >= self.recycle
        {
            // The old one serves until the new one is there.
            (*since, self.renewing) = (Instant::now(), true);
            self.wake();
        }
        Ok(self.session.as_mut().map(|(session, _)| session))
    }

    /// A connection that was handed over.
    fn fresh(&self) -> Option<Pooled> {
        self.drain.as_ref()?.fresh.try_recv().ok()
    }

    /// Has the server write what is kept here to its disk, and lets go of it; what is in doubt goes into the spool.
    ///
    /// # Errors
    /// When it does not go there.
    fn flush(&mut self) -> Result<(), StoreError> {
        if self.unflushed.is_empty() {
            return Ok(());
        }
        if let Some((session, _)) = &mut self.session {
            match session.run("flush", self.deadline, commit::flush) {
                Ok(true) => {
                    self.unflushed.let_go();
                    return Ok(());
                }
                Ok(false) => {
                    tracing::warn!(
                        store = self.name,
                        "a pooler gives the connection away between two statements: from now \
                        on each commit waits for the database's disk"
                    );
                    self.statements = Arc::new(Statements::new(self.notify, Commit::AsSet));
                    self.session = None;
                }
                Err(error) => self.lost(&error),
            }
        }
        self.spill()
    }

    /// Puts what a lost connection left into the spool.
    fn spill(&mut self) -> Result<(), StoreError> {
        if self.unflushed.is_empty() {
            return Ok(());
        }
        let spilled = self.unflushed.spill(&self.spool);
        self.wake();
        spilled
    }

    /// The connection is of no use any more.
    fn lost(&mut self, error: &DatabaseError) {
        tracing::error!(%error, spool = %self.spool.lock().folder().display(),
            "the database takes no rows: they go into the spool until it does");
        self.session = None;
        // What was handed over before is no better.
        drop(self.fresh());
        self.away_since.lock().get_or_insert_with(Instant::now);
    }

    /// Keeps a batch that was committed until the server has it on its disk.
    fn keep(&mut self, batch: Arc<Batch>) {
        self.unflushed.keep(batch);
        if self.unflushed.is_full() {
            // It is kept, whatever comes of it; where the spool takes no more, the next batch is told.
            let _ = self.flush();
        }
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
        let is_buffered = statements.commit == Commit::Buffered;
        // The connection's thread has the rows while it writes them; afterwards they may be needed here.
        let batch = Arc::new(Batch { rows, watermarks: watermarks.to_vec() });
        if let Some(session) = self.session()? {
            let shared = Arc::clone(&batch);
            let written = session.run("store", deadline, move |client| {
                write::write(client, &statements, &shared.rows, &shared.watermarks)
            });
            match written {
                Ok(()) => {
                    if is_buffered {
                        self.keep(batch);
                    }
                    return Ok(());
                }
                Err(error) if error.trouble == Trouble::Data => return Err(failed(error)),
                Err(error) => self.lost(&error),
            }
        }
        self.spill()?;
        // Written or not, as the database may have done it unheard: it takes a row once.
        let taken = self.spool.lock().append(&batch.rows, &batch.watermarks);
        self.wake();
        taken
    }

    fn gauge(&self) -> Option<Gauge> {
        let (spool, away_since) = (Arc::clone(&self.spool), Arc::clone(&self.away_since));
        let unflushed = self.unflushed.counts();
        let spool_bytes_max = self.spool_bytes_max;
        Some(Box::new(move || StoreReading {
            away: away_since.lock().map(|since| since.elapsed()),
            spool_bytes: spool.lock().bytes(),
            spool_bytes_max,
            unflushed_rows: unflushed.rows(),
            resent_rows: unflushed.resent(),
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
        if let Some(session) = self.session()? {
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

    fn settle(&mut self) -> Result<(), StoreError> {
        self.flush()
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        let settled = self.flush();
        let Some(Running { wake, fresh, thread }) = self.drain.take() else { return settled };
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
        settled
    }
}

/// Whether the server can be asked to flush, and whether it is the same process of it that is asked from one statement to
/// the next.
fn probe(client: &mut Client) -> Result<(bool, bool), postgres::Error> {
    if commit::can_flush(client)? { Ok((true, commit::flush(client)?)) } else { Ok((false, false)) }
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
