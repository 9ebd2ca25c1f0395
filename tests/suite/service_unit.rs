//! The example unit for systemd, as systemd itself reads it.

use std::io::Write as _;
use std::process::{Command, Output};

const UNIT: &str = include_str!("../../config/vela.service");
/// Where the unit expects the program.
const PROGRAM: &str = "/usr/local/bin/vela";

/// What `systemd-analyze` says of a unit; `None`, said aloud, where it is not there or cannot do that.
fn analyze(unit: &str, arguments: &[&str]) -> Option<Output> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vela.service");
    std::fs::write(&path, unit.replace(PROGRAM, env!("CARGO_BIN_EXE_vela"))).unwrap();
    let output = Command::new("systemd-analyze").args(arguments).arg(&path).output();
    let says = |word: &str| {
        output.as_ref().is_ok_and(|output| String::from_utf8_lossy(&output.stderr).contains(word))
    };
    if output.is_err() || says("unrecognized option") {
        let _ = writeln!(std::io::stderr(), "\nSKIPPED: systemd-analyze {arguments:?} is not to be had here");
        return None;
    }
    output.ok()
}

/// Its words about the unit; about others of the machine it has some as well.
fn words(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    stderr.lines().filter(|line| line.contains("vela")).collect::<Vec<_>>().join("\n")
}

#[test]
fn systemd_takes_the_example_unit_as_it_is_meant() {
    assert!(UNIT.contains(PROGRAM));
    let Some(output) = analyze(UNIT, &["verify"]) else { return };
    assert_eq!((words(&output).as_str(), output.status.success()), ("", true), "{output:?}");
    // What it does not know it says.
    for wrong in ["MemoryDenyWriteExecute=perhaps", "ProtectSystm=strict"] {
        let output = analyze(&UNIT.replace("NoNewPrivileges=yes", wrong), &["verify"]).unwrap();
        assert!(words(&output).contains("vela.service"), "{wrong}: {output:?}");
    }
}

#[test]
fn systemd_rates_the_example_unit_as_safe() {
    // In tenths, 0 (safe) to 100: from 20 on it is no longer called OK.
    const RATING_MAX: &str = "--threshold=19";
    let arguments = ["security", "--no-pager", "--offline=true", RATING_MAX];
    let Some(output) = analyze(UNIT, &arguments) else { return };
    assert!(output.status.success(), "{output:?}");
    let open = analyze("[Service]\nExecStart=/usr/local/bin/vela run\n", &arguments).unwrap();
    assert!(!open.status.success(), "{open:?}");
}
