//! A models folder that changes in ugly ways under a running engine: a test for each. No bar goes without its
//! prediction, and what is put right is followed.

use crate::service_support::eventually;
use crate::support::onnx;
use crate::support::serving::{Fed, Folder, reason};
use rustix::process::{Uid, geteuid};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};
use vela::domain::Reason;
use vela::predict::Models;
use vela::{Engine, Overrides};

/// Longer than a change goes unnoticed, many times.
const NOTICED: Duration = Duration::from_millis(500);

/// A folder of one model, whose version 2 serves, and an engine over it.
fn serving() -> (Folder, Fed) {
    let folder = Folder::new();
    folder.says_itself("m", 1).says_itself("m", 2).promote("m", &[1, 2]);
    let mut fed = Fed::start(&folder);
    fed.until(Some(2));
    (folder, fed)
}

/// Every bar is answered by version 2, for longer than a change goes unnoticed.
fn goes_on(fed: &mut Fed) {
    let begin = Instant::now();
    while begin.elapsed() < NOTICED {
        assert_eq!(fed.version(), Some(2), "{:#?}", fed.engine.alerts());
    }
}

/// What `spoil` does costs no bar its prediction, and an alert has `told`; after `mend` a promotion is followed.
fn survives((folder, mut fed): (Folder, Fed), spoil: impl Fn(&Folder), told: &str, mend: impl Fn(&Folder)) {
    spoil(&folder);
    goes_on(&mut fed);
    if !told.is_empty() {
        eventually(told, || {
            assert_eq!(fed.version(), Some(2));
            fed.engine.alerts().iter().any(|alert| alert.detail.contains(told)).then_some(())
        });
    }
    mend(&folder);
    goes_on(&mut fed);
    folder.says_itself("m", 3).promote("m", &[1, 2, 3]);
    fed.until(Some(3));
    let alerts = fed.engine.metrics().alerts;
    let problems = alerts.get("models_folder").copied().unwrap_or(0);
    assert!(problems < 8, "told once each, not at every look: {:#?}", fed.engine.alerts());
    fed.engine.stop().unwrap();
}

#[test]
fn a_copy_over_the_served_file_that_stops_half_way() {
    let half = onnx::linear(1, 0.0, 9.0)[..40].to_vec();
    let spoil = |folder: &Folder| _ = folder.write("m/2/model.onnx", &half);
    survives(serving(), spoil, "its content before the change goes on", |folder| {
        folder.says_itself("m", 2);
    });
}

#[test]
fn the_served_versions_folder_is_deleted() {
    let spoil = |folder: &Folder| fs::remove_dir_all(folder.path("m/2")).unwrap();
    survives(serving(), spoil, "is promoted but not there", |folder| {
        folder.says_itself("m", 2);
    });
}

#[test]
fn the_served_versions_manifest_becomes_nonsense() {
    let spoil = |folder: &Folder| _ = folder.write("m/2/model.toml", "symbol = ");
    survives(serving(), spoil, "version 2 of m does not serve", |folder| {
        folder.says_itself("m", 2);
    });
}

#[test]
fn the_list_of_promoted_versions_is_emptied() {
    let (folder, mut fed) = serving();
    // The last rollback of all: the model is withdrawn, and the engine goes on.
    folder.write("m/promoted", "");
    fed.until(None);
    assert_eq!(reason(&fed.bar(true)).0, Reason::NoModel);
    folder.promote("m", &[1]);
    fed.until(Some(1));
    fed.engine.stop().unwrap();
}

#[test]
fn a_list_that_is_emptied_and_written_in_place_is_never_seen_empty() {
    let folder = Folder::new();
    folder.says_itself("m", 1).promote("m", &[1]);
    let mut fed = Fed::with(&folder, |settings| settings.models.look_interval_ms = 1);
    for _ in 0..10 {
        // What an editor does: empty, a moment later written.
        for text in ["", "1\n"] {
            folder.write("m/promoted", text);
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(30) {
                assert_eq!(fed.version(), Some(1));
            }
        }
    }
    fed.engine.stop().unwrap();
}

#[test]
fn the_list_becomes_a_folder() {
    let spoil = |folder: &Folder| {
        fs::remove_file(folder.path("m/promoted")).unwrap();
        fs::create_dir(folder.path("m/promoted")).unwrap();
    };
    survives(serving(), spoil, "what it said last goes on serving", |folder| {
        fs::remove_dir(folder.path("m/promoted")).unwrap();
        folder.promote("m", &[1, 2]);
    });
}

#[test]
fn the_list_has_nonsense_among_its_lines() {
    let spoil = |folder: &Folder| _ = folder.write("m/promoted", "1\nv2\n\u{fffd}\n2\n");
    survives(serving(), spoil, "line 2: `v2` is no version", |folder| {
        folder.promote("m", &[1, 2]);
    });
}

#[test]
fn the_list_is_a_link_loop() {
    let spoil = |folder: &Folder| {
        fs::remove_file(folder.path("m/promoted")).unwrap();
        symlink("promoted", folder.path("m/promoted")).unwrap();
    };
    survives(serving(), spoil, "what it said last goes on serving", |folder| {
        fs::remove_file(folder.path("m/promoted")).unwrap();
        folder.promote("m", &[1, 2]);
    });
}

#[test]
fn the_served_versions_folder_is_a_link_loop() {
    let spoil = |folder: &Folder| {
        fs::remove_dir_all(folder.path("m/2")).unwrap();
        symlink("2", folder.path("m/2")).unwrap();
    };
    survives(serving(), spoil, "is promoted but not there", |folder| {
        fs::remove_file(folder.path("m/2")).unwrap();
        folder.says_itself("m", 2);
    });
}

#[test]
fn a_link_loop_and_a_name_that_is_none_lie_beside_the_model() {
    let spoil = |folder: &Folder| {
        symlink("loop", folder.path("loop")).unwrap();
        fs::create_dir(folder.path("no name")).unwrap();
    };
    survives(serving(), spoil, "is no model name", |folder| {
        fs::remove_file(folder.path("loop")).unwrap();
        fs::remove_dir(folder.path("no name")).unwrap();
    });
}

#[test]
fn the_whole_models_folder_is_gone_for_a_while() {
    let aside = |folder: &Folder| folder.path("").with_extension("aside");
    let spoil = |folder: &Folder| fs::rename(folder.path(""), aside(folder)).unwrap();
    survives(serving(), spoil, "the models that are known go on serving", |folder| {
        fs::rename(aside(folder), folder.path("")).unwrap();
    });
}

/// [`serving`], by threads that no permission is passed over for.
fn serving_unprivileged() -> (Folder, Fed) {
    let folder = Folder::new();
    folder.says_itself("m", 1).says_itself("m", 2).promote("m", &[1, 2]);
    fs::set_permissions(folder.path(""), Permissions::from_mode(0o755)).unwrap();
    let settings = Fed::settings(&folder);
    // Here: the library may lie where only this user may look.
    let models = Models::open(&settings, vela::feature::check, &mut |_| {}).unwrap();
    let start = move || {
        if geteuid().is_root() {
            // Of this thread alone, and of those that it starts: the engine's.
            rustix::thread::set_thread_uid(Uid::from_raw(65_534)).unwrap();
        }
        let closed = tempfile::tempdir().unwrap();
        fs::set_permissions(closed.path(), Permissions::from_mode(0o000)).unwrap();
        assert!(fs::read_dir(closed.path()).is_err(), "permissions do not bind this thread");
        Engine::start_with(settings, Overrides { models: Some(models), ..Overrides::default() }).unwrap()
    };
    let mut fed = Fed::over(std::thread::spawn(start).join().unwrap());
    fed.until(Some(2));
    (folder, fed)
}

/// Permissions of `path` are gone for a while.
fn permissions_are_gone(path: &str, told: &str) {
    let mode = |folder: &Folder, mode| {
        fs::set_permissions(folder.path(path), Permissions::from_mode(mode)).unwrap();
    };
    survives(serving_unprivileged(), |folder| mode(folder, 0o000), told, |folder| mode(folder, 0o755));
}

#[test]
fn permissions_of_the_list_are_gone() {
    permissions_are_gone("m/promoted", "what it said last goes on serving");
}

#[test]
fn permissions_of_the_served_graph_are_gone() {
    permissions_are_gone("m/2/model.onnx", "version 2 of m does not serve");
}

#[test]
fn permissions_of_the_served_versions_folder_are_gone() {
    permissions_are_gone("m/2", "is missing in a promoted version");
}

#[test]
fn permissions_of_the_models_own_folder_are_gone() {
    permissions_are_gone("m", "what it said last goes on serving");
}

#[test]
fn permissions_of_the_whole_models_folder_are_gone() {
    permissions_are_gone("", "the models that are known go on serving");
}

#[test]
fn weights_beside_a_graph_are_missing_come_and_change() {
    let folder = Folder::new();
    folder.says_itself("m", 1).version("m", 2, onnx::weighs_from(1, "weights.bin"), "").promote("m", &[1, 2]);
    let mut fed = Fed::start(&folder);
    assert_eq!(fed.version(), Some(1));
    let problems = format!("{:?}", fed.engine.catalogue().problems());
    assert!(problems.contains("weights.bin"), "{problems}");
    // They come, and change without the graph being touched: both are noticed, and the answer is the new one's.
    for weight in [2.0_f32, 3.0] {
        folder.write("m/2/weights.bin", weight.to_le_bytes());
        eventually("the new weights answer", || {
            let prediction = fed.bar(true).result.unwrap();
            let expected = 0.01 * f64::from(weight);
            (prediction.version == 2 && (prediction.value - expected).abs() < 1e-5).then_some(())
        });
    }
    // Gone again: what is in memory goes on.
    fs::remove_file(folder.path("m/2/weights.bin")).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < NOTICED {
        assert_eq!(fed.bar(true).result.unwrap().version, 2);
    }
    fed.engine.stop().unwrap();
}
