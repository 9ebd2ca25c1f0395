//! Ctrl-C in the middle of a command: what is left behind, and what is said.

use crate::service_support::{Home, Service, eventually};

/// More than any test waits for.
const MINUTES: &str = "10000000";

#[test]
fn an_export_leaves_no_half_of_a_file() {
    let home = Home::bare();
    let export = Service::start(&home, &mut home.vela(&["demo", "--export", "bars", "--minutes", MINUTES]));
    let files = || std::fs::read_dir(home.path("bars")).map_or(0, Iterator::count);
    eventually("files", || (files() == 6).then_some(()));
    export.signal("INT");
    let ended = export.ended();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(ended.stderr, "interrupted: nothing was written into bars\n");
    assert_eq!((files(), ended.stdout.as_str()), (0, ""));
}

#[test]
fn a_fixed_number_of_bars_says_that_it_was_cut_short() {
    let home = Home::bare();
    let demo = Service::start(&home, &mut home.vela(&["demo", "--once", "--minutes", MINUTES]));
    let database = home.path("vela-demo/vela.db");
    eventually("a database with rows", || {
        std::fs::metadata(&database).is_ok_and(|file| file.len() > 100_000).then_some(())
    });
    demo.signal("INT");
    let ended = demo.ended();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stdout.contains("bars in, "), "{ended:?}");
    assert_eq!(ended.stderr, "interrupted: these are not all bars\n");
}
