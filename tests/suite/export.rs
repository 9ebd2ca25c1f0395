//! `vela features`: tables that hold what serving computes, and labels that see what came after.

use crate::service_support::{Ended, HEADER, Home, MODELS, Service, eventually, line, market};
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use vela::domain::{Bar, FeatureSet, GapPolicy, Grid, Stability, Timeframe, Timestamp};
use vela::feature::{Plan, catalogue};

/// A folder `bars` with the files of a market of `symbols` symbols over `minutes` minutes.
fn market_home(symbols: usize, minutes: usize) -> (Home, BTreeMap<String, Vec<Bar>>) {
    let home = Home::bare();
    let mut series: BTreeMap<String, Vec<Bar>> = BTreeMap::new();
    for (key, bar) in market(symbols, minutes) {
        series.entry(key.symbol.to_string()).or_default().push(bar);
    }
    for (symbol, bars) in &series {
        home.write(&format!("bars/{symbol}_1m.csv"), csv(bars));
    }
    (home, series)
}

fn csv(bars: &[Bar]) -> String {
    HEADER.to_owned() + &bars.iter().map(line).collect::<String>()
}

fn features(home: &Home, arguments: &str) -> Ended {
    let mut all = vec!["features"];
    all.extend(arguments.split_whitespace());
    home.finish(&all)
}

/// A table as text: its header, and its rows cell by cell.
fn read_csv(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    (lines.next().unwrap(), lines.collect())
}

/// A Parquet table as CSV writes it: numbers in Rust's shortest form, null as `nan`, times as RFC 3339.
fn read_parquet(path: &Path) -> (Vec<String>, Vec<Vec<String>>, Value) {
    let file = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let metadata = file.metadata().file_metadata();
    let names = metadata.schema().get_fields().iter().map(|field| field.name().to_owned()).collect();
    let ts = metadata.schema().get_fields().iter().find(|field| field.name() == "ts").unwrap();
    assert_eq!(
        ts.get_basic_info().logical_type_ref(),
        Some(&LogicalType::timestamp(true, TimeUnit::MILLIS)),
        "UTC"
    );
    let entries = metadata.key_value_metadata().unwrap();
    let described = entries.iter().find(|entry| entry.key == "vela").unwrap().value.as_deref().unwrap();
    let cell = |field: &Field| match field {
        Field::Null => "nan".to_owned(),
        Field::Str(text) => text.clone(),
        Field::TimestampMillis(ms) => Timestamp::from_millis(*ms).to_string(),
        Field::Float(value) => value.to_string(),
        Field::Double(value) => value.to_string(),
        other => panic!("{other:?}"),
    };
    let rows = file
        .get_row_iter(None)
        .unwrap()
        .map(|row| row.unwrap().get_column_iter().map(|(_, field)| cell(field)).collect());
    (names, rows.collect(), serde_json::from_str(described).unwrap())
}

fn meta(home: &Home, out: &str) -> Value {
    let text = std::fs::read_to_string(home.path(&format!("{out}.meta.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn column(table: &(Vec<String>, Vec<Vec<String>>), name: &str) -> Vec<f64> {
    let at = table.0.iter().position(|column| column == name).unwrap_or_else(|| panic!("no {name}"));
    table.1.iter().map(|row| row[at].parse().unwrap()).collect()
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn one_series_is_the_kernels_values_bit_for_bit() {
    let (home, series) = market_home(1, 300);
    let bars = &series["BTCUSD"];
    features(&home, "--bars bars/BTCUSD_1m.csv --out f.csv").done();
    let table = read_csv(&home.path("f.csv"));
    let mut header = vec!["ts"];
    header.extend(catalogue::DEFAULT);
    assert_eq!(table.0, header);
    let mut state = Plan::new(&catalogue::DEFAULT, Timeframe::MINUTE).unwrap().state();
    assert_eq!(table.1.len(), bars.len());
    for (bar, row) in bars.iter().zip(&table.1) {
        state.update(bar);
        assert_eq!(row[0], bar.ts.to_string());
        for (text, value) in row[1..].iter().zip(state.values()) {
            assert!(same(text.parse().unwrap(), *value), "{text} {value}");
            assert!(!value.is_nan() || text == "nan");
        }
    }
    assert!(!home.path("f.csv.partial").exists());
}

#[test]
fn csv_and_parquet_hold_the_same_in_both_kinds_of_numbers() {
    let (home, series) = market_home(3, 400);
    let features = |arguments: &str| features(&home, &format!("--bars bars {arguments}")).done();
    let label = "--features rsi_14,sma_50,obv,bb_upper_20_0.5 --label kind=ret,horizon=7";
    for dtype in ["f32", "f64"] {
        features(&format!("{label} --dtype {dtype} --out a.csv"));
        features(&format!("{label} --dtype {dtype} --out a.parquet"));
        let (header, rows) = read_csv(&home.path("a.csv"));
        let (names, cells, mut described) = read_parquet(&home.path("a.parquet"));
        let expected = "symbol,timeframe,ts,rsi_14,sma_50,obv,bb_upper_20_0.5,label_ret_7";
        assert_eq!((header.join(",").as_str(), names), (expected, header.clone()));
        assert_eq!(rows.len(), 3 * 400);
        assert_eq!(rows, cells);
        let beside = meta(&home, "a.csv");
        assert_eq!(beside, described);
        assert_eq!(described["dtype"], if dtype == "f32" { "float32" } else { "float64" });
        assert_eq!(described["rows"], 1200);
        let set = FeatureSet::new(["rsi_14", "sma_50", "obv", "bb_upper_20_0.5"]);
        assert_eq!(described["feature_set_hash"], format!("{:016x}", set.hash()));
        assert_eq!(described["label"]["column"], "label_ret_7");
        assert_eq!(described["gaps"], "skip");
        let told = described["series"].as_array_mut().unwrap();
        assert_eq!(told.len(), 3);
        for (one, symbol) in told.iter().zip(series.keys()) {
            assert_eq!((&one["symbol"], &one["rows"]), (&symbol.as_str().into(), &400.into()));
            assert!(one["file"].as_str().unwrap().ends_with(&format!("bars/{symbol}_1m.csv")));
        }
    }
    // What float32 holds is what float64 holds, cast; and that is the default of Parquet alone.
    features(&format!("{label} --out b.csv"));
    features(&format!("{label} --out b.parquet"));
    let exact = read_csv(&home.path("b.csv"));
    let cast = read_parquet(&home.path("b.parquet"));
    assert_eq!((&meta(&home, "b.csv")["dtype"], &cast.2["dtype"]), (&"float64".into(), &"float32".into()));
    for (exact, cast) in exact.1.iter().zip(&cast.1) {
        assert_eq!(exact[..3], cast[..3]);
        for (exact, cast) in exact[3..].iter().zip(&cast[3..]) {
            let (exact, cast): (f64, f32) = (exact.parse().unwrap(), cast.parse().unwrap());
            assert!((exact as f32).to_bits() == cast.to_bits() || (exact.is_nan() && cast.is_nan()));
        }
    }
}

#[test]
fn a_label_is_the_return_that_the_later_bar_sees() {
    let (home, series) = market_home(2, 200);
    let arguments = "--bars bars --features logret_9,ret_9,sma_1 --label";
    for (kind, feature) in [("logret", "logret_9"), ("ret", "ret_9"), ("direction", "ret_9")] {
        features(&home, &format!("{arguments} kind={kind},horizon=9 --out l.csv")).done();
        let table = read_csv(&home.path("l.csv"));
        let labels = column(&table, &format!("label_{kind}_9"));
        let later = column(&table, feature);
        for (i, symbol) in series.keys().enumerate() {
            let rows = i * 200..(i + 1) * 200;
            assert!(table.1[rows.clone()].iter().all(|row| row[0] == **symbol));
            let (labels, later) = (&labels[rows.clone()], &later[rows]);
            for t in 0..191 {
                let seen =
                    if kind == "direction" { f64::from(u8::from(later[t + 9] > 0.0)) } else { later[t + 9] };
                assert!(same(labels[t], seen), "{symbol} {t}: {} {seen}", labels[t]);
            }
            assert!(labels[191..].iter().all(|label| label.is_nan()), "what is not known yet has no label");
        }
    }
}

#[test]
fn by_the_clock_a_gap_is_time_and_by_bars_it_is_none() {
    let home = Home::bare();
    let bar = |minute: i64, close: f64| {
        let ts = Timestamp::from_secs(1_704_067_200 + minute * 60);
        line(&Bar { ts, open: 1.0, high: 99.0, low: 0.5, close, volume: 1.0 })
    };
    // Minutes 3 to 5 are missing.
    let bars = [(0, 1.0), (1, 2.0), (2, 4.0), (6, 8.0), (7, 16.0)].map(|(minute, close)| bar(minute, close));
    home.write("X_1m.csv", HEADER.to_owned() + &bars.concat());
    let labels = |by: &str, name: &str| {
        let label = format!("kind=ret,horizon=2,by={by}");
        features(&home, &format!("--bars X_1m.csv --features ret_1 --label {label} --out x.csv")).done();
        column(&read_csv(&home.path("x.csv")), name)
    };
    let told = |labels: Vec<f64>| labels.iter().map(|label| label.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(told(labels("bars", "label_ret_2")), "3 3 3 NaN NaN");
    // At 00:01 the last bar that closed by 00:04 is the one of 00:02; at 00:02, by 00:05, itself.
    assert_eq!(told(labels("clock", "label_ret_2_clock")), "3 1 0 NaN NaN");
}

#[test]
fn bars_are_taken_corrected_and_refused_as_serving_does_it() {
    let (home, series) = market_home(1, 300);
    let good = &series["BTCUSD"];
    let revised = Bar { close: good[149].low, ..good[149] };
    // What stands in the end: one bar has other content, one came late, all else is refused.
    let mut corrected = good.clone();
    corrected[149] = revised;
    let mut first_stands = good.clone();
    first_stands.remove(130);
    let mut dirty = first_stands.clone();
    let mut put = |after: &Bar, bar: Bar| {
        let at = dirty.iter().position(|known| known == after).unwrap();
        dirty.insert(at + 1, bar);
    };
    put(&good[100], good[100]);
    put(&good[133], good[130]);
    put(&good[151], revised);
    put(&good[170], good[3]);
    put(&good[180], Bar { close: good[160].low, ..good[160] });
    put(&good[190], Bar { high: f64::NAN, ..good[191] });
    put(&good[200], Bar { ts: good[201].ts.plus_millis(1), ..good[201] });
    put(&good[210], Bar { close: -1.0, ..good[211] });
    for (folder, bars) in [("dirty", &dirty), ("corrected", &corrected), ("first", &first_stands)] {
        home.write(&format!("{folder}/BTCUSD_1m.csv"), csv(bars));
    }
    let table = |folder: &str, out: &str, more: &str| {
        let label = "--label kind=logret,horizon=5";
        let told = features(&home, &format!("--bars {folder} {label} --out {out} {more}")).done();
        (std::fs::read_to_string(home.path(out)).unwrap(), told)
    };
    for (set, same_as, changed) in [("", "corrected", 2), (" --set ingest.revision_bars=0", "first", 0)] {
        let (dirty, told) = table("dirty", "dirty.csv", set);
        assert_eq!(dirty, table(same_as, "same.csv", set).0);
        let described = &meta(&home, "dirty.csv")["series"][0];
        assert_eq!(described["changed"], changed);
        // A replay of the same file refuses the same, by the same names.
        let mut replay = vec!["replay", "--bars", "dirty", "--models", MODELS, "--json"];
        replay.extend(set.split_whitespace());
        let replayed: Value = serde_json::from_str(&home.finish(&replay).done()).unwrap();
        let mut reasons = replayed["reasons"].as_object().unwrap().clone();
        reasons.retain(|reason, _| !["undefined_feature", "warming_up"].contains(&reason.as_str()));
        assert_eq!(described["refused"], Value::Object(reasons));
        assert!(
            told.contains("refused, duplicate: 1 bars of BTCUSD 1m; the first opened 2024-01-01T"),
            "{told}"
        );
        assert!(told.contains("refused, not_finite: 1") && told.contains("high is NaN"), "{told}");
    }
}

#[test]
fn gaps_are_treated_as_configured_for_serving() {
    let (home, series) = market_home(1, 200);
    let mut bars = series["BTCUSD"].clone();
    bars.drain(80..90);
    home.write("gap/BTCUSD_1m.csv", csv(&bars));
    let names = ["rsi_14", "rv_20"];
    let told = |set: &str| {
        let arguments = format!("--bars gap --features {} --out g.csv{set}", names.join(","));
        features(&home, &arguments).done();
        (meta(&home, "g.csv")["gaps"].as_str().unwrap().to_owned(), read_csv(&home.path("g.csv")))
    };
    let grid = Grid { policy: GapPolicy::FillFlat, ..Grid::from(Timeframe::MINUTE) };
    for (set, gaps, grid) in [
        ("", "skip", Grid::from(Timeframe::MINUTE)),
        (" --set feature.gaps=fill_flat", "gaps=fill_flat", grid),
    ] {
        let (found, table) = told(set);
        assert_eq!(found, gaps);
        let mut state = Plan::new(&names, grid).unwrap().state();
        assert_eq!(table.1.len(), bars.len());
        for (bar, row) in bars.iter().zip(&table.1) {
            state.update(bar);
            for (text, value) in row[1..].iter().zip(state.values()) {
                assert!(same(text.parse().unwrap(), *value), "{text} {value}");
            }
        }
    }
}

#[test]
fn complete_rows_have_everything_and_are_the_others_of_the_whole_table() {
    const BARS: usize = 800;
    let (home, _) = market_home(2, BARS);
    let names = ["rsi_14", "macd", "ret_1"];
    let label = format!("--bars bars --features {} --label kind=direction,horizon=10", names.join(","));
    features(&home, &format!("{label} --out all.csv")).done();
    let told = features(&home, &format!("{label} --complete --out complete.csv")).done();
    let (_, all) = read_csv(&home.path("all.csv"));
    let (_, complete) = read_csv(&home.path("complete.csv"));
    assert!(complete.iter().flatten().all(|cell| cell != "nan"));
    let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
    let warm_up = plan.warm_up_bars_max(Stability::Digits4) as usize - 1;
    assert!(warm_up >= 33, "macd is undefined before bar 33");
    // Without the bars that warm up, and without the last ten, which have no label.
    let whole = all.chunks(BARS).flat_map(|series| &series[warm_up..BARS - 10]);
    assert!(whole.eq(&complete));
    let left_out = 2 * (warm_up + 10);
    assert!(told.contains(&format!("left out, undefined or warming up: {left_out}\n")), "{told}");
}

#[test]
fn wrong_requests_say_what_to_do_and_leave_nothing() {
    let (home, _) = market_home(2, 20);
    home.write("sold/BTCUSD_1m.csv", csv(&[]));
    home.write("empty/readme.txt", "no bars");
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

/// Bars as other programs write them: odd order, a foreign column, several row groups, floats and integers.
fn write_parquet(path: &Path, bars: &[Bar], unit: TimeUnit) {
    let field = |name: &str, of: Physical, logical: Option<LogicalType>| {
        let made = Type::primitive_type_builder(name, of).with_logical_type(logical);
        Arc::new(made.with_repetition(Repetition::OPTIONAL).build().unwrap())
    };
    let fields = vec![
        field("Close", Physical::DOUBLE, None),
        field("note", Physical::INT32, None),
        field("high", Physical::DOUBLE, None),
        field("ts", Physical::INT64, Some(LogicalType::timestamp(true, unit))),
        field("low", Physical::DOUBLE, None),
        field("open", Physical::DOUBLE, None),
        field("volume", Physical::FLOAT, None),
    ];
    let schema = Arc::new(Type::group_type_builder("bars").with_fields(fields).build().unwrap());
    let properties = WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
    let file = std::fs::File::create(path).unwrap();
    let mut file = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let per_ms = match unit {
        TimeUnit::MILLIS => 1,
        TimeUnit::MICROS => 1000,
        TimeUnit::NANOS => 1_000_000,
    };
    for bars in bars.chunks(70) {
        let mut group = file.next_row_group().unwrap();
        let present = vec![1; bars.len()];
        let prices = |of: fn(&Bar) -> f64| bars.iter().map(of).collect::<Vec<_>>();
        macro_rules! column {
            ($Kind:ty, $values:expr) => {{
                let mut column = group.next_column().unwrap().unwrap();
                column.typed::<$Kind>().write_batch(&$values, Some(&present), None).unwrap();
                column.close().unwrap();
            }};
        }
        // A price that is null is no number, as an empty cell would be.
        let mut column = group.next_column().unwrap().unwrap();
        let closes: Vec<f64> = prices(|b| b.close).into_iter().filter(|close| !close.is_nan()).collect();
        let known: Vec<i16> = bars.iter().map(|bar| i16::from(!bar.close.is_nan())).collect();
        column.typed::<DoubleType>().write_batch(&closes, Some(&known), None).unwrap();
        column.close().unwrap();
        column!(Int32Type, vec![7; bars.len()]);
        column!(DoubleType, prices(|b| b.high));
        column!(Int64Type, bars.iter().map(|b| b.ts.as_millis() * per_ms).collect::<Vec<_>>());
        column!(DoubleType, prices(|b| b.low));
        column!(DoubleType, prices(|b| b.open));
        column!(FloatType, bars.iter().map(|b| b.volume as f32).collect::<Vec<_>>());
        group.close().unwrap();
    }
    file.close().unwrap();
}

#[test]
fn bars_of_parquet_are_those_of_csv() {
    let (home, mut series) = market_home(2, 500);
    std::fs::create_dir(home.path("parquet")).unwrap();
    for ((symbol, bars), unit) in series.iter_mut().zip([TimeUnit::MICROS, TimeUnit::NANOS]) {
        // What a float can hold, so that both files say the same.
        bars.iter_mut().for_each(|bar| bar.volume = f64::from(bar.volume as f32));
        bars[200].close = f64::NAN;
        home.write(&format!("bars/{symbol}_1m.csv"), csv(bars));
        write_parquet(&home.path(&format!("parquet/{symbol}_1m.parquet")), bars, unit);
    }
    let told = ["bars", "parquet"].map(|folder| {
        features(&home, &format!("--bars {folder} --out {folder}.csv")).done();
        let out = format!("replayed-{folder}.csv");
        home.finish(&["replay", "--bars", folder, "--models", MODELS, "--out", &out]).done();
        assert_eq!(meta(&home, &format!("{folder}.csv"))["series"][0]["refused"]["not_finite"], 1);
        [format!("{folder}.csv"), out].map(|name| std::fs::read_to_string(home.path(&name)).unwrap())
    });
    assert_eq!(told[0], told[1]);
    assert!(told[0][1].lines().count() > 1000);

    // Times without a zone or a unit are not guessed.
    let write = |logical: Option<LogicalType>| {
        let field = |name: &str, of, logical| {
            let made = Type::primitive_type_builder(name, of).with_logical_type(logical);
            Arc::new(made.with_repetition(Repetition::REQUIRED).build().unwrap())
        };
        let mut fields = vec![field("ts", Physical::INT64, logical)];
        fields.extend(
            ["open", "high", "low", "close", "volume"].map(|name| field(name, Physical::DOUBLE, None)),
        );
        let schema = Arc::new(Type::group_type_builder("bars").with_fields(fields).build().unwrap());
        let file = std::fs::File::create(home.path("X_1m.parquet")).unwrap();
        SerializedFileWriter::new(file, schema, Default::default()).unwrap().close().unwrap();
        features(&home, "--bars X_1m.parquet --out x.csv")
    };
    write(None).refused(1, &["X_1m.parquet", "`ts` is INT64", "TIMESTAMP in UTC"]);
    write(Some(LogicalType::timestamp(false, TimeUnit::MILLIS))).refused(1, &["no time zone", "UTC"]);
    write(Some(LogicalType::timestamp(true, TimeUnit::MILLIS))).done();
    features(&home, "--bars x.csv --out y.csv").refused(1, &["x.csv", "SYMBOL_TIMEFRAME.csv"]);
}

#[test]
fn a_damaged_parquet_file_is_told_and_never_a_panic() {
    let (home, series) = market_home(1, 300);
    let path = home.path("D_1m.parquet");
    write_parquet(&path, &series["BTCUSD"], TimeUnit::MILLIS);
    let whole = std::fs::read(&path).unwrap();
    let mut random = crate::support::Random(5);
    let mut refused = 0;
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..random.between(1, 4) {
            let at = random.between(0, bytes.len() - 1);
            bytes[at] ^= 1 << random.between(0, 7);
        }
        std::fs::write(&path, &bytes).unwrap();
        let file = vela::source::bar_files(std::slice::from_ref(&path)).unwrap().remove(0);
        let read = || -> Result<u64, vela::source::SourceError> {
            let mut reader = file.reader()?;
            let mut bars = 0;
            while reader.next_bar()?.is_some() {
                bars += 1;
            }
            Ok(bars)
        };
        match read() {
            Ok(bars) => assert!(bars <= 300),
            Err(error) => {
                assert!(error.to_string().contains("D_1m.parquet"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 50, "{refused}: most damage is noticed");
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
