//! House rules that a compiler does not hold: which room may name which (the table is the one in ARCHITECTURE.md), where
//! the heavy crates live, how long a file may be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// (crate, the rooms that may name it).
const HEAVY: &[(&str, &[&str])] = &[
    ("ort", &["predict"]),
    ("rusqlite", &["source", "store"]),
    ("rayon", &["link", "topology"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("parquet", &["source", "export"]),
    ("sysinfo", &["observe"]),
    ("httparse", &["serve"]),
    ("mio", &["serve"]),
    ("tungstenite", &["serve"]),
    ("ureq", &["control", "cli"]),
    ("signal_hook", &["cli"]),
];

const LINES_MAX: usize = 400;
const TEST_LINES_MAX: usize = 500;
/// Tables may be wider than prose and code, which rustfmt keeps at 110.
const COLUMNS_MAX: usize = 140;

struct SourceFile {
    path: PathBuf,
    /// The first folder, or the file's own name: `alert` for `alert.rs` and what is in `alert/`.
    room: String,
    text: String,
}

/// Rust files below a folder of the repository.
fn files(folder: &str) -> Vec<SourceFile> {
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    walk(&root, &mut found);
    let file = |path: PathBuf| {
        let path = path.strip_prefix(&root).unwrap().to_owned();
        let room = path.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(root.join(&path)).unwrap();
        SourceFile { path, room, text }
    };
    found.into_iter().map(file).collect()
}

/// Each room, and the rooms that it may name besides itself: the table of ARCHITECTURE.md.
fn arrows() -> BTreeMap<String, Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().skip_while(|line| !line.starts_with("| room |")).skip(2);
    let mut arrows = BTreeMap::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let room = cells[0].trim_matches('`').trim_end_matches('/').trim_end_matches(".rs");
        let allowed = match cells[2] {
            "all of the above" => arrows.keys().cloned().collect(),
            rooms => rooms.split(", ").map(str::to_owned).collect(),
        };
        arrows.insert(room.to_owned(), allowed);
    }
    arrows
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
    let arrows = arrows();
    let mut wrong = Vec::new();
    for SourceFile { path, room, text } in files("src") {
        // The library's list of rooms, and the program.
        if is_test(&path) || room == "lib" || room == "main" {
            continue;
        }
        let Some(allowed) = arrows.get(&room) else {
            wrong.push(format!("{}: {room} is not in the table", path.display()));
            continue;
        };
        for line in product(&text) {
            for other in named(line, "crate::").into_iter().filter(|other| *other != room) {
                if !allowed.iter().any(|allowed| allowed == other) {
                    wrong.push(format!("{}: {room} names {other}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that ARCHITECTURE.md does not have:\n{}", wrong.join("\n"));
}

#[test]
fn heavy_crates_have_one_home_each() {
    let mut wrong = Vec::new();
    for file in files("src") {
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
    for file in files("src") {
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
    let of = |folder: &'static str| files(folder).into_iter().map(move |file| (folder, file));
    for (folder, file) in
        of("src").chain(of("tests")).chain(of("benches")).chain(of("fuzz/fuzz_targets").chain(of("fuzz/src")))
    {
        let path = format!("{folder}/{}", file.path.display());
        if !file.text.starts_with("//!") {
            wrong.push(format!("{path} does not begin with what it is for (//!)"));
        }
        let tests_at = file.text.lines().position(|line| line == "mod tests {").unwrap_or(usize::MAX);
        let lines = file.text.lines().count().min(tests_at);
        let most = if folder == "tests" || is_test(&file.path) { TEST_LINES_MAX } else { LINES_MAX };
        if lines > most {
            wrong.push(format!("{path} has {lines} lines without its tests, {most} are allowed: split it"));
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
