//! A pooler that gives the connection away after each transaction passes no announcements on, which is noticed.

use super::later::SERIES;
use super::scene::{Scene, real_bars};
use crate::support::pgbouncer::Pooler;

#[test]
fn behind_a_pooler_that_passes_no_announcements_on_tables_are_polled() {
    let Some(all) = real_bars(125) else { return };
    let Some(scene) = Scene::new(&[]) else { return };
    let Some(pooler) = Pooler::start(scene.cluster.port) else { return };
    // Nothing but polling finds them in time.
    scene
        .configure(&scene.cluster.url(), &format!("url = \"{}\"\nrecheck_interval_s = 3600\n", pooler.url()));
    let mut feed = scene.feed();
    feed.insert(&all[..SERIES * 120]);
    let mut service = scene.home.run();
    scene.must_have(&mut feed, &scene.replayed(&all[..SERIES * 120]));
    for minute in 120..125 {
        feed.insert(&all[SERIES * minute..][..SERIES]);
        scene.must_have(&mut feed, &scene.replayed(&all[..SERIES * (minute + 1)]));
    }
    service.says("a pooler gives the connection away");
    service.stop();
}
