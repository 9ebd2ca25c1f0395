//! What is refused, and in which words: wrong types, unknown keys, no TOML, values that do not go together.

use super::{Home, refusal, with_env, with_set};
use std::path::Path;
use vela::config::{Allowed, KEYS, Settings};
use vela::domain::Lane;

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
