//! Commits that do not wait for the server's disk, on a real server that is killed before it wrote: what it lost is sent
//! again, and what vela let go of was not lost.

use crate::support::cluster::Cluster;
use crate::support::pgbouncer::Pooler;
use crate::support::postgres::{DEADLINE, count, outcome, ready, session};
use crate::support::proxy::Proxy;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vela::config::{Settings, StoreUrl};
use vela::database::{Server, Session};
use vela::domain::{Origin, Outcome, Prediction};
use vela::store::{self, Store, StoreReading, Watermark};

/// A server that writes nothing to its disk before somebody asks for it.
const LAZY: &[&str] = &["wal_writer_delay=10s", "wal_writer_flush_after=1GB", "autovacuum=off"];

const ROWS: &str = "SELECT count(*) FROM trading.agentpreds";
const WATERMARK: &str =
    "SELECT (extract(epoch FROM max(watermark)) / 60)::bigint FROM trading.inference_state";

fn predicted(minute: i64) -> Outcome {
    let prediction = Prediction {
        model: "m".into(),
        version: 1,
        value: 0.1 * minute as f64,
        outputs: Arc::new([]),
        names: Arc::new([]),
    };
    outcome(minute, Origin::Live, Ok(prediction))
}

fn mark(minute: i64) -> Watermark {
    (predicted(minute).series, predicted(minute).ts)
}

/// One batch a minute, every other one with its watermark.
fn write(store: &mut Box<dyn Store>, minutes: std::ops::Range<i64>) {
    for minute in minutes {
        let watermark = (minute % 2 == 1).then(|| mark(minute));
        store.write(&[predicted(minute)], watermark.as_slice()).unwrap();
    }
}

fn reading(store: &dyn Store) -> StoreReading {
    store.gauge().unwrap()()
}

fn start(cluster: &Cluster) {
    cluster.ctl(&["start", "-w", "-l", &cluster.log()]);
}

/// The server dies and comes back; what is there then.
fn crash(cluster: &Cluster, settings: &Settings) -> i64 {
    cluster.kill();
    start(cluster);
    count(&mut session(settings), ROWS)
}

/// One of the server's processes dies, and all others have to begin anew; what is there then.
fn crash_of_one(settings: &Settings) -> i64 {
    let walwriter = "SELECT pid::bigint FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let pid = count(&mut session(settings), walwriter);
    let kill = format!("kill -KILL {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let StoreUrl::Postgres(url) = &settings.store.url else { panic!("no PostgreSQL store") };
    let server = Server::new(url, &settings.database).unwrap();
    let begin = Instant::now();
    loop {
        let look = |mut session: Session| {
            let now = session.run("look", DEADLINE, move |client| client.driver().query_opt(walwriter, &[]));
            // The old ones may still answer for a moment.
            (now.ok()??.get::<_, i64>(0) != pid).then(|| count(&mut session, ROWS))
        };
        if let Some(rows) = server.connect().ok().and_then(look) {
            return rows;
        }
        assert!(begin.elapsed() < DEADLINE, "the server does not come back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until nothing is in the spool.
fn drained(folder: &Path) {
    until("the spool is empty", || std::fs::read_dir(folder.join("spool")).unwrap().count() == 1);
}

/// Opens it once whoever had it has let go of the spool.
fn open(settings: &Settings) -> (Box<dyn Store>, Vec<Watermark>) {
    let mut opened = None;
    until("a store that opens", || {
        opened = store::open(settings).ok();
        opened.is_some()
    });
    opened.unwrap()
}

#[test]
fn what_a_crash_of_the_server_took_is_sent_again_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, settings)) = ready(folder.path(), LAZY) else { return };
    let (mut store, _) = open(&settings);
    let mut lost = 0;
    for round in 0..4 {
        let (before, next) = (round * 51, round * 100 + 50);
        write(&mut store, round * 100..next);
        assert_eq!(count(&mut session(&settings), ROWS), before + 50, "they can be seen");
        assert_eq!(reading(&*store).unflushed_rows, 50);
        let there = if round % 2 == 0 { crash(&cluster, &settings) } else { crash_of_one(&settings) };
        println!("{} of 50 rows were lost", before + 50 - there);
        lost += before + 50 - there;
        write(&mut store, next..next + 1);
        drained(folder.path());
        let mut look = session(&settings);
        assert_eq!(count(&mut look, ROWS), before + 51);
        assert_eq!(count(&mut look, WATERMARK), next - 1, "none is behind, none goes back");
        assert_eq!(reading(&*store).resent_rows, (round as u64 + 1) * 50);
        until("the store has a connection", || reading(&*store).away.is_none());
    }
    assert!(lost > 0, "nothing was ever lost: this shows nothing");
}

#[test]
fn what_is_let_go_of_is_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, settings)) = ready(folder.path(), LAZY) else { return };
    // Whoever set this for a role meant no loss of what was spooled, or settled.
    let mut admin = postgres::Client::connect(&cluster.url(), postgres::NoTls).unwrap();
    admin.batch_execute("ALTER ROLE vela SET synchronous_commit = off").unwrap();
    let (mut store, _) = open(&settings);
    write(&mut store, 0..10);
    store.settle().unwrap();
    assert_eq!(reading(&*store).unflushed_rows, 0);
    assert_eq!(crash(&cluster, &settings), 10, "settled");
    drop(store);
    let (mut store, _) = open(&settings);
    write(&mut store, 10..20);
    store.finish().unwrap();
    drop(store);
    assert_eq!(crash(&cluster, &settings), 20, "at a clean end");
    let (mut store, _) = open(&settings);
    write(&mut store, 20..30);
    // As if the process was killed: the next one reads its watermarks, and relies on them.
    drop(store);
    let (store, watermarks) = open(&settings);
    assert_eq!(watermarks, [mark(29)]);
    assert_eq!(crash(&cluster, &settings), 30, "what was read at a start");
    drop(store);
}

#[test]
fn rows_that_were_there_already_are_on_the_disk_before_the_spool_forgets_them() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, mut settings)) = ready(folder.path(), LAZY) else { return };
    let direct = settings.clone();
    let proxy = Proxy::start(cluster.port);
    let url = format!("postgres://vela@127.0.0.1:{}/postgres?sslmode=disable", proxy.port);
    settings.store.url = url.parse().unwrap();
    let (mut store, _) = open(&settings);
    write(&mut store, 0..20);
    proxy.cut();
    write(&mut store, 20..21);
    assert_eq!(count(&mut session(&direct), ROWS), 20, "the server has them, and may lose them");
    assert_eq!((reading(&*store).unflushed_rows, reading(&*store).resent_rows), (0, 20));
    proxy.pass();
    drained(folder.path());
    assert_eq!(crash(&cluster, &direct), 21);
    assert_eq!(count(&mut session(&direct), WATERMARK), 19);
}

#[test]
fn a_crash_behind_a_pooler_that_keeps_its_clients_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, mut settings)) = ready(folder.path(), LAZY) else { return };
    let Some(pooler) = Pooler::start(cluster.port) else { return };
    let direct = settings.clone();
    settings.store.url = pooler.url().parse().unwrap();
    let (mut store, _) = open(&settings);
    write(&mut store, 0..20);
    let there = crash(&cluster, &direct);
    // On the same connection, of which another process of the server is at the end now.
    store.settle().unwrap();
    assert_eq!(reading(&*store).resent_rows, 20, "{there} of them are there");
    let mut look = session(&direct);
    // The drain sends the spool's rows, and the watermark behind them.
    until("all rows", || count(&mut look, ROWS) == 20);
    until("the watermark", || count(&mut look, WATERMARK) == 19);
}

#[test]
fn no_more_is_kept_than_there_is_room_for_and_a_full_spool_holds_up_what_is_newer() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, mut settings)) = ready(folder.path(), LAZY) else { return };
    settings.store.spool_size_max_mb = 1;
    let (mut store, _) = open(&settings);
    let batch = |number: i64| (number * 1000..number * 1000 + 1000).map(predicted).collect::<Vec<_>>();
    for number in 0..40 {
        store.write(&batch(number), &[mark(number * 1000 + 999)]).unwrap();
        assert!(reading(&*store).unflushed_rows < 18_000);
    }
    let kept = reading(&*store).unflushed_rows;
    assert!(kept > 4000, "too few to fill the spool: {kept}");
    cluster.kill();
    let error = store.write(&batch(40), &[]).unwrap_err();
    assert!(error.retryable && error.problem.contains("it is full"), "{error}");
    assert!(store.settle().unwrap_err().problem.contains("it is full"));
    let left = reading(&*store).unflushed_rows;
    assert!(left > 0 && left < kept, "what has room is in the spool: {left} of {kept} are left");
    start(&cluster);
    let begin = Instant::now();
    while let Err(error) = store.write(&batch(40), &[mark(40_999)]) {
        assert!(error.retryable && begin.elapsed() < DEADLINE, "{error}");
        std::thread::sleep(Duration::from_millis(10));
    }
    store.finish().unwrap();
    drained(folder.path());
    assert_eq!(crash(&cluster, &settings), 41_000);
    assert_eq!(count(&mut session(&settings), WATERMARK), 40_999);
}

#[test]
fn where_it_is_asked_for_or_the_server_cannot_flush_commits_wait() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, settings)) = ready(folder.path(), LAZY) else { return };
    let mut admin = postgres::Client::connect(&cluster.url(), postgres::NoTls).unwrap();
    admin
        .batch_execute(
            "CREATE ROLE least LOGIN; GRANT USAGE ON SCHEMA trading TO least;
             GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA trading TO least;
             REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) FROM PUBLIC",
        )
        .unwrap();
    let (mut waits, mut refused) = (settings.clone(), settings.clone());
    waits.store.synchronous_commit = true;
    refused.store.url = cluster.url().replace("vela@", "least@").parse().unwrap();
    for (number, settings) in [waits, refused].into_iter().enumerate() {
        let minutes = number as i64 * 10..number as i64 * 10 + 10;
        let (mut store, _) = open(&settings);
        write(&mut store, minutes.clone());
        assert_eq!(reading(&*store).unflushed_rows, 0);
        assert_eq!(crash(&cluster, &settings), minutes.end);
        write(&mut store, minutes);
        store.finish().unwrap();
        drop(store);
    }
}
