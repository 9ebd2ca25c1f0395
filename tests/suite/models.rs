//! Versions, who stands in for them, and promotion while bars come: seen through a running engine.

use crate::service_support::eventually;
use crate::support::onnx;
use crate::support::serving::{Fed, Folder, reason};
use std::path::Path;
use std::time::{Duration, Instant};
use vela::domain::Reason;
use vela::predict::Catalogue;

#[test]
fn the_version_before_serves_at_once_where_the_newest_cannot_be_loaded_or_fails_its_check() {
    let golden = "x_0,y\n0.5,3\n";
    let whole = onnx::linear(1, 0.0, 3.0);
    let half = whole[..whole.len() / 2].to_vec();
    for (case, graph, manifest, golden, told) in [
        ("half copied", half, None, None, "protobuf"),
        ("wrong golden", onnx::linear(1, 1.0, 3.0), None, Some(golden), "is expected"),
        ("wrong width", onnx::linear(2, 0.0, 3.0), None, None, "it takes 2"),
        ("no manifest", whole.clone(), Some("nonsense"), None, "expected `=`"),
        (
            "unknown feature",
            whole.clone(),
            Some("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"soothsayer_7\"]\n"),
            None,
            "soothsayer_7",
        ),
    ] {
        let folder = Folder::new();
        folder.says_itself("m", 1).says_itself("m", 2).version("m", 3, graph, "").promote("m", &[1, 2, 3]);
        if let Some(manifest) = manifest {
            folder.write("m/3/model.toml", manifest);
        }
        if let Some(golden) = golden {
            folder.write("m/3/golden.csv", golden);
        }
        // At a cold start already.
        let mut fed = Fed::start(&folder);
        assert_eq!(fed.version(), Some(2), "{case}");
        let problems = format!("{:?} {:?}", fed.engine.alerts(), fed.engine.catalogue().problems());
        assert!(problems.contains(told), "{case}: {problems}");
        // Put right, it serves without anybody asking.
        folder.says_itself("m", 3);
        if let Some(golden) = golden {
            folder.write("m/3/golden.csv", golden);
        }
        fed.until(Some(3));
        fed.engine.stop().unwrap();
    }
}

#[test]
fn the_same_rows_are_answered_by_the_version_before_when_a_run_fails() {
    for (case, graph, told) in [
        ("NaN", onnx::nan_when_negative(1), "answered NaN"),
        ("slow", onnx::slow_when_negative(1), "longer than 150 ms"),
    ] {
        let folder = Folder::new();
        folder.says_itself("m", 1).version("m", 2, graph, "").promote("m", &[1, 2]);
        let mut fed = Fed::with(&folder, |settings| settings.predict.deadline_ms = 150);
        assert_eq!(fed.bar(true).result.unwrap().version, 2, "{case}");
        // It fails over this very bar, which gets its prediction all the same.
        let prediction = fed.bar(false).result.unwrap();
        assert_eq!((prediction.version, prediction.value), (1, 1.0), "{case}");
        assert!(fed.alerted("model_failed", told), "{case}: {:?}", fed.engine.alerts());
        assert!(fed.alerted("model_failed", "version 1 serves instead"), "{case}");
        // What failed is left alone; then it is tried again, and serves again.
        assert_eq!(fed.bar(true).result.unwrap().version, 1, "{case}");
        eventually("the version is good again", || fed.alerted("model_recovered", "version 2").then_some(()));
        assert_eq!(fed.bar(true).result.unwrap().version, 2, "{case}");
        fed.engine.stop().unwrap();
    }
}

#[test]
fn a_bar_that_no_version_can_answer_says_what_each_of_them_did() {
    let folder = Folder::new();
    folder
        .version("m", 1, b"no graph".to_vec(), "")
        .version("m", 2, onnx::slow_when_negative(1), "")
        .version("m", 3, onnx::nan_when_negative(1), "")
        .promote("m", &[1, 2, 3]);
    let mut fed = Fed::with(&folder, |settings| {
        settings.predict.deadline_ms = 150;
        settings.models.look_interval_ms = 0;
    });
    assert_eq!(fed.bar(true).result.unwrap().version, 3);
    let (reason_given, detail) = reason(&fed.bar(false));
    assert_eq!(reason_given, Reason::OutputNotFinite);
    for part in ["version 3: the model answered NaN", "version 2: the run took longer", "version 1: "] {
        assert!(detail.contains(part), "{part} in {detail}");
    }
    // Alone, a model that is too slow has its own reason, at once from the second bar on.
    let folder = Folder::new();
    folder.version("m", 1, onnx::slow_when_negative(1), "").promote("m", &[1]);
    let mut fed = Fed::with(&folder, |settings| {
        settings.predict.deadline_ms = 150;
        settings.models.look_interval_ms = 0;
    });
    for _ in 0..2 {
        assert_eq!(reason(&fed.bar(false)).0, Reason::ModelTimeout);
    }
    let begin = Instant::now();
    assert_eq!(reason(&fed.bar(true)).0, Reason::ModelTimeout);
    assert!(begin.elapsed() < Duration::from_millis(100), "it is left alone: {:?}", begin.elapsed());
}

#[test]
fn promotion_rollback_new_models_and_withdrawn_ones_are_noticed_within_a_second() {
    let folder = Folder::new();
    folder.says_itself("m", 1).promote("m", &[1]);
    let mut fed = Fed::with(&folder, |settings| settings.models.look_interval_ms = 400);
    assert_eq!(fed.version(), Some(1));
    for (versions, expected) in
        [(&[1, 2][..], Some(2)), (&[1], Some(1)), (&[1, 2, 7], Some(7)), (&[], None), (&[2], Some(2))]
    {
        for version in versions {
            folder.says_itself("m", *version);
        }
        let begin = Instant::now();
        folder.promote("m", versions);
        fed.until(expected);
        let took = begin.elapsed();
        println!("{versions:?} after {took:?}");
        // A second is the promise; a machine that builds beside it gets three.
        assert!(took < Duration::from_secs(3), "{versions:?}: {took:?}");
    }
    // A model for the same series appears: its bars are demanded, and the series' history is there.
    folder.version("n", 1, onnx::linear(1, 1.0, 0.0), "").promote("n", &[1]);
    eventually("the new model", || (fed.engine.catalogue().models().len() == 2).then_some(()));
    let mut both = || {
        fed.put(100.0);
        let first = fed.come(1).remove(0);
        (0..first.place.of - 1).for_each(|_| drop(fed.come(1)));
        (first.place.of == 2).then_some(())
    };
    eventually("two outcomes a bar", &mut both);
    std::fs::remove_dir_all(folder.path("n")).unwrap();
    eventually("one model is left", || (fed.engine.catalogue().models().len() == 1).then_some(()));
    eventually("one outcome a bar", || {
        fed.put(100.0);
        let of = fed.come(1)[0].place.of;
        (0..of - 1).for_each(|_| drop(fed.come(1)));
        (of == 1).then_some(())
    });
    fed.engine.stop().unwrap();
}

#[test]
fn a_version_that_reads_other_features_takes_over_when_they_are_defined() {
    let folder = Folder::new();
    folder.says_itself("m", 1).promote("m", &[1]);
    let mut fed = Fed::start(&folder);
    (0..20).for_each(|_| drop(fed.bar(true)));
    let toml = |features: &str, window: usize| {
        format!("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = {features}\nwindow = {window}\n")
    };
    // The bars that were kept are enough for it at once.
    folder
        .version("m", 2, onnx::linear(2, 0.0, 2.0), "")
        .write("m/2/model.toml", toml("[\"ret_1\", \"rsi_14\"]", 1));
    folder.promote("m", &[1, 2]);
    fed.until(Some(2));
    let good = fed.engine.outcomes();
    // This one needs more bars than there are: until then the version before serves, and no bar goes without.
    folder.version("m", 3, onnx::linear(1, 0.0, 3.0), "").write("m/3/model.toml", toml("[\"ret_200\"]", 1));
    folder.promote("m", &[1, 2, 3]);
    eventually("version 3 is known", || {
        let known = fed.engine.catalogue().models()[0].versions.iter().any(|version| version.number == 3);
        known.then_some(())
    });
    let mut seen = Vec::new();
    let begin = Instant::now();
    while seen.last() != Some(&3) {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} bars, none by version 3", seen.len());
        seen.push(fed.version().unwrap());
    }
    assert!(seen.len() > 10 && seen.is_sorted(), "{seen:?}");
    assert!(fed.next > 200, "ret_200 before there were 200 bars");
    assert!(fed.engine.outcomes() > good);
    assert!(fed.engine.metrics().reasons.len() <= 1, "{:?}", fed.engine.metrics().reasons);
    fed.engine.stop().unwrap();
}

#[test]
fn the_folder_may_be_read_by_name() {
    let error =
        Catalogue::read(Path::new("/no/such"), &vela::predict::Slots::default(), vela::feature::check);
    assert!(error.unwrap_err().contains("/no/such"));
}
