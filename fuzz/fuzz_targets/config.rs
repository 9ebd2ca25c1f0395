//! Any bytes as a configuration file, and any words in the environment and on the command line.
//!
//! Nothing panics; what loads passes the check of settings made by hand, and what is in effect, written as a file, loads as
//! the same settings; what is refused says so in lines of plain text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use vela::Settings;
use vela::config::render_effective;

/// One file that every run overwrites, in memory where the system has such a folder.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    folder.join(format!("vela-fuzz-{}.toml", std::process::id()))
});

/// The lines of `bytes` as names and values.
fn pairs(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().take(16).filter_map(pair).collect()
}

fuzz_target!(|data: &[u8]| {
    // The file, then behind a zero byte each the environment and the overrides.
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let file = parts.next().unwrap_or_default();
    let environment = pairs(parts.next().unwrap_or_default());
    let overrides = pairs(parts.next().unwrap_or_default());
    std::fs::write(&*FILE, file).expect("the temporary file is written");
    match Settings::load(Some(&FILE), environment.into_iter(), &overrides) {
        Ok(loaded) => {
            loaded.settings.check().expect("what was loaded passes the check");
            let text = render_effective(&loaded);
            // A masked password does not come back.
            if !text.contains("***") {
                std::fs::write(&*FILE, &text).expect("the temporary file is written");
                match Settings::load(Some(&FILE), std::iter::empty(), &[]) {
                    Ok(again) => assert_eq!(resolved(&again.settings), resolved(&loaded.settings), "{text}"),
                    Err(error) => panic!("{error}\n{text}"),
                }
            }
        }
        Err(error) => {
            assert!(!error.problems.is_empty());
            for problem in &error.problems {
                assert!(!problem.detail.is_empty());
                let line = problem.to_string();
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
});

/// The settings as text, with the file's folder before relative paths taken off: it is put there at every load.
fn resolved(settings: &Settings) -> String {
    let folder = FILE.parent().map(|folder| format!("{}/", folder.display())).unwrap_or_default();
    format!("{settings:?}").replace(&folder, "")
}
