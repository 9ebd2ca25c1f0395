//! promtool, where Debian's package `prometheus` is installed.

use super::python::skipped;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// What it says to `input`; it must be content. Where it is not installed that is told, and `None`.
pub fn promtool(arguments: &[&str], input: &[u8]) -> Option<String> {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        skipped(&format!("promtool {arguments:?} is not installed (Debian: apt-get install prometheus)"));
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    Some(said)
}
