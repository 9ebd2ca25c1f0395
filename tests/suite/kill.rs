//! `vela run` is killed again and again while bars come in; in the end every prediction is there once.

use crate::service_support::{Fed, Home, OUTCOMES_PER_BAR, Service, Table, assert_same, eventually, market};
use crate::support::Random;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vela::domain::Bar;

const KILLS: usize = 50;
const SYMBOLS: usize = 8;
const MINUTES: usize = 600;
/// What is there before the first start.
const MINUTES_BEFORE: usize = 200;

/// When a round ends.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// Somewhere between the start of the process and its first prediction.
    Start,
    /// When the history is being read.
    History,
    /// Under load, wherever it is.
    Load,
    /// When a commit was just seen.
    Commit,
}

const MOMENTS: [Moment; 4] = [Moment::Start, Moment::History, Moment::Load, Moment::Commit];

/// Bars in the order in which they are fed, some of them no bars at all, and how many outcomes they have.
fn bars() -> (Vec<Fed>, usize) {
    let mut bars = market(SYMBOLS, MINUTES);
    let mut outcomes = 0;
    for (number, (_, bar)) in bars.iter_mut().enumerate() {
        let whole = *bar;
        match number % 997 {
            11 => bar.close = f64::NAN,
            311 => bar.volume = -1.0,
            511 => bar.high = bar.low / 2.0,
            711 => bar.ts = bar.ts.plus_millis(7_000),
            _ => {}
        }
        outcomes += if *bar == whole { OUTCOMES_PER_BAR } else { 1 };
    }
    (bars, outcomes)
}

/// Feeds bars in small transactions, as many minutes as it is allowed to; says when they are in.
fn feed(mut table: Table, bars: &[Fed], allowed: &Receiver<usize>, done: &Sender<()>, seed: u64) {
    let mut random = Random(seed);
    let mut rest = bars;
    while let Ok(minutes) = allowed.recv() {
        let (mut now, later) = rest.split_at((minutes * SYMBOLS).min(rest.len()));
        rest = later;
        while !now.is_empty() {
            let (part, after) = now.split_at((1 + random.below(SYMBOLS as u64) as usize).min(now.len()));
            table.feed(part);
            now = after;
            std::thread::sleep(Duration::from_micros(random.below(3000)));
        }
        let _ = done.send(());
    }
    assert!(rest.is_empty(), "{} bars were not fed", rest.len());
}

/// Lets the process live until `moment`; `allow` lets bars come in.
fn live(service: &mut Service, moment: Moment, watched: &Table, allow: impl FnOnce(), random: &mut Random) {
    let ms =
        |random: &mut Random, most: u64| std::thread::sleep(Duration::from_micros(random.below(most * 1000)));
    match moment {
        Moment::Start => {
            allow();
            ms(random, 150);
        }
        Moment::History => {
            allow();
            service.says("vela runs with");
            ms(random, 40);
        }
        Moment::Load => {
            service.says("vela runs with");
            let before = watched.outcomes();
            allow();
            eventually("an outcome", || (watched.outcomes() > before).then_some(()));
            ms(random, 40);
        }
        Moment::Commit => {
            service.says("vela runs with");
            allow();
            for _ in 0..=random.below(4) {
                let before = watched.outcomes();
                // The last commits of a round may have come already.
                let deadline = Instant::now() + Duration::from_millis(500);
                while watched.outcomes() == before && Instant::now() < deadline {}
            }
        }
    }
}

/// The tables after all bars went in, with `KILLS` kills or with none.
fn play(bars: &[Fed], outcomes: usize, kills: usize, seed: u64) -> [Vec<String>; 3] {
    let home = Home::new();
    let mut table = Table::create(&home.database());
    let (before, live_bars) = bars.split_at(MINUTES_BEFORE * SYMBOLS);
    table.feed(before);
    let watched = Table::watch(&home.database());
    let (permits, allowed) = bounded(kills + 2);
    let (done, fed) = bounded(kills + 1);
    let mut random = Random(seed);
    let begin = Instant::now();
    let minutes_of_round = (MINUTES - MINUTES_BEFORE) / (kills + 1);
    std::thread::scope(|scope| {
        scope.spawn(move || feed(table, live_bars, &allowed, &done, seed));
        let mut given = MINUTES_BEFORE;
        for round in 0..kills {
            let moment = MOMENTS[random.below(MOMENTS.len() as u64) as usize];
            let mut service = home.spawn_run();
            given += minutes_of_round;
            live(&mut service, moment, &watched, || permits.send(minutes_of_round).unwrap(), &mut random);
            service.kill();
            println!("{round:>3} {moment:<8?} {:?} at {} ms", watched.counts(), begin.elapsed().as_millis());
        }
        let service = home.run();
        permits.send(MINUTES - given).unwrap();
        drop(permits);
        (0..=kills).for_each(|_| fed.recv().unwrap());
        watched.reaches(outcomes);
        service.stop();
    });
    println!("{kills} kills, {:?} rows, {:?}", watched.counts(), begin.elapsed());
    [watched.predictions(), watched.refusals(), watched.watermarks()]
}

#[test]
fn fifty_kills_lose_nothing_and_store_nothing_twice() {
    let time = || std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let seed = std::env::var("KILL_SEED").map_or_else(|_| time(), |seed| seed.parse().unwrap());
    println!("KILL_SEED={seed}");
    let (bars, outcomes) = bars();
    let undisturbed = play(&bars, outcomes, 0, seed);
    let killed = play(&bars, outcomes, KILLS, seed);
    for (what, (killed, undisturbed)) in
        ["agentpreds", "inference_errors", "inference_state"].iter().zip(killed.iter().zip(&undisturbed))
    {
        assert_same(what, killed, undisturbed);
    }
    assert!(undisturbed[0].len() > 10_000 && undisturbed[1].len() > 100, "the market said little");
}

/// Bars change after they closed, and the process is killed while it answers anew what changed with them.
#[test]
fn changes_that_a_kill_cut_short_are_made_up_for() {
    const ROUNDS: usize = 12;
    const BEFORE: usize = 150;
    let seed = std::env::var("KILL_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let bars = market(2, BEFORE + 5 * ROUNDS);
    let (before, live) = bars.split_at(2 * BEFORE);
    // Each round brings five minutes, and corrections of two of them.
    let minute = |round: usize, minute: usize| 2 * BEFORE + 2 * (5 * round + minute);
    let changed = |(series, bar): &Fed| -> Fed {
        (Arc::clone(series), Bar { close: (bar.high + bar.low) / 2.0, ..*bar })
    };
    let mut last = bars.clone();
    for at in (0..ROUNDS).flat_map(|round| [minute(round, 1), minute(round, 3) + 1]) {
        last[at] = changed(&last[at]);
    }
    // The bars as they stand in the end, each once.
    let home = Home::new();
    Table::create(&home.database()).feed(&last);
    let watched = Table::watch(&home.database());
    let service = home.run();
    watched.reaches(bars.len() * OUTCOMES_PER_BAR);
    service.stop();
    let expected = watched.last_words();
    assert!(expected.len() > 50 * ROUNDS, "the market said little");

    let home = Home::new();
    let mut table = Table::create(&home.database());
    table.feed(before);
    let watched = Table::watch(&home.database());
    for (round, bars) in live.chunks(10).enumerate() {
        let mut service = home.spawn_run();
        service.says("vela runs with");
        table.feed(bars);
        let newest = bars[9].1.ts.to_string();
        let sql = "SELECT count(*) FROM agentpreds WHERE ts = ?1";
        eventually("the newest bar", || {
            let count: i64 = watched.0.query_row(sql, [&newest], |row| row.get(0)).unwrap();
            (count > 0).then_some(())
        });
        let rows = watched.outcomes();
        table.feed(&[changed(&bars[2]), changed(&bars[7])]);
        // Somewhere between before the change was read and after all of it was answered.
        if random.below(3) > 0 {
            eventually("an answer", || (watched.outcomes() > rows).then_some(()));
        }
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        service.kill();
        println!("{round:>3} {} rows", watched.outcomes());
    }
    let service = home.run();
    eventually("the last word on every bar", || {
        let found = watched.last_words();
        let same = |((a, x), (b, y)): (&(String, f64), &(String, f64))| {
            a == b && (x - y).abs() <= 1e-9 * x.abs().max(y.abs())
        };
        (found.len() == expected.len() && found.iter().zip(&expected).all(same)).then_some(())
    });
    service.stop();
}
