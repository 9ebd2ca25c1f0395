//! Bars as feeds tell them: spellings of symbols, prices in other units, clocks. One test a case.

use crate::bars::{bars, outcomes_for, outcomes_of, reasons, settings, undisturbed, values_of};
use crate::service_support::{HEADER, Home, MODELS, OUTCOMES_PER_BAR, line};
use crate::support::put_model;
use std::collections::BTreeMap;
use std::time::Duration;
use vela::domain::{Bar, Outcome, Reason, SeriesKey, Timeframe, Timestamp};
use vela::{Engine, Settings};

/// The same bar in another unit of price, and of volume.
pub fn scaled(bar: &Bar, price: f64, volume: f64) -> Bar {
    let Bar { ts, open, high, low, close, .. } = *bar;
    let [open, high, low, close] = [open, high, low, close].map(|value| value * price);
    Bar { ts, open, high, low, close, volume: bar.volume * volume }
}

#[test]
fn symbols_are_taken_as_their_feed_spells_them_and_never_merged() {
    let spellings =
        ["BTC/USDT", "BTC-USDT", "btcusdt", "BTCUSDT", "BTCUSDT.P", "BTC/USDT:USDT", "btc_usdt", "BTCUSD"];
    let engine = Engine::start(settings()).unwrap();
    let pushed = engine.subscribe(100_000);
    for (nth, bar) in bars(20).iter().enumerate() {
        for (at, symbol) in spellings.iter().enumerate() {
            // Had two been one series, the second bar of a minute would be a duplicate or a revision.
            let bar = scaled(bar, 1.0, (nth + at + 1) as f64);
            engine.ingest(symbol, Timeframe::MINUTE, bar).unwrap();
        }
    }
    assert!(engine.drain(Duration::from_secs(60)));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in pushed.receiver().try_iter() {
        assert_eq!(outcome.revision, 0, "{}", outcome.series);
        *counts.entry(outcome.series.symbol.to_string()).or_default() += 1;
    }
    assert_eq!(counts.len(), spellings.len(), "{counts:?}");
    assert!(spellings.iter().all(|symbol| counts[*symbol] >= 20), "{counts:?}");
    for doubtful in ["", "BTC USDT", "BTC,USDT", "BTC\u{2044}USDT", "BTC\0"] {
        let error = SeriesKey::new(doubtful, Timeframe::MINUTE).unwrap_err().to_string();
        assert!(error.contains("letters, digits and . _ - / :"), "{error}");
        assert!(engine.ingest(doubtful, Timeframe::MINUTE, bars(1)[0]).is_err(), "{doubtful}");
    }
}

#[test]
fn a_symbol_that_no_model_is_for_but_one_spelled_alike_is_told_with_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let from = std::path::Path::new(MODELS).join("demo-1m-h1/1");
    let manifest = std::fs::read_to_string(from.join("model.toml")).unwrap();
    let manifest = manifest.replace("symbol = \"*\"", "symbol = \"BTCUSDT\"");
    put_model(&folder.path().join("models"), "for-btc", &from, &["model.onnx"], &manifest);
    let rows: String = bars(5)
        .iter()
        .map(|Bar { ts, open, high, low, close, volume }| {
            format!("{ts},{open},{high},{low},{close},{volume}\n")
        })
        .collect();
    let replay = |symbol: &str, rows: &str| {
        let file = folder.path().join(format!("{symbol}_1m.csv"));
        std::fs::write(&file, format!("ts,open,high,low,close,volume\n{rows}")).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vela"));
        command.args(["replay", "--models", "models", "--bars"]).arg(&file).current_dir(folder.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = replay("BTC-USDT", &rows);
    assert!(!told.contains("line end"), "{told}");
    assert!(told.contains("no model serves BTC-USDT 1m; for-btc is for BTCUSDT"), "{told}");
    assert!(told.contains("symbol = [\"BTCUSDT\", \"BTC-USDT\"]"), "{told}");
    assert!(told.contains("ingest.symbol_aliases = \"BTC-USDT BTCUSDT\""), "{told}");
    for silent in ["BTCUSDT", "BTC-USD"] {
        let told = replay(silent, &rows);
        assert!(!told.contains("no model serves"), "{silent}: {told}");
    }
    let cut = replay("BTCUSDT", rows.trim_end());
    assert!(cut.contains("BTCUSDT_1m.csv: its last line has no line end"), "{cut}");
}

#[test]
fn prices_in_ten_thousandths_as_integers_are_answered_like_any_other() {
    let whole = |bar: &Bar| {
        let Bar { ts, open, high, low, close, volume } = *bar;
        let [open, high, low, close] = [open, high, low, close].map(|price| (price * 1e4).round());
        Bar { ts, open, high, low, close, volume }
    };
    let integers: Vec<Bar> = bars(150).iter().map(whole).collect();
    // A power of two beside ten thousand, which changes no bit of a ratio.
    let small: Vec<Bar> = integers.iter().map(|bar| scaled(bar, 2_f64.powi(-13), 1.0)).collect();
    let expected = undisturbed(&small);
    assert_eq!(expected.len(), OUTCOMES_PER_BAR);
    assert_eq!(undisturbed(&integers), expected);
}

#[test]
fn prices_in_a_declared_unit_are_those_of_a_feed_that_tells_them_whole() {
    let in_parts = |bar: &Bar| {
        let [open, high, low, close] =
            [bar.open, bar.high, bar.low, bar.close].map(|price| (price * 1e4).round());
        Bar { open, high, low, close, ..*bar }
    };
    let integers: Vec<Bar> = bars(150).iter().map(in_parts).collect();
    // As somebody writes them who writes decimals.
    let decimal = |whole: f64| -> f64 {
        format!("{}.{:04}", whole as u64 / 10_000, whole as u64 % 10_000).parse().unwrap()
    };
    let decimals: Vec<Bar> = (integers.iter())
        .map(|bar| {
            let [open, high, low, close] = [bar.open, bar.high, bar.low, bar.close].map(decimal);
            Bar { open, high, low, close, ..*bar }
        })
        .collect();
    let mut declared = settings();
    declared.ingest.price_unit = 0.0001;
    let (found, expected) = (outcomes_of(declared.clone(), &integers), outcomes_of(settings(), &decimals));
    let close = |outcomes: &[Outcome]| outcomes.iter().map(|outcome| outcome.close.to_bits()).max();
    assert_eq!(close(&found), close(&expected));
    for bar in &decimals {
        assert_eq!(values_of(&found, bar.ts, 0), values_of(&expected, bar.ts, 0), "{}", bar.ts);
    }
    assert_eq!(values_of(&found, decimals[149].ts, 0).len(), OUTCOMES_PER_BAR);
    // A bar that has not closed is told in the same unit.
    let peek = |settings: Settings, bars: &[Bar]| {
        let engine = Engine::start(settings).unwrap();
        bars[..149].iter().for_each(|bar| engine.ingest("BTCUSD", Timeframe::MINUTE, *bar).unwrap());
        let answer = engine.peek("BTCUSD", Timeframe::MINUTE, 5, bars[149]).wait(Duration::from_secs(60));
        answer.unwrap().result.unwrap().value
    };
    assert_eq!(peek(declared, &integers), peek(settings(), &decimals));
    // A table is of the same numbers.
    let home = Home::bare();
    let table = |name: &str, bars: &[Bar], unit: &str| {
        let rows: String = bars.iter().map(line).collect();
        let file = home.write(&format!("{name}/BTCUSD_1m.csv"), HEADER.to_owned() + &rows);
        let (file, out) = (file.to_str().unwrap(), format!("{name}.csv"));
        let names = "vela-core-1";
        home.finish(&["features", "--bars", file, "--features", names, "--out", &out, "--set", unit]).done();
        std::fs::read_to_string(home.path(&out)).unwrap()
    };
    let whole = table("whole", &integers, "ingest.price_unit=0.0001");
    assert_eq!(whole, table("decimal", &decimals, "ingest.price_unit=1"));
    assert_eq!(whole.lines().count(), 151);
}

#[test]
fn a_bar_of_the_future_is_refused_and_the_next_one_answered() {
    let mut bars = bars(150);
    let expected = undisturbed(&bars);
    let soon = Timeframe::MINUTE.open_of(Timestamp::now()).plus_millis(3_600_000);
    bars.insert(149, Bar { ts: soon, ..bars[148] });
    let outcomes = outcomes_of(settings(), &bars);
    assert_eq!(reasons(&outcomes).iter().filter(|reason| **reason == Reason::Future).count(), 1);
    assert_eq!(values_of(&outcomes, bars[150].ts, 0), expected);
}

#[test]
fn a_symbol_that_was_halted_goes_on_where_it_was() {
    let bars = bars(160);
    let paused: Vec<Bar> = bars
        .iter()
        .enumerate()
        .map(|(at, bar)| Bar { ts: bar.ts.plus_millis(if at < 150 { 0 } else { 86_400_000 }), ..*bar })
        .collect();
    let outcomes = outcomes_for("BTCUSD", settings(), &paused);
    assert_eq!(outcomes.len(), 160 * OUTCOMES_PER_BAR);
    // The first bar after the pause, one day later to the minute: what was taken before still counts.
    let first = values_of(&outcomes, paused[150].ts, 0);
    assert_eq!(first, values_of(&outcomes_of(settings(), &bars), bars[150].ts, 0));
    assert_eq!(first.len(), OUTCOMES_PER_BAR);
}

#[test]
fn a_price_of_zero_or_below_is_refused_but_of_a_symbol_that_declares_it() {
    let good = bars(150);
    let mut declared = settings();
    declared.ingest.any_price_symbols = "WTI, CL-SPREAD".to_owned();
    for price in [0.0, -0.0, -37.63] {
        let mut bars = good.clone();
        bars.insert(149, Bar { low: price, ..good[149] });
        let outcomes = outcomes_for("BTCUSD", declared.clone(), &bars);
        let refused = reasons(&outcomes).iter().filter(|r| **r == Reason::PriceNotPositive).count();
        assert_eq!(refused, 1, "{price}");
        let (expected, at) = (outcomes_for("BTCUSD", settings(), &good), good[149].ts);
        assert_eq!(values_of(&outcomes, at, 0), values_of(&expected, at, 0), "{price}");
        // A market that trades below 0 for a while: every bar has its outcome, the last ones their numbers.
        let mut bars = good.clone();
        for bar in &mut bars[20..30] {
            *bar = Bar { open: price - 1.0, high: price, low: price - 2.0, close: price - 1.5, ..*bar };
        }
        let outcomes = outcomes_for("CL-SPREAD", declared.clone(), &bars);
        assert_eq!(outcomes.len(), 150 * OUTCOMES_PER_BAR, "{price}");
        let known = [Reason::WarmingUp, Reason::UndefinedFeature];
        assert!(reasons(&outcomes).iter().all(|reason| known.contains(reason)), "{:?}", reasons(&outcomes));
        assert_eq!(values_of(&outcomes, at, 0).len(), OUTCOMES_PER_BAR, "{price}");
    }
}

#[test]
fn a_bad_tick_that_is_corrected_leaves_no_trace() {
    let good = bars(150);
    let mut told = good.clone();
    told[148].high *= 10.0;
    // The venue takes the tick back after the next bar.
    told.push(good[148]);
    let outcomes = outcomes_of(settings(), &told);
    let expected = outcomes_of(settings(), &good);
    for bar in &good[148..] {
        let last = outcomes.iter().filter(|o| o.ts == bar.ts).map(|o| o.revision).max().unwrap();
        assert_eq!(last, 1, "{}", bar.ts);
        assert_eq!(values_of(&outcomes, bar.ts, last), values_of(&expected, bar.ts, 0), "{}", bar.ts);
    }
}

/// The table of docs/bars.md names tests that there are.
#[test]
fn every_case_of_the_page_has_its_test() {
    fn sources(folder: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    ["src", "tests/suite"].iter().for_each(|folder| sources(&root.join(folder), &mut all));
    let page = std::fs::read_to_string(root.join("docs/bars.md")).unwrap();
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")).skip(2) {
        let tests: Vec<&str> = row.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            assert!(all.contains(&format!("fn {test}(")), "there is no test {test}");
            named += 1;
        }
    }
    assert!(named > 30, "{named}");
}
