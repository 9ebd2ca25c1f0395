//! What a process says of itself: the performance of symbols and the alerts are in their tables, once.

use crate::service_support::{Home, OUTCOMES_PER_BAR, Table, eventually, market};
use crate::support::postgres::{DEADLINE, count, ready, session};
use std::sync::Arc;
use vela::domain::{AlertEvent, Process, SymbolPerformance, Timestamp};
use vela::store;

fn process() -> Arc<Process> {
    Arc::new(Process { host: "h\0st".into(), pid: 4_000_000_000 })
}

fn alert(n: u64, state: &'static str) -> AlertEvent {
    AlertEvent {
        at: Timestamp::from_millis(1_700_000_000_123 + n as i64),
        process: process(),
        code: "model_failed".into(),
        subject: "a'b".into(),
        severity: "warning".into(),
        state: state.into(),
        detail: "\0 \"é\"".into(),
        count: n,
    }
}

fn performance(n: i64) -> SymbolPerformance {
    SymbolPerformance {
        at: Timestamp::from_millis(n),
        process: process(),
        symbol: "BTC/USDT".into(),
        predictions: u64::MAX,
        errors: 7,
        latency_avg_ms: 0.1 + 0.2,
        latency_max_ms: 1e-300,
    }
}

#[test]
fn a_running_service_stores_what_each_symbol_did_and_that_a_model_failed() {
    let home = Home::new();
    home.configure("log.performance_interval_s = 1\nsource.path = \"vela.db\"\n");
    let manifest = std::fs::read(home.path("models/demo-1m-h1/2/model.toml")).unwrap();
    home.write("models/demo-1m-h1/9/model.toml", manifest);
    home.write("models/demo-1m-h1/9/model.onnx", "no model");
    home.append("models/demo-1m-h1/promoted", "9\n");
    let mut table = Table::create(&home.database());
    table.feed(&market(3, 70));
    let service = home.run();
    table.reaches(3 * 70 * OUTCOMES_PER_BAR);
    let all = "SELECT count(*) FROM inference_metrics WHERE predictions > 0 AND errors > 0 AND pid > 0 AND host <> ''";
    let ask = |sql: &str| -> i64 { table.0.query_row(sql, [], |row| row.get(0)).unwrap() };
    eventually("two rows for each of the three symbols", || (ask(all) >= 6).then_some(()));
    let failed = "SELECT count(*) FROM alerts WHERE code = 'model_failed' AND subject = 'demo-1m-h1' \
                  AND state = 'raised' AND severity = 'warning' AND detail LIKE '%9%' AND count = 1";
    eventually("the alert", || (ask(failed) == 1).then_some(()));
    service.stop();
    assert_eq!(ask(failed), 1, "stored once");
    // The last words are those of the stop: they count everything.
    let last = "SELECT max(total) FROM (SELECT sum(predictions + errors) AS total FROM inference_metrics GROUP BY measured_at)";
    assert_eq!(ask(last), (3 * 70 * OUTCOMES_PER_BAR) as i64);
}

#[test]
fn reports_go_into_postgresql_once_and_are_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let Some((_cluster, settings)) = ready(folder.path(), &[]) else { return };
    let (mut store, _) = store::open(&settings).unwrap();
    for _ in 0..2 {
        store.report(&[performance(1), performance(2)], &[alert(1, "raised"), alert(1, "cleared")]).unwrap();
    }
    let mut session = session(&settings);
    let rows = session.run("read", DEADLINE, |client| {
        let sql = "SELECT concat_ws('|', at AT TIME ZONE 'UTC', code, subject, severity, state, detail, count, host, pid) \
                   FROM trading.alerts ORDER BY state DESC";
        Ok(client.driver().query(sql, &[])?.iter().map(|row| row.get(0)).collect::<Vec<String>>())
    });
    let row = |state| {
        let at = "2023-11-14 22:13:20.124";
        format!("{at}|model_failed|a'b|warning|{state}|\u{fffd} \"é\"|1|h\u{fffd}st|4000000000")
    };
    assert_eq!(rows.unwrap(), [row("raised"), row("cleared")]);
    let exact = "SELECT count(*) FROM trading.inference_metrics WHERE symbol = 'BTC/USDT' AND errors = 7 AND \
                 predictions = 9223372036854775807 AND latency_avg_ms = 0.30000000000000004 AND latency_max_ms = 1e-300";
    assert_eq!(count(&mut session, exact), 2);
}

#[test]
fn alerts_wait_in_the_spool_while_the_database_is_away_and_never_keep_rows_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, settings)) = ready(folder.path(), &[]) else { return };
    let (mut store, _) = store::open(&settings).unwrap();
    cluster.ctl(&["stop", "-w", "-m", "immediate"]);
    for n in 0..5 {
        store.report(&[performance(n)], &[alert(n as u64, "raised")]).unwrap();
    }
    cluster.ctl(&["start", "-w", "-l", &cluster.log()]);
    let mut look = session(&settings);
    eventually("the alerts", || (count(&mut look, "SELECT count(*) FROM trading.alerts") == 5).then_some(()));
    assert_eq!(
        count(&mut look, "SELECT count(*) FROM trading.inference_metrics"),
        0,
        "the next ones say as much"
    );
    // Somebody takes the right to write alerts away, or the table.
    look.run("drop", DEADLINE, |client| client.driver().batch_execute("DROP TABLE trading.alerts")).unwrap();
    let error = eventually("a refusal", || store.report(&[], &[alert(9, "raised")]).err());
    assert!(!error.retryable && error.problem.contains("alerts"), "{error}");
    cluster.ctl(&["stop", "-w", "-m", "immediate"]);
    store.report(&[], &[alert(9, "raised")]).unwrap();
    cluster.ctl(&["start", "-w", "-l", &cluster.log()]);
    let kept = folder.path().join("spool");
    eventually("the alert is kept aside", || {
        let mut files = std::fs::read_dir(&kept).unwrap().flatten().map(|entry| entry.path());
        files.find(|path| path.extension().is_some_and(|end| end == "bad")).map(|_| ())
    });
    drop(store);
}
