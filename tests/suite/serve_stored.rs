//! `/api/predictions?from=store` on SQLite and on a real PostgreSQL: what the tables hold, page by page, also of a process
//! that is gone.

use crate::serve_support::{Served, settings};
use crate::service_support::{Fed, eventually, market};
use crate::support::cluster::Cluster;
use crate::support::postgres::ready;
use rusqlite::Connection;
use serde_json::Value;
use std::collections::BTreeSet;
use vela::Settings;
use vela::config::StoreUrl;

const SYMBOLS: usize = 3;
const MINUTES: usize = 90;

/// (horizon, ts, model, version, value).
type Row = (i64, String, String, i64, f64);
/// Every prediction of a symbol, whatever the order.
type Rows = Vec<Row>;

fn fed(settings: &Settings) -> (Served, Vec<Fed>) {
    let served = Served::with(settings.clone());
    let bars = market(SYMBOLS, MINUTES);
    served.feed(&bars);
    (served, bars)
}

fn rows_of(reply: &Value) -> Vec<&Value> {
    reply["predictions"].as_array().unwrap_or_else(|| panic!("{reply}")).iter().collect()
}

fn row(one: &Value) -> Row {
    let text = |name: &str| one[name].as_str().unwrap().to_owned();
    let (horizon, version) = (one["horizon"].as_i64().unwrap(), one["version"].as_i64().unwrap());
    (horizon, text("ts"), text("model"), version, one["value"].as_f64().unwrap())
}

/// What is asked in every way is what the table holds.
fn asks(served: &Served, symbol: &str, mut expected: Rows) {
    assert!(expected.len() > 50, "{}", expected.len());
    expected.sort_by(|a, b| b.1.cmp(&a.1).then((a.0, &a.2).cmp(&(b.0, &b.2))));
    let target = format!("/api/predictions?from=store&symbol={symbol}&timeframe=1m");
    let get = |more: &str| {
        let reply = served.get(&format!("{target}{more}"));
        assert_eq!(reply.status, 200, "{more}: {}", reply.text());
        reply.json()
    };
    let found = |more: &str| rows_of(&get(more)).into_iter().map(row).collect::<Rows>();
    assert_eq!(found("&limit=10000"), expected);
    assert_eq!(found("&limit=7"), expected[..7]);
    let of =
        |wanted: &dyn Fn(&Row) -> bool| expected.iter().filter(|row| wanted(row)).cloned().collect::<Rows>();
    assert_eq!(found("&limit=10000&horizon=5"), of(&|row| row.0 == 5));
    assert_eq!(found("&limit=10000&model=demo-1m-h15"), of(&|row| row.2 == "demo-1m-h15"));
    assert_eq!(found("&model=none"), []);
    // Page by page: every row once.
    let (mut paged, mut before) = (Rows::new(), String::new());
    loop {
        let page = found(&format!("&horizon=5&limit=12{before}"));
        let Some(last) = page.last() else { break };
        before = format!("&before={}", last.1);
        paged.extend(page);
    }
    assert_eq!(paged, of(&|row| row.0 == 5));
    // What has no prediction beside what has, the reasons as they are stored.
    let all = get("&limit=10000&refusals=true");
    let refusals: Vec<&Value> = rows_of(&all).into_iter().filter(|one| one["type"] == "refusal").collect();
    assert_eq!(rows_of(&all).len(), expected.len() + refusals.len());
    assert!(refusals.iter().all(|one| one["reason"] == "warming_up" && one["detail"] != ""), "{refusals:?}");
    assert_eq!(refusals.len() + expected.len(), MINUTES * 3);
    let one = rows_of(&all)[0];
    assert_eq!((one["origin"].as_str(), one["symbol"].as_str()), (Some("stored"), Some(symbol)));
    assert!(one["outputs"].is_object(), "{one}");
    let other = served.get("/api/predictions?from=store&symbol=NONE&timeframe=1m").json();
    assert!(rows_of(&other).is_empty());
}

#[test]
fn sqlite_is_asked_page_by_page_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vela.db");
    let mut settings = settings();
    settings.store.url = StoreUrl::Sqlite(path.clone());
    let (served, bars) = fed(&settings);
    let symbol = bars[0].0.symbol.to_string();
    let table = |symbol: &str| -> Rows {
        let connection = Connection::open(&path).unwrap();
        let sql = "SELECT horizon, ts, model, version, value FROM agentpreds WHERE symbol = ?1";
        let mut statement = connection.prepare(sql).unwrap();
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
        statement.query_map([symbol], row).unwrap().map(Result::unwrap).collect()
    };
    asks(&served, &symbol, table(&symbol));
    // Everything was stored: nothing newer can come. A classifier has several values, which are what memory says of the same bar.
    let target = "/api/predictions?symbol=BTCUSD&timeframe=1m&horizon=5&limit=1";
    let store = served.get(&format!("{target}&from=store")).json();
    let memory = eventually("memory has the newest", || {
        let memory = served.get(target).json();
        let newest = |of: &Value| rows_of(of).first().map(|row| row["ts"].clone());
        (newest(&memory) == newest(&store)).then_some(memory)
    });
    let (memory, store) = (rows_of(&memory)[0], rows_of(&store)[0]);
    for name in ["symbol", "timeframe", "horizon", "ts", "model", "version", "value", "outputs", "revision"] {
        assert_eq!(memory[name], store[name], "{name}");
    }
    assert!(store["outputs"].as_object().unwrap().len() > 1, "{store}");
    served.engine.stop().unwrap();
    drop(served);
    // Another process: its memory has nothing, the store has all.
    let served = Served::with(settings.clone());
    assert!(rows_of(&served.get("/api/predictions").json()).is_empty());
    asks(&served, &symbol, table(&symbol));
    for (target, reason) in [
        ("/api/predictions?from=store&symbol=BTCUSD", "symbol and timeframe"),
        ("/api/predictions?from=store&symbol=BTCUSD&timeframe=1m&before=yesterday", "before"),
        ("/api/predictions?before=2026-01-01T00:00:00Z", "from=store"),
    ] {
        let reply = served.get(target);
        assert!(reply.status == 422 && reply.text().contains(reason), "{target}: {}", reply.text());
    }
    assert_eq!(served.get("/api/predictions?from=disk").status, 400);
    // Whoever reads cannot write, and a file that is gone is told.
    std::fs::remove_file(&path).unwrap();
    let reply = served.get("/api/predictions?from=store&symbol=BTCUSD&timeframe=1m");
    assert_eq!(
        (reply.status, reply.json()["reason"].as_str()),
        (503, Some("store_away")),
        "{}",
        reply.text()
    );
    assert!(!path.exists());
}

#[test]
fn where_nothing_is_stored_nothing_can_be_read() {
    let served = Served::with(settings());
    let reply = served.get("/api/predictions?from=store&symbol=BTCUSD&timeframe=1m");
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (409, Some("no_store")), "{}", reply.text());
}

#[test]
fn postgres_is_asked_page_by_page_and_while_it_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, stored)) = ready(folder.path(), &[]) else { return };
    let mut settings = settings();
    settings.store = stored.store;
    let (served, bars) = fed(&settings);
    let symbols: BTreeSet<String> = bars.iter().map(|(series, _)| series.symbol.to_string()).collect();
    for symbol in &symbols {
        asks(&served, symbol, table(&cluster, symbol));
    }
    let target = format!("/api/predictions?from=store&symbol={}&timeframe=1m", symbols.first().unwrap());
    cluster.ctl(&["stop", "-w", "-m", "immediate"]);
    let reply = served.get(&target);
    assert_eq!(
        (reply.status, reply.json()["reason"].as_str()),
        (503, Some("store_away")),
        "{}",
        reply.text()
    );
    cluster.ctl(&["start", "-w", "-l", &cluster.log()]);
    assert_eq!(served.get(&target).status, 200, "the connection is made anew");
}

fn table(cluster: &Cluster, symbol: &str) -> Rows {
    let mut client = postgres::Client::connect(&cluster.url(), postgres::NoTls).unwrap();
    let sql = "SELECT horizon, to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), model, version, value \
               FROM trading.agentpreds WHERE symbol = $1";
    let rows = client.query(sql, &[&symbol]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect()
}
