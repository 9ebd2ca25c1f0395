//! From a bar's INSERT to the row of its prediction, on a PostgreSQL server of its own on the same machine.
//!
//! Timed in turn, round after round, so that the machine's moods meet both alike:
//! - the floors: a commit that announces something, and the commit of a row in answer: a program that does nothing but
//!   that, with one connection that listens and writes; once with the least rows there can be, once with the very bar and a
//!   row as wide as a prediction; and that with a second commit that does not wait for the disk, as vela's do not;
//! - the floor of the design: the same rows, by a program whose connections are on threads of their own, as vela's are, so
//!   that a server that hangs holds up neither the reading nor the predicting: who listens, who takes what was heard, who
//!   predicts (nothing here), who writes, and back to who predicted;
//! - vela: the INSERT of a lone bar, until the first of its three predictions is committed, and until all are.
//!
//! Then a commit of 500 symbols until its 1,500 predictions are committed, and bars at a steady rate while what waits is
//! counted. A row is visible when its commit was acknowledged: to the floors' program, or to vela's store.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/suite/support/cluster.rs"]
mod cluster;
#[path = "postgres/floors.rs"]
mod floors;

use cluster::Cluster;
use crossbeam::channel::{Sender, bounded};
use hdrhistogram::Histogram;
use postgres::types::ToSql;
use postgres::{Client, NoTls, Statement};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vela::config::SourceKind;
use vela::domain::{Bar, Outcome, SeriesKey, Stability, Timeframe, Timestamp};
use vela::source::market::{Instrument, Market, MarketSettings};
use vela::store::{Gauge, Store, StoreError, Watermark};
use vela::{Engine, Overrides, Settings};

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models");
const SYMBOLS: usize = 500;
const HORIZONS: usize = 3;
/// Enough for every feature of the models.
const HISTORY_MINUTES: usize = 70;
/// Long enough for every thread to park.
const REST: Duration = Duration::from_millis(2);

type Fed = (Arc<SeriesKey>, Bar);

fn rounds(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |rounds| rounds.parse().unwrap())
}

fn in_database(url: &str, name: &str) -> String {
    url.replace("/postgres", &format!("/{name}"))
}

fn time(bar: &Bar) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(bar.ts.as_millis().unsigned_abs())
}

struct Feed {
    client: Client,
    insert: Statement,
}

impl Feed {
    fn new(url: &str, table: &str) -> Self {
        let mut client = Client::connect(url, NoTls).unwrap();
        let insert = client
            .prepare(&format!(
                "INSERT INTO {table} (symbol, timeframe, ts, open, high, low, close, volume)
                 SELECT s, '1m', t, o, h, l, c, v
                 FROM unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::float8[])
                     AS b(s, t, o, h, l, c, v)"
            ))
            .unwrap();
        Self { client, insert }
    }

    fn insert(&mut self, bars: &[Fed]) {
        let symbols: Vec<&str> = bars.iter().map(|(series, _)| &*series.symbol).collect();
        let times: Vec<SystemTime> = bars.iter().map(|(_, bar)| time(bar)).collect();
        let numbers: [fn(&Bar) -> f64; 5] = [|b| b.open, |b| b.high, |b| b.low, |b| b.close, |b| b.volume];
        let numbers = numbers.map(|number| bars.iter().map(|(_, bar)| number(bar)).collect::<Vec<f64>>());
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&symbols, &times];
        parameters.extend(numbers.iter().map(|column| column as &(dyn ToSql + Sync)));
        self.client.execute(&self.insert, &parameters).unwrap();
    }
}

/// The store itself, and when what it was given was committed.
struct Stamping {
    store: Box<dyn Store>,
    /// Of each outcome, and whether it is a prediction.
    committed: Sender<(Instant, bool)>,
}

impl Store for Stamping {
    fn write(&mut self, outcomes: &[Outcome], watermarks: &[Watermark]) -> Result<(), StoreError> {
        self.store.write(outcomes, watermarks)?;
        let now = Instant::now();
        for outcome in outcomes {
            // Nobody listens any more: the engine stops.
            let _ = self.committed.send((now, outcome.result.is_ok()));
        }
        Ok(())
    }

    fn gauge(&self) -> Option<Gauge> {
        self.store.gauge()
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.store.settle()
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        self.store.finish()
    }
}

fn main() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let url = cluster.url();
    let spool = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.store.url = url.parse().unwrap();
    settings.store.spool_path = spool.path().join("spool");
    settings.source.kind = SourceKind::Postgres;
    settings.models.path = Path::new(MODELS).to_owned();
    settings.feature.warm_up = Stability::Defined;
    let vela::config::StoreUrl::Postgres(store) = &settings.store.url else { unreachable!("set so above") };
    let server = vela::database::Server::new(store, &settings.database).unwrap();
    vela::database::schema::init(&mut server.connect().unwrap(), Vec::new()).unwrap();
    let mut feed = Feed::new(&url, "trading.ohlcv");
    let market = MarketSettings {
        seed: 3,
        instruments: Instrument::synthetic(SYMBOLS),
        timeframe: Timeframe::MINUTE,
        start: Timestamp::from_secs(1_704_067_200),
    };
    let mut market = Market::new(market).unwrap();
    let mut minute = || {
        let mut bars: Vec<Fed> = Vec::with_capacity(SYMBOLS);
        market.next_minute(&mut bars);
        bars
    };
    (0..HISTORY_MINUTES).for_each(|_| feed.insert(&minute()));
    feed.client.batch_execute("ANALYZE").unwrap();
    drop(feed);
    floors::prepare(&url);
    let mut feed = Feed::new(&url, "trading.ohlcv");
    let (store, watermarks) = vela::store::open(&settings).unwrap();
    let (committed, stamps) = bounded(1_000_000);
    let store = Some(Box::new(Stamping { store, committed }) as Box<dyn Store>);
    let engine =
        Engine::start_with(settings, Overrides { store, watermarks, ..Overrides::default() }).unwrap();
    let stamp = || stamps.recv_timeout(Duration::from_secs(60)).expect("an outcome is missing");
    let heard = |count: usize| {
        let predicted = || {
            let (committed, is_prediction) = stamp();
            assert!(is_prediction);
            committed
        };
        std::iter::repeat_with(predicted).take(count).last().unwrap()
    };
    // The first bars of the history only warm up and have no prediction.
    (0..SYMBOLS * HISTORY_MINUTES * HORIZONS).for_each(|_| _ = stamp());
    println!("PostgreSQL: {}", feed.client.query_one("SELECT version()", &[]).unwrap().get::<_, String>(0));
    lone(&url, &mut feed, &mut minute, &heard);
    burst(&mut feed, &mut minute, &heard);
    steady(&engine, &mut feed, &mut minute, &heard);
    engine.stop().unwrap();
}

fn lone(
    url: &str,
    feed: &mut Feed,
    minute: &mut impl FnMut() -> Vec<Fed>,
    heard: &impl Fn(usize) -> Instant,
) {
    let rounds = rounds("VELA_BENCH_ROUNDS", 3000);
    let mut floors = floors::start(url);
    let mut histograms = [(); 6].map(|()| Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap());
    let mut bars = Vec::new();
    for round in 0..rounds + 200 {
        let bar: Fed = match bars.pop() {
            Some(bar) => bar,
            None => {
                bars = minute();
                bars.pop().unwrap()
            }
        };
        let of_floors = floors.each_mut().map(|floor| floor.time(&bar));
        std::thread::sleep(REST);
        let begin = Instant::now();
        feed.insert(std::slice::from_ref(&bar));
        let first = heard(1).duration_since(begin);
        let all = heard(HORIZONS - 1).duration_since(begin);
        // The first ones are everybody's warm-up.
        if round >= 200 {
            let [least, same, threads, buffered] = of_floors;
            let times = [least, same, threads, buffered, first, all];
            for (histogram, time) in histograms.iter_mut().zip(times) {
                histogram.saturating_record(time.as_micros() as u64);
            }
        }
    }
    feed.insert(&bars);
    heard(bars.len() * HORIZONS);
    println!(
        "\na lone bar among {SYMBOLS} series, {rounds} rounds, µs{:>12}{:>10}{:>10}{:>10}",
        "p50", "p90", "p99", "max"
    );
    let at = |n: usize, quantile: f64| histograms[n].value_at_quantile(quantile) as f64;
    for (n, name) in [
        "commit + NOTIFY + commit, least rows",
        "commit + NOTIFY + commit, the same rows",
        "the same rows, by the threads of the design",
        "the same rows, an answer that waits for no disk",
        "INSERT to the first prediction committed",
        "INSERT to all three committed",
    ]
    .into_iter()
    .enumerate()
    {
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|quantile| at(n, quantile));
        println!("{name:<48}{p50:>8.0}{p90:>10.0}{p99:>10.0}{max:>10.0}");
    }
    let floors = ["least rows", "the same rows", "the design", "an answer that waits for no disk"];
    for (floor, of) in floors.into_iter().enumerate() {
        for (n, name) in [(2, "the design"), (4, "first"), (5, "all three")] {
            if n == floor {
                continue;
            }
            println!(
                "{name} over the floor of {of}: p50 {:.2}, p99 {:.2}",
                at(n, 0.5) / at(floor, 0.5),
                at(n, 0.99) / at(floor, 0.99)
            );
        }
    }
}

fn burst(feed: &mut Feed, minute: &mut impl FnMut() -> Vec<Fed>, heard: &impl Fn(usize) -> Instant) {
    let mut times: Vec<f64> = (0..rounds("VELA_BENCH_BURSTS", 100))
        .map(|_| {
            let bars = minute();
            std::thread::sleep(Duration::from_millis(100));
            let begin = Instant::now();
            feed.insert(&bars);
            heard(SYMBOLS * HORIZONS).duration_since(begin).as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "\n{} commits of {SYMBOLS} symbols, until {} predictions are committed: p50 {:.1} ms, p90 {:.1} ms, max {:.1} ms",
        times.len(),
        SYMBOLS * HORIZONS,
        at(0.5),
        at(0.9),
        at(1.0)
    );
}

/// Commits of 50 bars at 1,667 and 5,000 bars a second: 5,000 and 15,000 predictions.
fn steady(
    engine: &Engine,
    feed: &mut Feed,
    minute: &mut impl FnMut() -> Vec<Fed>,
    heard: &impl Fn(usize) -> Instant,
) {
    const SECONDS: usize = 10;
    for bars_per_second in [1667, 5000] {
        let count = bars_per_second * SECONDS;
        let bars: Vec<Fed> =
            std::iter::repeat_with(&mut *minute).flatten().take(count.next_multiple_of(SYMBOLS)).collect();
        let (begin, before) = (Instant::now(), engine.outcomes());
        let mut waiting = Vec::new();
        for (place, chunk) in bars.chunks(50).enumerate() {
            let due = begin + Duration::from_secs(1) * (place * 50) as u32 / bars_per_second as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            waiting.push((place * 50 * HORIZONS) as i64 - (engine.outcomes() - before) as i64);
            feed.insert(chunk);
        }
        let fed = begin.elapsed();
        heard(bars.len() * HORIZONS);
        let lag = begin.elapsed() - fed;
        let (first, second) = waiting.split_at(waiting.len() / 2);
        let mean = |part: &[i64]| part.iter().sum::<i64>() as f64 / part.len() as f64;
        println!(
            "\n{:.0} bars a second ({:.0} predictions a second) for {:.1} s: on their way {:.0} predictions in the first half, \
             {:.0} in the second, at most {}; the last stored {:.0} ms behind the last INSERT",
            bars.len() as f64 / fed.as_secs_f64(),
            (bars.len() * HORIZONS) as f64 / fed.as_secs_f64(),
            fed.as_secs_f64(),
            mean(first),
            mean(second),
            waiting.iter().max().unwrap(),
            lag.as_secs_f64() * 1e3
        );
    }
}
