//! Clients as they are, unchanged: Triton's for Python, and perf_analyzer.

use crate::serve_support::{SOON, Served, settings};
use crate::support::{python, reference, zoo};
use std::path::Path;
use std::process::Command;

const REQUIREMENTS: &str = "tests/suite/oip/tritonclient.txt";

/// A server of every good model of the zoo.
fn zoo_served(folder: &Path) -> Option<Served> {
    let models = zoo::good_models();
    if models.is_empty() {
        return None;
    }
    models.iter().for_each(|model| model.put(folder, "*", "1m"));
    let mut settings = settings();
    settings.models.path = folder.to_owned();
    settings.serve.sessions_max = 64;
    Some(Served::with(settings))
}

#[test]
fn tritonclient_gets_what_onnxruntime_gives() {
    let Some(python) = python::environment(REQUIREMENTS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(served) = zoo_served(folder.path()) else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/oip/client.py");
    let mut command = Command::new(python.join("bin/python"));
    command.arg(script).arg(served.address().to_string()).arg(reference("zoo/models").unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let models = zoo::good_models().len();
    assert!(said.contains(&format!("{models} models agree")), "{said}");
    println!("{said}");
}

#[test]
fn perf_analyzer_measures() {
    let Some(python) = python::environment(REQUIREMENTS) else { return };
    let libraries = std::fs::read_dir(python.join("lib")).unwrap().map(|entry| {
        entry.unwrap().path().join("site-packages/nvidia/cuda_runtime/lib").display().to_string()
    });
    let libraries = libraries.collect::<Vec<_>>().join(":");
    let program = || {
        let mut command = Command::new(python.join("bin/perf_analyzer"));
        command.env("LD_LIBRARY_PATH", &libraries);
        command
    };
    match program().arg("--version").output() {
        Ok(output) if output.status.success() => {}
        result => {
            let said =
                result.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stderr).into_owned());
            return python::skipped(&format!(
                "perf_analyzer does not start (apt-get install libb64-0d?): {said}"
            ));
        }
    }
    let served = Served::with(settings());
    for (format, batch) in [("binary", "1"), ("json", "1"), ("binary", "8")] {
        let before = served.get("/v2/models/demo-1m-h1/stats").json();
        let mut command = program();
        command.args(["-m", "demo-1m-h1", "-i", "http", "-u", &served.address().to_string()]);
        command.args(["--input-tensor-format", format, "-b", batch, "--concurrency-range", "2"]);
        command.args(["--request-count", "300"]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && said.contains("Throughput:"),
            "{format} {batch}: {said}\n{errors}"
        );
        // It prints what it read of the statistics; the server counted at least what was asked for.
        assert!(said.contains("Inference count:"), "{said}");
        let after = served.get("/v2/models/demo-1m-h1/stats").json();
        let count = |stats: &serde_json::Value| {
            let versions = stats["model_stats"].as_array().unwrap().iter();
            versions.map(|version| version["execution_count"].as_u64().unwrap()).sum::<u64>()
        };
        assert!(count(&after) - count(&before) >= 300, "{before} {after}");
    }
    assert!(served.engine.drain(SOON));
}
