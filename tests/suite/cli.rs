//! The command line: what is refused, in which words, and how commands end.

use crate::service_support::{Ended, HEADER, Home, MODELS, Service, Table, eventually, line, market};
use std::path::Path;
use std::process::Command;

/// A line of a file of bars.
const BAR: &str = "2024-01-01T00:00:00Z,1,2,0.5,1.5,10\n";

/// A folder with a good file of bars and some bad ones.
fn bars_home() -> Home {
    let home = Home::new();
    home.write("bars/GOOD_1m.csv", HEADER.to_owned() + BAR);
    home.write("misnamed.csv", HEADER.to_owned() + BAR);
    home.write("NOVOLUME_1m.csv", "ts,open,high,low,close\n");
    let good = "2024-01-01T00:01:00Z,1,2,0.5,1.5,10\n";
    home.write("BAD_1m.csv", format!("{HEADER}{BAR}{good}2024-01-01T00:02:00Z,1,2,0.5,x7,10\n{good}"));
    home.write("NOTIME_1m.csv", format!("{HEADER}{BAR}yesterday,1,2,0.5,1,10\n"));
    home.write("EMPTY_1m.csv", "");
    home.write("folder/readme.txt", "no bars");
    home
}

#[test]
fn wrong_usage_is_refused_with_code_2() {
    let home = Home::bare();
    let nothing = home.finish(&[]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.contains("Usage: vela") && nothing.stdout.is_empty(), "{nothing:?}");
    for (arguments, words) in [
        (&["--nosuch"][..], &["--nosuch"][..]),
        (&["nosuch"], &["nosuch"]),
        (&["replay"], &["--bars", "--models"]),
        (&["replay", "--nosuch"], &["--nosuch"]),
        (&["replay", "--bars", "x", "--models", "m", "--from", "yesterday"], &["yesterday", "RFC 3339"]),
        (
            &["replay", "--bars", "x", "--models", "m", "--to", "2024-13-01T00:00:00Z"],
            &["2024-13-01T00:00:00Z"],
        ),
        (&["features", "--bars", "x"], &["--out"]),
        (&["predict", "BTCUSD"], &["<TIMEFRAME>"]),
        (&["predict", "BTCUSD", "1x", "5"], &["`1x` is not a timeframe", "1m"]),
        (&["predict", "BTCUSD", "1m", "soon"], &["soon", "HORIZON"]),
        (&["run", "--set", "workers_max"], &["workers_max", "KEY=VALUE"]),
        (&["demo", "--speed", "0"], &["'0'", "0.1 to 6000"]),
        (&["demo", "--symbols", "5000"], &["5000", "1..=2000"]),
        (&["demo", "--json"], &["--once"]),
        (&["models"], &["Usage: vela models"]),
        (&["config", "check"], &["<FILE>"]),
        (&["runtime", "nosuch"], &["nosuch"]),
    ] {
        let ended = home.finish(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(words.iter().all(|word| ended.stderr.contains(word)), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn wrong_files_of_bars_are_named_with_line_column_and_value() {
    let home = bars_home();
    for (file, words) in [
        ("gone/BTCUSD_1m.csv", &["gone/BTCUSD_1m.csv", "No such file"][..]),
        ("misnamed.csv", &["misnamed.csv", "SYMBOL_TIMEFRAME.csv"]),
        ("NOVOLUME_1m.csv", &["NOVOLUME_1m.csv:1", "`volume` is missing", "ts,open,high,low,close,volume"]),
        ("BAD_1m.csv", &["BAD_1m.csv:4", "column `close`", "`x7` is not a number"]),
        ("NOTIME_1m.csv", &["NOTIME_1m.csv:3", "column `ts`", "`yesterday`", "RFC 3339"]),
        ("EMPTY_1m.csv", &["EMPTY_1m.csv:1", "empty"]),
    ] {
        let replay = ["replay", "--bars", file, "--models", "models", "--out", "out.csv"];
        home.finish(&replay).refused(1, words);
        assert!(!home.path("out.csv").exists(), "{file}: a failed run looks complete");
        let features = ["features", "--bars", file, "--out", "features.csv"];
        home.finish(&features).refused(1, words);
        assert!(!home.path("features.csv").exists(), "{file}: failed features look complete");
    }
    let folder = ["replay", "--bars", "folder", "--models", "models"];
    home.finish(&folder).refused(1, &["folder", "no *.csv", "SYMBOL_TIMEFRAME.csv"]);
    let twice = ["replay", "--bars", "bars", "bars/GOOD_1m.csv", "--models", "models"];
    home.finish(&twice).refused(1, &["GOOD_1m.csv", "GOOD 1m"]);
    let features =
        ["features", "--bars", "bars/GOOD_1m.csv", "--features", "rsi_14,nosuch", "--out", "f.csv"];
    home.finish(&features).refused(1, &["`nosuch` is not a feature"]);
    home.finish(&["features", "--bars", "bars/GOOD_1m.csv", "--out", "/proc/f.csv"])
        .refused(1, &["/proc/f.csv"]);
}

#[test]
fn wrong_models_and_stores_are_named() {
    let home = bars_home();
    std::fs::create_dir(home.path("none")).unwrap();
    let replay = |models: &str, more: &[&str]| {
        let mut arguments = vec!["replay", "--bars", "bars", "--models", models];
        arguments.extend(more);
        home.finish(&arguments)
    };
    replay("gone", &[]).refused(1, &["gone", "No such file"]);
    home.finish(&["models", "list", "gone"]).refused(1, &["gone", "No such file"]);
    // No model at all is no error: what has none says so.
    assert!(replay("none", &[]).done().contains("without a prediction, no_model: 1"));
    home.finish(&["models", "list", "none"]).done();
    for url in ["nonsense", "sqlite:", "postgres://user:secret@host/db"] {
        let ended = replay("models", &["--store", url]);
        ended.refused(1, &["--store", "sqlite:FILE", "none"]);
        assert!(!ended.stderr.contains("secret"), "{ended:?}");
    }
    replay("models", &["--store", "sqlite:misnamed.csv"]).refused(1, &["misnamed.csv", "not a database"]);
    replay("models", &["--out", "gone/out.csv"]).refused(1, &["gone/out.csv", "No such file"]);
    // One broken model is told; the others serve, and of one with a broken version the version before.
    let bars: String = market(1, 300).iter().map(|(_, bar)| line(bar)).collect();
    home.write("bars/BTCUSD_1m.csv", HEADER.to_owned() + &bars);
    home.write("models/demo-1m-h15/1/model.onnx", "no model");
    home.write("models/demo-1m-h1/2/model.toml", "no manifest");
    let ended = replay("models", &["--store", "sqlite:rows.db"]);
    assert!(
        ended.stderr.contains("warning: ") && ended.stderr.contains("version 2 of demo-1m-h1 does not serve"),
        "{ended:?}"
    );
    assert!(ended.done().contains("without a prediction, model_unavailable: "));
    let table = Table::watch(&home.path("rows.db"));
    let is_told =
        |row: &String| row.contains("model_unavailable") && row.contains("models/demo-1m-h15/1/model.onnx");
    assert!(table.refusals().iter().any(is_told), "{:?}", table.refusals());
    assert!(
        table.predictions().iter().all(|row| row.contains("demo-btcusd-1m-h5") || row.contains("demo-1m-h1"))
            && table.counts().0 > 0
    );
}

#[test]
fn every_problem_of_a_configuration_is_named() {
    let home = Home::bare();
    let text = "max_latency_ms = 0\nworkers_maks = 4\n\n[source]\nkind = \"parquet\"\n[store]\nurl = \"mysql:x\"\n\
                [priority]\nhigh_share = \"much\"\n";
    home.write("bad.toml", text);
    home.finish(&["config", "check", "bad.toml"]).refused(
        78,
        &[
            "refused for 5 reasons",
            "bad.toml:1: max_latency_ms = 0",
            "1 to 3600000",
            "bad.toml:2: workers_maks = 4",
            "closest known one is workers_max",
            "bad.toml:5: source.kind = \"parquet\"",
            "\"csv\"",
            "bad.toml:7: store.url = \"mysql:x\"",
            "sqlite:",
            "bad.toml:9: priority.high_share = \"much\"",
            "0.0 to 1.0",
        ],
    );
    for command in ["run", "predict BTCUSD 1m 5", "config show", "models list", "runtime status"] {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.extend(["--config", "bad.toml"]);
        home.finish(&arguments).refused(78, &["bad.toml:1: max_latency_ms = 0"]);
    }
    home.write("broken.toml", "workers_max = = 3\n");
    home.finish(&["config", "check", "broken.toml"]).refused(78, &["broken.toml:1", "no valid TOML"]);
    home.finish(&["config", "check", "gone.toml"]).refused(78, &["gone.toml", "No such file"]);
    home.finish(&["run", "--config", "gone.toml"]).refused(78, &["gone.toml", "No such file"]);
    home.finish(&["run", "--set", "workers_max=many"])
        .refused(78, &["--set", "workers_max = many", "1 to 256"]);
    home.finish(&["run", "--set", "nosuch=1"]).refused(78, &["--set", "nosuch", "unknown key"]);
}

#[test]
fn the_configuration_is_shown_with_who_set_what() {
    let home = Home::bare();
    home.write("vela.toml", "workers_max = 4\n[log]\nlevel = \"debug\"\n");
    let mut show = home.vela(&["config", "show", "--config", "vela.toml", "--set", "batch_size_max=20"]);
    let shown = Service::start(&home, show.env("VELA_LOG__LEVEL", "warn")).ended().done();
    let origin = |key: &str, value: &str, origin: &str| {
        let found = shown.lines().any(|line| {
            [key, value, origin].iter().all(|part| line.contains(part)) && line.trim_start().starts_with(key)
        });
        assert!(found, "{key} = {value} by {origin}: {shown}");
    };
    origin("workers_max", "4", "vela.toml:1");
    origin("batch_size_max", "20", "--set");
    origin("level", "warn", "VELA_LOG__LEVEL");
    origin("max_latency_ms", "5000", "default");
    // VELA_CONFIG names the file where --config does not.
    let mut show = home.vela(&["config", "show"]);
    let shown = Service::start(&home, show.env("VELA_CONFIG", "vela.toml")).ended().done();
    assert!(shown.contains("vela.toml:1"), "{shown}");
    home.finish(&["config", "check", "vela.toml"]).done();

    let reference =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/vela.toml")).unwrap();
    assert!(
        home.finish(&["config", "reference"]).done() == reference,
        "config/vela.toml is another one: make it again"
    );
}

/// `vela` on good bars with other variables.
fn with_variables(home: &Home, arguments: &[&str], variables: &[(&str, &Path)]) -> Ended {
    let mut command = home.vela(arguments);
    for name in ["ORT_DYLIB_PATH", "XDG_CACHE_HOME", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    Service::start(home, command.envs(variables.iter().copied())).ended()
}

const REPLAY: [&str; 5] = ["replay", "--bars", "bars", "--models", "models"];

#[test]
fn a_wrong_path_to_onnx_runtime_is_an_error_and_not_another_library() {
    let home = bars_home();
    let (gone, text) = (home.path("gone.so"), home.write("libonnxruntime.so", "no library"));
    let folder = home.path("bars");
    for arguments in [&REPLAY[..], &["runtime", "status"], &["run", "--config", "vela.toml"]] {
        let with = |path: &Path| with_variables(&home, arguments, &[("ORT_DYLIB_PATH", path)]);
        with(&gone).refused(1, &["ORT_DYLIB_PATH", "gone.so", "does not exist", "correct the path"]);
        with(&folder).refused(1, &["ORT_DYLIB_PATH", "bars", "folder without a libonnxruntime.so"]);
        with(&text).refused(1, &["libonnxruntime.so", "cannot be used", "vela runtime install"]);
        let mut configured = arguments.to_vec();
        configured.extend(["--set", "runtime.library=gone.so"]);
        with_variables(&home, &configured, &[]).refused(1, &["runtime.library", "gone.so"]);
    }
    let status = home.finish(&["runtime", "status"]).done();
    for word in ["ORT_DYLIB_PATH", "cache", "python3", "system", "used: ", "version"] {
        assert!(status.contains(word), "{word}: {status}");
    }
}

#[test]
fn without_python_and_with_an_empty_cache_the_error_tells_what_to_do() {
    let home = bars_home();
    for name in ["bin", "cache", "home"] {
        std::fs::create_dir(home.path(name)).unwrap();
    }
    let (bin, cache, user) = (home.path("bin"), home.path("cache"), home.path("home"));
    let variables = [("PATH", &*bin), ("VELA_CACHE_DIR", &*cache), ("HOME", &*user)];
    let status = with_variables(&home, &["runtime", "status"], &variables);
    if status.code == Some(0) {
        println!("skipped: the system has an ONNX Runtime of its own: {}", status.stdout);
        return;
    }
    status.refused(1, &["no ONNX Runtime", "ORT_DYLIB_PATH"]);
    assert!(status.stdout.contains("there is no python3"), "{status:?}");
    let remedies = ["no python3", "install python3 and python3-pip", "ORT_DYLIB_PATH", "runtime.library"];
    with_variables(&home, &REPLAY, &variables).refused(1, &remedies);
    with_variables(&home, &["runtime", "install"], &variables).refused(1, &remedies);
    let mut no_download = REPLAY.to_vec();
    no_download.extend(["--set", "runtime.download=false"]);
    let ended = with_variables(&home, &no_download, &variables);
    ended.refused(1, &["no ONNX Runtime", "vela runtime install", "ORT_DYLIB_PATH"]);

    // A python3 without pip says another thing.
    home.write("bin/python3", "#!/bin/sh\necho \"/usr/bin/python3: No module named pip\" >&2\nexit 1\n");
    assert!(Command::new("chmod").arg("+x").arg(home.path("bin/python3")).status().unwrap().success());
    with_variables(&home, &REPLAY, &variables).refused(1, &["no pip", "python3-pip"]);
    assert!(
        std::fs::read_dir(cache.join("onnxruntime"))
            .unwrap()
            .flatten()
            .all(|entry| { !entry.file_name().to_string_lossy().starts_with(".installing") })
    );
}

#[test]
fn questions_that_have_no_answer_say_why() {
    let home = Home::new();
    let predict = |arguments: &[&str]| {
        let mut all = vec!["predict"];
        all.extend(arguments);
        all.extend(["--config", "vela.toml"]);
        home.finish(&all)
    };
    // No database, no bars, other bars.
    predict(&["BTCUSD", "1m", "5"]).refused(1, &["BTCUSD 1m", "vela.db", "source.path"]);
    let mut table = Table::create(&home.database());
    predict(&["BTCUSD", "1m", "5"]).refused(1, &["BTCUSD 1m", "vela.db"]);
    table.feed(&market(1, 100));
    predict(&["ETHUSD", "1m", "5"]).refused(1, &["no_bar", "ETHUSD 1m"]);
    predict(&["BTCUSD", "5m", "5"]).refused(1, &["no_bar", "BTCUSD 5m"]);
    predict(&["BTCUSD", "1m", "7"]).refused(1, &["no_model", "horizon 7", "[1, 5, 15]"]);
    predict(&["BTC USD", "1m", "5"]).refused(1, &["`BTC USD` is not a symbol", "letters"]);
    predict(&["BTCUSD", "1m", "5", "--set", "source.kind=none"]).refused(1, &["kind", "none"]);
    predict(&["BTCUSD", "1m", "5", "--set", "source.table=nosuch"]).refused(1, &["BTCUSD 1m"]);
    predict(&["BTCUSD", "1m", "5", "--set", "source.table=agentpreds"])
        .refused(1, &["`agentpreds`", "WITHOUT ROWID"]);
    let answer = predict(&["BTCUSD", "1m", "5"]).done();
    assert!(answer.contains("demo-btcusd-1m-h5") && answer.contains("latency"), "{answer}");
    assert_eq!(table.outcomes(), 0, "nothing is stored by asking");
}

/// A command whose standard output nobody reads.
fn unread(home: &Home, arguments: &[&str]) -> Ended {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let stderr = home.path("unread.err");
    let mut command = home.vela(arguments);
    // Whoever has the usual port is not asked.
    command.env("VELA_SERVE__LISTEN", "");
    let status = command.stdout(writer).stderr(std::fs::File::create(&stderr).unwrap()).status().unwrap();
    let stderr = std::fs::read_to_string(stderr).unwrap();
    Ended { code: status.code(), stdout: String::new(), stderr }
}

#[test]
fn a_closed_standard_output_ends_every_command_quietly() {
    let home = bars_home();
    Table::create(&home.database()).feed(&market(1, 60));
    for command in [
        "config reference",
        "config show",
        "models list models",
        "runtime status",
        "replay --bars bars --models models",
        "replay --bars bars --models models --json",
        "features --bars bars/GOOD_1m.csv --out f.csv",
        "predict BTCUSD 1m 5 --config vela.toml",
        "demo --once --minutes 5",
        "demo --once --minutes 5 --json",
        "demo --speed 6000",
    ] {
        let ended = unread(&home, &command.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
        assert!(
            !ended.stderr.contains("panicked") && !ended.stderr.contains("error"),
            "{command}: {ended:?}"
        );
    }
}

#[test]
fn ctrl_c_in_a_replay_leaves_nothing_that_looks_complete() {
    let home = Home::new();
    let (mut btc, mut eth) = (HEADER.to_owned(), HEADER.to_owned());
    for (series, bar) in market(2, 50_000) {
        if &*series.symbol == "BTCUSD" { btc += &line(&bar) } else { eth += &line(&bar) }
    }
    home.write("bars/BTCUSD_1m.csv", btc);
    home.write("bars/ETHUSD_1m.csv", eth);
    home.write("out.csv", "of an earlier run");
    let mut arguments = REPLAY.to_vec();
    arguments.extend(["--out", "out.csv"]);
    let replay = Service::start(&home, &mut home.vela(&arguments));
    let partial = home.path("out.csv.partial");
    eventually("rows", || partial.metadata().is_ok_and(|file| file.len() > 100_000).then_some(()));
    replay.signal("INT");
    let ended = replay.ended();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(std::fs::read_to_string(home.path("out.csv")).unwrap(), "of an earlier run");
    assert!(ended.stdout.contains("out.csv.partial"), "{ended:?}");
    let rows = std::fs::read_to_string(partial).unwrap().lines().count();
    assert!((1000..290_000).contains(&rows), "{rows} rows: it was not in the middle");
}

#[test]
fn the_demo_runs_once_as_json_and_live_until_ctrl_c() {
    let home = Home::bare();
    let once = home.finish(&["demo", "--once", "--json", "--symbols", "8", "--minutes", "50"]).done();
    let summary: serde_json::Value = serde_json::from_str(&once).unwrap();
    assert_eq!(summary["bars"], 8 * (300 + 50));
    let refused: u64 =
        summary["reasons"].as_object().unwrap().values().filter_map(|count| count.as_u64()).sum();
    assert_eq!(summary["predictions"].as_u64().unwrap() + refused, 8 * 50 * 3);
    assert_eq!((&summary["undrained"], &summary["unsaved"]), (&0.into(), &0.into()));
    assert!(summary["metrics"]["stages"]["predict"]["service"]["p99"].as_f64().unwrap() > 0.0);
    let table = Table::watch(&home.path("vela-demo/vela.db"));
    assert_eq!(table.outcomes(), 8 * 50 * 3);
    drop(table);

    let demo = Service::start(&home, &mut home.vela(&["demo", "--speed", "6000"]));
    eventually("rows", || demo.stdout().contains("predictions stored").then_some(()));
    demo.signal("INT");
    let shown = demo.ended().done();
    assert!(shown.contains("bars in, ") && shown.contains("stored in vela-demo/vela.db"), "{shown}");
    assert!(Table::watch(&home.path("vela-demo/vela.db")).counts().0 > 100);

    // Keys can be set, but what is the demo's own.
    home.finish(&["demo", "--once", "--set", "store.url=none"]).refused(1, &["store.url", "vela run"]);
    assert!(Table::watch(&home.path("vela-demo/vela.db")).counts().0 > 100, "a refusal makes nothing anew");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = format!("serve.listen={address}");
    home.finish(&["demo", "--set", &listen]).refused(1, &["serve.listen", &address, "--set"]);
    let mut demo = home.vela(&["demo"]);
    let ended = Service::start(&home, demo.env("VELA_SERVE__LISTEN", &address)).ended();
    ended.refused(1, &["serve.listen", &address]);

    home.finish(&["demo", "--export", "exported", "--minutes", "20"]).done();
    assert_eq!(std::fs::read_dir(home.path("exported")).unwrap().count(), 6);
    home.write("file", "");
    home.finish(&["demo", "--once", "--dir", "file/demo"]).refused(1, &["file/demo"]);
    home.finish(&["demo", "--export", "file/demo"]).refused(1, &["file/demo"]);
    let replay = ["replay", "--bars", "exported", "--models", MODELS, "--json"];
    let replayed: serde_json::Value = serde_json::from_str(&home.finish(&replay).done()).unwrap();
    assert_eq!(replayed["bars"], 6 * 20);
}
