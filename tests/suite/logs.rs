//! The log of a real `vela run`: a line a symbol at an interval, none a bar, each of them an object where JSON is asked for.

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
