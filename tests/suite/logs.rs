//! The log of a real `vela run`: a line a symbol at an interval, none a bar, each of them an object where JSON is asked for.

use crate::serve_support::Client;
use crate::service_support::{Home, OUTCOMES_PER_BAR, Service, Table, eventually, market};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const SYMBOLS: usize = 4;
const MINUTES: usize = 600;

fn lines(home: &Home) -> Vec<Value> {
    let text = std::fs::read_to_string(home.path("logs/infer_realtime.log")).unwrap();
    // The last line may be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn symbols_are_told_at_an_interval_and_bars_never() {
    let home = Home::new();
    home.configure(
        "source.path = \"vela.db\"\nlog.format = \"json\"\nlog.level = \"info\"\nlog.performance_interval_s = 1\n",
    );
    let mut table = Table::create(&home.database());
    let service = home.run();
    let bars = market(SYMBOLS, MINUTES);
    for part in bars.chunks(SYMBOLS * 20) {
        table.feed(part);
    }
    table.reaches(bars.len() * OUTCOMES_PER_BAR);
    let symbols: BTreeSet<String> = bars.iter().map(|(series, _)| series.symbol.to_string()).collect();
    let (predictions, _) = table.counts();
    // An interval after the last bar says all of it, twice.
    let told = eventually("two lines of every symbol that say all", || {
        let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for line in lines(&home).iter().filter(|line| line["message"] == "performance of a symbol") {
            assert!(line["latency_avg_ms"].is_number() && line["errors"].is_number(), "{line}");
            let symbol = line["symbol"].as_str().unwrap().to_owned();
            told.entry(symbol).or_default().push(line["predictions"].as_u64().unwrap());
        }
        let newest = |back: usize| told.values().filter_map(|all| all.iter().rev().nth(back)).sum::<u64>();
        (newest(0) == predictions as u64 && newest(1) == predictions as u64).then_some(told)
    });
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), symbols);
    service.stop();
    let all = lines(&home);
    let other = all.iter().filter(|line| !line["message"].as_str().unwrap().starts_with("performance"));
    let other: Vec<String> = other.map(Value::to_string).collect();
    // Of starting, of stopping, of what the controller changed: a handful, whatever the number of bars.
    assert!(other.len() < bars.len() / 10, "{} lines: {other:#?}", other.len());
    assert!(other.iter().any(|line| line.contains("\"started\"")), "{other:#?}");
    let named = |line: &&String| symbols.iter().any(|symbol| line.contains(symbol.as_str()));
    assert!(!other.iter().any(|line| named(&line)), "a line of a bar or a series: {other:#?}");
}

#[test]
fn a_filter_of_the_log_that_cannot_be_read_is_refused() {
    let home = Home::new();
    let mut command = home.vela(&["run", "--config", "vela.toml"]);
    command.env("VELA_LOG", "info,vela::serve=loud");
    let ended = Service::start(&home, &mut command).ended();
    ended.refused(1, &["VELA_LOG", "`info,vela::serve=loud`", "info,vela::predict=debug"]);
}

#[test]
fn a_log_that_somebody_else_rotates_loses_no_line_while_bars_run() {
    let home = Home::new();
    home.configure("source.path = \"vela.db\"\nlog.format = \"json\"\nlog.performance_interval_s = 1\n");
    let mut table = Table::create(&home.database());
    let service = home.run();
    let log = home.path("logs/infer_realtime.log");
    let bars = market(SYMBOLS, 200);
    let mut rotated = Vec::new();
    for (nth, part) in bars.chunks(SYMBOLS * 50).enumerate() {
        table.feed(part);
        // logrotate renames; with `create` it makes the next file itself.
        eventually("a line of this part", || lines(&home).last().map(drop));
        let aside = home.path(&format!("logs/infer_realtime.log.{}", nth + 1));
        std::fs::rename(&log, &aside).unwrap();
        if nth % 2 == 0 {
            std::fs::write(&log, "").unwrap();
        }
        rotated.push(aside);
        eventually("the new file", || log.exists().then_some(()));
    }
    table.reaches(bars.len() * OUTCOMES_PER_BAR);
    service.stop();
    let (mut all, mut totals) = (Vec::new(), Vec::new());
    for file in rotated.iter().chain([&log]) {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text}");
        all.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
    }
    let with = |message: &str| all.iter().filter(|line| line["message"] == message).count();
    assert_eq!((with("started"), with("stopped")), (1, 1), "{all:#?}");
    totals
        .extend(all.iter().filter(|line| line["message"] == "performance").map(|line| line["bars"].as_u64()));
    assert!(totals.is_sorted() && totals.last() == Some(&Some(bars.len() as u64)), "{totals:?}");
}

#[test]
fn a_level_that_the_environment_fixes_is_not_said_to_change() {
    let home = Home::new();
    home.configure("source.kind = \"none\"\n");
    let mut command = home.vela(&["run", "--config", "vela.toml"]);
    let command = command.env("VELA_LOG", "info").env("VELA_SERVE__LISTEN", "127.0.0.1:0");
    let mut service = Service::start(&home, command);
    let mut client = Client::connect(service.address().parse().unwrap());
    let mut patch = |body: &str| client.ask("PATCH", "/api/config", "", body.as_bytes());
    let reply = patch(r#"{"log.level": "debug", "max_latency_ms": 7}"#);
    let said = reply.json();
    assert_eq!((reply.status, &said["reason"]), (409, &Value::from("overruled")), "{said}");
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("VELA_LOG = `info` says what is logged"), "{detail}");
    // The level that it has is no change, and another key goes through; nothing of the refused patch is left.
    let said = patch(r#"{"log.level": "info", "cache_ttl_seconds": 7}"#).json();
    assert_eq!(said["changed"], Value::from(vec!["cache_ttl_seconds"]), "{said}");
    let keys = said["keys"].as_array().unwrap();
    let latency = keys.iter().find(|key| key["name"] == "max_latency_ms").unwrap();
    assert_eq!(latency["value"], 5000);
    // A file that says it is taken up, and what has no effect is said to have none.
    home.configure("source.kind = \"none\"\nlog.level = \"debug\"\nmax_latency_ms = 9\n");
    let log = home.path("logs/infer_realtime.log");
    eventually("the log says so", || {
        let text = std::fs::read_to_string(&log).unwrap();
        let none = text.contains("log.level changed and has no effect: VELA_LOG = `info`");
        (none && text.contains("max_latency_ms, cache_ttl_seconds changed, and are in effect")).then_some(())
    });
    service.stop();
    assert!(!std::fs::read_to_string(&log).unwrap().contains("DEBUG"));
}
