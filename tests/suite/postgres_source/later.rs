//! What comes to light later: bars that changed while vela was down, or while it was killed, and bars that were announced
//! and are not there.

use super::scene::{Feed, Scene, real_bars, size, time};
use crate::service_support::{Fed, eventually};
use crate::support::Random;
use std::sync::Arc;
use std::time::Duration;
use vela::domain::Bar;

/// Seven series.
pub const SERIES: usize = 7;

/// The bar `back` minutes before the newest of `bars`, of one of the series, with another close and volume.
pub fn changed(bars: &[Fed], back: usize, series: usize, by: f64) -> Fed {
    let (key, bar) = &bars[bars.len() - SERIES * (back + 1) + series];
    let close = bar.low + (bar.high - bar.low) * by;
    (Arc::clone(key), Bar { close, volume: bar.volume + by, ..*bar })
}

#[test]
fn bars_that_change_while_vela_is_down_are_answered_anew_at_the_next_start() {
    let Some(all) = real_bars(140) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let mut feed = scene.feed();
    let (original, rest) = all.split_at(SERIES * 120);
    feed.insert(original);
    let settled = |fed: &[Fed], feed: &mut Feed, what: &str| {
        println!("{what}");
        let expected = scene.replayed(fed);
        let service = scene.home.run();
        scene.must_have(feed, &expected);
        service.stop();
    };
    settled(original, &mut feed, "for the first time");
    let mut fed = original.to_vec();
    for (what, by) in [("changed", 0.25), ("changed once more", 0.75)] {
        let changes = [changed(original, 6, 0, by), changed(original, 3, 1, by), changed(original, 0, 2, by)];
        feed.insert(&changes);
        fed.extend(changes);
        settled(&fed, &mut feed, what);
    }
    // Back to what was said first of all: that was said before, and is the last word again.
    feed.insert(&original[original.len() - SERIES * 8..]);
    settled(original, &mut feed, "changed back");
    // With bars that came meanwhile, and one that comes late.
    let (missing, others) = rest[SERIES * 15..].split_at(1);
    let others = [&rest[..SERIES * 15], others].concat();
    feed.insert(&others);
    let mut fed = [original, &others].concat();
    settled(&fed, &mut feed, "went on");
    let change = changed(&fed, 2, 3, 0.5);
    feed.insert(&[missing[0].clone(), change.clone()]);
    fed.extend([missing[0].clone(), change]);
    settled(&fed, &mut feed, "a late one and a change");
}

#[test]
fn changes_of_bars_that_a_kill_cut_short_are_made_up_for() {
    let Some(all) = real_bars(160) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let seed = std::env::var("KILL_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    let mut feed = scene.feed();
    let mut fed = all[..SERIES * 120].to_vec();
    feed.insert(&fed);
    let mut last = fed.clone();
    for round in 0..size(8, 30) {
        let mut service = scene.home.spawn_run();
        service.says("vela runs with");
        let minute = &all[SERIES * (120 + round)..][..SERIES];
        feed.insert(minute);
        fed.extend_from_slice(minute);
        last.extend_from_slice(minute);
        if random.below(3) > 0 {
            let newest = time(&minute[0].1);
            eventually("the newest bar", || {
                let sql = "SELECT count(*) FROM trading.agentpreds WHERE ts = $1";
                let count: i64 = feed.0.query_one(sql, &[&newest]).unwrap().get(0);
                (count > 0).then_some(())
            });
        }
        for series in 0..SERIES {
            let by = random.below(1000) as f64 / 1000.0;
            let change = changed(&fed, random.below(7) as usize, series, by);
            feed.insert(std::slice::from_ref(&change));
            last.push(change);
        }
        std::thread::sleep(Duration::from_micros(random.below(8000)));
        service.kill();
    }
    let expected = scene.replayed(&last);
    let service = scene.home.run();
    scene.must_have(&mut feed, &expected);
    service.stop();
}

#[test]
fn a_bar_that_was_announced_and_is_not_there_is_taken_back() {
    let Some(all) = real_bars(130) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let expected = scene.replayed(&all);
    let mut feed = scene.feed();
    let (history, live) = all.split_at(SERIES * 120);
    feed.insert(history);
    let service = scene.home.run();
    let outcomes =
        "SELECT (SELECT count(*) FROM trading.agentpreds) + (SELECT count(*) FROM trading.inference_errors)";
    eventually("the history", || (feed.count(outcomes) == 3 * history.len() as i64).then_some(()));
    // Anybody who may NOTIFY can say that there is a bar: the next one, with numbers of his own.
    let (series, bar) = &live[0];
    let bits: String = [1.0, 2.0, 0.5, 1.5, 1e6].map(|n: f64| format!("{:016x}", n.to_bits())).concat();
    let oid: u32 = feed.0.query_one("SELECT 'trading.ohlcv'::regclass::oid", &[]).unwrap().get(0);
    let told = format!(r#"[{oid},["{}","1m",{},"{bits}"]]"#, series.symbol, bar.ts.as_millis());
    feed.0.execute("SELECT pg_notify('vela_bars', $1)", &[&told]).unwrap();
    eventually("it is predicted, and taken back", || {
        let withdrawn = "SELECT count(*) FROM trading.inference_errors WHERE reason = 'withdrawn'";
        (feed.count(withdrawn) == 1).then_some(())
    });
    eventually("its predictions, which it had as a live bar", || {
        let predicted = "SELECT count(*) FROM trading.agentpreds WHERE ts = $1 AND symbol = $2";
        let row = feed.0.query_one(predicted, &[&time(bar), &&*series.symbol]).unwrap();
        (row.get::<_, i64>(0) == 3).then_some(())
    });
    // From the bar that is there at that time on, everything is as if nobody had said so.
    live.chunks(SERIES).for_each(|minute| feed.insert(minute));
    scene.must_have(&mut feed, &expected);
    service.stop();
}
