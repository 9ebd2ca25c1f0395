//! The SQLite store: the contract, and what only a file shared with others can do.

use super::*;
use crate::domain::{Origin, Process, Reason, Refusal, Stamps};
use crate::store::testing::{Stored, contract, predicted, refused, series};
use std::time::Instant;
use tempfile::TempDir;

fn open() -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("deep/vela.db")).unwrap();
    (folder, store)
}

fn stored(store: &SqliteStore) -> Stored {
    let sql = "SELECT CAST(unixepoch(ts) / 60 AS TEXT), horizon, value, NULL FROM trading.agentpreds UNION ALL \
               SELECT CAST(unixepoch(ts) / 60 AS TEXT), horizon, NULL, reason FROM trading.inference_errors";
    let mut statement = store.connection.prepare(sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| {
        let (minute, horizon): (String, i64) = (row.get(0)?, row.get(1)?);
        let what = match row.get::<_, Option<f64>>(2)? {
            Some(value) => value.to_string(),
            None => row.get(3)?,
        };
        Ok(format!("{minute} {horizon} {what}"))
    };
    let mut all: Stored = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
    all.sort();
    all
}

fn by(mut outcome: Outcome, model: &str, version: u32, origin: Origin) -> Outcome {
    outcome.origin = origin;
    if let Ok(prediction) = &mut outcome.result {
        prediction.model = model.into();
        prediction.version = version;
    }
    outcome
}

#[test]
fn it_holds_to_the_contract() {
    let (_folder, mut store) = open();
    contract(&mut store, |store| (stored(store), store.watermarks().unwrap()));
}

#[test]
fn a_batch_that_fails_leaves_nothing() {
    let (_folder, mut store) = open();
    let other = Connection::open(&store.path).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER no BEFORE INSERT ON inference_state BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    let watermark = [(series(), Timestamp::from_secs(60))];
    let error = store.write(&[predicted(1, 1, 0.5), refused(1, 2)], &watermark).unwrap_err();
    assert!(!error.retryable && error.problem.contains("no"), "{error}");
    assert!(stored(&store).is_empty());
    other.execute_batch("DROP TRIGGER no; BEGIN IMMEDIATE").unwrap();
    store.connection.busy_timeout(Duration::ZERO).unwrap();
    let error = store.write(&[predicted(1, 1, 0.5)], &watermark).unwrap_err();
    assert!(error.retryable, "{error}");
    other.execute_batch("COMMIT").unwrap();
    store.write(&[predicted(1, 1, 0.5)], &watermark).unwrap();
    assert_eq!(stored(&store), ["1 1 0.5"]);
}

#[test]
fn a_caught_up_bar_is_not_predicted_again_by_a_newer_version() {
    let (_folder, mut store) = open();
    let write = |store: &mut SqliteStore, model: &str, version, value, origin| {
        store.write(&[by(predicted(1, 1, value), model, version, origin)], &[]).unwrap();
    };
    write(&mut store, "m", 3, 0.1, Origin::CatchUp);
    write(&mut store, "m", 4, 0.2, Origin::CatchUp);
    store.write(&[Outcome { origin: Origin::CatchUp, ..refused(1, 1) }], &[]).unwrap();
    assert_eq!(stored(&store), ["1 1 0.1"]);
    // Another model of the same horizon, and a live version, have rows of their own.
    write(&mut store, "n", 1, 0.3, Origin::CatchUp);
    write(&mut store, "m", 4, 0.4, Origin::Live);
    assert_eq!(stored(&store), ["1 1 0.1", "1 1 0.3", "1 1 0.4"]);
}

#[test]
fn revisions_go_on_where_an_earlier_run_left_them() {
    let (folder, _) = open();
    let path = folder.path().join("deep/vela.db");
    let mut store = SqliteStore::open(&path).unwrap();
    let write = |store: &mut SqliteStore, revision, value, version, origin| {
        let outcome = by(Outcome { revision, ..predicted(1, 1, value) }, "m", version, origin);
        // Whatever is written is written again, as after an answer that was lost.
        (0..2).for_each(|_| store.write(std::slice::from_ref(&outcome), &[]).unwrap());
        let mut statement = store
            .connection
            .prepare("SELECT revision, value FROM trading.agentpreds ORDER BY revision")
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<Vec<(u32, f64)>, _>>().unwrap()
    };
    for (revision, value) in [(0, 1.0), (1, 2.0), (2, 3.0)] {
        let rows = write(&mut store, revision, value, 3, Origin::Live);
        assert_eq!(rows.last(), Some(&(revision, value)));
    }
    let again = |store: &mut SqliteStore, value, version| write(store, 0, value, version, Origin::CatchUp);
    // What is caught up with says what was said last, says it again but for rounding, or says what was said before a
    // change that was taken back while nobody watched.
    let mut store = SqliteStore::open(&path).unwrap();
    assert_eq!(again(&mut store, 3.0, 3).len(), 3);
    assert_eq!(again(&mut store, 3.0 * (1.0 + 1e-15), 3).len(), 3);
    assert_eq!(again(&mut store, 8.0, 4).len(), 3, "another version, which cannot be compared");
    assert_eq!(again(&mut store, 1.0, 3).last(), Some(&(3, 1.0)));
    // A run that counts from 0 again: the highest revision is the last word all the same.
    assert_eq!(write(&mut store, 1, 4.0, 3, Origin::Live).last(), Some(&(4, 4.0)));
    let mut store = SqliteStore::open(&path).unwrap();
    for (revision, value, stored) in [(1, 5.0, 6), (2, 6.0, 7)] {
        let rows = write(&mut store, revision, value, 3, Origin::Live);
        assert_eq!(rows.last(), Some(&(stored, value)), "{rows:?}");
    }
    // What was caught up with and was overtaken by a change on its way does not become the last word.
    assert_eq!(again(&mut store, 9.0, 3).last(), Some(&(7, 6.0)));
}

#[test]
fn duplicates_are_not_stored_and_nan_becomes_a_refusal() {
    let (_folder, mut store) = open();
    let duplicate = Err(Refusal::new(Reason::Duplicate, "taken before"));
    let refused = Err(Refusal::new(Reason::NotFinite, "open is NaN"));
    store
        .write(
            &[
                Outcome { result: duplicate, ..predicted(1, 0, 0.0) },
                Outcome { result: refused, ..predicted(2, 0, 0.0) },
                predicted(3, 1, f64::NAN),
            ],
            &[],
        )
        .unwrap();
    assert_eq!(stored(&store), ["2 0 not_finite", "3 1 output_not_finite"]);
}

#[test]
fn every_column_is_filled() {
    let (_folder, store) = open();
    let mut store = store.with_clock(|| 51_000);
    let mut outcome = predicted(1, 5, 0.25);
    outcome.stamps = Stamps { arrived_ns: 1000, ingested_ns: 3000, featured_ns: 7000, predicted_ns: 15_000 };
    if let Ok(prediction) = &mut outcome.result {
        prediction.names = ["p\"0".into(), "p_1".into(), "p_2".into()].into();
        prediction.outputs = [0.75, 1e300, f64::NAN].into();
    }
    store.write(&[outcome], &[]).unwrap();
    let row: (String, String, f64, f64, f64, f64, f64, String) = store
        .connection
        .query_row(
            "SELECT symbol || timeframe || horizon || ts || model || version, outputs, \
             outputs ->> '$.p_1', latency_us, ingest_us, feature_us, predict_us, created_at FROM agentpreds",
            [],
            |row| row.try_into(),
        )
        .unwrap();
    assert_eq!(row.0, "A1m51970-01-01T00:01:00Zm3");
    assert!(row.1.starts_with("{\"p\\\"0\":0.75,\"p_1\":1000") && row.1.ends_with("\"p_2\":null}"));
    assert_eq!((row.2, row.3, row.4, row.5, row.6), (1e300, 50.0, 2.0, 4.0, 8.0));
    assert!(row.7.parse::<Timestamp>().is_ok());
    store.write(&[predicted(2, 5, 0.5)], &[]).unwrap();
    let empty: bool = store
        .connection
        .query_row(
            "SELECT outputs IS NULL AND latency_us IS NULL FROM agentpreds WHERE value = 0.5",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(empty);
}

#[test]
fn performance_and_alerts_are_stored_once_each() {
    let (_folder, mut store) = open();
    let process = Arc::new(Process { host: "h".into(), pid: 7 });
    let performance = SymbolPerformance {
        at: Timestamp::from_secs(60),
        process: Arc::clone(&process),
        symbol: "A".into(),
        predictions: u64::MAX,
        errors: 2,
        latency_avg_ms: 0.5,
        latency_max_ms: 1.5,
    };
    let alert = AlertEvent {
        at: Timestamp::from_millis(1),
        process,
        code: "c".into(),
        subject: "s".into(),
        severity: "info".into(),
        state: "raised".into(),
        detail: "d".into(),
        count: 3,
    };
    let cleared = AlertEvent { state: "cleared".into(), ..alert.clone() };
    for _ in 0..2 {
        store.report(std::slice::from_ref(&performance), &[alert.clone(), cleared.clone()]).unwrap();
    }
    let text = |sql: &str| -> String {
        let mut statement = store.connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
        rows.collect::<Vec<_>>().join(";")
    };
    let sql = "SELECT concat_ws(' ', symbol, measured_at, predictions, errors, latency_avg_ms, latency_max_ms, host, pid) \
               FROM inference_metrics";
    assert_eq!(text(sql), format!("A 1970-01-01T00:01:00Z {} 2 0.5 1.5 h 7", i64::MAX));
    let sql = "SELECT concat_ws(' ', at, code, subject, severity, state, detail, count, host, pid) FROM alerts ORDER BY state";
    let row = |state| format!("1970-01-01T00:00:00.001Z c s info {state} d 3 h 7");
    assert_eq!(text(sql), format!("{};{}", row("cleared"), row("raised")));
}

#[test]
fn files_of_a_newer_version_or_another_kind_are_refused() {
    let (folder, store) = open();
    let newer = schema::VERSION + 1;
    store.connection.execute_batch(&format!("PRAGMA trading.user_version = {newer}")).unwrap();
    let error = SqliteStore::open(&store.path).err().unwrap();
    assert!(!error.retryable && error.problem.contains(&format!("version {newer}")), "{error}");
    let text = folder.path().join("text.db");
    std::fs::write(&text, "no database, but text of some length".repeat(50)).unwrap();
    let error = SqliteStore::open(&text).err().unwrap();
    assert!(!error.retryable && error.problem.contains("not a database"), "{error}");
}

#[test]
fn a_file_that_another_process_writes_into_is_opened_and_one_without_tables_later() {
    let (folder, store) = open();
    let other = Connection::open(&store.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    drop(SqliteStore::open(&store.path).unwrap());
    let fresh = folder.path().join("fresh.db");
    let other = Connection::open(&fresh).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = SqliteStore::open(&fresh).err().unwrap();
    assert!(error.retryable && error.problem.contains("locked"), "{error}");
    other.execute_batch("COMMIT").unwrap();
    drop(SqliteStore::open(&fresh).unwrap());
    let error = SqliteStore::open(folder.path()).err().unwrap();
    assert!(!error.retryable, "a folder is no file: {error}");
}

#[test]
fn two_stores_share_a_file_also_while_it_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vela.db");
    std::thread::scope(|scope| {
        for model in ["m", "n"] {
            let path = &path;
            scope.spawn(move || {
                let mut store = SqliteStore::open(path).unwrap();
                for minute in 0..100 {
                    store.write(&[by(predicted(minute, 1, 0.5), model, 1, Origin::Live)], &[]).unwrap();
                }
                store.finish().unwrap();
            });
        }
    });
    assert_eq!(stored(&SqliteStore::open(&path).unwrap()).len(), 200);
}

#[test]
fn a_file_that_is_removed_or_replaced_is_noticed_and_the_rows_go_to_the_new_one() {
    let (folder, mut store) = open();
    let path = store.path.clone();
    let at = |minute: i64| [(series(), Timestamp::from_secs(minute * 60))];
    let there = || stored(&SqliteStore::open(&path).unwrap());
    store.write(&[predicted(1, 1, 0.5)], &at(1)).unwrap();
    // Removed, with its log.
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    store.write(&[predicted(2, 1, 0.5), refused(2, 2)], &at(2)).unwrap();
    assert_eq!(there(), ["2 1 0.5", "2 2 undefined_feature"]);
    store.write(&[predicted(3, 1, 0.5)], &at(3)).unwrap();
    assert_eq!(there().len(), 3);
    // Only the file itself, whose log stays behind.
    std::fs::remove_file(&path).unwrap();
    store.write(&[predicted(4, 1, 0.5)], &at(4)).unwrap();
    assert_eq!(there(), ["4 1 0.5"]);
    // Replaced by the database of somebody else.
    let other = folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    std::fs::rename(&other, &path).unwrap();
    store.write(&[predicted(5, 1, 0.5)], &at(5)).unwrap();
    assert_eq!(there(), ["5 1 0.5"]);
    assert_eq!(
        Connection::open(&path).unwrap().query_row("SELECT count(*) FROM mine", [], |row| row.get(0)),
        Ok(0)
    );
    // By what is no database: rows wait until somebody puts that right.
    std::fs::write(&other, "no database, but text of some length".repeat(50)).unwrap();
    std::fs::rename(&other, &path).unwrap();
    for _ in 0..2 {
        let error = store.write(&[predicted(6, 1, 0.5)], &at(6)).unwrap_err();
        assert!(error.retryable && error.problem.contains("not a database"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    store.write(&[predicted(6, 1, 0.5)], &at(6)).unwrap();
    assert_eq!(there(), ["6 1 0.5"]);
}

#[test]
#[ignore = "a measurement"]
fn write_rates() {
    for batch in [1, 10, 100, 1000] {
        let (_folder, mut store) = open();
        let rows = (2000 * batch).min(100_000);
        let outcomes: Vec<Outcome> = (0..rows).map(|minute| predicted(minute, 1, 0.5)).collect();
        let started = Instant::now();
        for batch in outcomes.chunks(batch as usize) {
            store.write(batch, &[(series(), batch[batch.len() - 1].ts)]).unwrap();
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "batches of {batch}: {:.0} rows/s, {:.1} us a batch",
            rows as f64 / seconds,
            seconds * 1e6 * batch as f64 / rows as f64
        );
    }
}
