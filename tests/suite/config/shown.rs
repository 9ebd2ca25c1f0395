//! What is shown of the configuration: the effective values, the reference file, and never a password.

use super::{Home, with_set};
use std::path::Path;
use vela::config::{
    Allowed, CatchUp, KEYS, Settings, SourceKind, masked, render_effective, render_reference,
};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/vela.toml");

#[test]
fn what_is_in_effect_reads_back_as_the_same_settings() {
    let home = Home::with(
        "workers_max = 10\nsource.kind = \"csv\"\nsource.catch_up = \"latest\"\nsource.path = \"a \\\"b\\\\c\"\n\
         priority.pinned = { A = \"low\", \"B/C\" = \"high\" }\n",
    );
    let loaded = home.load(&[("VELA_LOG__LEVEL", "warn")], &[("database.echo", "true")]).unwrap();
    assert_eq!(
        (loaded.settings.source.kind, loaded.settings.source.catch_up),
        (SourceKind::Csv, CatchUp::Latest)
    );
    let shown = render_effective(&loaded);
    for line in [
        format!("workers_max = 10  # {}:1\n", home.file().display()),
        "level = \"warn\"  # VELA_LOG__LEVEL\n".to_owned(),
        "echo = true  # --set\n".to_owned(),
        "pinned = { A = \"low\", \"B/C\" = \"high\" }  # ".to_owned(),
        "max_latency_ms = 5000  # default\n".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line} in\n{shown}");
    }
    // Defaults that start at the working directory would start at the new file's folder: set them aside.
    let again = Home::with(&shown).load(&[], &[]).unwrap().settings;
    for key in KEYS
        .iter()
        .filter(|key| !matches!(key.allowed, Allowed::PathOrEmpty | Allowed::Path | Allowed::Store))
    {
        assert_eq!(key.value(&again), key.value(&loaded.settings), "{}", key.name);
    }
    assert_eq!(again.source.path, loaded.settings.source.path);
}

#[test]
fn the_shipped_reference_is_what_the_table_renders_and_changes_nothing() {
    let rendered = render_reference();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(REFERENCE, &rendered).unwrap();
    }
    let shipped = std::fs::read_to_string(REFERENCE).unwrap_or_default();
    assert!(shipped == rendered, "config/vela.toml is out of date: write it anew with UPDATE_EXPECT=1");
    let loaded = Settings::load(Some(Path::new(REFERENCE)), std::iter::empty(), &[]).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    for key in KEYS {
        let (_, name) = key.parts();
        assert!(
            shipped.contains(&format!("\n{name} = "))
                || shipped.contains(&format!("\n{name}.memory = "))
                || shipped.contains(&format!("\n#{name} = ")),
            "{name}"
        );
        assert!(shipped.contains(&key.variable()), "{name}");
    }
    let uncommented: String = shipped.lines().map(|line| format!("{}\n", uncommented(line))).collect();
    Home::with(uncommented).load(&[], &[]).expect("also the commented keys are right");
    assert!(shipped.lines().all(|line| line.chars().count() <= 100));
}

fn uncommented(line: &str) -> &str {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())).unwrap_or(line)
}

#[test]
fn passwords_are_never_shown() {
    let cases = [
        ("postgres://u:pw@h/db", "postgres://u:***@h/db"),
        ("postgres://u:p@w:/@h:5432/db", "postgres://u:***@h:5432/db"),
        ("postgres://u:p w\"x@h/db", "postgres://u:***@h/db"),
        ("postgres://:pw@h", "postgres://:***@h"),
        ("postgres://h/db?user=u&password=pw&x=1", "postgres://h/db?user=u&password=***&x=1"),
        ("host=h Password = 'p w' port=1", "host=h Password=*** port=1"),
        ("postgres://u@h:5432/db", "postgres://u@h:5432/db"),
        ("http://h:80/x", "http://h:80/x"),
        ("password", "password"),
        ("sqlite:vela.db", "sqlite:vela.db"),
    ];
    for (text, expected) in cases {
        assert_eq!(masked(text), expected);
    }
    let url = "postgres://u:hunter2@h/db";
    let home = Home::with(format!("store.url = \"{url}\"\nsource.pathh = \"{url}\"\n"));
    let env = [("VELA_STORE__URL", url), ("VELA_STORE_PASSWORD", "hunter2")];
    let error = home.load(&env, &[("store.url", url), ("x", url)]).unwrap_err();
    // The URL itself is one that may be set, wherever that is done.
    assert_eq!(error.problems.len(), 3);
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
    let loaded = with_set(&[("models.path", url)]).unwrap();
    assert!(!render_effective(&loaded).contains("hunter2"));
}
