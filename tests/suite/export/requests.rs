//! What the command says: of wrong requests, of an interruption, of the features there are and their warm-up.

use super::{csv, features, market_home, read_csv, read_parquet};
use crate::service_support::{Home, Service, eventually, market};
use serde_json::Value;
use vela::domain::{Bar, Timeframe};
use vela::feature::{Plan, catalogue};

#[test]
fn wrong_requests_say_what_to_do_and_leave_nothing() {
    let (home, _) = market_home(2, 20);
    home.write("sold/BTCUSD_1m.csv", csv(&[]));
    home.write("empty/readme.txt", "no bars");
    home.write("semicolons_1m.csv", csv(&[]).replace(',', ";"));
    home.write("broken_1m.parquet", "PAR1 no parquet PAR1");
    home.write("file", "");
    std::fs::create_dir(home.path("folder")).unwrap();
    let one = "--bars bars/BTCUSD_1m.csv";
    for (arguments, words) in [
        (format!("{one} --out folder"), &["folder: is a folder", "features.parquet"][..]),
        (format!("{one} --out f.txt"), &["f.txt", ".csv or .parquet"]),
        (format!("{one} --out f"), &["f: ", ".csv or .parquet"]),
        (format!("{one} --out file/f.csv"), &["file/f.csv"]),
        (format!("{one} --out bars/../bars/BTCUSD_1m.csv"), &["BTCUSD_1m.csv", "name another file"]),
        ("--bars empty --out f.csv".into(), &["empty", "no *.csv or *.parquet", "SYMBOL_TIMEFRAME.csv"]),
        ("--bars gone_1m.csv --out f.csv".into(), &["gone_1m.csv", "No such file"]),
        ("--bars gone_1m.parquet --out f.csv".into(), &["gone_1m.parquet", "No such file"]),
        ("--bars broken_1m.parquet --out f.csv".into(), &["broken_1m.parquet", "Parquet"]),
        (
            "--bars bars sold --out f.csv".into(),
            &["sold/BTCUSD_1m.csv", "bars/BTCUSD_1m.csv holds BTCUSD 1m too"],
        ),
        (format!("{one} --features ret_1,rsi14 --out f.csv"), &["`rsi14` is not a feature", "rsi_14", "1m"]),
        (format!("{one} --features rsi_14@1x --out f.csv"), &["rsi_14@1x", "bars of 1m"]),
        (format!("{one} --features default,ret_1 --out f.csv"), &["`ret_1` is named twice"]),
        (format!("{one} --features defualt --out f.csv"), &["the closest name is `default`"]),
        (format!("{one} --features default@1h --out f.csv"), &["`default` is a named set", "ret_1"]),
        ("--bars semicolons_1m.csv --out f.csv".into(), &["semicolons_1m.csv:1", "apart by `;`", "comma"]),
        (format!("{one} --label logret --out f.csv"), &["--label: `logret` is not KEY=VALUE", "horizon=5"]),
        (format!("{one} --label kind=ret,horizon=0 --out f.csv"), &["--label", "`0`", "1 to 10000"]),
    ] {
        features(&home, &arguments).refused(1, words);
        assert!(!home.path("f.csv").exists() && !home.path("f.csv.partial").exists(), "{arguments}");
    }
    features(&home, &format!("{one} --out f.csv --dtype f16")).refused(2, &["f16", "f32 or f64"]);
    features(&home, "--list --out f.csv").refused(2, &["--list", "--out"]);
    // A table without a row is one.
    features(&home, "--bars sold --out f.csv").done();
    features(&home, "--bars sold --out f.parquet").done();
    assert_eq!(read_csv(&home.path("f.csv")).1.len() + read_parquet(&home.path("f.parquet")).1.len(), 0);
}

#[test]
fn what_two_sets_share_is_one_column() {
    let (home, _) = market_home(1, 20);
    let columns = |names: &str| {
        features(&home, &format!("--bars bars --features {names} --out f.csv")).done();
        read_csv(&home.path("f.csv")).0.split_off(1)
    };
    let (default, core) = (columns("default"), columns("vela-core-1"));
    let both = columns("default,vela-core-1");
    let new = core.iter().filter(|name| !default.contains(name));
    assert_eq!(both, default.iter().chain(new).cloned().collect::<Vec<_>>());
    assert!(both.len() < 44 + 60);
    let first = columns("rsi_14,default");
    assert_eq!((first.len(), first[0].as_str()), (44, "rsi_14"));
}

#[test]
fn ctrl_c_leaves_the_old_table_and_no_other() {
    let (home, _) = market_home(1, 50_000);
    // Seconds of work: the signal comes in the middle of it on any machine.
    for copy in 0..19 {
        std::fs::copy(home.path("bars/BTCUSD_1m.csv"), home.path(&format!("bars/X{copy}_1m.csv"))).unwrap();
    }
    for out in ["f.csv", "f.parquet"] {
        home.write(out, "of an earlier run");
        let arguments = ["features", "--bars", "bars", "--out", out];
        let export = Service::start(&home, &mut home.vela(&arguments));
        let partial = home.path(&format!("{out}.partial"));
        eventually("a beginning", || partial.exists().then_some(()));
        export.signal("INT");
        let ended = export.ended();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        assert!(ended.stderr.contains(&format!("{out} was not written")), "{ended:?}");
        assert!(!partial.exists() && !home.path("f.csv.meta.json").exists());
        assert_eq!(std::fs::read_to_string(home.path(out)).unwrap(), "of an earlier run");
    }
}

#[test]
fn what_there_is_can_be_listed_and_its_warm_up_told() {
    let home = Home::bare();
    let list = features(&home, "--list").done();
    assert!(list.lines().all(|line| line.chars().count() <= 100), "{list}");
    for family in catalogue::FAMILIES {
        assert!(list.contains(family.name), "{}", family.name);
    }
    assert!(list.contains("set default, 44 features:") && list.contains("set vela-core-1, 60 features:"));
    let json: Value = serde_json::from_str(&features(&home, "--list --json").done()).unwrap();
    assert_eq!(json["families"].as_array().unwrap().len(), catalogue::FAMILIES.len());
    assert_eq!(json["sets"]["default"].as_array().unwrap().len(), 44);

    let told = features(&home, "--warmup rsi_14,macd,ret_1").done();
    assert!(told.contains("rsi_14 ") && told.lines().count() == 4, "{told}");
    let hour = features(&home, "--warmup rsi_14@1h,ret_1 --timeframe 5m").done();
    assert!(hour.lines().any(|line| line.starts_with("rsi_14@1h ") && line.contains(" 191 ")), "{hour}");
    // TA-Lib's rule: 10 n more for 4 digits of a Wilder average, 19 n for 8; obv keeps its beginning.
    let told = features(&home, "--warmup rsi_14,obv").done();
    let row = |name| told.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().skip(1);
    assert_eq!(row("rsi_14").collect::<Vec<_>>(), ["15", "155", "281"]);
    assert_eq!(row("obv").collect::<Vec<_>>(), ["1", "never", "never"]);
    let json: Value = serde_json::from_str(&features(&home, "--warmup default --json").done()).unwrap();
    // Told is what happens: the first bar at which each is a number.
    let bars: Vec<Bar> = market(1, 60).into_iter().map(|(_, bar)| bar).collect();
    let mut state = Plan::new(&catalogue::DEFAULT, Timeframe::MINUTE).unwrap().state();
    let mut first = vec![0; 44];
    for (i, bar) in bars.iter().enumerate() {
        state.update(bar);
        for (first, value) in first.iter_mut().zip(state.values()) {
            if *first == 0 && !value.is_nan() {
                *first = i + 1;
            }
        }
    }
    let warm_up: Vec<usize> = json["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|feature| feature["bars_until_defined"].as_u64().unwrap() as usize)
        .collect();
    assert_eq!(warm_up, first);
    features(&home, "--warmup rsi14").refused(1, &["`rsi14` is not a feature"]);
}
