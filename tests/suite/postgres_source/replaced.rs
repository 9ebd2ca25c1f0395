//! `vela run` replaces itself, out of memory by a leak on purpose, between a feed in PostgreSQL and its store there.

use super::later::{SERIES, changed};
use super::scene::{Scene, real_bars};
use crate::reexec::{faulty, generation, pauses};
use crate::service_support::{Fed, Service, eventually};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two minutes of all series: a hundred bars a second.
const MINUTE_EVERY: Duration = Duration::from_millis(70);

#[test]
fn replacements_out_of_memory_lose_nothing_of_a_feed_and_store_nothing_twice() {
    // REEXECS=50 is the full size, for a quiet machine.
    let restarts = std::env::var("REEXECS").map_or(3, |count| count.parse().unwrap());
    let Some(all) = real_bars(1500) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let (history, live) = all.split_at(SERIES * 120);
    scene.feed().insert(history);
    let settings = [
        ("LEAK_MB_PER_S", "150"),
        ("VELA_MAX_MEMORY_MB", "250"),
        ("VELA_WATCHDOG__INTERVAL_MS", "20"),
        ("VELA_WATCHDOG__RESTARTS_MAX", "1000"),
        ("VELA_WATCHDOG__RESTART_PAUSE_MS", "0"),
    ];
    let mut service = Service::start(
        &scene.home,
        &mut faulty(&scene.home, &settings.map(|(name, value)| (name, value.into()))),
    );
    service.says("vela runs with");
    let (pid, stop) = (service.id(), AtomicBool::new(false));
    let fed = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            let (mut feed, mut fed, begin) = (scene.feed(), history.to_vec(), Instant::now());
            for (number, minute) in live.chunks(SERIES).enumerate() {
                if stop.load(Ordering::Relaxed) {
                    return fed;
                }
                std::thread::sleep((MINUTE_EVERY * number as u32).saturating_sub(begin.elapsed()));
                let mut bars: Vec<Fed> = minute.to_vec();
                if number % 5 == 4 {
                    // One that was there changes: also while nobody looks, between two images.
                    bars.push(changed(&fed, number % 4, number % SERIES, 0.25));
                }
                feed.insert(&bars);
                fed.extend(bars);
            }
            fed
        });
        eventually("replacements", || (generation(&service) >= restarts).then_some(()));
        stop.store(true, Ordering::Relaxed);
        feeding.join().unwrap()
    });
    assert!(fed.len() < all.len(), "the market was over before the test");
    assert_eq!(service.id(), pid);
    let expected = scene.replayed(&fed);
    scene.must_have(&mut scene.feed(), &expected);
    drop(service);
    let mut pauses = pauses(&scene.home);
    println!(
        "{} bars fed, {} predictions, {} replacements; pauses, ms: {pauses:?}",
        fed.len(),
        expected.len(),
        pauses.len()
    );
    pauses.sort_unstable();
    assert!(pauses.len() >= restarts && pauses[0] < 2500, "{pauses:?}");
}
