//! Measurements: rows into PostgreSQL at a steady rate, beside what the server and the driver can do by themselves.
//!
//! `cargo test --test suite postgres_load -- --ignored --nocapture`, on a machine that does nothing else.

use crate::service_support::{MODELS, OUTCOMES_PER_BAR, market};
use crate::support::postgres::{DEADLINE, count, ready, session};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};
use vela::config::SourceKind;
use vela::domain::Stability;
use vela::{Engine, Overrides};

const SYMBOLS: usize = 100;
/// Minutes until every model answers.
const WARM_UP: usize = 62;
const ROWS_PER_S: f64 = 5000.0;
const SECONDS: usize = 20;
/// How often bars are put in and the queue is looked at.
const STEP: Duration = Duration::from_millis(10);

fn micros(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1e3
}

/// Commits of one row, and inserts of as many rows as a step brings, through the bare driver.
fn floors(url: &str) {
    let mut client = postgres::Client::connect(url, postgres::NoTls).unwrap();
    client
        .batch_execute("CREATE TABLE floor (ts bigint, symbol text, value float8, PRIMARY KEY (ts, symbol))")
        .unwrap();
    let sql = "INSERT INTO floor SELECT * FROM unnest($1::bigint[], $2::text[], $3::float8[]) ON CONFLICT DO NOTHING";
    let insert = client.prepare(sql).unwrap();
    let mut next = 0_i64;
    for rows in [1, (ROWS_PER_S * STEP.as_secs_f64()) as i64, 1000] {
        let mut times = Histogram::<u64>::new(3).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(4) {
            let keys: Vec<i64> = (next..next + rows).collect();
            let symbols: Vec<String> = keys.iter().map(|key| format!("SYMBOL{}", key % 100)).collect();
            let values: Vec<f64> = keys.iter().map(|key| *key as f64).collect();
            next += rows;
            let sent = Instant::now();
            client.execute(&insert, &[&keys, &symbols, &values]).unwrap();
            times.record(sent.elapsed().as_nanos() as u64).unwrap();
        }
        let rate = (times.len() * rows as u64) as f64 / begin.elapsed().as_secs_f64();
        println!(
            "floor: {rows} rows a commit, bare driver, narrow table: p50 {:.0} us, p99 {:.0} us, {rate:.0} rows/s",
            micros(&times, 0.5),
            micros(&times, 0.99)
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn five_thousand_rows_a_second_do_not_pile_up() {
    let folder = tempfile::tempdir().unwrap();
    let Some((cluster, mut settings)) = ready(folder.path(), &[]) else { return };
    floors(&cluster.url());
    settings.models.path = MODELS.into();
    settings.source.kind = SourceKind::None;
    settings.feature.warm_up = Stability::Defined;
    let bars_per_s = ROWS_PER_S / OUTCOMES_PER_BAR as f64;
    let minutes = WARM_UP + (bars_per_s * SECONDS as f64) as usize / SYMBOLS + 1;
    let bars = market(SYMBOLS, minutes);
    let engine = Engine::start_with(settings.clone(), Overrides::default()).unwrap();
    let (warm_up, load) = bars.split_at(WARM_UP * SYMBOLS);
    let burst = Instant::now();
    warm_up.iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
    assert!(engine.drain(Duration::from_secs(120)));
    let full_speed = (warm_up.len() * OUTCOMES_PER_BAR) as f64 / burst.elapsed().as_secs_f64();
    println!(
        "engine: {} rows as fast as it takes them: {full_speed:.0} rows/s",
        warm_up.len() * OUTCOMES_PER_BAR
    );
    let look = |engine: &Engine| {
        let metrics = engine.metrics();
        metrics.stages.values().map(|stage| stage.depth).sum::<usize>()
    };
    let (begin, mut fed, mut depths) = (Instant::now(), 0, Vec::new());
    let mut lag_max = Duration::ZERO;
    for step in 1_u32.. {
        let due = ((step * STEP).as_secs_f64() * bars_per_s) as usize;
        for (series, bar) in &load[fed..due.min(load.len())] {
            engine.ingest_series(series, *bar).unwrap();
        }
        fed = due.min(load.len());
        if step % 10 == 0 {
            depths.push(look(&engine));
        }
        if fed == load.len() {
            break;
        }
        lag_max = lag_max.max(begin.elapsed().saturating_sub(step * STEP));
        std::thread::sleep((step * STEP).saturating_sub(begin.elapsed()));
    }
    let offered = begin.elapsed();
    assert!(engine.drain(Duration::from_secs(60)));
    let drained = begin.elapsed() - offered;
    let latency = engine.metrics().performance.latency;
    let thirds: Vec<f64> = depths
        .chunks(depths.len().div_ceil(3))
        .map(|third| third.iter().sum::<usize>() as f64 / third.len() as f64)
        .collect();
    let rows = fed * OUTCOMES_PER_BAR;
    println!(
        "engine: {rows} rows in {:.1} s, {:.0} rows/s; waiting in all stages, mean of each third: {:.1} {:.1} {:.1}, most {}; \
         rest stored within {:.0} ms; the feeder was at most {:.0} ms late",
        offered.as_secs_f64(),
        rows as f64 / offered.as_secs_f64(),
        thirds[0],
        thirds[1],
        thirds[2],
        depths.iter().max().unwrap(),
        drained.as_secs_f64() * 1e3,
        lag_max.as_secs_f64() * 1e3,
    );
    println!(
        "engine: arrival to stored, warm-up included: p50 {:.0} us, p99 {:.0} us",
        latency.p50, latency.p99
    );
    engine.stop().unwrap();
    let sql =
        "SELECT (SELECT count(*) FROM trading.agentpreds) + (SELECT count(*) FROM trading.inference_errors)";
    assert_eq!(
        count(&mut session(&settings), sql) as usize,
        bars.len().min(warm_up.len() + fed) * OUTCOMES_PER_BAR
    );
    assert!(thirds[2] <= 2.0 * thirds[0] + 200.0, "it piles up: {thirds:?}");
    assert!(offered < Duration::from_secs(SECONDS as u64 * 3 / 2) && drained < DEADLINE / 4);
}
