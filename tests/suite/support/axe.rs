//! axe-core, the rules of accessibility that browsers' own tools use: out of the npm registry, at one version, kept from run
//! to run and never in the tree.

use super::python::skipped;
use std::path::Path;
use std::process::Command;

const VERSION: &str = "4.14.1";

/// Its script; what cannot be had is told as skipped, and `None`.
pub fn script() -> Option<String> {
    let target = Path::new(env!("CARGO_BIN_EXE_vela")).ancestors().nth(2).unwrap();
    let folder = target.join("npm").join(format!("axe-core-{VERSION}"));
    let file = folder.join("package/axe.min.js");
    if let Err(said) = if file.exists() { Ok(()) } else { fetch(&folder) } {
        skipped(&format!("axe-core {VERSION} cannot be had from npm, accessibility was not tested: {said}"));
        return None;
    }
    Some(std::fs::read_to_string(file).unwrap())
}

fn fetch(folder: &Path) -> Result<(), String> {
    // Beside its place and renamed: an interrupted run leaves nothing that looks whole.
    let new = folder.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(&new).map_err(|error| error.to_string())?;
    let run = |command: &mut Command| {
        let output = command.current_dir(&new).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    };
    // npm checks what it fetches against the registry's hash.
    let patience = ["--fetch-retries=1", "--fetch-timeout=60000"];
    run(Command::new("npm").args(["pack", "--silent"]).args(patience).arg(format!("axe-core@{VERSION}")))?;
    run(Command::new("tar").args(["xzf", &format!("axe-core-{VERSION}.tgz")]))?;
    // Another run may have been first: then there is one.
    let _ = std::fs::rename(&new, folder);
    let _ = std::fs::remove_dir_all(&new);
    Ok(())
}
