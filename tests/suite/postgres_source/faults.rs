//! The database goes away, announcements are lost, vela is killed: nothing is lost, nothing is stored twice.

use super::scene::{Feed, Scene, real_bars, size};
use crate::service_support::{Fed, eventually};
use crate::support::Random;
use crate::support::cluster::Cluster;
use crate::support::proxy::Proxy;
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

#[test]
fn a_connection_that_is_cut_or_silent_is_noticed_and_holds_up_neither_bars_nor_a_stop() {
    let Some(all) = real_bars(200) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let expected = scene.replayed(&all);
    let (history, live) = all.split_at(7 * 120);
    let mut feed = scene.feed();
    feed.insert(history);
    // Only the source goes through the proxy: the store is always there.
    let proxy = Proxy::start(scene.cluster.port);
    let through = scene.cluster.url().replace(&scene.cluster.port.to_string(), &proxy.port.to_string());
    scene.configure(&scene.cluster.url(), &format!("url = \"{through}\"\n"));
    let service = scene.home.run();
    let outcomes =
        "SELECT (SELECT count(*) FROM trading.agentpreds) + (SELECT count(*) FROM trading.inference_errors)";
    let mut stored = 3 * 7 * 120;
    eventually("the history", || (feed.count(outcomes) == stored).then_some(()));
    for (round, part) in live.chunks(7 * 20).enumerate() {
        let (before, after) = part.split_at(7 * 10);
        if round % 2 == 0 {
            proxy.cut()
        } else {
            proxy.black_hole()
        }
        before.chunks(7).for_each(|minute| feed.insert(minute));
        if round % 2 == 1 {
            // It is given up while it is silent, not when it speaks again: a new one is tried.
            let begin = Instant::now();
            eventually("it is given up", || {
                let log = std::fs::read_to_string(scene.home.path("logs/infer_realtime.log")).unwrap();
                (log.matches("the bar tables cannot be read; trying again").count() > round).then_some(())
            });
            println!("a silent connection was given up after {:?}", begin.elapsed());
            assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
        }
        proxy.pass();
        stored += 3 * before.len() as i64;
        eventually("what came meanwhile", || (feed.count(outcomes) == stored).then_some(()));
        after.chunks(7).for_each(|minute| feed.insert(minute));
        stored += 3 * after.len() as i64;
        eventually("what came then", || (feed.count(outcomes) == stored).then_some(()));
    }
    proxy.black_hole();
    let begin = Instant::now();
    scene.must_have(&mut feed, &expected);
    service.stop();
    assert!(begin.elapsed() < Duration::from_secs(60), "a silent connection holds up the stop");
}
