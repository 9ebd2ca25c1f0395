//! The description against the server, by requests that schemathesis makes of it: hundreds, valid and not.
//! `VELA_SCHEMATHESIS_EXAMPLES=500` makes it thorough.

use crate::serve_support::{Served, own_models, settings};
use crate::support::python;
use std::process::Command;

#[test]
fn schemathesis_finds_nothing() {
    let Some(python) = python::environment("tests/suite/schemathesis.txt") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.models.path = own_models(folder.path());
    settings.store.url = vela::config::StoreUrl::Sqlite(folder.path().join("vela.db"));
    let served = Served::with(settings);
    served.feed(&crate::service_support::market(2, 80));
    let examples = std::env::var("VELA_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "20".into());
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(python.join("bin/schemathesis"));
    command.arg("--config-file").arg(format!("{root}/tests/suite/schemathesis.toml"));
    command.arg("run").arg(format!("http://{}/openapi.json", served.address()));
    // What streams does not end.
    command.args(["--exclude-path", "/api/stream", "--continue-on-failure", "--no-color", "--seed", "7"]);
    command.args(["--max-examples", &examples, "--request-timeout", "60", "--suppress-health-check", "all"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
}
