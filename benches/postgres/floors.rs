//! What vela is measured against: programs that do nothing but answer an announcement with a row, each in a database of
//! its own, as an announcement wakes everybody who listens in its database.

use super::{Fed, Feed, REST, in_database, time};
use crossbeam::channel::{Receiver, bounded};
use parking_lot::Mutex;
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::{Client, NoTls, Statement};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Their databases: the least rows there can be, the very bar and a row like its prediction, the same by threads, and the
/// same as the second with an answer whose commit does not wait for the disk, as vela's does not.
const DATABASES: [&str; 4] = ["least", "same", "threads", "buffered"];

/// A program that does nothing but answer an announcement with a row.
pub struct Floor {
    feed: Feed,
    /// Whose announcement is answered next.
    asked: Arc<Mutex<Option<Fed>>>,
    answered: Receiver<Instant>,
}

/// Who announces, in a floor's own database.
const ANNOUNCES: &str = "CREATE FUNCTION public.ask() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_notify('asked', ''); RETURN NULL; END $$;
    CREATE TRIGGER ask AFTER INSERT ON trading.ohlcv FOR EACH STATEMENT EXECUTE FUNCTION public.ask();";

/// A number in, a number out.
const LEAST: &str = "DROP SCHEMA trading CASCADE;
    CREATE SCHEMA trading;
    CREATE TABLE trading.ohlcv (symbol text, timeframe text, ts timestamptz, open float8, high float8, low float8, close float8,
        volume float8, n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
    CREATE TABLE trading.agentpreds (symbol text, ts timestamptz, n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);";
const LEAST_ROW: &str = "INSERT INTO trading.agentpreds (symbol, ts) VALUES ($1, $2)";

/// The very bar into the table of the bars, and a row like its prediction into a table with as many of them.
const SAME: &str =
    "DROP TRIGGER vela_announce_insert ON trading.ohlcv; DROP TRIGGER vela_announce_update ON trading.ohlcv;
    INSERT INTO trading.agentpreds (symbol, timeframe, horizon, ts, model, version, value, latency_us,
        ingest_us, feature_us, predict_us, created_at, revision)
    SELECT symbol, timeframe, horizon, ts, 'demo', 1, 0.5, 1, 1, 1, 1, now(), 0
    FROM trading.ohlcv, unnest('{1, 2, 3}'::bigint[]) AS horizons(horizon);
    ANALYZE;";
const SAME_ROW: &str =
    "INSERT INTO trading.agentpreds (symbol, timeframe, horizon, ts, model, version, value, latency_us,
        ingest_us, feature_us, predict_us, created_at, revision)
    VALUES ($1, '1m', 1, $2, 'demo', 1, 0.5, 1, 1, 1, 1, now(), 0)";

/// Makes the databases, with all that is in `url`'s; nobody may be in it.
pub fn prepare(url: &str) {
    let mut elsewhere = Client::connect(&in_database(url, "template1"), NoTls).unwrap();
    for name in DATABASES {
        elsewhere.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE postgres")).unwrap();
    }
}

/// One of each.
pub fn start(url: &str) -> [Floor; 4] {
    let [least, same, threads, buffered] = DATABASES.map(|name| in_database(url, name));
    [
        Floor::new((&least, false), LEAST, LEAST_ROW, ""),
        Floor::new((&same, false), SAME, SAME_ROW, ""),
        Floor::new((&threads, true), SAME, SAME_ROW, ""),
        Floor::new((&buffered, false), SAME, SAME_ROW, "SET synchronous_commit = off"),
    ]
}

impl Floor {
    /// In a database of its own, prepared by `setup`, which answers with `row` on a connection set by `set`.
    fn new((url, by_threads): (&str, bool), setup: &str, row: &str, set: &str) -> Self {
        let connect = || Client::connect(url, NoTls).unwrap();
        connect().batch_execute(&format!("{setup}{ANNOUNCES}")).unwrap();
        let mut listener = connect();
        listener.batch_execute(&format!("LISTEN asked; {set}")).unwrap();
        let asked = Arc::default();
        let row =
            |writer: &mut Client| Row { statement: writer.prepare(row).unwrap(), asked: Arc::clone(&asked) };
        let answered = if by_threads {
            let mut writer = connect();
            let row = row(&mut writer);
            answer_by_threads(listener, writer, row)
        } else {
            let row = row(&mut listener);
            answer(listener, row)
        };
        Self { feed: Feed::new(url, "trading.ohlcv"), asked, answered }
    }

    /// From the INSERT of `bar` to the commit of its answer.
    pub fn time(&mut self, bar: &Fed) -> Duration {
        std::thread::sleep(REST);
        *self.asked.lock() = Some(bar.clone());
        let begin = Instant::now();
        self.feed.insert(std::slice::from_ref(bar));
        self.answered.recv().unwrap().duration_since(begin)
    }
}

/// The row that answers.
struct Row {
    statement: Statement,
    asked: Arc<Mutex<Option<Fed>>>,
}

impl Row {
    fn write(&self, client: &mut Client) {
        let (series, bar) = self.asked.lock().take().unwrap();
        client.execute(&self.statement, &[&&*series.symbol, &time(&bar)]).unwrap();
    }
}

/// Whether something was announced; not once the server is gone.
fn hears(listener: &mut Client) -> bool {
    matches!(listener.notifications().blocking_iter().next(), Ok(Some(_)))
}

/// One thread and one connection: listens, and answers.
fn answer(mut listener: Client, row: Row) -> Receiver<Instant> {
    let (done, answered) = bounded(1);
    std::thread::spawn(move || {
        while hears(&mut listener) {
            row.write(&mut listener);
            if done.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    answered
}

/// A thread for who listens, who takes what was heard, who predicts (nothing here), and who writes; and back to who
/// predicted. Each ends with the one before it.
fn answer_by_threads(mut listener: Client, mut writer: Client, row: Row) -> Receiver<Instant> {
    let (heard, news) = bounded(1);
    let (read, bars) = bounded(1);
    let (wanted, rows) = bounded(1);
    let (written, acknowledged) = bounded(1);
    let (done, answered) = bounded(1);
    std::thread::spawn(move || while hears(&mut listener) && heard.send(()).is_ok() {});
    std::thread::spawn(move || news.iter().all(|()| read.send(()).is_ok()));
    std::thread::spawn(move || {
        bars.iter().all(|()| {
            wanted.send(()).unwrap();
            acknowledged.recv().is_ok() && done.send(Instant::now()).is_ok()
        })
    });
    std::thread::spawn(move || {
        rows.iter().all(|()| {
            row.write(&mut writer);
            written.send(()).is_ok()
        })
    });
    answered
}
