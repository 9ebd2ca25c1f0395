//! `vela features`: tables that hold what serving computes, and labels that see what came after.

mod parquet_bars;
mod requests;

use crate::service_support::{Ended, HEADER, Home, MODELS, line, market};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
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
        // What is not there is an empty cell, as pandas writes it.
        home.write(&format!("{folder}/BTCUSD_1m.csv"), csv(bars).replace("NaN", ""));
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
