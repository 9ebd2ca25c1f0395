//! Symbols under other names: renamed, spelled otherwise, and asked for so, through every way in and over a restart.

use crate::bars::{bars, outcomes_for, reasons, settings, values_of};
use crate::postgres_source::Scene;
use crate::serve_support::{SOON, Served};
use crate::service_support::{
    Fed, HEADER, Home, MODELS, OUTCOMES_PER_BAR, Table, assert_same, copy, eventually, line,
};
use serde_json::json;
use std::fs::File;
use std::sync::Arc;
use vela::config::{CatchUp, SourceKind};
use vela::domain::{Bar, Outcome, Reason, SeriesKey, Timeframe, Timestamp};
use vela::store::MemoryStore;
use vela::{Engine, Overrides, Settings};

/// The bars that came before this one opened came as FB.
const RENAMED: usize = 150;

fn named(symbol: &str, bars: &[Bar]) -> Vec<Fed> {
    let series = Arc::new(SeriesKey::new(symbol, Timeframe::MINUTE).unwrap());
    bars.iter().map(|bar| (Arc::clone(&series), *bar)).collect()
}

/// `bars` as FB, and from the bar [`RENAMED`] on as META.
fn renamed(bars: &[Bar]) -> Vec<Fed> {
    let (old, new) = bars.split_at(RENAMED.min(bars.len()));
    [named("FB", old), named("META", new)].concat()
}

/// The table of aliases for that, and a spelling.
fn aliases(bars: &[Bar]) -> String {
    format!("FB META until {}, META/USD META", bars[RENAMED].ts)
}

fn outcomes(aliases: &str, fed: &[Fed]) -> Vec<Outcome> {
    let mut settings = settings();
    settings.ingest.symbol_aliases = aliases.parse().unwrap();
    let engine = Engine::start(settings).unwrap();
    let pushed = engine.subscribe(100_000);
    fed.iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
    assert!(engine.drain(SOON));
    pushed.receiver().try_iter().collect()
}

#[test]
fn a_symbol_that_was_renamed_goes_on_as_one_series() {
    let bars = bars(200);
    let found = outcomes(&aliases(&bars), &renamed(&bars));
    let expected = outcomes_for("META", settings(), &bars);
    assert_eq!(found.len(), 200 * OUTCOMES_PER_BAR);
    assert!(found.iter().all(|outcome| &*outcome.series.symbol == "META"));
    for bar in &bars {
        assert_eq!(values_of(&found, bar.ts, 0), values_of(&expected, bar.ts, 0), "{}", bar.ts);
    }
    assert_eq!(values_of(&found, bars[RENAMED].ts, 0).len(), OUTCOMES_PER_BAR, "no warm-up behind it");
    // From then on the old name is another's.
    let found = outcomes(&aliases(&bars), &[renamed(&bars), named("FB", &bars[RENAMED..])].concat());
    let of = |symbol: &str| found.iter().filter(|outcome| *outcome.series.symbol == *symbol).count();
    assert_eq!((of("META"), of("FB")), (200 * OUTCOMES_PER_BAR, 50 * OUTCOMES_PER_BAR));
}

#[test]
fn one_bar_under_two_spellings_is_an_exact_duplicate() {
    let bars = bars(100);
    let twice: Vec<Fed> = (named("META/USD", &bars).into_iter().zip(named("META", &bars)))
        .flat_map(|(spelled, named)| [spelled, named])
        .collect();
    let found = outcomes("META/USD META", &twice);
    assert!(found.iter().all(|outcome| (&*outcome.series.symbol, outcome.revision) == ("META", 0)));
    let duplicates = reasons(&found).iter().filter(|reason| **reason == Reason::Duplicate).count();
    assert_eq!((duplicates, found.len()), (100, 100 + 100 * OUTCOMES_PER_BAR));
    assert!(found.iter().any(|outcome| outcome.result.is_ok()));
}

/// The predictions of a replay of the files in `folder`.
fn replayed(home: &Home, folder: &str, aliases: &str) -> Vec<String> {
    let database = format!("{folder}.db");
    let store = format!("sqlite:{database}");
    let set = format!("ingest.symbol_aliases={aliases}");
    let mut arguments = vec!["replay", "--bars", folder, "--models", "models", "--store", &store];
    arguments.extend(["--set", "feature.warm_up=defined", "--set", &set]);
    home.finish(&arguments).done();
    Table::watch(&home.path(&database)).predictions()
}

/// Adds bars to the files of `folder`.
fn append(home: &Home, folder: &str, fed: &[Fed]) {
    for (series, bar) in fed {
        let name = format!("{folder}/{}_1m.csv", series.symbol);
        if !home.path(&name).exists() {
            home.write(&name, HEADER);
        }
        home.append(&name, &line(bar));
    }
}

#[test]
fn a_replay_and_a_table_over_a_rename_are_those_of_one_file() {
    let home = Home::bare();
    copy(std::path::Path::new(MODELS), &home.path("models"));
    let bars = bars(200);
    append(&home, "whole", &named("META", &bars));
    append(&home, "parts", &[renamed(&bars), named("META.X", &bars[120..180])].concat());
    let aliases = format!("FB META until {}, META.X META", bars[RENAMED].ts);
    let expected = replayed(&home, "whole", "");
    assert_eq!(expected.len() % OUTCOMES_PER_BAR, 0);
    assert!(!expected.is_empty());
    assert_same("replay", &replayed(&home, "parts", &aliases), &expected);

    let set = format!("ingest.symbol_aliases={aliases}");
    let table = |folder: &str, set: &str| {
        let out = format!("{folder}.csv");
        let mut arguments = vec!["features", "--features", "default", "--label", "kind=logret,horizon=5"];
        arguments.extend(["--bars", folder, "--out", &out, "--set", set]);
        home.finish(&arguments).done();
        let meta = std::fs::read_to_string(home.path(&format!("{out}.meta.json"))).unwrap();
        let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
        (std::fs::read_to_string(home.path(&out)).unwrap(), meta)
    };
    let (whole, _) = table("whole", "ingest.symbol_aliases=");
    let (parts, meta) = table("parts", &set);
    // Bars under the old name from the rename on would be of another series, so the table says which each row is of.
    let without = |text: &str| text.replace("META,1m,", "").replace("symbol,timeframe,", "");
    assert_eq!(without(&parts), whole);
    assert_eq!(whole.lines().count(), 201);
    let [series] = meta["series"].as_array().unwrap().as_slice() else { panic!("{meta}") };
    assert_eq!((&series["symbol"], &series["bars"]), (&"META".into(), &200.into()));
    assert_eq!(series["refused"], json!({"duplicate": 60}));
    let files = [&series["file"], &series["more_files"][0], &series["more_files"][1]];
    assert_eq!(files, ["parts/FB_1m.csv", "parts/META_1m.csv", "parts/META.X_1m.csv"]);
}

/// Runs over a rename: stopped before it, and behind it, with bars in between that nobody watched. Each bar is predicted once.
fn restarts(home: &Home, mut feed: impl FnMut(&[Fed]), stored: impl Fn() -> Vec<String>) {
    let bars = bars(210);
    append(home, "whole", &named("META", &bars));
    let expected = replayed(home, "whole", "");
    let until = |count: usize| -> Vec<String> {
        let behind = bars.get(count).map(|bar| bar.ts.to_string());
        let before = |row: &&String| behind.as_deref().is_none_or(|ts| row.split(" | ").nth(3) < Some(ts));
        expected.iter().filter(before).cloned().collect()
    };
    let all = renamed(&bars);
    let spelled = named("META.X", &bars[195..200]);
    let mut done = 0;
    for (missed, live) in [(0..60, 60..100), (100..170, 170..200), (200..200, 200..210)] {
        feed(&all[missed.clone()]);
        let service = home.run();
        for some in [missed.end, live.end] {
            if some == live.end {
                feed(&all[live.clone()]);
            }
            let expected = until(some);
            eventually(&format!("{} predictions", expected.len()), || {
                let found = stored().len();
                assert!(found <= expected.len(), "{found} predictions, more than {}", expected.len());
                (found == expected.len()).then_some(())
            });
        }
        if live.end == 200 {
            // What came before comes once more, spelled otherwise.
            feed(&spelled);
        }
        let ended = service.stop();
        let line = ended.stderr.lines().find(|line| line.starts_with("stopped: ")).unwrap().to_owned();
        let count = line.split(' ').nth(4).unwrap().parse::<usize>().unwrap();
        assert_eq!(count, until(live.end).len() - done, "predicted in this run: {line}");
        done += count;
    }
    assert_same("predictions", &stored(), &expected);
}

/// Aliases for [`restarts`], which are told twice nowhere.
fn configuration(more: &str) -> String {
    let until = bars(RENAMED + 1)[RENAMED].ts;
    // What may have changed while nobody watched is another matter.
    format!(
        "ingest.symbol_aliases = \"FB META until {until}, META.X META\"\ningest.revision_bars = 0\n{more}"
    )
}

#[test]
fn growing_files_over_a_rename_and_a_restart_lose_no_bar_and_predict_none_twice() {
    let home = Home::new();
    home.configure(&configuration("[source]\nkind = \"csv\"\npath = \"bars\"\n"));
    let database = home.database();
    restarts(&home, |fed| append(&home, "bars", fed), || Table::watch(&database).predictions());
}

#[test]
fn a_sqlite_table_over_a_rename_and_a_restart_loses_no_bar_and_predicts_none_twice() {
    let home = Home::new();
    home.configure(&configuration("[source]\npath = \"vela.db\"\n"));
    let database = home.database();
    let mut table = Table::create(&database);
    restarts(&home, |fed| table.feed(fed), || Table::watch(&database).predictions());
}

#[test]
fn a_postgresql_table_over_a_rename_and_a_restart_loses_no_bar_and_predicts_none_twice() {
    let Some(scene) = Scene::new(&[]) else { return };
    scene.configure(&scene.cluster.url(), "overlap_bars = 0\n");
    let text = std::fs::read_to_string(scene.home.path("vela.toml")).unwrap();
    scene.home.write("vela.toml", configuration(&text));
    let (mut feed, watch) = (scene.feed(), std::cell::RefCell::new(scene.feed()));
    restarts(&scene.home, |fed| feed.insert(fed), || watch.borrow_mut().predictions());
    // One question to the history under both names.
    let said = scene.vela(&["predict", "META", "1m", "5"]);
    assert!(said.contains("META 1m at horizon 5"), "{said}");
    let said = scene.vela(&["predict", "META.X", "1m", "5"]);
    assert!(said.contains("META 1m at horizon 5"), "{said}");
    scene.ended(&["predict", "FB", "1m", "5"]).refused(1, &["it is META since"]);
}

#[test]
fn a_process_that_replaces_itself_over_a_rename_misses_no_bar() {
    let home = Home::bare();
    let bars = bars(170);
    let mut with_files = settings();
    with_files.ingest.symbol_aliases = aliases(&bars).parse().unwrap();
    (with_files.source.kind, with_files.source.path) = (SourceKind::Csv, home.path("bars"));
    let run = |settings: Settings, series: Vec<File>, count: usize| {
        let store = MemoryStore::new();
        let stored = store.outcomes();
        let overrides = Overrides { store: Some(Box::new(store)), series, ..Overrides::default() };
        let engine = Engine::start_with(settings, overrides).unwrap();
        let reached = || (stored.lock().len() >= count * OUTCOMES_PER_BAR).then_some(());
        eventually(&format!("{count} bars"), reached);
        engine.stop().unwrap();
        let left = vec![tempfile::tempfile().unwrap()];
        engine.save_series(&left).unwrap();
        let found = stored.lock().clone();
        (found, left)
    };
    append(&home, "bars", &renamed(&bars[..100]));
    let (_, left) = run(with_files.clone(), Vec::new(), 100);
    append(&home, "bars", &renamed(&bars)[100..]);
    // A replacement is no start: what came in its pause is answered, whatever is caught up on otherwise.
    with_files.source.catch_up = CatchUp::None;
    let (found, _) = run(with_files, left, 70);
    let expected = outcomes_for("META", settings(), &bars);
    assert_eq!(found.len(), 70 * OUTCOMES_PER_BAR);
    for bar in &bars[100..] {
        assert_eq!(values_of(&found, bar.ts, 0), values_of(&expected, bar.ts, 0), "{}", bar.ts);
    }
}

#[test]
fn a_symbol_is_asked_for_by_its_aliases_while_they_hold() {
    let mut settings = crate::serve_support::settings();
    let bars = bars(200);
    settings.ingest.symbol_aliases = aliases(&bars).parse().unwrap();
    let served = Served::with(settings);
    served.feed(&renamed(&bars));
    let asked = |symbol: &str| served.get(&format!("/api/predict?symbol={symbol}&timeframe=1m&horizon=5"));
    let expected = asked("META");
    assert_eq!((expected.status, &expected.json()["ts"]), (200, &bars[199].ts.to_string().into()));
    let spelled = asked("META%2FUSD").json();
    assert_eq!((&spelled["symbol"], &spelled["value"]), (&"META".into(), &expected.json()["value"]));
    let over = asked("FB");
    assert_eq!(over.status, 404);
    let since = format!("no bar of FB 1m has been taken yet; it is META since {}", bars[RENAMED].ts);
    assert!(over.text().contains(&since), "{}", over.text());
    // What would be, if a bar closed as it is: of the name that is right for its time.
    let next = Bar { ts: bars[199].ts.plus_millis(60_000), ..bars[199] };
    let peek = |symbol: &str, ts: Timestamp| {
        served.engine.peek(symbol, Timeframe::MINUTE, 5, Bar { ts, ..next }).wait(SOON).unwrap()
    };
    assert_eq!(&*peek("META/USD", next.ts).series.symbol, "META");
    assert_eq!(peek("FB", next.ts).result.unwrap_err().reason, Reason::NoBar);
    assert_eq!(peek("FB", bars[100].ts).result.unwrap_err().reason, Reason::Late);

    let newest = |symbol: &str| served.get(&format!("/api/predictions?symbol={symbol}&limit=10000")).json();
    eventually("the newest predictions are seen", || {
        let (named, spelled) = (newest("META"), newest("META/USD"));
        (named == spelled && !named["predictions"].as_array()?.is_empty()).then_some(())
    });
    assert_eq!(newest("FB")["predictions"], json!([]));
    let mut stream = served.connect();
    assert_eq!(stream.ask("GET", "/api/stream?symbols=META%2FUSD", "", b"").status, 200);
    let told = stream.text_until(|text| text.contains("event: prediction"));
    assert!(told.contains("\"symbol\":\"META\""), "{told}");

    // A bar that is posted under an alias, and has the last word.
    let Bar { ts, open, high, low, close, volume } = next;
    let bar = json!({
        "symbol": "META/USD", "timeframe": "1m", "ts": ts.to_string(), "open": open, "high": high, "low": low,
        "close": close, "volume": volume,
    });
    assert_eq!(served.post("/api/bars", &json!({"bars": [bar]})).status, 202);
    assert!(served.engine.drain(SOON));
    assert_eq!(asked("META").json()["ts"], ts.to_string());
}
