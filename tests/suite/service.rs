//! `vela run` as a service: what it follows, how it stops, what it waits for, what it says.

use crate::service_support::{
    Ended, Fed, HEADER, Home, OUTCOMES_PER_BAR, Service, Table, assert_same, eventually,
};
use crate::service_support::{line, market};
use std::process::Command;
use vela::domain::Bar;

/// The bars of one symbol.
fn of(bars: &[Fed], symbol: &str) -> Vec<Bar> {
    bars.iter().filter(|(series, _)| &*series.symbol == symbol).map(|(_, bar)| *bar).collect()
}

fn lines(bars: &[Bar]) -> String {
    bars.iter().map(line).collect()
}

/// The number of bars in that the last line on standard error tells.
fn bars_in(ended: &Ended) -> usize {
    let line = ended.stderr.lines().find_map(|line| line.strip_prefix("stopped: "));
    line.and_then(|line| line.split(' ').next()).unwrap().parse().unwrap()
}

#[test]
fn a_growing_folder_is_followed_stopped_and_continued() {
    let home = Home::new();
    home.configure("[source]\nkind = \"csv\"\npath = \"bars\"\n");
    let all = market(2, 400);
    let (btc, eth) = (of(&all, "BTCUSD"), of(&all, "ETHUSD"));
    home.write("bars/BTCUSD_1m.csv", HEADER.to_owned() + &lines(&btc[..100]));
    let service = home.run();
    let table = Table::watch(&home.database());
    table.reaches(100 * OUTCOMES_PER_BAR);

    // A half-written line is no bar; what came behind it in time, in a file that is new, is there already.
    let whole = line(&btc[100]);
    let (half, rest) = whole.split_at(35);
    home.append("bars/BTCUSD_1m.csv", half);
    home.write("bars/ETHUSD_1m.csv", HEADER.to_owned() + &lines(&eth[..50]));
    table.reaches(150 * OUTCOMES_PER_BAR);
    home.append("bars/BTCUSD_1m.csv", rest);
    table.reaches(151 * OUTCOMES_PER_BAR);

    // Stopped in the middle of a stream: what was taken in is stored, and nothing else.
    home.append("bars/BTCUSD_1m.csv", &lines(&btc[101..300]));
    eventually("some of it", || (table.outcomes() > 151 * OUTCOMES_PER_BAR).then_some(()));
    let ended = service.stop();
    assert_eq!(table.outcomes(), bars_in(&ended) * OUTCOMES_PER_BAR, "{ended:?}");
    assert!(ended.stderr.contains(" 0 items left"), "{ended:?}");

    // The second run goes on where the first one stopped; SIGINT stops it as cleanly.
    home.append("bars/ETHUSD_1m.csv", &lines(&eth[50..]));
    let service = home.run();
    home.append("bars/BTCUSD_1m.csv", &lines(&btc[300..]));
    table.reaches(all.len() * OUTCOMES_PER_BAR);
    service.signal("INT");
    let ended = service.ended();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    // The same as a replay of the same files.
    let replayed = home.replayed("replayed.db");
    assert_same("predictions", &table.predictions(), &replayed.predictions());
    assert_same("refusals", &table.refusals(), &replayed.refusals());
}

/// Appends bytes that make the next line rotate the log.
fn fill_log(home: &Home) {
    let line = "2024-01-01T00:00:00.000000Z  INFO vela: a line that was there before\n";
    home.write("logs/infer_realtime.log", line.repeat((1024 * 1024 - 100) / line.len()));
}

#[test]
fn the_log_tells_the_performance_by_symbol_and_is_rotated() {
    let home = Home::new();
    let more = "log.file_size_max_mb = 1\nlog.files_max = 2\nlog.performance_interval_s = 1\n";
    home.configure(&format!("{more}source.path = \"vela.db\"\n"));
    fill_log(&home);
    let mut table = Table::create(&home.database());
    table.feed(&market(3, 60));
    let service = home.run();
    table.reaches(3 * 60 * OUTCOMES_PER_BAR);
    let log = home.path("logs/infer_realtime.log");
    let wanted = [
        "performance of a symbol symbol=\"BTCUSD\"",
        "performance of a symbol symbol=\"SOLUSD\"",
        "latency_p99_us",
    ];
    eventually("performance lines", || {
        // Between two looks it may have been rotated.
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        wanted.iter().all(|word| text.contains(word)).then_some(())
    });
    service.stop();
    let put_aside = std::fs::metadata(home.path("logs/infer_realtime.log.1")).unwrap().len();
    assert!((1_000_000..1_100_000).contains(&put_aside), "{put_aside} bytes were put aside");
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.len() < 100_000 && text.lines().last().unwrap().contains("stopped bars=180"), "{text}");
}

#[test]
fn the_log_in_json_is_one_object_a_line_and_no_line_a_bar() {
    let home = Home::new();
    let more = "log.format = \"json\"\nlog.performance_interval_s = 1\n";
    home.configure(&format!("{more}source.path = \"vela.db\"\n"));
    let mut table = Table::create(&home.database());
    table.feed(&market(3, 60));
    let service = home.run();
    table.reaches(3 * 60 * OUTCOMES_PER_BAR);
    let log = home.path("logs/infer_realtime.log");
    eventually("performance lines", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("performance of a symbol").then_some(())
    });
    service.stop();
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        let at: vela::domain::Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(at <= vela::domain::Timestamp::now());
        assert!(["INFO", "WARN"].contains(&line["level"].as_str().unwrap()), "{line}");
        assert!(
            line["message"].is_string() && line["target"].as_str().unwrap().starts_with("vela"),
            "{line}"
        );
    }
    let of_a_symbol = |line: &&serde_json::Value| line["message"] == "performance of a symbol";
    let symbol = lines.iter().find(of_a_symbol).unwrap();
    assert!(symbol["symbol"].is_string() && symbol["predictions"].is_u64(), "{symbol}");
    assert_eq!(lines.last().unwrap()["bars"], 180);
    let others = lines.iter().filter(|line| !line["message"].as_str().unwrap().starts_with("performance"));
    assert!(others.count() < 20, "180 bars: {text}");
}

#[test]
fn a_database_that_is_not_there_yet_is_waited_for() {
    let home = Home::new();
    home.configure("source.path = \"later/bars.db\"\n");
    let service = home.run();
    std::fs::create_dir(home.path("later")).unwrap();
    // First a file without the table, then the table, then bars.
    let bars = rusqlite::Connection::open(home.path("later/bars.db")).unwrap();
    bars.execute_batch("CREATE TABLE something (x)").unwrap();
    let sql = "CREATE TABLE ohlcv (symbol TEXT, timeframe TEXT, ts TEXT, open REAL, high REAL, low REAL, close REAL, \
               volume REAL, UNIQUE (symbol, timeframe, ts))";
    bars.execute_batch(sql).unwrap();
    let all = market(1, 50);
    let mut bars = Table(bars);
    bars.feed(&all[..20]);
    let table = Table::watch(&home.database());
    table.reaches(20 * OUTCOMES_PER_BAR);
    bars.feed(&all[20..]);
    table.reaches(50 * OUTCOMES_PER_BAR);
    service.stop();
}

#[test]
fn a_folder_that_is_not_there_yet_is_waited_for() {
    let home = Home::new();
    home.configure("[source]\nkind = \"csv\"\npath = \"later\"\n");
    let service = home.run();
    let bars = of(&market(1, 30), "BTCUSD");
    home.write("later/BTCUSD_1m.csv", HEADER.to_owned() + &lines(&bars));
    Table::watch(&home.database()).reaches(30 * OUTCOMES_PER_BAR);
    service.stop();
}

#[test]
fn locked_databases_are_waited_for() {
    let home = Home::new();
    home.configure("source.path = \"bars.db\"\n");
    let mut bars = Table::create(&home.path("bars.db"));
    bars.0.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).unwrap();
    let all = market(1, 60);
    bars.feed(&all[..20]);
    let mut service = home.run();
    let store = Table::open(&home.database());
    store.reaches(20 * OUTCOMES_PER_BAR);

    // The store's: what cannot be written is written when the lock has gone.
    store.0.execute_batch("BEGIN IMMEDIATE").unwrap();
    bars.feed(&all[20..40]);
    service.says("store failed; will try again");
    assert!(service.stderr().contains("database is locked"), "{}", service.stderr());
    store.0.execute_batch("COMMIT").unwrap();
    store.reaches(40 * OUTCOMES_PER_BAR);

    // The source's, whose journal is of the kind with which a writer keeps readers out.
    bars.0.execute_batch("BEGIN EXCLUSIVE").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    bars.0.execute_batch("COMMIT").unwrap();
    bars.feed(&all[40..]);
    store.reaches(60 * OUTCOMES_PER_BAR);
    service.stop();
}

#[test]
fn a_start_waits_for_a_store_that_another_process_keeps_locked() {
    let home = Home::new();
    let other = rusqlite::Connection::open(home.database()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut service = home.spawn_run();
    service.says("waiting for the store");
    assert!(service.stderr().contains("database is locked"), "{}", service.stderr());
    other.execute_batch("COMMIT").unwrap();
    service.says("vela runs with");
    service.stop();
}

#[test]
fn a_stop_does_not_wait_for_ever_for_a_locked_store() {
    let home = Home::new();
    home.configure("source.path = \"bars.db\"\n");
    let mut bars = Table::create(&home.path("bars.db"));
    let all = market(2, 40);
    bars.feed(&all[..40]);
    let mut service = home.run();
    let store = Table::open(&home.database());
    store.reaches(40 * OUTCOMES_PER_BAR);
    store.0.execute_batch("BEGIN IMMEDIATE").unwrap();
    bars.feed(&all[40..]);
    service.says("store failed; will try again");
    service.signal("TERM");
    let ended = service.ended();
    ended.refused(1, &["not stored", "the next start"]);
    store.0.execute_batch("COMMIT").unwrap();

    // What was left is predicted by the next run.
    let service = home.run();
    store.reaches(80 * OUTCOMES_PER_BAR);
    service.stop();
}

#[test]
fn a_store_that_cannot_be_made_is_refused_with_its_path() {
    let home = Home::new();
    home.write("file", "no folder");
    for (url, words) in [
        ("sqlite:file/vela.db", ["file/vela.db", "folder cannot be created"]),
        ("sqlite:models", ["models", "open"]),
        ("sqlite:/proc/vela.db", ["/proc/vela.db", "open"]),
        ("sqlite:file", ["file", "not a database"]),
    ] {
        let set = format!("store.url={url}");
        home.finish(&["run", "--config", "vela.toml", "--set", &set]).refused(1, &words);
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost() {
    let home = Home::new();
    home.configure("source.path = \"bars.db\"\n");
    let all = market(2, 600);
    Table::create(&home.path("bars.db")).feed(&all);
    // As a full disk: no file may grow beyond 128 KiB, which is told as an error of writing.
    let script = format!(
        "trap '' XFSZ; ulimit -f 256; exec {} run --config vela.toml --set log.path=",
        env!("CARGO_BIN_EXE_vela")
    );
    let mut command = Command::new("sh");
    let vela = home.vela(&[]);
    command.args(["-c", &script]).current_dir(home.path(""));
    for (name, value) in vela.get_envs() {
        assert!(value.is_none());
        command.env_remove(name);
    }
    let mut service = Service::start(&home, &mut command);
    service.says("store failed; will try again");
    let said = service.stderr();
    assert!(said.contains("vela.db") && said.contains("disk"), "{said}");
    service.signal("TERM");
    let ended = service.ended();
    ended.refused(1, &["not stored"]);

    let service = home.run();
    Table::watch(&home.database()).reaches(all.len() * OUTCOMES_PER_BAR);
    service.stop();
}

#[test]
fn questions_beside_a_running_service_get_its_values() {
    let home = Home::new();
    let all = market(3, 200);
    let mut table = Table::create(&home.database());
    table.feed(&all[..300]);
    let service = home.run();
    table.feed(&all[300..]);
    table.reaches(all.len() * OUTCOMES_PER_BAR);
    for (symbol, horizon) in [("BTCUSD", 5), ("SOLUSD", 15)] {
        let horizon_text = horizon.to_string();
        let arguments = ["predict", symbol, "1m", &horizon_text, "--json", "--config", "vela.toml"];
        // At the same time: neither disturbs the other.
        let asked = [0, 1].map(|_| Service::start(&home, &mut home.vela(&arguments)));
        let [one, two] = asked.map(|service| service.ended().done());
        let sql =
            "SELECT ts, value FROM agentpreds WHERE symbol = ?1 AND horizon = ?2 ORDER BY ts DESC LIMIT 1";
        let newest = table.0.query_row(sql, (symbol, horizon), |row| Ok((row.get(0)?, row.get(1)?)));
        let (ts, value): (String, f64) = newest.unwrap();
        for answer in [one, two] {
            assert!(answer.contains(&format!("\"ts\":\"{ts}\"")), "{answer}");
            // As text, because not every reader of JSON reads every bit.
            let (_, text) = answer.rsplit_once("\"value\":").unwrap();
            let answered: f64 = text.split([',', '}']).next().unwrap().parse().unwrap();
            assert_eq!(answered.to_bits(), value.to_bits(), "{symbol}: {answered} asked, {value} stored");
        }
    }
    assert_eq!(table.outcomes(), all.len() * OUTCOMES_PER_BAR, "answers are not stored");
    service.stop();
}

/// A service whose standard error nobody reads any more goes on.
#[test]
fn a_closed_standard_error_ends_nothing() {
    let home = Home::new();
    let mut table = Table::create(&home.database());
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = home.vela(&["run", "--config", "vela.toml", "--set", "workers_max=2"]);
    command.stderr(writer);
    let mut child = command.spawn().unwrap();
    drop((reader, command));
    table.feed(&market(1, 40));
    table.reaches(40 * OUTCOMES_PER_BAR);
    // A warning has nowhere to go either.
    table.0.execute_batch("DELETE FROM ohlcv").unwrap();
    table.feed(&market(1, 60)[40..]);
    table.reaches(60 * OUTCOMES_PER_BAR);
    let script = format!("kill -TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
