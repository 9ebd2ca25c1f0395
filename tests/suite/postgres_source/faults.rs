//! The database goes away, announcements are lost, vela is killed: nothing is lost, nothing is stored twice.

use super::scene::{Feed, Scene, real_bars, size};
use crate::service_support::{Fed, Random, eventually};
use crate::support::cluster::Cluster;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Inserts bars until all are in, connecting anew whenever the server is away.
fn persistently(url: &str, bars: &[Fed], pause: Duration) {
    let mut feed: Option<Feed> = None;
    let deadline = Instant::now() + Duration::from_secs(size(300, 3000));
    for minute in bars.chunks(7) {
        loop {
            assert!(Instant::now() < deadline, "the feed cannot get its bars in");
            if feed.is_none() {
                feed = postgres::Client::connect(url, postgres::NoTls).ok().map(Feed);
            }
            match feed.as_mut().map(|feed| feed.try_insert(minute)) {
                Some(Ok(())) => break,
                _ => {
                    feed = None;
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        std::thread::sleep(pause);
    }
}

/// Kills the server as a power cut does, and starts it again.
fn crash(cluster: &Cluster) {
    cluster.kill();
    cluster.ctl(&["start", "-w", "-l", &cluster.log()]);
}

#[test]
fn a_server_that_is_restarted_and_killed_under_load_loses_nothing() {
    let Some(all) = real_bars(size(260, 1500)) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let expected = scene.replayed(&all);
    let (history, live) = all.split_at(7 * 120);
    scene.feed().insert(history);
    let service = scene.home.run();
    let url = scene.cluster.url();
    let fed = AtomicBool::new(false);
    let mut rounds = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            persistently(&url, live, Duration::from_millis(size(30, 40)));
            fed.store(true, Ordering::SeqCst);
        });
        let most = size(4, 20);
        while rounds < most && !fed.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(400));
            match rounds % 3 {
                0 => scene.cluster.ctl(&["restart", "-w", "-m", "fast", "-l", &scene.cluster.log()]),
                1 => crash(&scene.cluster),
                _ => scene.cluster.ctl(&["restart", "-w", "-m", "immediate", "-l", &scene.cluster.log()]),
            }
            rounds += 1;
        }
    });
    println!("{rounds} restarts and crashes");
    let mut feed = scene.feed();
    scene.must_have(&mut feed, &expected);
    service.stop();
}

#[test]
fn bars_that_nobody_announced_are_found_by_the_slow_timer() {
    let Some(all) = real_bars(130) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    scene.configure(&scene.cluster.url(), "recheck_interval_s = 1\n");
    let expected = scene.replayed(&all);
    let mut feed = scene.feed();
    let (history, live) = all.split_at(7 * 120);
    feed.insert(history);
    let service = scene.home.run();
    let outcomes =
        "SELECT (SELECT count(*) FROM trading.agentpreds) + (SELECT count(*) FROM trading.inference_errors)";
    eventually("the history", || (feed.count(outcomes) == 3 * 7 * 120).then_some(()));
    feed.0
        .batch_execute("DROP TRIGGER vela_announce_insert ON trading.ohlcv; DROP TRIGGER vela_announce_update ON trading.ohlcv")
        .unwrap();
    live.chunks(7).for_each(|minute| feed.insert(minute));
    scene.must_have(&mut feed, &expected);
    service.stop();
}

#[test]
fn vela_killed_at_any_moment_loses_nothing_and_stores_nothing_twice() {
    let seed = std::env::var("KILL_SEED").map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64,
        |seed| seed.parse().unwrap(),
    );
    println!("KILL_SEED={seed}");
    let kills = size(8, 200);
    let Some(all) = real_bars(size(260, 1500)) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let expected = scene.replayed(&all);
    let (history, live) = all.split_at(7 * 120);
    scene.feed().insert(history);
    let url = scene.cluster.url();
    let mut random = Random(seed);
    let fed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            persistently(&url, live, Duration::from_millis(size(30, 40)));
            fed.store(true, Ordering::SeqCst);
        });
        for round in 0..kills {
            let mut service = scene.home.spawn_run();
            if random.below(4) > 0 {
                service.says("vela runs with");
            }
            std::thread::sleep(Duration::from_micros(random.below(400_000)));
            service.kill();
            if round % 50 == 49 {
                println!("{round} kills, all fed: {}", fed.load(Ordering::SeqCst));
            }
        }
    });
    let service = scene.home.run();
    let mut feed = scene.feed();
    scene.must_have(&mut feed, &expected);
    service.stop();
}
