//! Configuration through its public face: the table's bounds, layers, refusals, and the reference file.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, helpers included")]

use proptest::prelude::*;
use std::path::{Path, PathBuf};
use vela::config::{
    Allowed, CatchUp, ConfigError, KEYS, Key, Loaded, SetBy, Settings, SourceKind, StoreUrl, Value, masked,
    render_effective, render_reference,
};
use vela::domain::Lane;

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/vela.toml");

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

#[test]
fn a_wrong_type_says_what_was_expected_and_what_was_found() {
    let wrong = |allowed: &Allowed| match allowed {
        Allowed::Whole(_) | Allowed::Fraction(_) => ["\"5\"", "true", "[5]", "{ a = 5 }", "1979-05-27"],
        Allowed::Bool => ["\"true\"", "1", "[true]", "{ a = 5 }", "0.5"],
        Allowed::Tables => ["5", "true", "\"x\"", "{ a = 5 }", "1.5"],
        Allowed::Lanes | Allowed::Rules => ["\"high\"", "1", "[\"high\"]", "false", "0.5"],
        _ => ["5", "true", "[\"x\"]", "{ a = 5 }", "1.5"],
    };
    for key in KEYS {
        for value in wrong(&key.allowed) {
            let text = refusal(&format!("\n{} = {value}", key.name));
            let start =
                format!("the configuration is refused: vela.toml:2: {} = {value}: expected ", key.name);
            assert!(text.starts_with(&start) && text.contains(", found a"), "{text}");
        }
    }
    assert_eq!(
        refusal("workers_max = 2.0"),
        "the configuration is refused: vela.toml:1: workers_max = 2.0: \
         expected a whole number (1 to 256 workers), found a fraction"
    );
    assert_eq!(
        refusal("database = 5"),
        "the configuration is refused: vela.toml:1: database = 5: expected a table, found a whole number"
    );
    let text = with_env(&[("VELA_WORKERS_MAX", "many")]).unwrap_err().to_string();
    assert!(
        text.ends_with("VELA_WORKERS_MAX: workers_max = many: expected a whole number (1 to 256 workers)")
    );
    let text = with_env(&[("VELA_WORKERS_MAX", "")]).unwrap_err().to_string();
    assert!(text.contains("workers_max = \"\": expected a whole number"), "{text}");
}

#[test]
fn unknown_keys_are_refused_with_the_closest_known_one() {
    let cases = [
        ("wrokers_max = 3", "wrokers_max = 3: unknown key; the closest known one is workers_max"),
        ("pool_size = 3", "pool_size = 3: unknown key; the closest known one is database.pool_size"),
        ("[databse]\npool_size = 3", "databse: unknown table; the closest known one is database"),
        (
            "[source]\npol_interval_ms = 3",
            "source.pol_interval_ms = 3: unknown key; the closest known one is source.poll_interval_ms",
        ),
        (
            "\"database.echo\" = true",
            "database.echo = true: unknown key; the closest known one is database.echo",
        ),
        ("[models.x]\ny = 1", "models.x: unknown key; the closest known one is"),
        ("\"\" = 1", "\"\" = 1: unknown key"),
        ("store.password = \"x\"", "store.password = ***: unknown key"),
    ];
    for (text, expected) in cases {
        let refusal = refusal(text);
        assert!(refusal.contains(expected), "{refusal}");
    }
    let text = with_set(&[("log.levle", "info")]).unwrap_err().to_string();
    assert!(text.ends_with("--set: log.levle = info: unknown key; the closest known one is log.level"));
}

#[test]
fn variables_that_are_no_keys_are_refused_except_the_documented_ones() {
    let others = [("VELA_CACHE_DIR", "/x"), ("VELA_CONFIG", "y"), ("VELA_LOG", "z"), ("HOME", "/root")];
    assert_eq!(with_env(&others).unwrap().settings, Settings::default());
    let text = with_env(&[("VELA_WORKER_MAX", "3")]).unwrap_err().to_string();
    assert_eq!(
        text,
        "the configuration is refused: VELA_WORKER_MAX: unknown variable (its value is 3); \
         the closest known one is VELA_WORKERS_MAX"
    );
    for name in ["VELA_", "VELA_database__echo", "VELA_DATABASE_ECHO", "VELA_DATABASE"] {
        assert!(with_env(&[(name, "true")]).is_err(), "{name}");
    }
}

#[test]
fn all_problems_are_reported_together_in_the_order_of_the_file() {
    let home = Home::with(
        "workers_max = 0\nbatch_size_maxx = 7\nmax_memory_mb = \"big\"\n[priority]\nlow_share = 0.9\n\
         high_share = 0.9\n[log]\nlevel = \"loud\"\n",
    );
    let error = home.load(&[("VELA_WORKERS_MIN", "-1"), ("VELA_X", "1")], &[("nope", "1")]).unwrap_err();
    let found: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "workers_max",
        "batch_size_maxx",
        "max_memory_mb",
        "log.level",
        "workers_min",
        "",
        "nope",
        "priority.high_share",
    ];
    assert_eq!(found, expected);
    assert!(error.to_string().starts_with("the configuration is refused for 8 reasons\n  "));
}

#[test]
fn what_is_no_toml_is_refused_with_line_and_column() {
    let text = refusal("workers_max = 3\nworkers_min = = 1\n");
    assert!(
        text.starts_with("the configuration is refused: vela.toml:2: column 15: no valid TOML: "),
        "{text}"
    );
    let text = refusal("workers_max = 3\nworkers_max = 4\n");
    assert!(text.contains("vela.toml:2: column 1: no valid TOML: duplicate key"), "{text}");
    let text = Home::with(b"a = 1\nb = \"\xff\"\n").refusal();
    assert!(text.contains("vela.toml:2: column 6: not UTF-8"), "{text}");
    let text = Home::with("#".repeat((256 << 10) + 1)).refusal();
    assert!(text.contains("vela.toml: larger than the 262144 bytes"), "{text}");
    let error = Home::with("]\n".repeat(1000)).load(&[], &[]).unwrap_err();
    assert!((1..=20).contains(&error.problems.len()), "{error}");
    let text = Settings::load(Some(Path::new("/no/such/vela.toml")), std::iter::empty(), &[]).unwrap_err();
    assert!(text.to_string().contains("/no/such/vela.toml: cannot be read: "), "{text}");
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    let cases = [
        ("workers_min = 3", "vela.toml:1: workers_min = 3: must not exceed workers_initial = 2 (default)"),
        ("workers_max = 1", "vela.toml:1: workers_max = 1: must be at least workers_initial = 2 (default)"),
        ("workers_initial = 9", "workers_initial = 9: must not exceed workers_max = 8 (default)"),
        (
            "batch_size_max = 20\nbatch_size_initial = 30",
            "vela.toml:2: batch_size_initial = 30: must not exceed batch_size_max = 20 (vela.toml:1)",
        ),
        ("priority.high_share = 0.6", "must not exceed 1 together with priority.low_share = 0.5 (default)"),
        ("priority.low_share = 0.9", "must not exceed 1 together with priority.high_share = 0.2 (default)"),
    ];
    for (text, expected) in cases {
        let refusal = refusal(text);
        assert!(refusal.ends_with(expected), "{refusal}");
    }
    assert!(with_set(&[("priority.high_share", "0.5")]).is_ok());
    assert!(with_set(&[("workers_initial", "8"), ("workers_min", "8")]).is_ok());

    let mut by_hand = Settings { workers_min: 3, max_latency_ms: 0, ..Settings::default() };
    by_hand.priority.pinned.insert("BTC USDT".to_owned(), Lane::High);
    let error = by_hand.check().unwrap_err();
    let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["max_latency_ms", "priority.pinned", "workers_min"]);
    let text = "settings: workers_min = 3: must not exceed workers_initial = 2 (settings)";
    assert_eq!(error.problems[2].to_string(), text);
}

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
    use vela::config::Measure;
    use vela::domain::Severity;
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

/// Pieces of TOML that get past the parser more often than bytes by chance.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(KEYS).prop_map(|key| format!("{} = ", key.name)),
        prop::sample::select(vec![
            "[source]\n",
            "[priority.pinned]\n",
            "[[log]]\n",
            "\n",
            "=",
            "{",
            "}",
            "[",
            "]",
            "\"",
            "'''",
            ".",
            "#",
            "0x_",
            "1e999",
            "-1",
            "18446744073709551616",
            "true",
            "nan",
            "\"\\uD800\"",
            "\"é\"",
            "{ A = \"high\" }",
            "1979-05-27T07:32:00Z",
            "\u{feff}",
            "\r",
            "A=high,",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Home::with(bytes).load(&[], &[]).map_err(|error| error.to_string());
    }

    #[test]
    fn no_text_in_any_layer_makes_it_panic(text in pieces(), key in prop::sample::select(KEYS)) {
        let env = [(key.variable(), text.clone()), (format!("VELA_{text}"), text.clone())];
        let overrides = [(key.name.to_owned(), text.clone()), (text.clone(), text.clone())];
        let home = Home::with(&text);
        if let Err(error) = Settings::load(Some(&home.file()), env.into_iter(), &overrides) {
            prop_assert!(!error.problems.is_empty());
            prop_assert!(error.to_string().lines().count() <= error.problems.len() + 1, "{}", error);
            let _ = format!("{error:?}");
        }
        let _ = masked(&text);
    }

    #[test]
    fn what_is_taken_passes_the_check_and_shows_as_valid_toml(text in pieces()) {
        if let Ok(loaded) = Home::with(&text).load(&[], &[]) {
            prop_assert!(loaded.settings.check().is_ok());
            prop_assert!(Home::with(render_effective(&loaded)).load(&[], &[]).is_ok());
        }
    }
}
