//! Brings the rows of the spool to the database once it is back, and new connections to the store.

use super::PATIENT;
use super::report;
use super::write::{Statements, write};
use crate::database::{Connections, DatabaseError, Pooled, Trouble};
use crate::domain::{AlertEvent, Timestamp, pause_ms};
use crate::store::Watermark;
use crate::store::row::Row;
use crate::store::spool::{Entry, Spool, line_of};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of one statement out of the spool.
const ROWS_MAX: usize = 1024;

pub(super) struct Drain {
    pub connections: Connections,
    pub spool: Arc<Mutex<Spool>>,
    /// Cleared when the store has a connection again.
    pub away_since: Arc<Mutex<Option<Instant>>>,
    /// Their commits wait for the disk: the spool forgets what they wrote.
    pub statements: Arc<Statements>,
    /// Ends with the store.
    pub woken: Receiver<()>,
    pub hand_over: Sender<Pooled>,
}

/// Why the spool was not emptied.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Database(#[from] DatabaseError),
    #[error("the spool: {0}")]
    Disk(#[from] std::io::Error),
}

impl Drain {
    /// Works whenever it is woken, until the store ends.
    pub(super) fn run(self) {
        while self.woken.recv().is_ok() {
            for attempt in 1.. {
                let Err(error) = self.once() else { break };
                let pause =
                    Duration::from_millis(pause_ms(attempt, Timestamp::now().as_millis().unsigned_abs()));
                tracing::debug!(%error, attempt, "the database is not back yet");
                if self.ended(pause) {
                    return;
                }
            }
        }
    }

    /// Waits for `pause`, or until the store ended: then `true`.
    fn ended(&self, pause: Duration) -> bool {
        let end = std::time::Instant::now() + pause;
        loop {
            match self.woken.recv_deadline(end) {
                // Woken again: that is what the next attempt is for.
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }

    /// Connects, stores the oldest rows, gives the store a connection, and stores the rest.
    fn once(&self) -> Result<(), Failure> {
        let mut session = self.connections.get()?;
        // Whoever takes these takes live ones: else the store would try, and fail, with every batch.
        let more = self.one_file(&mut session)?;
        // Full: the store has one waiting for it that it did not need yet.
        drop(self.hand_over.try_send(self.connections.get()?));
        *self.away_since.lock() = None;
        if more { self.empty(&mut session) } else { Ok(()) }
    }

    /// Stores all that waits.
    pub(super) fn empty(&self, session: &mut Pooled) -> Result<(), Failure> {
        while self.one_file(session)? {
            if matches!(self.woken.try_recv(), Err(TryRecvError::Disconnected)) {
                break;
            }
        }
        Ok(())
    }

    /// Stores the rows of the oldest file; whether there was one.
    fn one_file(&self, session: &mut Pooled) -> Result<bool, Failure> {
        let Some(oldest) = self.spool.lock().oldest() else { return Ok(false) };
        let (mut batch, mut aside) = oldest.read()?;
        for bad in &batch.bad {
            tracing::error!(
                line = bad,
                "a line of the spool cannot be read: it is kept in a .bad file beside it"
            );
        }
        let rows = std::mem::take(&mut batch.rows);
        let watermarks = std::mem::take(&mut batch.watermarks);
        let count = rows.len();
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let chunk: Arc<[Row]> = rows.by_ref().take(ROWS_MAX).collect();
            match self.write(session, &chunk, &[]) {
                Err(error) if error.trouble == Trouble::Data => {
                    self.one_by_one(session, &chunk, &mut aside)?
                }
                written => written?,
            }
        }
        self.report(session, std::mem::take(&mut batch.alerts), &mut aside)?;
        // After all of their rows; all of it is on the disk then.
        self.write(session, &Arc::from([]), &watermarks)?;
        self.spool.lock().done(&batch, &aside)?;
        tracing::info!(rows = count, "rows went from the spool to the database");
        Ok(true)
    }

    fn write(
        &self,
        session: &mut Pooled,
        rows: &Arc<[Row]>,
        marks: &[Watermark],
    ) -> Result<(), DatabaseError> {
        let (statements, rows, marks) = (Arc::clone(&self.statements), Arc::clone(rows), marks.to_vec());
        session.run("store what waited", PATIENT, move |client| write(client, &statements, &rows, &marks))
    }

    /// Stores alerts; those that cannot be stored do not keep back rows behind them.
    fn report(
        &self,
        session: &mut Pooled,
        alerts: Vec<AlertEvent>,
        aside: &mut Vec<u8>,
    ) -> Result<(), DatabaseError> {
        if alerts.is_empty() {
            return Ok(());
        }
        let shared = Arc::new(alerts);
        let batch = Arc::clone(&shared);
        let stored = session
            .run("store alerts that waited", PATIENT, move |client| report::write(client, &[], &batch));
        match stored {
            Err(error) if !error.is_away() => {
                tracing::error!(%error, alerts = shared.len(),
                    "alerts of the spool cannot be stored: they are kept in a .bad file");
                shared.iter().for_each(|alert| aside.extend(line_of(&Entry::Alert(alert.clone()))));
                Ok(())
            }
            stored => stored,
        }
    }

    /// What can never be stored must not keep back what can.
    fn one_by_one(
        &self,
        session: &mut Pooled,
        rows: &[Row],
        aside: &mut Vec<u8>,
    ) -> Result<(), DatabaseError> {
        for row in rows {
            match self.write(session, &Arc::from([row.clone()]), &[]) {
                Err(error) if error.trouble == Trouble::Data => {
                    tracing::error!(%error, ?row, "a row of the spool cannot be stored: it is kept in a .bad file");
                    aside.extend(line_of(&Entry::Row(row.clone())));
                }
                written => written?,
            }
        }
        Ok(())
    }
}
