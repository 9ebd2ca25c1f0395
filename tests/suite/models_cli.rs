//! `vela models …` as a person uses it.

use crate::service_support::{HEADER, Home};
use crate::support::zoo::good_models;
use std::time::Duration;
use vela::predict::{RunLimits, Runtime};

#[test]
fn a_version_is_checked_promoted_and_rolled_back_with_a_history() {
    let home = Home::new();
    let check = home.finish(&["models", "check", "demo-1m-h1@1"]).done();
    for part in ["may serve", "20 rows, worst difference", "batches", "loads in"] {
        assert!(check.contains(part), "{part} in {check}");
    }
    let json = home.finish(&["models", "check", "demo-1m-h5", "--json"]).done();
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["passed"], &report["golden"]["rows"]), (&true.into(), &20.into()));
    assert_eq!(report["runs_us"].as_array().map(|runs| runs[0][0].clone()), Some(1.into()));

    // A version that does not answer as it was trained is not promoted, unless somebody insists.
    for file in ["model.onnx", "model.toml", "golden.csv"] {
        let text = std::fs::read(home.path(&format!("models/demo-1m-h1/2/{file}"))).unwrap();
        home.write(&format!("models/demo-1m-h1/3/{file}"), text);
    }
    let golden = std::fs::read_to_string(home.path("models/demo-1m-h1/1/golden.csv")).unwrap();
    home.write("models/demo-1m-h1/3/golden.csv", golden);
    let promote = ["models", "promote", "demo-1m-h1", "3"];
    home.finish(&promote).refused(1, &["was not promoted", "line 2", "is expected", "check.tolerance"]);
    home.finish(&["models", "check", "demo-1m-h1@3"]).refused(1, &["fails its check", "golden.csv line 2"]);
    let said = home.finish(&[&promote[..], &["--unchecked", "--reason", "a test"]].concat()).done();
    assert!(said.contains("version 3 serves"), "{said}");
    let said = home.finish(&["models", "rollback", "demo-1m-h1", "--reason", "it was one"]).done();
    assert!(said.contains("version 3 was rolled back, version 2 serves"), "{said}");
    let told = home.finish(&["models", "history", "demo-1m-h1"]).done();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].contains("promoted") && lines[0].ends_with("a test"), "{told}");
    assert!(lines[1].contains("rolled back") && lines[1].ends_with("it was one"), "{told}");

    home.finish(&["models", "rollback", "demo-1m-h15"]).refused(1, &["only version 1 is promoted"]);
    home.finish(&["models", "promote", "demo-1m-h15", "9"])
        .refused(1, &["version 9", "model.onnx` is missing"]);
    home.finish(&["models", "promote", "nobody", "1"]).refused(1, &["nobody", "is no model"]);
    // A version that lies there and is not promoted is told, with what to do.
    std::fs::remove_file(home.path("models/demo-1m-h15/promoted")).unwrap();
    let list = home.finish(&["models", "list", "models"]).done();
    assert!(list.contains("vela models promote demo-1m-h15 1"), "{list}");
    home.finish(&["models", "check", "demo-1m-h15"]).refused(1, &["no promoted version", "there: 1"]);
    home.finish(&["models", "check", "nobody"]).refused(1, &["there is no model `nobody`"]);
    home.finish(&["models", "check", "demo-1m-h1@x"]).refused(1, &["`x` is no version"]);
}

#[test]
fn a_replay_says_which_version_fails_and_what_serves_instead() {
    let home = Home::new();
    home.write("bars/BTCUSD_1m.csv", HEADER.to_owned() + "2024-01-01T00:00:00Z,1,2,0.5,1.5,10\n");
    let file = home.path("models/demo-1m-h1/2/model.onnx");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let replay = home.finish(&["replay", "--bars", "bars", "--models", "models"]);
    let told = "warning: model demo-1m-h1: version 2 fails: ";
    let line = replay.stderr.lines().find(|line| line.starts_with(told));
    let line = line.unwrap_or_else(|| panic!("{told} is missing: {replay:?}"));
    assert!(line.ends_with("; version 1 serves instead") && replay.code == Some(0), "{replay:?}");
}

#[test]
fn a_bare_graph_is_described_with_a_manifest_that_can_be_read() {
    let home = Home::new();
    for model in good_models() {
        let file = model.folder.join("model.onnx");
        let text = home.finish(&["models", "inspect", file.to_str().unwrap()]).done();
        let manifest = vela::predict::Manifest::parse(&text, &file).unwrap_or_else(|e| panic!("{e}\n{text}"));
        // Who wrote it stands above, and no number that means nothing.
        assert!(text.contains("# producer") && !text.contains("9223372036854775807"), "{text}");
        // What the graph declares is in it: it loads as it stands, but for the names of the features.
        let runtime = Runtime::ensure(None, &mut |_| {}).unwrap();
        let limits = RunLimits { deadline: Duration::from_secs(30), memory_bytes: 256 << 20 };
        let artefact = vela::predict::Artefact::read(&file).unwrap();
        let loaded = vela::predict::Session::load(runtime, &artefact, &manifest, limits);
        let error = loaded.err().map(|error| error.to_string()).unwrap_or_default();
        // Two inputs of features of their own: which reads which, the graph does not say.
        assert!(
            error.is_empty() || model.name.starts_with("torch_two_inputs"),
            "{}: {error}\n{text}",
            model.name
        );
        let score = model.meta["score"]["output"].as_str().unwrap();
        assert!(text.contains(&format!("value = \"{score}\"")), "{}: {text}", model.name);
    }
}
