//! House rules that a compiler does not hold: which room may name which, where the heavy crates live, how
//! long a file may be. The table is the one in ARCHITECTURE.md.

use std::path::{Path, PathBuf};

/// (room, the rooms it may name besides itself).
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("link", &["domain"]),
    ("config", &["domain"]),
    ("database", &["domain", "config"]),
    ("source", &["domain", "config", "database"]),
    ("store", &["domain", "config", "database"]),
    ("ingest", &["domain", "link"]),
    ("feature", &["domain", "link"]),
    ("alert.rs", &["domain"]),
    ("alert", &["domain"]),
    ("control", &["domain", "config", "link", "observe", "alert"]),
    ("predict", &["domain", "link", "config", "alert"]),
    ("persist", &["domain", "link", "store"]),
    ("observe", &["domain"]),
    ("export", &["domain", "source", "ingest", "feature"]),
    ("serve", &["domain", "link", "config", "alert", "control", "predict", "observe", "engine"]),
];

/// (crate, the rooms that may name it).
const HEAVY: &[(&str, &[&str])] = &[
    ("ort", &["predict"]),
    ("rusqlite", &["source", "store"]),
    ("rayon", &["link", "topology.rs", "topology"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("parquet", &["source", "export"]),
    ("sysinfo", &["observe"]),
    ("httparse", &["serve"]),
    ("mio", &["serve"]),
    ("tungstenite", &["serve"]),
    ("ureq", &["control"]),
    ("signal_hook", &["cli"]),
];

const LINES_MAX: usize = 400;
/// Tables may be wider than prose and code, which rustfmt keeps at 110.
const COLUMNS_MAX: usize = 140;

struct SourceFile {
    path: PathBuf,
    /// The first folder below `src`, or the file itself.
    room: String,
    text: String,
}

fn files() -> Vec<SourceFile> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let file = |path: PathBuf| {
        let path = path.strip_prefix(&root).unwrap().to_owned();
        let room = path.iter().next().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(root.join(&path)).unwrap();
        SourceFile { path, room, text }
    };
    found.into_iter().map(file).collect()
}

/// The lines of a file that are neither its tests nor comments.
fn product(text: &str) -> impl Iterator<Item = &str> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy();
    name == "tests" || name == "testing" || name.starts_with("tests_")
}

/// The words that follow `prefix` in `line`.
fn named<'a>(line: &'a str, prefix: &str) -> Vec<&'a str> {
    let word = |rest: &'a str| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    };
    line.match_indices(prefix).map(|(at, _)| word(&line[at + prefix.len()..])).collect()
}

#[test]
fn rooms_only_name_the_rooms_that_the_table_allows() {
    let mut wrong = Vec::new();
    for file in files() {
        let Some((room, allowed)) = ARROWS.iter().find(|(room, _)| *room == file.room) else { continue };
        if is_test(&file.path) {
            continue;
        }
        for line in product(&file.text) {
            for other in named(line, "crate::") {
                if other != *room && !allowed.contains(&other) {
                    wrong.push(format!("{}: {room} names {other}: {}", file.path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not have:\n{}", wrong.join("\n"));
}

#[test]
fn heavy_crates_have_one_home_each() {
    let mut wrong = Vec::new();
    for file in files() {
        for (name, homes) in HEAVY {
            let uses = |line: &str| {
                let path = format!("{name}::");
                line.match_indices(&path).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                })
            };
            if !homes.contains(&file.room.as_str()) && product(&file.text).any(uses) {
                wrong.push(format!("{} names {name}, which belongs to {homes:?}", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_topology_and_the_engine_name_two_stages() {
    const STAGES: [&str; 4] = ["ingest", "feature", "predict", "persist"];
    for file in files() {
        if STAGES.contains(&file.room.as_str()) {
            let others = STAGES.iter().filter(|stage| **stage != file.room);
            for other in others {
                let path = format!("crate::{other}");
                let line = product(&file.text).find(|line| line.contains(&path));
                assert!(line.is_none(), "{} names the stage {other}", file.path.display());
            }
        }
    }
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for file in files() {
        let path = file.path.display();
        if !file.text.starts_with("//!") {
            wrong.push(format!("{path} does not begin with what it is for (//!)"));
        }
        let tests_at = file.text.lines().position(|line| line == "mod tests {").unwrap_or(usize::MAX);
        let lines = file.text.lines().count().min(tests_at);
        if lines > LINES_MAX && !is_test(&file.path) {
            wrong.push(format!(
                "{path} has {lines} lines without its tests, {LINES_MAX} are allowed: split it"
            ));
        }
        if let Some(at) = file.text.lines().position(|line| line.chars().count() > COLUMNS_MAX) {
            wrong.push(format!("{path}:{} is longer than {COLUMNS_MAX} columns", at + 1));
        }
        for banned in ["utils", "helpers", "common", "misc"] {
            if file.path.iter().any(|part| part.to_string_lossy().trim_end_matches(".rs") == banned) {
                wrong.push(format!("{path}: `{banned}` says nothing about what is inside"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
