//! Bars at every rate, in every order: stored once, as a replay has them.

use super::scene::{Feed, Scene, real_bars, size};
use crate::service_support::{Fed, eventually, market};
use std::time::{Duration, Instant};

/// Rows that were answered anew.
const ANEW: &str = "SELECT count(*) FROM trading.agentpreds WHERE revision > 0";

/// Inserts `bars` one by one, at so many a second.
fn at_rate(feed: &mut Feed, bars: &[Fed], per_second: u32) {
    let begin = Instant::now();
    for (place, bar) in bars.iter().enumerate() {
        let due = begin + Duration::from_secs(1) * place as u32 / per_second;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        feed.insert(std::slice::from_ref(bar));
    }
}

#[test]
fn real_bars_at_every_rate_are_predicted_once_and_as_a_replay_does() {
    let Some(all) = real_bars(size(400, 4000)) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let expected = scene.replayed(&all);
    let mut feed = scene.feed();
    // Some history first, some while it starts, the rest live.
    let (history, live) = all.split_at(7 * 150);
    feed.insert(history);
    let service = scene.home.run();
    let mut rest = live;
    for (per_second, seconds) in [(1, size(3, 60)), (10, size(2, 60)), (100, size(2, 60)), (1000, 3600)] {
        let (now, later) = rest.split_at(rest.len().min((per_second * seconds) as usize));
        at_rate(&mut feed, now, per_second);
        rest = later;
    }
    scene.must_have(&mut feed, &expected);
    assert_eq!(feed.count(ANEW), 0, "in order, nothing is answered anew");
    let ended = service.stop();
    assert!(ended.stderr.contains("stopped"), "{ended:?}");
}

#[test]
fn a_commit_of_five_hundred_symbols_is_stored_whole() {
    let minutes = 70;
    let all = market(500, minutes);
    let Some(scene) = Scene::new(&["log_min_duration_statement=0"]) else { return };
    let expected = scene.replayed(&all);
    let mut feed = scene.feed();
    let (history, live) = all.split_at(all.len() - 500);
    history.chunks(5000).for_each(|chunk| feed.insert(chunk));
    let service = scene.home.run();
    let outcomes =
        "SELECT (SELECT count(*) FROM trading.agentpreds) + (SELECT count(*) FROM trading.inference_errors)";
    eventually("the history", || (feed.count(outcomes) == 3 * history.len() as i64).then_some(()));
    let reads = || {
        let log = std::fs::read_to_string(scene.cluster.log()).unwrap();
        log.lines()
            .filter(|line| {
                line.contains("duration: ")
                    && line.contains("execute")
                    && line.contains("unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY")
            })
            .count()
    };
    let before = reads();
    feed.insert(live);
    scene.must_have(&mut feed, &expected);
    // Besides, each series is read again now and then, 128 at once.
    let statements = reads() - before;
    assert!(statements <= 20, "{statements} statements for one commit");
    service.stop();
}

#[test]
fn what_is_committed_late_or_changed_ends_as_a_replay_of_the_final_bars() {
    let Some(all) = real_bars(200) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let mut feed = scene.feed();
    let (history, live) = all.split_at(7 * 120);
    feed.insert(history);
    let service = scene.home.run();
    let mut second = scene.feed();
    let mut last = history.to_vec();
    for (round, minute) in live.chunks(7).enumerate() {
        // One bar of each minute is in a transaction that commits after the next two minutes.
        let held = round % 7;
        if round % 3 == 0 && round + 3 < live.len() / 7 {
            second.0.batch_execute("BEGIN").unwrap();
            second.insert(&minute[held..=held]);
            let others: Vec<Fed> =
                minute.iter().enumerate().filter(|(at, _)| *at != held).map(|(_, bar)| bar.clone()).collect();
            feed.insert(&others);
        } else {
            feed.insert(minute);
        }
        if round % 3 == 2 {
            second.0.batch_execute("COMMIT").unwrap();
        }
        last.extend_from_slice(minute);
        // Some are corrected.
        if round % 5 == 4 {
            let mut changed = minute[(round + 3) % 7].clone();
            changed.1.volume += 1.0;
            feed.insert(std::slice::from_ref(&changed));
            last.push(changed);
        }
        std::thread::sleep(Duration::from_millis(size(20, 50)));
    }
    let _ = second.0.batch_execute("COMMIT");
    let expected = scene.replayed(&last);
    scene.must_have(&mut feed, &expected);
    assert!(feed.count(ANEW) > 0, "something was answered anew");
    service.stop();
}

#[test]
fn in_steady_state_no_statement_is_prepared_twice_and_none_is_run_for_a_bar_alone() {
    let all = market(20, 90);
    let Some(scene) = Scene::new(&["log_min_duration_statement=0"]) else { return };
    let mut feed = scene.feed();
    feed.insert(&all[..20 * 70]);
    let service = scene.home.run();
    let outcomes =
        "SELECT (SELECT count(*) FROM trading.agentpreds) + (SELECT count(*) FROM trading.inference_errors)";
    eventually("the history", || (feed.count(outcomes) == 3 * 20 * 70).then_some(()));
    let lines = |text: &str| {
        let log = std::fs::read_to_string(scene.cluster.log()).unwrap();
        log.split("duration: ").filter(|part| text.split('&').all(|word| part.contains(word))).count()
    };
    let read = "WITH ORDINALITY AS h";
    let (reads, writes) = (lines(&format!(" execute &{read}")), lines(" execute &INTO trading.agentpreds"));
    for (round, minute) in all[20 * 70..].chunks(20).enumerate() {
        feed.insert(minute);
        let now = 3 * 20 * (71 + round as i64);
        eventually("a minute", || (feed.count(outcomes) == now).then_some(()));
    }
    let (reads, writes) =
        (lines(&format!(" execute &{read}")) - reads, lines(" execute &INTO trading.agentpreds") - writes);
    assert!((20..=60).contains(&reads), "{reads} reads for 20 commits of 20 bars");
    // What has piled up goes in one statement; how often it does is up to the threads.
    assert!((20..=20 * 20).contains(&writes), "{writes} writes for 20 commits of 20 bars");
    assert_eq!(lines(&format!(" parse &{read}")), 1, "prepared once");
    assert!(
        lines(" parse &INTO trading.agentpreds") <= 6,
        "each of the three prepared once a connection of the store"
    );
    service.stop();
}
