//! Configuration through its public face: here the table of keys and its bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, helpers included")]

mod layers;
mod properties;
mod refused;
mod shown;

use std::path::PathBuf;
use vela::config::{Allowed, ConfigError, KEYS, Key, Loaded, SetBy, Settings, Value};

/// A folder with one configuration file.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn with(text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("vela.toml"), text).unwrap();
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("vela.toml")
    }

    fn load(&self, env: &[(&str, &str)], overrides: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        Settings::load(Some(&self.file()), owned(env).into_iter(), &owned(overrides))
    }

    /// The refusal with the folder's name taken out.
    fn refusal(&self) -> String {
        let error = self.load(&[], &[]).expect_err("it is refused").to_string();
        error.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (String::from(*name), String::from(*value))).collect()
}

fn with_env(env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Settings::load(None, owned(env).into_iter(), &[])
}

fn with_set(overrides: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Settings::load(None, std::iter::empty(), &owned(overrides))
}

fn refusal(text: &str) -> String {
    Home::with(text).refusal()
}

/// A TOML file with one key, and with the keys that must go along with it.
fn file_with(key: &Key, value: &str) -> String {
    let related: &[&str] = match key.name {
        name if name.starts_with("workers_") => &["workers_min", "workers_initial", "workers_max"],
        name if name.starts_with("batch_size_") => &["batch_size_initial", "batch_size_max"],
        name => &[name],
    };
    let mut text = related.iter().map(|name| format!("{name} = {value}\n")).collect::<String>();
    match key.name {
        "priority.high_share" => text.push_str("priority.low_share = 0\n"),
        "priority.low_share" => text.push_str("priority.high_share = 0\n"),
        _ => {}
    }
    text
}

fn key(name: &str) -> &'static Key {
    KEYS.iter().find(|key| key.name == name).unwrap()
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let loaded = with_set(&[]).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    assert!(loaded.origins.values().all(|set_by| *set_by == SetBy::Default));
    assert_eq!(loaded.origins.len(), KEYS.len());
    assert_eq!(Settings::default().check(), Ok(()));

    let defaults: &[(&str, u64)] = &[
        ("max_latency_ms", 5000),
        ("health_check_interval", 60),
        ("cache_ttl_seconds", 300),
        ("max_memory_mb", 2048),
        ("batch_size_initial", 10),
        ("batch_size_max", 100),
        ("controller_interval_ms", 250),
        ("core_budget", 0),
        ("workers_initial", 2),
        ("workers_max", 8),
        ("workers_min", 1),
        ("model_pool_size", 50),
        ("feature_cache_size", 1000),
        ("series_max", 10_000),
        ("source.poll_interval_ms", 5),
        ("source.recheck_interval_s", 10),
        ("source.overlap_bars", 16),
        ("source.history_bars", 10_000),
        ("source.catch_up_bars_max", 10_000),
        ("ingest.clock_skew_ms_max", 2000),
        ("ingest.revision_bars", 8),
        ("ingest.queue_bars_max", 10_000),
        ("priority.window_bars", 60),
        ("feature.gap_bars_max", 0),
        ("feature.queue_bars_max", 10_000),
        ("models.look_interval_ms", 400),
        ("predict.deadline_ms", 1000),
        ("predict.load_deadline_ms", 10_000),
        ("predict.overdue_ms", 60_000),
        ("predict.run_memory_max_mb", 256),
        ("predict.queue_rows_max", 20_000),
        ("predict.sessions_per_model_max", 1),
        ("persist.queue_rows_max", 20_000),
        ("database.pool_size", 20),
        ("database.max_overflow", 30),
        ("database.pool_recycle", 3600),
        ("database.connect_timeout_ms", 5000),
        ("database.statement_timeout_ms", 10_000),
        ("store.write_timeout_ms", 500),
        ("store.spool_size_max_mb", 1024),
        ("serve.connections_max", 256),
        ("serve.streams_max", 512),
        ("serve.head_bytes_max", 16_384),
        ("serve.body_bytes_max", 4_194_304),
        ("serve.head_deadline_ms", 5000),
        ("serve.transfer_deadline_ms", 30_000),
        ("serve.idle_s", 60),
        ("serve.requests_per_s_max", 0),
        ("serve.recent_max", 20_000),
        ("serve.stream_queue_max", 4096),
        ("serve.stream_heartbeat_s", 15),
        ("serve.sessions_max", 16),
        ("watchdog.interval_ms", 1000),
        ("watchdog.stall_restart_s", 120),
        ("watchdog.drain_deadline_ms", 5000),
        ("watchdog.restarts_max", 5),
        ("watchdog.restarts_window_s", 600),
        ("watchdog.restart_pause_ms", 1000),
        ("log.file_size_max_mb", 64),
        ("alert.repeat_after_s", 300),
        ("alert.webhook_timeout_ms", 5000),
        ("log.files_max", 10),
        ("log.performance_interval_s", 60),
    ];
    for (name, number) in defaults {
        assert_eq!(key(name).default_value(), Value::Whole(*number), "{name}");
    }
    let wholes = KEYS.iter().filter(|key| matches!(key.allowed, Allowed::Whole(_))).count();
    assert_eq!(wholes, defaults.len(), "every whole number is in the list above");
}

#[test]
fn every_key_is_documented_and_named_once() {
    for (index, key) in KEYS.iter().enumerate() {
        assert!(KEYS[..index].iter().all(|other| other.name != key.name), "{} twice", key.name);
        assert!(key.doc.iter().any(|line| line.len() > 20), "{} has no documentation", key.name);
        let numeric = matches!(key.allowed, Allowed::Whole(_) | Allowed::Fraction(_));
        assert_eq!(key.unit.is_empty(), !numeric, "{}: numbers have units, nothing else does", key.name);
    }
    assert_eq!(key("database.pool_size").variable(), "VELA_DATABASE__POOL_SIZE");
}

#[test]
fn whole_numbers_are_taken_up_to_their_bounds_and_no_further() {
    for key in KEYS {
        let Allowed::Whole(range) = &key.allowed else { continue };
        let (min, max) = (i128::from(*range.start()), i128::from(*range.end()));
        for number in [min, max] {
            let home = Home::with(file_with(key, &number.to_string()));
            let loaded =
                home.load(&[], &[]).unwrap_or_else(|error| panic!("{} = {number}: {error}", key.name));
            assert_eq!(key.value(&loaded.settings), Value::Whole(number as u64), "{}", key.name);
        }
        for number in [min - 1, max + 1, i128::from(i64::MIN), i128::MAX] {
            let text = refusal(&format!("{} = {number}\n", key.name));
            let expected = format!(
                "the configuration is refused: vela.toml:1: {} = {number}: allowed is {min} to {max} {}",
                key.name, key.unit
            );
            assert_eq!(text, expected);
            let text = with_env(&[(&key.variable(), &number.to_string())]).unwrap_err().to_string();
            assert!(
                text.contains(&format!("{}: {} = {number}: allowed is", key.variable(), key.name)),
                "{text}"
            );
        }
    }
}

#[test]
fn fractions_are_taken_up_to_their_bounds_and_no_further() {
    for key in KEYS {
        let Allowed::Fraction(range) = &key.allowed else { continue };
        for number in [*range.start(), *range.end()] {
            for written in [format!("{number:?}"), format!("{number}")] {
                let loaded = Home::with(file_with(key, &written)).load(&[], &[]).unwrap();
                assert_eq!(key.value(&loaded.settings), Value::Fraction(number), "{}", key.name);
            }
        }
        for written in ["-0.0001", "1.0001", "inf", "-inf", "nan", "2"] {
            let text = refusal(&format!("{} = {written}\n", key.name));
            let allowed = format!("allowed is {:?} to {:?} {}", range.start(), range.end(), key.unit);
            let expected = format!("vela.toml:1: {} = {written}: {allowed}", key.name);
            assert!(text.ends_with(&expected), "{text}");
        }
    }
}

#[test]
fn words_and_booleans_are_taken_and_others_are_refused() {
    for key in KEYS {
        match &key.allowed {
            Allowed::OneOf(words) => {
                for word in *words {
                    // Reading from PostgreSQL needs a database.
                    let text = format!("source.url = \"postgres://h/d\"\n{} = \"{word}\"", key.name);
                    let loaded = Home::with(text).load(&[], &[]).unwrap();
                    assert_eq!(key.value(&loaded.settings), Value::Text((*word).to_owned()));
                }
                for word in ["", "other", &words[0].to_uppercase()] {
                    let text = refusal(&format!("{} = \"{word}\"", key.name));
                    assert!(text.contains("allowed is \"") && text.contains(words[0]), "{text}");
                }
            }
            Allowed::Bool => {
                for value in [true, false] {
                    let loaded = Home::with(format!("{} = {value}", key.name)).load(&[], &[]).unwrap();
                    assert_eq!(key.value(&loaded.settings), Value::Bool(value));
                    let loaded = with_set(&[(key.name, &value.to_string())]).unwrap();
                    assert_eq!(key.value(&loaded.settings), Value::Bool(value));
                }
                assert!(refusal(&format!("{} = 1", key.name)).contains("expected true or false, found"));
                assert!(with_set(&[(key.name, "yes")]).unwrap_err().to_string().contains("true or false"));
            }
            _ => {}
        }
    }
}

#[test]
fn paths_names_and_urls_are_checked() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("source.path", &["bars.db", "/x/y", "a b"], &["", "a\\u0000b"]),
        ("models.path", &["models"], &[""]),
        ("log.path", &["", "x.log"], &["\\u0000"]),
        ("runtime.library", &["", "/opt/libonnxruntime.so"], &["\\u0000"]),
        ("source.table", &["ohlcv", "trading.ohlcv", "_x1"], &["", "a b", "1a", "a.b.c", "a.", "x;--", "ö"]),
        (
            "store.url",
            &["none", "sqlite:vela.db", "sqlite:/var/x.db"],
            &["", "sqlite:", "sqlite::memory:", "None", "vela.db", "mysql://h/d"],
        ),
        (
            "source.url",
            &["", "postgres://h/d", "postgresql://u@h:1/d"],
            &["sqlite:x", "postgres://", "mysql://h/d"],
        ),
    ];
    for (name, taken, refused) in cases {
        for value in *taken {
            Home::with(format!("{name} = \"{value}\"")).load(&[], &[]).unwrap();
        }
        for value in *refused {
            let text = refusal(&format!("{name} = \"{value}\""));
            assert!(
                text.contains(&format!("vela.toml:1: {name} = ")) && text.contains("allowed is"),
                "{text}"
            );
        }
    }
    let text = refusal("source.kind = \"postgres\"");
    assert!(text.contains("source.kind = \"postgres\": needs a database: set source.url"), "{text}");
    let tables = "[[source.tables]]\nname = \"feeds.a\"\ntimeframe = \"1m\"\ncolumns = { ts = \"t\" }\n\n[[source.tables]]\nname = \"b\"";
    let tables = Home::with(tables).load(&[], &[]).unwrap().settings.source.tables;
    let columns = |at: usize| (tables[at].parts().join("/"), tables[at].columns.ts.clone());
    assert_eq!((columns(0), columns(1)), (("feeds/a".into(), "t".into()), ("b".into(), "ts".into())));
    let text = refusal("[[source.tables]]\nname = \"a\"\ntimeframe = \"soon\"");
    assert!(
        text.contains("vela.toml:3: source.tables.0.timeframe = \"soon\": `soon` is not a timeframe"),
        "{text}"
    );
    assert!(with_set(&[("source.tables", "a.b,c")]).is_ok());
    assert!(with_set(&[("source.tables", "a.b.c")]).is_err());
    assert!(with_set(&[("source.table", &"x".repeat(63))]).is_ok());
    assert!(with_set(&[("source.table", &"x".repeat(64))]).is_err());
}
