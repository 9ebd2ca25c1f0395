//! Every bar has its outcomes: as many as models serve it, each either a prediction or a reason, none twice.
//!
//! What is counted is what is in the store's own tables, held against the files of bars, and then against what the
//! program said of itself.

use crate::support::{
    DEMO_MODELS, csv_files, put_demo_models, put_model, reasons_of, reference, replay, series_of, times_of,
};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use vela::domain::Reason;

const HORIZONS: [u32; 3] = [1, 5, 15];

/// The demo models: as they are for minutes, and for any other timeframe that is asked for.
fn models(folder: &Path, other_timeframes: &[&str]) -> PathBuf {
    let folder = folder.join("models");
    for timeframe in ["1m"].iter().chain(other_timeframes) {
        put_demo_models(&folder, timeframe);
    }
    // The one that serves a single symbol, in place of the one for all.
    let name = "demo-btcusd-1m-h5";
    let from = Path::new(DEMO_MODELS).join(name).join("1");
    let manifest = std::fs::read_to_string(from.join("model.toml")).unwrap();
    put_model(&folder, name, &from, &["model.onnx"], &manifest);
    folder
}

fn run(work: &Path, bars: &Path, models: &Path) -> (Value, Connection) {
    let database = work.join("outcomes.db");
    let store = format!("sqlite:{}", database.display());
    let arguments = ["--bars".as_ref(), bars.as_os_str(), "--models".as_ref(), models.as_os_str()];
    let arguments = [&arguments[..], &["--store".as_ref(), OsStr::new(&store)]].concat();
    let summary = replay(work, &arguments);
    assert_eq!((&summary["undrained"], &summary["unsaved"]), (&Value::from(0), &Value::from(0)));
    (summary, Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap())
}

fn count(connection: &Connection, table: &str) -> i64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// How many rows `inference_errors` has, by reason.
fn reasons_stored(connection: &Connection) -> BTreeMap<String, i64> {
    let mut statement =
        connection.prepare("SELECT reason, count(*) FROM inference_errors GROUP BY reason").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let reasons: BTreeMap<String, i64> = rows.map(Result::unwrap).collect();
    for reason in reasons.keys() {
        assert!(Reason::ALL.iter().any(|known| known.code() == reason), "unknown reason `{reason}`");
    }
    reasons
}

/// The open times of all outcomes of a series at a horizon, in their order, from both tables.
fn outcomes(connection: &Connection, symbol: &str, timeframe: &str, horizon: u32) -> Vec<String> {
    let sql =
        "SELECT ts FROM agentpreds WHERE symbol = ?1 AND timeframe = ?2 AND horizon = ?3 AND revision = 0
               UNION ALL
               SELECT ts FROM inference_errors WHERE symbol = ?1 AND timeframe = ?2 AND horizon = ?3
               ORDER BY ts";
    let mut statement = connection.prepare_cached(sql).unwrap();
    let rows = statement.query_map((symbol, timeframe, horizon), |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The first difference between two sorted lists, for the message.
fn first_difference<'a>(
    a: &'a [String],
    b: &'a [String],
) -> Option<(usize, Option<&'a str>, Option<&'a str>)> {
    let text = |list: &'a [String], i: usize| list.get(i).map(String::as_str);
    (0..a.len().max(b.len())).find(|i| a.get(*i) != b.get(*i)).map(|i| (i, text(a, i), text(b, i)))
}

#[test]
fn every_bar_of_every_file_has_exactly_one_outcome_a_horizon() {
    let Some(data) = reference("data") else { return };
    let work = tempfile::tempdir().unwrap();
    let models = models(work.path(), &["5m", "1h"]);
    let (summary, connection) = run(work.path(), &data, &models);
    println!("{} s, {}", summary["seconds"], reasons_of(&summary));

    let mut bars = 0;
    for file in csv_files(&data) {
        let (symbol, timeframe) = series_of(&file);
        let times = times_of(&file);
        bars += times.len() as i64;
        for horizon in HORIZONS {
            let outcomes = outcomes(&connection, &symbol, &timeframe, horizon);
            assert_eq!(
                first_difference(&outcomes, &times),
                None,
                "{symbol} {timeframe} horizon {horizon}: {} outcomes, {} bars",
                outcomes.len(),
                times.len()
            );
        }
        println!("{symbol} {timeframe}: {} bars, each with {} outcomes", times.len(), HORIZONS.len());
    }
    // Nothing belongs to another series or horizon.
    let (predictions, errors) = (count(&connection, "agentpreds"), count(&connection, "inference_errors"));
    assert_eq!(predictions + errors, bars * HORIZONS.len() as i64);
    let reasons = reasons_stored(&connection);
    assert!(
        reasons.keys().all(|reason| [Reason::WarmingUp, Reason::UndefinedFeature]
            .map(Reason::code)
            .contains(&&**reason)),
        "{reasons:?}"
    );
    // The watermark of every series is its last bar.
    assert_eq!(count(&connection, "inference_state"), csv_files(&data).len() as i64);
    for file in csv_files(&data) {
        let (symbol, timeframe) = series_of(&file);
        let sql = "SELECT watermark FROM inference_state WHERE symbol = ?1 AND timeframe = ?2";
        let watermark: String = connection.query_row(sql, (&symbol, &timeframe), |row| row.get(0)).unwrap();
        assert_eq!(Some(&watermark), times_of(&file).last(), "{symbol} {timeframe}");
    }
    // The program says the same of itself.
    assert_eq!(summary["bars"], bars);
    assert_eq!(summary["predictions"], predictions);
    assert_eq!(summary["reasons"], serde_json::to_value(&reasons).unwrap());
    println!("{bars} bars: {predictions} predictions, {errors} reasons");
}

/// A file of bars that is written line by line; remembers what must come of them.
#[derive(Default)]
struct Feed {
    /// The bars that were answered anew.
    revised: Vec<String>,
    text: String,
    /// Open times of the bars that are taken.
    taken: Vec<String>,
    /// Open times and reasons of those that are not.
    refused: Vec<(String, Reason)>,
}

impl Feed {
    fn time(minute: u32) -> String {
        format!("2026-01-05T{:02}:{:02}:00Z", minute / 60, minute % 60)
    }

    /// Open, high, low, close and volume of a bar as they should be: no two bars are alike.
    fn good(minute: u32) -> [f64; 5] {
        let open = 100.0 + f64::from(minute * 7 % 13);
        let close = 100.0 + f64::from((minute + 1) * 7 % 13);
        [open, open.max(close) + 1.0, open.min(close) - 1.0, close, 50.0 + f64::from(minute * 11 % 17)]
    }

    fn line(&mut self, ts: &str, numbers: [f64; 5]) {
        let cells: Vec<String> = numbers.iter().map(f64::to_string).collect();
        self.text.push_str(&format!("{ts},{}\n", cells.join(",")));
    }

    fn take(&mut self, minute: u32) {
        self.line(&Self::time(minute), Self::good(minute));
        self.taken.push(Self::time(minute));
    }

    fn refuse(&mut self, ts: &str, numbers: [f64; 5], reason: Reason) {
        self.line(ts, numbers);
        self.refused.push((ts.to_owned(), reason));
    }
}

/// Five and a half hours of bars, so that all features settle; among them each fault that a bar can have.
fn faulty_feed() -> Feed {
    let mut feed = Feed::default();
    // The n-th number of a bar, changed, and the reason it has then.
    let broken = [
        (0, f64::NAN, Reason::NotFinite),
        (3, f64::INFINITY, Reason::NotFinite),
        (4, f64::NAN, Reason::NotFinite),
        (2, 0.0, Reason::PriceNotPositive),
        (3, -5.0, Reason::PriceNotPositive),
        (4, -1.0, Reason::NegativeVolume),
        (1, 50.0, Reason::HighBelowLow),
        (0, 500.0, Reason::OutsideRange),
        (3, 50.0, Reason::OutsideRange),
    ];
    for minute in 0..330 {
        match minute {
            100..=180 if minute % 10 == 0 => {
                let (number, value, reason) = broken[(minute as usize - 100) / 10];
                let mut numbers = Feed::good(minute);
                numbers[number] = value;
                feed.refuse(&Feed::time(minute), numbers, reason);
            }
            // Missing: it comes late.
            285 => {}
            _ => feed.take(minute),
        }
        match minute {
            // Between two minutes.
            193 => feed.refuse("2026-01-05T03:13:30Z", Feed::good(minute), Reason::Unaligned),
            // The newest bar once more, and one of a while ago.
            194 => feed.refuse(&Feed::time(194), Feed::good(194), Reason::Duplicate),
            198 => feed.refuse(&Feed::time(170 + 1), Feed::good(171), Reason::Duplicate),
            // It goes in its place, and the bars behind it are answered anew.
            290 => {
                feed.take(285);
                feed.revised.extend((286..=290).map(Feed::time));
            }
            // Longer ago than bars are remembered.
            205 => feed.refuse(&Feed::time(5), Feed::good(5), Reason::Late),
            300 => {
                let mut numbers = Feed::good(300);
                numbers[3] += 0.5;
                feed.line(&Feed::time(300), numbers);
                feed.revised.push(Feed::time(300));
            }
            // Refused before; now it is good, but too late.
            215 => feed.refuse(&Feed::time(180), Feed::good(180), Reason::Late),
            _ => {}
        }
    }
    feed
}

#[test]
fn every_faulty_bar_is_accounted_for_with_its_reason() {
    let work = tempfile::tempdir().unwrap();
    let mut feed = faulty_feed();
    // One of them came late.
    feed.taken.sort();
    let bars = work.path().join("BTCUSD_1m.csv");
    std::fs::write(&bars, format!("ts,open,high,low,close,volume\n{}", feed.text)).unwrap();
    let (summary, connection) = run(work.path(), &bars, &models(work.path(), &[]));
    println!("{}", reasons_of(&summary));

    // The bars that were refused: one row each, but for duplicates, which are only counted.
    let mut expected: Vec<(String, &str)> =
        feed.refused.iter().map(|(ts, reason)| (ts.clone(), reason.code())).collect();
    let mut counted: BTreeMap<&str, i64> = BTreeMap::new();
    for (_, reason) in &expected {
        *counted.entry(reason).or_default() += 1;
    }
    expected.retain(|(_, reason)| *reason != Reason::Duplicate.code());
    expected.sort();
    let sql = "SELECT ts, reason FROM inference_errors WHERE horizon = 0 ORDER BY ts, reason";
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let stored: Vec<(String, String)> = rows.map(Result::unwrap).collect();
    let stored: Vec<(String, &str)> =
        stored.iter().map(|(ts, reason)| (ts.clone(), reason.as_str())).collect();
    assert_eq!(stored, expected);

    // The bars that were taken: one outcome a horizon, as if the others had never come.
    for horizon in HORIZONS {
        let outcomes = outcomes(&connection, "BTCUSD", "1m", horizon);
        assert_eq!(first_difference(&outcomes, &feed.taken), None, "horizon {horizon}");
    }
    let warming: i64 = {
        let sql = "SELECT count(*) FROM inference_errors WHERE horizon > 0";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    // adx_14 takes 252 bars until four of its digits no longer depend on where the series begins.
    assert!(warming > 252 && warming < 3 * 252, "{warming} outcomes while the features warm up");
    counted.insert(Reason::WarmingUp.code(), warming);

    // The revised bar, and those behind the late one.
    let sql = "SELECT horizon || ' ' || ts FROM agentpreds WHERE revision = 1 ORDER BY ts, horizon";
    let mut statement = connection.prepare(sql).unwrap();
    let revised: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let anew = |ts: &String| HORIZONS.map(|horizon| format!("{horizon} {ts}"));
    assert_eq!(revised, feed.revised.iter().flat_map(anew).collect::<Vec<_>>());

    let outcomes = ((feed.taken.len() + feed.revised.len()) * HORIZONS.len() + feed.refused.len()) as i64;
    // One bar was revised; the late one is among those that were taken.
    assert_eq!(summary["bars"], feed.taken.len() + feed.refused.len() + 1);
    assert_eq!(summary["reasons"], serde_json::to_value(&counted).unwrap());
    assert_eq!(summary["predictions"].as_i64().unwrap() + counted.values().sum::<i64>(), outcomes);
    assert_eq!(summary["predictions"], count(&connection, "agentpreds"));
    // The model that names the symbol serves its horizon, the others are the ones for all.
    let sql = "SELECT DISTINCT horizon || ' ' || model FROM agentpreds ORDER BY horizon";
    let mut statement = connection.prepare(sql).unwrap();
    let serving: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(serving, ["1 demo-1m-h1", "5 demo-btcusd-1m-h5", "15 demo-1m-h15"]);
}
