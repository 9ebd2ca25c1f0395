//! File, environment and `--set` over each other, and what is made of whole tables.

use super::{Home, refusal, with_set};
use std::path::Path;
use vela::config::{Loaded, Measure, SetBy, StoreUrl};
use vela::domain::{Lane, Severity};

#[test]
fn a_later_layer_replaces_an_earlier_one_and_the_origin_says_so() {
    let home = Home::with("workers_max = 10\n[log]\nlevel = \"debug\"\nfiles_max = 7\n");
    let env = [("VELA_WORKERS_MAX", " 1_1 "), ("VELA_LOG__LEVEL", "trace")];
    let overrides = [("workers_max", "12"), ("workers_max", "13")];
    let loaded = home.load(&env, &overrides).unwrap();
    assert_eq!(loaded.settings.workers_max, 13);
    assert_eq!(loaded.settings.log.level.word(), "trace");
    assert_eq!(loaded.settings.log.files_max, 7);
    assert_eq!(loaded.origins["workers_max"], SetBy::Override);
    assert_eq!(loaded.origins["log.level"], SetBy::Environment("VELA_LOG__LEVEL".to_owned()));
    assert_eq!(loaded.origins["log.files_max"], SetBy::File { path: home.file(), line: 4 });
    assert_eq!(loaded.origins["log.path"], SetBy::Default);
    assert_eq!(home.load(&env, &[]).unwrap().settings.workers_max, 11);
    assert!(
        home.load(&[("VELA_WORKERS_MAX", "0")], &[("workers_max", "9")]).is_err(),
        "also what is replaced"
    );
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let home = Home::with(
        "source.path = \"bars.db\"\nmodels.path = \"/abs\"\nstore.url = \"sqlite:out/p.db\"\n\
         runtime.library = \"\"\n",
    );
    let settings = home.load(&[("VELA_LOG__PATH", "x.log")], &[]).unwrap().settings;
    assert_eq!(settings.source.path, home.folder.path().join("bars.db"));
    assert_eq!(settings.models.path, Path::new("/abs"));
    assert_eq!(settings.store.url, StoreUrl::Sqlite(home.folder.path().join("out/p.db")));
    assert_eq!(settings.runtime.library, Path::new(""));
    assert_eq!(settings.log.path, Path::new("x.log"));
    let settings = home.load(&[], &[("source.path", "b.db"), ("store.url", "none")]).unwrap().settings;
    assert_eq!(settings.source.path, Path::new("b.db"));
    assert_eq!(settings.store.url, StoreUrl::None);
}

#[test]
fn pinned_symbols_come_from_a_table_or_a_text() {
    let home = Home::with("[priority.pinned]\nBTCUSDT = \"high\"\n\"BRK.B\" = \"low\"\n");
    let loaded = home.load(&[], &[]).unwrap();
    let pinned = |loaded: &Loaded| loaded.settings.priority.pinned.clone().into_iter().collect::<Vec<_>>();
    assert_eq!(pinned(&loaded), [("BRK.B".to_owned(), Lane::Low), ("BTCUSDT".to_owned(), Lane::High)]);
    let loaded = home.load(&[("VELA_PRIORITY__PINNED", "A/B=normal, C=low")], &[]).unwrap();
    assert_eq!(pinned(&loaded), [("A/B".to_owned(), Lane::Normal), ("C".to_owned(), Lane::Low)]);
    assert!(pinned(&home.load(&[("VELA_PRIORITY__PINNED", "")], &[]).unwrap()).is_empty());

    let text = refusal("[priority.pinned]\nA = \"high\"\nB = \"top\"\n\"C C\" = \"low\"\nD = 3\n");
    for expected in [
        "for 3 reasons",
        "vela.toml:3: priority.pinned.B = \"top\": allowed is SYMBOL = \"high\" or \"normal\" or \"low\" entries",
        "vela.toml:4: priority.pinned.C C = \"low\": `C C` is not a symbol",
        "vela.toml:5: priority.pinned.D = 3: allowed is",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    for text in ["A", "A=top", "A=high,A=low", "A B=high", "=high"] {
        assert!(with_set(&[("priority.pinned", text)]).is_err(), "{text}");
    }
}

#[test]
fn alert_rules_are_laid_over_the_default_ones() {
    let home = Home::with(
        "[alert]\nrules.memory = { over = 80 }\nrules.cpu.enabled = false\n[alert.rules.memory_high]\n\
         severity = \"error\"\nover = 97.5\nmeasure = \"memory\"\nfor_s = 0\n",
    );
    let rules = home.load(&[], &[]).unwrap().settings.alert.rules;
    assert_eq!(rules.len(), Measure::ALL.len() + 1);
    assert_eq!((rules["memory"].over, rules["memory"].for_s), (80.0, 60));
    assert!(!rules["cpu"].enabled && rules["disk"].enabled);
    let high = rules["memory_high"];
    assert_eq!((high.measure, high.over, high.for_s), (Measure::Memory, 97.5, 0));
    assert_eq!(high.severity, Severity::Error);
    let by_text =
        with_set(&[("alert.rules", "memory.over=80, cpu.enabled=false")]).unwrap().settings.alert.rules;
    assert_eq!((by_text["memory"], by_text["cpu"]), (rules["memory"], rules["cpu"]));

    let text = refusal(
        "[alert.rules]\nmemory = { over = -1, ovr = 3 }\nnew = { over = 3 }\ncpu = 5\ndisk = { for_s = 1.5 }\n\
         queue = { severity = \"bad\" }\n\"a b\" = { measure = \"cpu\" }\nx = { measure = \"heat\" }\n",
    );
    for expected in [
        "vela.toml:2: alert.rules.memory.over = -1: allowed is a number from 0",
        "vela.toml:2: alert.rules.memory.ovr = 3: unknown field: a rule has measure, over, for_s, severity, enabled",
        "vela.toml:3: alert.rules.new = { over = 3 }: a rule of a new name says what it measures: measure = \"latency\" or",
        "vela.toml:4: alert.rules.cpu = 5: expected a table of measure, over, for_s, severity, enabled, found a whole number",
        "vela.toml:5: alert.rules.disk.for_s = 1.5: allowed is a whole number from 0 to 86400 (s)",
        "vela.toml:6: alert.rules.queue.severity = \"bad\": allowed is \"info\" or \"warning\" or \"error\"",
        "vela.toml:8: alert.rules.x.measure = \"heat\": allowed is \"latency\" or",
    ] {
        assert!(text.contains(expected), "{expected}\nin\n{text}");
    }
    assert!(text.contains("is no name of a rule"), "{text}");
    for text in ["memory", "memory=3", "memory.over", "memory.over=x", "nope.over=3", "memory.nope=3"] {
        assert!(with_set(&[("alert.rules", text)]).is_err(), "{text}");
    }
    for url in ["", "http://127.0.0.1:9/x?y=1", "https://h/"] {
        with_set(&[("alert.webhook_url", url)]).unwrap();
    }
    for url in ["h", "ftp://h", "http://", "http:///x", "https://h x"] {
        assert!(with_set(&[("alert.webhook_url", url)]).is_err(), "{url}");
    }
}
