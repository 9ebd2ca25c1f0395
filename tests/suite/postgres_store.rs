//! The PostgreSQL store on a real server: rows are there once, whatever becomes of the server meanwhile.

use crate::support::cluster::Cluster;
use crate::support::postgres::{DEADLINE, count, outcome, ready, session, settings};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vela::config::Settings;
use vela::database::schema;
use vela::domain::{Origin, Outcome, Prediction, Reason, Refusal, Timestamp};
use vela::store::{self, Store};

fn predicted(minute: i64) -> Outcome {
    outcome(minute, Origin::Live, Ok(answer(1, 0.1 * minute as f64)))
}

fn answer(version: u32, value: f64) -> Prediction {
    let names: Arc<[Arc<str>]> = ["p10".into(), "p\"90".into()].into();
    Prediction { model: "m".into(), version, value, outputs: [value, f64::NAN].into(), names }
}

#[test]
fn init_is_safe_twice_and_by_many_at_once_and_status_says_what_is_there() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let vela = |arguments: &[&str], url: &str| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_vela")).args(arguments).args(["--url", url]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let url = cluster.url();
    let (good, text) = vela(&["db", "status"], &url);
    assert!(!good && text.contains("`vela db init` with this URL makes them"), "{text}");
    let mine = tempfile::tempdir().unwrap();
    let error = store::open(&settings(&cluster, mine.path())).err().unwrap();
    assert!(!error.retryable && error.problem.contains("vela db init"), "{error}");
    let said: Vec<(bool, String)> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| vela(&["db", "init"], &url))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(said.iter().all(|(good, _)| *good), "{said:?}");
    assert_eq!(said.iter().filter(|(_, text)| text.contains("are made")).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|(_, text)| text.contains("nothing to do")).count(), 3, "{said:?}");
    let (good, text) = vela(&["db", "status"], &url);
    assert!(good && text.contains("trading.agentpreds") && !text.contains("missing"), "{text}");
    assert!(text.contains("spool vela-spool: nothing waits"), "{text}");
    // As an older program left it, with rows of its last outage.
    let mut admin = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    admin
        .batch_execute(
            "UPDATE trading.schema_version SET version = 0 WHERE version = 1;
         DELETE FROM trading.schema_version WHERE version > 1",
        )
        .unwrap();
    let spool = mine.path().join("spool");
    std::fs::create_dir_all(&spool).unwrap();
    std::fs::write(spool.join("000000000001.rows"), "1234567").unwrap();
    std::fs::write(spool.join("000000000001.bad"), "x").unwrap();
    let set = format!("store.spool_path={}", spool.display());
    let (good, text) = vela(&["db", "status", "--set", &set], &url);
    let pending = format!("version 0, this program writes {0}; migrations pending: {0},", schema::VERSION);
    assert!(!good && text.contains(&pending), "{text}");
    assert!(text.contains("7 bytes wait; files with lines put aside (.bad): 1"), "{text}");
    let (good, text) = vela(&["db", "init"], "sqlite:vela.db");
    assert!(!good && text.contains("is no PostgreSQL database"), "{text}");
    let (good, text) = vela(&["db", "status"], "postgres://vela:s3cret@127.0.0.1:1/vela");
    assert!(!good && text.contains("127.0.0.1:1") && !text.contains("s3cret"), "{text}");
}

/// Of the bar of minute 100: as in SQLite.
fn revisions_go_on_where_an_earlier_run_left_them(settings: &Settings) {
    let revised = |revision, version, value| Outcome {
        revision,
        ..outcome(100, Origin::Live, Ok(answer(version, value)))
    };
    let caught_up = |version, value| outcome(100, Origin::CatchUp, Ok(answer(version, value)));
    let runs: [&[&[Outcome]]; 5] = [
        &[&[revised(0, 1, 1.0), revised(1, 1, 2.0), revised(2, 1, 3.0)]],
        // Caught up with: said last, said by another version, said before a change that was taken back.
        &[&[caught_up(1, 3.0 * (1.0 + 1e-15))], &[caught_up(2, 8.0)], &[caught_up(1, 1.0)]],
        // Counts from 0 again, and is overtaken by a change on the way.
        &[&[revised(1, 1, 4.0)], &[revised(2, 1, 5.0), caught_up(1, 9.0)]],
        &[&[caught_up(1, 6.0)]],
        &[&[caught_up(1, 6.0)]],
    ];
    for run in runs {
        let (mut store, _) = store::open(settings).unwrap();
        for batch in run {
            (0..2).for_each(|_| store.write(batch, &[]).unwrap());
        }
        store.finish().unwrap();
    }
    let values = session(settings).run("read", DEADLINE, |client| {
        let sql = "SELECT value FROM trading.agentpreds WHERE ts = to_timestamp(6000) ORDER BY revision";
        let rows = client.driver().query(sql, &[])?;
        Ok(rows.iter().map(|row| row.get(0)).collect::<Vec<f64>>())
    });
    assert_eq!(values.unwrap(), [1.0, 2.0, 3.0, 1.0, 4.0, 5.0, 6.0]);
}

#[test]
fn rows_are_what_was_said_bit_for_bit_and_stored_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_cluster, settings)) = ready(folder.path(), &[]) else { return };
    let (mut store, watermarks) = store::open(&settings).unwrap();
    assert!(watermarks.is_empty());
    let value = f64::from_bits(0x3fb9_9999_9999_999b);
    let model: Arc<str> = "m".into();
    let outcomes = [
        outcome(1, Origin::Live, Ok(answer(1, value))),
        outcome(2, Origin::Live, Ok(answer(1, -0.0))),
        outcome(3, Origin::Live, Ok(answer(1, f64::INFINITY))),
        outcome(4, Origin::Live, Err(Refusal::of_model(&model, Reason::Late, "a\0b'; DROP TABLE x; --"))),
        outcome(5, Origin::Live, Err(Refusal::new(Reason::Duplicate, ""))),
    ];
    let mark = |minute: i64| (Arc::clone(&outcomes[0].series), Timestamp::from_secs(minute * 60));
    for minute in [4, 4, 3] {
        store.write(&outcomes, &[mark(minute)]).unwrap();
        // A lone first answer has a statement of its own.
        store.write(&[outcome(6, Origin::Live, Ok(answer(1, value)))], &[]).unwrap();
    }
    let catch_up = |version, minute| outcome(minute, Origin::CatchUp, Ok(answer(version, 9.0)));
    let refused =
        |minute| outcome(minute, Origin::CatchUp, Err(Refusal::of_model(&model, Reason::NoModel, "")));
    store.write(&[catch_up(2, 1), catch_up(2, 7), refused(1), refused(8)], &[]).unwrap();
    // Whoever opens the next one needs its spool.
    store.finish().unwrap();
    drop(store);
    revisions_go_on_where_an_earlier_run_left_them(&settings);
    let mut session = session(&settings);
    let rows = session.run("read", DEADLINE, |client| {
        let sql = "SELECT (extract(epoch FROM ts) / 60)::bigint, version, value, outputs::text, latency_us, feature_us \
                   FROM trading.agentpreds WHERE ts < to_timestamp(6000) ORDER BY 1";
        let rows = client.driver().query(sql, &[])?;
        let row = |row: &postgres::Row| {
            let bits = row.get::<_, f64>(2).to_bits();
            (row.get::<_, i64>(0), row.get::<_, i64>(1), bits, row.get(3), row.get(4), row.get(5))
        };
        Ok(rows.iter().map(row).collect::<Vec<(_, _, _, String, f64, f64)>>())
    });
    let outputs = |value: &str| format!("{{\"p10\":{value},\"p\\\"90\":null}}");
    assert_eq!(
        rows.unwrap(),
        [
            (1, 1, value.to_bits(), outputs(&value.to_string()), 8.0, 1.5),
            (2, 1, (-0.0_f64).to_bits(), outputs("-0"), 8.0, 1.5),
            (6, 1, value.to_bits(), outputs(&value.to_string()), 8.0, 1.5),
            (7, 2, 9.0_f64.to_bits(), outputs("9"), 8.0, 1.5),
        ]
    );
    let errors = session.run("read", DEADLINE, |client| {
        let sql = "SELECT (extract(epoch FROM ts) / 60)::bigint, reason, model, detail FROM trading.inference_errors \
                   ORDER BY 1";
        let rows = client.driver().query(sql, &[])?;
        let row = |row: &postgres::Row| (row.get(0), row.get(1), row.get(2), row.get(3));
        Ok(rows.iter().map(row).collect::<Vec<(i64, String, String, String)>>())
    });
    let error = |minute, reason: &str, detail: &str| (minute, reason.into(), "m".into(), detail.into());
    assert_eq!(
        errors.unwrap(),
        [
            error(3, "output_not_finite", "value inf: a finite number is required"),
            error(4, "late", "a\u{fffd}b'; DROP TABLE x; --"),
            error(8, "no_model", ""),
        ]
    );
    let (_, watermarks) = store::open(&settings).unwrap();
    assert_eq!(watermarks, [mark(4)], "never backwards");
}

#[test]
fn a_new_prediction_is_announced_once_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, mut settings)) = ready(folder.path(), &[]) else { return };
    let mut listener = postgres::Client::connect(&cluster.url(), postgres::NoTls).unwrap();
    listener.batch_execute(&format!("LISTEN {}", store::CHANNEL)).unwrap();
    let value = f64::from_bits(0x3fb9_9999_9999_999b);
    for (notify, minutes, lone) in [(false, [1, 2], 4), (true, [2, 3], 5)] {
        settings.store.notify = notify;
        let (mut store, _) = store::open(&settings).unwrap();
        let batch = minutes.map(|minute| outcome(minute, Origin::Live, Ok(answer(1, value))));
        for _ in 0..2 {
            store.write(&batch, &[]).unwrap();
            store.write(&[outcome(lone, Origin::Live, Ok(answer(1, value)))], &[]).unwrap();
        }
        store.write(&[outcome(9, Origin::Live, Err(Refusal::new(Reason::Late, "")))], &[]).unwrap();
        store.finish().unwrap();
        drop(store);
        // What is announced last is announced by the listener itself.
        listener.batch_execute(&format!("NOTIFY {}, 'end'", store::CHANNEL)).unwrap();
        let mut heard = Vec::new();
        while heard.last().is_none_or(|text| text != "end") {
            let next = next_of(&mut listener);
            heard.push(next.expect("an announcement"));
        }
        let predictions: Vec<serde_json::Value> =
            heard[..heard.len() - 1].iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        if !notify {
            assert!(predictions.is_empty(), "{predictions:?}");
            continue;
        }
        assert_eq!(predictions.len(), 2, "only what is new: {predictions:?}");
        for (one, minute) in predictions.iter().zip([3, lone]) {
            assert_eq!((&one["symbol"], &one["timeframe"]), (&"BTC/USDT".into(), &"1m".into()));
            assert_eq!((one["horizon"].as_i64(), one["version"].as_i64()), (Some(5), Some(1)));
            assert_eq!(one["value"].as_f64().unwrap().to_bits(), value.to_bits());
            assert!(one["ts"].as_str().unwrap().starts_with(&format!("1970-01-01T00:0{minute}:00")), "{one}");
        }
    }
}

/// The next announcement.
fn next_of(listener: &mut postgres::Client) -> Option<String> {
    use postgres::fallible_iterator::FallibleIterator as _;
    let mut notifications = listener.notifications();
    let next = notifications.timeout_iter(DEADLINE).next().unwrap();
    next.map(|notification| notification.payload().to_owned())
}

#[test]
fn times_that_no_column_holds_are_the_nearest_that_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_cluster, settings)) = ready(folder.path(), &[]) else { return };
    let (mut store, _) = store::open(&settings).unwrap();
    let at = |ms| Outcome {
        ts: Timestamp::from_millis(ms),
        ..outcome(1, Origin::Live, Err(Refusal::new(Reason::Future, "")))
    };
    store.write(&[at(i64::MIN), at(i64::MAX), at(-1)], &[]).unwrap();
    let sql = "SELECT count(DISTINCT extract(year FROM ts)) FROM trading.inference_errors \
               WHERE extract(year FROM ts) IN (-4714, 1969, 294276)";
    assert_eq!(count(&mut session(&settings), sql), 3);
    assert!(
        std::fs::read_dir(folder.path().join("spool")).unwrap().count() == 1,
        "nothing went into the spool"
    );
}

#[test]
fn a_batch_is_one_round_trip_and_nothing_is_prepared_twice() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, settings)) = ready(folder.path(), &["log_min_duration_statement=0"]) else { return };
    let (mut store, _) = store::open(&settings).unwrap();
    for batch in 0..20 {
        let outcomes: Vec<Outcome> = (0..500).map(|n| predicted(batch * 500 + n)).collect();
        store.write(&outcomes, &[(Arc::clone(&outcomes[0].series), outcomes[499].ts)]).unwrap();
    }
    assert_eq!(count(&mut session(&settings), "SELECT count(*) FROM trading.agentpreds"), 10_000);
    let log = std::fs::read_to_string(cluster.log()).unwrap();
    let lines = |step: &str| {
        let marker = format!(" {step} ");
        log.split("duration: ")
            .filter(|part| part.contains(&marker) && part.contains("WITH predictions"))
            .count()
    };
    assert_eq!((lines("parse"), lines("execute")), (1, 20), "{log}");
    let begins = log.lines().filter(|line| line.contains("statement: BEGIN")).count();
    assert!(begins <= 1, "the transaction that made the tables, and no other: {begins}");
}

#[test]
fn while_the_server_is_away_rows_wait_in_the_spool_and_come_back_with_live_ones() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, settings)) = ready(folder.path(), &[]) else { return };
    let (mut store, _) = store::open(&settings).unwrap();
    let mut minute = 0;
    let mut write = |store: &mut Box<dyn Store>| {
        store.write(&[predicted(minute)], &[(predicted(minute).series, predicted(minute).ts)]).unwrap();
        minute += 1;
        minute
    };
    for mode in ["fast", "immediate", "fast", "immediate"] {
        for _ in 0..20 {
            write(&mut store);
        }
        cluster.ctl(&["stop", "-w", "-m", mode]);
        let begin = Instant::now();
        for _ in 0..20 {
            write(&mut store);
        }
        assert!(begin.elapsed() < Duration::from_secs(3), "the pipeline goes on: {:?}", begin.elapsed());
        cluster.ctl(&["start", "-w", "-l", &cluster.log()]);
        // Live rows keep coming until everything of the outage is there.
        let mut look = session(&settings);
        let begin = Instant::now();
        loop {
            let written = write(&mut store);
            if count(&mut look, "SELECT count(*) FROM trading.agentpreds") == written {
                break;
            }
            assert!(begin.elapsed() < DEADLINE, "{written} were written");
        }
    }
    store.finish().unwrap();
    let mut look = session(&settings);
    assert_eq!(count(&mut look, "SELECT count(*) FROM trading.agentpreds"), minute);
    let newest = "SELECT (extract(epoch FROM watermark) / 60)::bigint FROM trading.inference_state";
    assert_eq!(count(&mut look, newest), minute - 1);
    let left = std::fs::read_dir(folder.path().join("spool")).unwrap().count();
    assert_eq!(left, 1, "nothing but the lock is left");
}

#[test]
fn what_an_earlier_run_left_in_the_spool_is_stored_before_the_watermarks_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, settings)) = ready(folder.path(), &[]) else { return };
    let (mut store, _) = store::open(&settings).unwrap();
    cluster.ctl(&["stop", "-w", "-m", "immediate"]);
    for minute in 0..5 {
        store.write(&[predicted(minute)], &[(predicted(minute).series, predicted(minute).ts)]).unwrap();
    }
    store.finish().unwrap();
    drop(store);
    let error = store::open(&settings).err().unwrap();
    assert!(error.retryable, "the server is away: {error}");
    // A power cut in the middle of a sixth row.
    let file = std::fs::read_dir(folder.path().join("spool")).unwrap().flatten().map(|entry| entry.path());
    let file = file.filter(|path| path.extension().is_some_and(|end| end == "rows")).max().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(b"00112233 {\"prediction\":{\"sym");
    std::fs::write(&file, bytes).unwrap();
    cluster.ctl(&["start", "-w", "-l", &cluster.log()]);
    let (_store, watermarks) = store::open(&settings).unwrap();
    assert_eq!(watermarks, [(predicted(4).series, predicted(4).ts)]);
    assert_eq!(count(&mut session(&settings), "SELECT count(*) FROM trading.agentpreds"), 5);
    assert!(!file.exists() && file.with_extension("bad").exists(), "the torn line is kept aside");
}
