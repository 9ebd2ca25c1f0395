//! Replacing itself with many series and a long history: what is known of them passes on, and the pause is not for them.

use super::{assert_rows, feed, generation, home, leaking, pauses, rows};
use crate::service_support::{Fed, Home, OUTCOMES_PER_BAR, Table, eventually, market};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bars of each series before the first start.
const MINUTES: usize = 600;
const RESTARTS: usize = 3;
/// Of each series so many are predicted once more at a start (`ingest.revision_bars`).
const AGAIN: usize = 8;

/// A table with bars of which all but the newest are done, by its watermarks.
fn done(home: &Home, bars: &[Fed]) -> Table {
    let mut table = Table::create(&home.database());
    table.feed(bars);
    let sql = "INSERT INTO inference_state (symbol, timeframe, watermark) SELECT symbol, timeframe, max(ts) FROM ohlcv GROUP BY 1, 2";
    table.0.execute(sql, []).unwrap();
    table
}

#[test]
fn the_pause_is_not_for_the_history() {
    // REEXECS is the full size, for a quiet machine.
    let full_size = std::env::var("REEXECS").is_ok();
    let series = if full_size { 500 } else { 125 };
    let bars = market(series, MINUTES + if full_size { 20 } else { 80 });
    let (before, live) = bars.split_at(series * MINUTES);
    let home = home("");
    let text = std::fs::read_to_string(home.path("vela.toml")).unwrap();
    home.write("vela.toml", text.replace("= 250", "= 700"));
    let table = done(&home, before);
    let watched = Table::watch(&home.database());
    let (stop, fed) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut service = leaking(&home, 300);
        service.says("vela runs with");
        scope.spawn(|| feed(table, live, &stop, &fed));
        eventually("replacements", || (generation(&service) >= RESTARTS).then_some(()));
        let now = watched.outcomes();
        eventually("outcomes of the last one", || (watched.outcomes() > now).then_some(()));
        stop.store(true, Ordering::Relaxed);
        drop(service);
    });
    let fed = fed.load(Ordering::Relaxed);
    assert!(fed < live.len(), "the market was over before the test");
    let service = home.run();
    let outcomes = (series * AGAIN + fed) * OUTCOMES_PER_BAR;
    watched.reaches(outcomes);
    service.stop();
    let log = std::fs::read_to_string(home.path("logs/infer_realtime.log")).unwrap();
    let passed_on = log.matches(&format!("what is known of the series goes over series={series}")).count();
    assert!(passed_on >= RESTARTS, "{passed_on}");

    let alone = Home::new();
    drop(done(&alone, before));
    Table::open(&alone.database()).feed(&live[..fed]);
    let service = alone.run();
    let undisturbed = Table::watch(&alone.database());
    undisturbed.reaches(outcomes);
    service.stop();
    assert_rows(&rows(&watched), &rows(&undisturbed));

    let mut pauses = pauses(&home);
    println!("{series} series of {MINUTES} bars, {fed} fed; pauses, ms: {pauses:?}");
    assert!(pauses.len() >= RESTARTS);
    pauses.sort_unstable();
    // The shortest tells what the program does on a machine that does other things as well.
    let (longest, limit) = if full_size { (pauses[pauses.len() - 1], 500) } else { (pauses[0], 2500) };
    assert!(longest < limit, "{pauses:?}");
}
