//! Follows tables of bars in a PostgreSQL database.
//!
//! A notification is a hint, the table is the truth: a lone bar that its announcement tells is delivered at once and
//! looked up a second later. One connection listens and reads, on a thread of its own: what it
//! is asked for is begun here and looked after later, so that nothing here ever waits for a server. At a start the
//! history of each series is read in one statement; then what is announced, in one statement for all series that were
//! named. After every connect, and now and then, each series is read again from a few bars before its newest: so a bar
//! whose announcement was lost, or that was committed late, is found.

mod announce;
mod column;
mod follow;
mod heard;
mod look;
mod read;
mod recent;
mod table;
#[cfg(test)]
mod tests;

pub use announce::watch;

use super::{History, Poll, Source, SourceBar, SourceError};
use crate::config::{BarTable, Settings};
use crate::database::{Begun, DatabaseError, Server, Session};
use crate::domain::{Bar, SeriesKey, Timestamp, pause_ms};
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use follow::Follow;
use look::{Look, Named, Seen, Skipped};
use read::{PING, SILENCE_MAX};
use std::sync::Arc;
use std::time::{Duration, Instant};
use table::Table;

/// The table that `vela db init` makes.
const OWN_TABLE: &str = "trading.ohlcv";
/// Bars that one poll delivers at most.
const BARS_PER_POLL: usize = 1024;
/// How long reading new bars may take.
const READ_MAX: Duration = Duration::from_secs(5);
/// How long listing the series, or reading the history of one, may take.
const HISTORY_MAX: Duration = Duration::from_secs(60);
/// How often new series are looked for in a table that is polled and has changed.
const LIST_POLLED: Duration = Duration::from_secs(1);
/// A table that is polled rests so many times as long as a look took.
const REST: u32 = 9;

/// The tables of bars in one database.
pub struct PostgresSource {
    server: Arc<Server>,
    wanted: Arc<[BarTable]>,
    connect_timeout: Duration,
    poll_interval: Duration,
    recheck_interval: Duration,
    tables: Arc<[Arc<Table>]>,
    follow: Follow,
    link: Link,
    /// A pooler gives the connection away between two transactions, so that nothing that is announced is heard.
    pooled: bool,
    /// Failed attempts to connect, one after the other.
    attempt: u32,
    list_at: Instant,
    /// The transactions that had ended when a polled table was last read.
    snapshot: Option<String>,
    /// When polled tables are looked at again.
    poll_at: Instant,
    /// All that was there is read.
    settled: bool,
    /// A history was just read.
    started: bool,
    skipped: u64,
    wake: Sender<()>,
    news: Receiver<()>,
}

/// How things stand with the server.
enum Link {
    /// There is no connection; it is tried again then.
    Away(Instant),
    Connecting(Receiver<Result<(Session, bool), DatabaseError>>),
    /// With what the connection does now.
    Up(Session, Option<Begun<Answer>>),
}

/// What a connection did.
enum Answer {
    Prepared(Result<Vec<Arc<Table>>, String>),
    Listed(Vec<Named>),
    Started(Vec<(Named, Vec<Bar>)>, Skipped),
    Seen(Seen, Duration),
}

/// The tables that `settings` name.
fn tables_of(settings: &Settings) -> Vec<BarTable> {
    match settings.source.tables.as_slice() {
        [] => vec![BarTable::named(OWN_TABLE)],
        tables => tables.to_vec(),
    }
}

impl PostgresSource {
    /// Follows the tables that `settings` name. A series' bars up to its watermark only warm up.
    ///
    /// # Errors
    /// When the server refuses, or a table or column is not there. A server that is away is waited for.
    pub fn open(
        settings: &Settings,
        history: History,
        watermarks: &[(Arc<SeriesKey>, Timestamp)],
    ) -> Result<Self, SourceError> {
        let Some(url) = settings.source_url() else {
            let problem = "no PostgreSQL database is configured: set source.url".to_owned();
            return Err(SourceError::Database { url: "source.url".to_owned(), problem });
        };
        let server = Arc::new(Server::new(url, &settings.database).map_err(failed)?);
        let source = &settings.source;
        let (wake, news) = bounded(1);
        let now = Instant::now();
        let mut opened = Self {
            server,
            wanted: tables_of(settings).into(),
            connect_timeout: Duration::from_millis(settings.database.connect_timeout_ms),
            poll_interval: Duration::from_millis(source.poll_interval_ms),
            recheck_interval: Duration::from_secs(source.recheck_interval_s),
            tables: Arc::from([]),
            follow: Follow::new(history, (source.overlap_bars, settings.ingest.revision_bars), watermarks),
            link: Link::Away(now),
            pooled: false,
            attempt: 0,
            list_at: now,
            snapshot: None,
            poll_at: now,
            settled: false,
            started: false,
            skipped: 0,
            wake,
            news,
        };
        match opened.first() {
            Err(error) if error.is_away() => opened.away(&error),
            first => first.map_err(failed)?,
        }
        Ok(opened)
    }

    /// Connects and looks at the tables, so that what is wrong with them is said at the start.
    fn first(&mut self) -> Result<(), DatabaseError> {
        let (mut session, pooled) = self.server.connect_to_listen()?;
        self.pooled = pooled;
        let wanted = Arc::clone(&self.wanted);
        let prepared = session
            .run("look at the bar tables", READ_MAX, move |client| read::prepare(client, &wanted, pooled))?;
        self.prepared(prepared)?;
        self.link = Link::Up(session, None);
        Ok(())
    }

    fn prepared(&mut self, prepared: Result<Vec<Arc<Table>>, String>) -> Result<(), DatabaseError> {
        let tables = prepared.map_err(|problem| DatabaseError {
            server: self.server.name().to_owned(),
            problem,
            trouble: crate::database::Trouble::Refused,
        })?;
        tables.iter().for_each(|table| table.describe());
        self.tables = tables.into();
        self.list_at = Instant::now();
        self.snapshot = None;
        Ok(())
    }

    /// Notes that the connection is of no use, and when the next is tried.
    fn away(&mut self, error: &DatabaseError) {
        self.attempt += 1;
        if self.attempt == 1 || !error.is_away() {
            tracing::warn!(%error, "the bar tables cannot be read; trying again");
        } else {
            tracing::debug!(%error, attempt = self.attempt, "the bar tables cannot be read yet");
        }
        self.follow.lost();
        self.settled = false;
        let pause = pause_ms(self.attempt, Timestamp::now().as_millis().unsigned_abs());
        self.link = Link::Away(Instant::now() + Duration::from_millis(pause));
    }

    /// Connects on a thread of its own.
    fn connect(&mut self) {
        let (server, wake) = (Arc::clone(&self.server), self.wake.clone());
        let (done, connected) = bounded(1);
        let connect = move || {
            let _ = done.send(server.connect_to_listen());
            let _ = wake.try_send(());
        };
        match std::thread::Builder::new().name("vela-connect".to_owned()).spawn(connect) {
            Ok(_) => self.link = Link::Connecting(connected),
            Err(error) => self.away(&DatabaseError {
                server: self.server.name().to_owned(),
                problem: format!("no thread for a connection: {error}"),
                trouble: crate::database::Trouble::Away,
            }),
        }
    }

    /// Goes on by one step; how long there is nothing to do, where that is so.
    fn step(&mut self) -> Option<Duration> {
        match &mut self.link {
            Link::Away(until) => {
                let rest = until.saturating_duration_since(Instant::now());
                if !rest.is_zero() {
                    return Some(rest);
                }
                self.connect();
            }
            Link::Connecting(connected) => match connected.try_recv() {
                Err(TryRecvError::Empty) => return Some(self.connect_timeout),
                Ok(Ok((session, pooled))) => {
                    self.pooled |= pooled;
                    let (wanted, pooled) = (Arc::clone(&self.wanted), self.pooled);
                    self.begin(session, "look at the bar tables", READ_MAX, move |client| {
                        read::prepare(client, &wanted, pooled).map(Answer::Prepared)
                    });
                }
                Ok(Err(error)) => self.away(&error),
                // Its thread is gone, which it only does with an answer.
                Err(TryRecvError::Disconnected) => self.connect(),
            },
            Link::Up(session, begun) => {
                if let Some(doing) = begun {
                    let answer = session.look(doing);
                    let Some(answer) = answer else { return Some(doing.remaining()) };
                    *begun = None;
                    if let Err(error) = answer.and_then(|answer| self.done(answer)) {
                        self.away(&error);
                    }
                } else if let Link::Up(session, _) =
                    std::mem::replace(&mut self.link, Link::Away(Instant::now()))
                {
                    self.next(session);
                }
            }
        }
        None
    }

    /// Has the connection do something.
    fn begin(
        &mut self,
        mut session: Session,
        what: &'static str,
        deadline: Duration,
        work: impl FnOnce(&mut crate::database::Client) -> Result<Answer, postgres::Error> + Send + 'static,
    ) {
        let wake = self.wake.clone();
        let begun = session.begin(
            what,
            deadline,
            move || {
                // Full: it is woken already.
                let _ = wake.try_send(());
            },
            work,
        );
        self.link = Link::Up(session, Some(begun));
    }

    /// Has the connection do what is next.
    fn next(&mut self, session: Session) {
        let now = Instant::now();
        let tables = Arc::clone(&self.tables);
        if now >= self.list_at {
            self.list_at = now + self.recheck_interval;
            return self.begin(session, "list the series", HISTORY_MAX, move |client| {
                read::list(client, &tables).map(Answer::Listed)
            });
        }
        // Between two histories, what is live has its turn.
        let live_first = std::mem::take(&mut self.started);
        let starts = if live_first { Vec::new() } else { self.follow.next_starts() };
        if !starts.is_empty() {
            let deadline = HISTORY_MAX * u32::try_from(starts.len()).unwrap_or(u32::MAX);
            return self.begin(session, "read the history of a series", deadline, move |client| {
                let (mut read, mut skipped) = (Vec::with_capacity(starts.len()), Skipped::default());
                for follow::Start { series, count, watermark, newer_max } in starts {
                    let table = &tables[series.table];
                    let wanted = (count, watermark, newer_max);
                    let bars = read::newest(client, table, &series, wanted, &mut skipped)?;
                    read.push((series, bars));
                }
                Ok(Answer::Started(read, skipped))
            });
        }
        let clock = Timestamp::now();
        let asks = self.follow.next_asks(clock);
        let mut look = Look { wait: Duration::ZERO, asks, polled: false };
        if look.asks.is_empty() && !live_first {
            self.settled = true;
            let until_again = self.follow.next_again().map_or(SILENCE_MAX, |at| {
                Duration::from_millis((at.as_millis() - clock.as_millis()).unsigned_abs())
            });
            look.wait = SILENCE_MAX.min(until_again).min(self.list_at.saturating_duration_since(now));
            if tables.iter().any(|table| !table.announces) {
                look.wait = look.wait.min(self.poll_at.saturating_duration_since(now));
                look.polled = true;
            }
        }
        let deadline = look.wait + PING + READ_MAX;
        self.begin(session, "look for new bars", deadline, move |client| {
            let (begin, wait) = (Instant::now(), look.wait);
            let seen = read::look(client, &tables, look)?;
            Ok(Answer::Seen(seen, begin.elapsed().saturating_sub(wait)))
        });
    }

    /// Takes what the connection did.
    fn done(&mut self, answer: Answer) -> Result<(), DatabaseError> {
        let now = Timestamp::now();
        match answer {
            Answer::Prepared(prepared) => self.prepared(prepared)?,
            Answer::Listed(all) => self.follow.listed(all),
            Answer::Started(read, skipped) => {
                self.skip(&skipped);
                self.started = true;
                let tables = Arc::clone(&self.tables);
                self.follow.started(read, &tables, now);
            }
            Answer::Seen(seen, took) => {
                // From the next connection on tables are polled.
                let newly = seen.deaf && !self.pooled;
                self.pooled |= seen.deaf;
                self.seen(seen, took, now);
                if newly {
                    let (server, trouble) = (self.server.name().to_owned(), crate::database::Trouble::Away);
                    let problem = "another process of the server answers: it does not listen".to_owned();
                    return Err(DatabaseError { server, problem, trouble });
                }
            }
        }
        Ok(())
    }

    fn seen(&mut self, seen: Seen, took: Duration, now: Timestamp) {
        // Only now: a connection that cannot read what is there is of no use.
        if self.settled && std::mem::take(&mut self.attempt) > 0 {
            tracing::info!(server = self.server.name(), "the bar tables are read again");
        }
        self.skip(&seen.skipped);
        for told in seen.told {
            let table = Arc::clone(&self.tables[told.series.table]);
            self.follow.told(told, &table, now);
        }
        for found in seen.found {
            let table = Arc::clone(&self.tables[found.ask.series.table]);
            self.follow.found(found, &table, now);
        }
        if seen.anything {
            self.list_at = Instant::now();
        }
        let Some(snapshot) = seen.snapshot else {
            self.poll_at = self.poll_at.max(Instant::now() + took * REST);
            return;
        };
        self.poll_at = Instant::now() + self.poll_interval.max(took * REST);
        if self.snapshot.as_ref() != Some(&snapshot) {
            self.snapshot = Some(snapshot);
            let tables = Arc::clone(&self.tables);
            self.follow.polled(|table| !tables[table].announces);
            self.list_at = self.list_at.min(Instant::now() + LIST_POLLED);
        }
    }

    fn skip(&mut self, skipped: &Skipped) {
        if self.skipped == 0 && skipped.rows > 0 {
            tracing::warn!("{}; the row is skipped, further ones are only counted", skipped.problem);
        }
        self.skipped += skipped.rows;
    }
}

impl Source for PostgresSource {
    fn poll(&mut self, bars: &mut Vec<SourceBar>) -> Result<Poll, SourceError> {
        loop {
            let count = self.follow.ready.len().min(BARS_PER_POLL);
            if count > 0 {
                bars.extend(self.follow.ready.drain(..count));
                return Ok(Poll::Ready);
            }
            if let Some(rest) = self.step() {
                return Ok(if self.settled { Poll::Idle(rest) } else { Poll::Reading(rest) });
            }
        }
    }

    fn news(&self) -> Receiver<()> {
        self.news.clone()
    }
}

fn failed(error: DatabaseError) -> SourceError {
    SourceError::Database { url: error.server, problem: error.problem }
}
