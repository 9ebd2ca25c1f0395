//! From a bar's INSERT to the row of its prediction, on a PostgreSQL server of its own on the same machine.
//!
//! Timed in turn, round after round, so that the machine's moods meet both alike:
//! - `floor`: a commit that announces something, whoever listens, and the commit of a row in answer: a program that does
//!   nothing but that, with one connection that listens and writes;
//! - `vela`: the INSERT of a lone bar, until the first of its three predictions is committed, and until all are.
//!
//! Then a commit of 500 symbols until its 1,500 predictions are committed, and bars at a steady rate while what waits is
//! counted. A row is visible when its commit was acknowledged, which is when a subscriber hears of it.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/suite/support/cluster.rs"]
mod cluster;

use cluster::Cluster;
use crossbeam::channel::{Receiver, bounded};
use hdrhistogram::Histogram;
use postgres::fallible_iterator::FallibleIterator as _;
use postgres::types::ToSql;
use postgres::{Client, NoTls, Statement};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vela::config::SourceKind;
use vela::domain::{Bar, SeriesKey, Stability, Timeframe, Timestamp};
use vela::source::market::{Instrument, Market, MarketSettings};
use vela::{Engine, Settings};

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

struct Feed {
    client: Client,
    insert: Statement,
}

impl Feed {
    fn new(url: &str) -> Self {
        let mut client = Client::connect(url, NoTls).unwrap();
        let insert = client
            .prepare(
                "INSERT INTO trading.ohlcv (symbol, timeframe, ts, open, high, low, close, volume)
                 SELECT s, '1m', t, o, h, l, c, v
                 FROM unnest($1::text[], $2::timestamptz[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::float8[])
                     AS b(s, t, o, h, l, c, v)",
            )
            .unwrap();
        Self { client, insert }
    }

    fn insert(&mut self, bars: &[Fed]) {
        let symbols: Vec<&str> = bars.iter().map(|(series, _)| &*series.symbol).collect();
        let time = |bar: &Bar| UNIX_EPOCH + Duration::from_millis(bar.ts.as_millis().unsigned_abs());
        let times: Vec<SystemTime> = bars.iter().map(|(_, bar)| time(bar)).collect();
        let numbers: [fn(&Bar) -> f64; 5] = [|b| b.open, |b| b.high, |b| b.low, |b| b.close, |b| b.volume];
        let numbers = numbers.map(|number| bars.iter().map(|(_, bar)| number(bar)).collect::<Vec<f64>>());
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&symbols, &times];
        parameters.extend(numbers.iter().map(|column| column as &(dyn ToSql + Sync)));
        self.client.execute(&self.insert, &parameters).unwrap();
    }
}

/// A program that does nothing but answer an announcement with a row.
struct Floor {
    feed: Client,
    insert: Statement,
    answered: Receiver<Instant>,
    count: i64,
}

impl Floor {
    fn new(url: &str) -> Self {
        let mut feed = Client::connect(url, NoTls).unwrap();
        feed.batch_execute(
            "CREATE TABLE public.question (n bigint PRIMARY KEY, open float8, high float8, low float8, close float8, volume float8);
             CREATE TABLE public.answer (n bigint PRIMARY KEY, value float8);
             CREATE FUNCTION public.ask() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM pg_notify('floor', ''); RETURN NULL; END $$;
             CREATE TRIGGER ask AFTER INSERT ON public.question FOR EACH STATEMENT EXECUTE FUNCTION public.ask();",
        )
        .unwrap();
        let insert = feed.prepare("INSERT INTO public.question VALUES ($1, 1, 1, 1, 1, 1)").unwrap();
        let (done, answered) = bounded(1);
        let mut listener = Client::connect(url, NoTls).unwrap();
        listener.batch_execute("LISTEN floor").unwrap();
        let answer = listener.prepare("INSERT INTO public.answer VALUES ($1, 1)").unwrap();
        std::thread::spawn(move || {
            for n in 0_i64.. {
                if listener.notifications().blocking_iter().next().unwrap().is_none() {
                    return;
                }
                listener.execute(&answer, &[&n]).unwrap();
                if done.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
        Self { feed, insert, answered, count: 0 }
    }

    fn time(&mut self) -> Duration {
        std::thread::sleep(REST);
        let begin = Instant::now();
        self.count += 1;
        self.feed.execute(&self.insert, &[&self.count]).unwrap();
        self.answered.recv().unwrap().duration_since(begin)
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
    let mut feed = Feed::new(&url);
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
    let engine = Engine::start(settings).unwrap();
    let stored = engine.subscribe(1_000_000);
    let stored = stored.receiver();
    let begin = Instant::now();
    while engine.outcomes() < (SYMBOLS * HISTORY_MINUTES * HORIZONS) as u64 {
        assert!(begin.elapsed() < Duration::from_secs(60), "the history is not predicted");
        std::thread::sleep(Duration::from_millis(50));
    }
    // What was stored since the subscription began.
    while stored.recv_timeout(Duration::from_millis(500)).is_ok() {}
    println!("PostgreSQL: {}", feed.client.query_one("SELECT version()", &[]).unwrap().get::<_, String>(0));
    let mut heard = |count: usize| {
        for _ in 0..count {
            let outcome = stored.recv_timeout(Duration::from_secs(60)).expect("an outcome is missing");
            assert!(outcome.result.is_ok(), "{:?}", outcome.result);
        }
        Instant::now()
    };
    lone(&url, &mut feed, &mut minute, &mut heard);
    burst(&mut feed, &mut minute, &mut heard);
    steady(&engine, &mut feed, &mut minute, &mut heard);
    engine.stop().unwrap();
}

fn lone(
    url: &str,
    feed: &mut Feed,
    minute: &mut impl FnMut() -> Vec<Fed>,
    heard: &mut impl FnMut(usize) -> Instant,
) {
    let rounds = rounds("VELA_BENCH_ROUNDS", 3000);
    let mut floor = Floor::new(url);
    let mut histograms = [(); 3].map(|()| Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap());
    let mut bars = Vec::new();
    for round in 0..rounds + 200 {
        let of_floor = floor.time();
        std::thread::sleep(REST);
        let bar: Fed = match bars.pop() {
            Some(bar) => bar,
            None => {
                bars = minute();
                bars.pop().unwrap()
            }
        };
        let begin = Instant::now();
        feed.insert(std::slice::from_ref(&bar));
        let first = heard(1).duration_since(begin);
        let all = heard(HORIZONS - 1).duration_since(begin);
        // The first ones are everybody's warm-up.
        if round >= 200 {
            histograms[0].saturating_record(of_floor.as_micros() as u64);
            histograms[1].saturating_record(first.as_micros() as u64);
            histograms[2].saturating_record(all.as_micros() as u64);
        }
    }
    feed.insert(&bars);
    heard(bars.len() * HORIZONS);
    println!(
        "\na lone bar among {SYMBOLS} series, {rounds} rounds, µs{:>8}{:>10}{:>10}{:>10}",
        "p50", "p90", "p99", "max"
    );
    let at = |n: usize, quantile: f64| histograms[n].value_at_quantile(quantile) as f64;
    for (n, name) in [
        "commit + NOTIFY + commit",
        "INSERT to the first prediction committed",
        "INSERT to all three committed",
    ]
    .into_iter()
    .enumerate()
    {
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|quantile| at(n, quantile));
        println!("{name:<44}{p50:>8.0}{p90:>10.0}{p99:>10.0}{max:>10.0}");
    }
    for (n, name) in [(1, "first"), (2, "all three")] {
        println!(
            "{name} over the floor: p50 {:.2}, p99 {:.2}",
            at(n, 0.5) / at(0, 0.5),
            at(n, 0.99) / at(0, 0.99)
        );
    }
}

fn burst(feed: &mut Feed, minute: &mut impl FnMut() -> Vec<Fed>, heard: &mut impl FnMut(usize) -> Instant) {
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
    heard: &mut impl FnMut(usize) -> Instant,
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
