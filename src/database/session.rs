//! A client on a thread of its own, and deadlines for whatever it is asked to do.

use super::answer::{Answer, Silence, answer};
use super::{DatabaseError, Trouble, text_of, trouble_of};
use crossbeam::channel::{Sender, bounded};
use postgres::{Error, Statement};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A connected client, with what it has prepared.
pub struct Client {
    driver: postgres::Client,
    statements: HashMap<String, Statement>,
    echo: bool,
    mark: String,
}

type Job = Box<dyn FnOnce(&mut Client) + Send>;

/// One connection. Everything is done on its thread, within a deadline of the caller's.
pub struct Session {
    server: String,
    jobs: Sender<Job>,
    born: Instant,
    /// The driver failed in a way that leaves the connection useless, or did not answer.
    broken: bool,
}

/// Work that a session was given and nobody waits for.
pub struct Begun<T> {
    what: &'static str,
    allowed: Duration,
    until: Instant,
    answered: Answer<Result<T, Error>>,
}

impl<T> Begun<T> {
    /// How long it may still take.
    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Client {
    pub(super) fn new(driver: postgres::Client, echo: bool, mark: String) -> Self {
        Self { driver, statements: HashMap::new(), echo, mark }
    }

    /// What the setting `vela.session` says on the server's side, and of no other connection: where it says something else,
    /// another process of the server answers than the one that was connected to.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// The driver itself, for what has no name here.
    pub fn driver(&mut self) -> &mut postgres::Client {
        &mut self.driver
    }

    /// The statement `sql`, prepared at most once on this connection; and the driver to run it with.
    ///
    /// # Errors
    /// What the server says of it.
    pub fn prepared(&mut self, sql: &str) -> Result<(&mut postgres::Client, Statement), Error> {
        if self.echo {
            tracing::info!(target: "vela::sql", "{sql}");
        }
        let statement = match self.statements.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.driver.prepare(sql)?;
                self.statements.insert(sql.to_owned(), statement.clone());
                statement
            }
        };
        Ok((&mut self.driver, statement))
    }
}

impl Session {
    /// Connects by `connect`, on the session's own thread, within `timeout`.
    pub(super) fn open(
        server: &str,
        timeout: Duration,
        connect: impl FnOnce() -> Result<Client, Error> + Send + 'static,
    ) -> Result<Self, DatabaseError> {
        let (jobs, waiting) = bounded::<Job>(1);
        let (connected, outcome) = bounded(1);
        let work = move || match connect() {
            Ok(mut client) => {
                // Nobody waits any more: the connection goes as it came.
                if connected.send(Ok(())).is_ok() {
                    waiting.iter().for_each(|job| job(&mut client));
                }
            }
            Err(error) => drop(connected.send(Err(error))),
        };
        let thread = std::thread::Builder::new().name("vela-database".to_owned()).spawn(work);
        let failed = |problem: String, trouble| DatabaseError { server: server.to_owned(), problem, trouble };
        thread.map_err(|error| failed(format!("no thread for a connection: {error}"), Trouble::Away))?;
        match outcome.recv_timeout(timeout) {
            Ok(Ok(())) => Ok(Self { server: server.to_owned(), jobs, born: Instant::now(), broken: false }),
            Ok(Err(error)) => Err(failed(format!("connect: {}", text_of(&error)), trouble_of(&error))),
            Err(_) => {
                Err(failed(format!("connect: no answer within {} ms", timeout.as_millis()), Trouble::Away))
            }
        }
    }

    /// Has `work` done by the client; waits at most `deadline`. `what` says what is tried, in a message.
    ///
    /// # Errors
    /// What the server says, or that it said nothing: then the work may have been done or not, and the session is
    /// broken.
    pub fn run<T: Send + 'static>(
        &mut self,
        what: &'static str,
        deadline: Duration,
        work: impl FnOnce(&mut Client) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let begun = self.begin(what, deadline, || {}, work);
        let answer = begun.answered.wait_until(begun.until);
        self.outcome(&begun, answer)
    }

    /// Has `work` done by the client and waits for nothing: [`Session::look`] tells what came of it. `then` is called
    /// behind it, on the session's thread. Nothing further may be asked for before.
    pub fn begin<T: Send + 'static>(
        &mut self,
        what: &'static str,
        deadline: Duration,
        then: impl FnOnce() + Send + 'static,
        work: impl FnOnce(&mut Client) -> Result<T, Error> + Send + 'static,
    ) -> Begun<T> {
        let (giver, answered) = answer();
        if !self.broken {
            let job: Job = Box::new(move |client| {
                giver.give(work(client));
                then();
            });
            // Where the thread is gone, so is who would give the answer: that is the answer.
            let _ = self.jobs.send(job);
        }
        Begun { what, allowed: deadline, until: Instant::now() + deadline, answered }
    }

    /// What came of `begun`; `None` while it may still be done in time.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn look<T>(&mut self, begun: &Begun<T>) -> Option<Result<T, DatabaseError>> {
        let answer = begun.answered.look();
        let in_time = Instant::now() < begun.until;
        (!in_time || !matches!(answer, Err(Silence::Timeout))).then(|| self.outcome(begun, answer))
    }

    fn outcome<T>(
        &mut self,
        begun: &Begun<T>,
        answer: Result<Result<T, Error>, Silence>,
    ) -> Result<T, DatabaseError> {
        let what = begun.what;
        let result = match answer {
            Ok(result) => result,
            Err(silence) => {
                self.broken = true;
                let problem = match silence {
                    Silence::Timeout => format!("{what}: no answer within {} ms", begun.allowed.as_millis()),
                    Silence::Gone => format!("{what}: the connection is gone"),
                };
                return Err(self.failed(problem, Trouble::Away));
            }
        };
        result.map_err(|error| {
            // Without a code it is the connection's end; with one, the server spoke and goes on.
            self.broken |= error.is_closed() || error.code().is_none();
            self.failed(format!("{what}: {}", text_of(&error)), trouble_of(&error))
        })
    }

    fn failed(&self, problem: String, trouble: Trouble) -> DatabaseError {
        DatabaseError { server: self.server.clone(), problem, trouble }
    }

    /// Whether it can be used no more.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Since when it has been connected.
    pub(super) fn age(&self) -> Duration {
        self.born.elapsed()
    }
}
