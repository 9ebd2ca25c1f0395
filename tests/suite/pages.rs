//! What the pages name is there: keys and variables of the configuration, options of commands, what links lead to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use vela::config::{KEYS, Settings};

/// Each page with its text: those for whoever uses vela first.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    let others = [
        "README.md",
        "CHANGELOG.md",
        "ARCHITECTURE.md",
        "demo/README.md",
        "fuzz/README.md",
        "perf/README.md",
    ];
    paths.extend(others.map(|page| root.join(page)));
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// What in a line may be a name.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let within = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    line.split(move |c| !within(c)).map(|word| word.trim_end_matches(['.', '/']))
}

/// Holds every word of every page against `wrong`, which says what is wrong with it.
fn hold(wrong: impl Fn(&Path, &str, &str) -> Option<&'static str>) {
    let mut found = Vec::new();
    for (path, text) in pages() {
        for (number, line) in text.lines().enumerate() {
            let about = words(line).filter_map(|word| Some((word, wrong(&path, line, word)?)));
            found.extend(
                about.map(|(word, what)| format!("{}:{}: {word}: {what}", path.display(), number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_key_and_variable_that_a_page_names_is_one() {
    let sections: BTreeSet<&str> = KEYS.iter().filter_map(|key| Some(key.name.split_once('.')?.0)).collect();
    assert!(sections.contains("store") && sections.len() > 10, "{sections:?}");
    hold(|path, _, word| {
        if word.starts_with("VELA_") && !path.ends_with("perf/README.md") {
            let taken = Settings::load(None, std::iter::once((word.to_owned(), "1".to_owned())), &[]);
            let unknown = taken.is_err_and(|error| error.to_string().contains("unknown variable"));
            return unknown.then_some("no such variable");
        }
        let mut parts = word.split('.');
        let (section, name) = (parts.next()?, parts.next()?);
        let is_key = KEYS.iter().any(|key| key.name == format!("{section}.{name}"));
        (sections.contains(section) && name != "rs" && !is_key).then_some("no such key")
    });
}

/// The options of `vela arguments…` and of all commands below it.
fn options(arguments: &[&str], known: &mut BTreeSet<String>) {
    let help = Command::new(env!("CARGO_BIN_EXE_vela")).args(arguments).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    known.extend(words(&help).filter(|word| word.starts_with("--")).map(str::to_owned));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        let command = line.split_whitespace().next().unwrap();
        if command != "help" {
            options(&[arguments, &[command]].concat(), known);
        }
    }
}

#[test]
fn every_option_that_a_page_names_is_one() {
    let mut known = BTreeSet::new();
    options(&[], &mut known);
    assert!(known.contains("--config") && known.contains("--warmup"), "{known:?}");
    hold(|path, line, word| {
        // Measurements, and lines for other programs.
        let others = path.ends_with("perf/README.md")
            || ["cargo ", "pip ", "train.py"].iter().any(|it| line.contains(it));
        let is_option = word.starts_with("--") && word[2..].starts_with(|c: char| c.is_ascii_lowercase());
        (is_option && !others && !known.contains(word)).then_some("no such option")
    });
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut missing = Vec::new();
    for (path, text) in pages() {
        let links = text.split("](").skip(1).filter_map(|behind| Some(behind.split_once(')')?.0));
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let text = if target.is_dir() { Ok(String::new()) } else { std::fs::read_to_string(&target) };
            // As GitHub makes them.
            let anchor = |line: &str| line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-");
            let leads = text.is_ok_and(|text| {
                heading.is_empty()
                    || text.lines().any(|line| line.starts_with('#') && anchor(line) == heading)
            });
            if !leads {
                missing.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
