//! Programs of PyPI's: a folder of their own for each set, kept from run to run.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Held while packages are installed: two tests may want the same.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Where `requirements`, a file of this project, is installed; what cannot be had is told as skipped, and `None`.
pub fn environment(requirements: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(requirements);
    let name = file.file_stem().unwrap();
    let target = Path::new(env!("CARGO_BIN_EXE_vela")).ancestors().nth(2).unwrap();
    let folder = target.join("python").join(name);
    let wanted = std::fs::read_to_string(&file).unwrap();
    let installed = folder.join("installed.txt");
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if std::fs::read_to_string(&installed).is_ok_and(|known| known == wanted) {
        return Some(folder);
    }
    // What an interrupted run, or another Python, left.
    let _ = std::fs::remove_dir_all(&folder);
    let run = |command: &mut Command| {
        let output = command.env("PIP_RETRIES", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1").output();
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    };
    let made = run(Command::new("python3").arg("-m").arg("venv").arg(&folder));
    let pip = || run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", "-r"]).arg(&file));
    if let Err(said) = made.and_then(|()| pip()) {
        skipped(&format!("{requirements} cannot be installed: {said}"));
        return None;
    }
    std::fs::write(installed, wanted).unwrap();
    Some(folder)
}

/// Says what was not tested, past the test runner, which shows nothing of a test that passes.
pub fn skipped(what: &str) {
    writeln!(std::io::stderr(), "\nSKIPPED: {what}").unwrap();
}
