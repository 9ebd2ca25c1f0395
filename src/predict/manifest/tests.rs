//! What a `model.toml` may say, and what it is told when it says something else.

use super::*;

const LEAST: &str =
    "symbol = \"BTCUSDT\"\ntimeframe = \"1m\"\nhorizon = 5\nfeatures = [\"ret_1\", \"rsi_14@1h\"]\n";

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(text, Path::new("models/m/1/model.toml"))
}

#[test]
fn the_least_one_has_defaults() {
    let manifest = parse(LEAST).unwrap();
    assert_eq!((manifest.horizon, manifest.window, manifest.row_len()), (5, 1, 2));
    assert_eq!(manifest.symbols, Symbols::Listed(vec!["BTCUSDT".to_owned()]));
    assert_eq!((manifest.kind, manifest.batching), (None, BatchingPolicy::Auto));
    assert_eq!(manifest.output, OutputSpec::default());
    assert!(manifest.inputs.is_empty());
}

#[test]
fn everything_can_be_said() {
    let manifest = parse(
        r#"
        symbol = ["BTCUSDT", "ETH-PERP"]
        timeframe = "5m"
        horizon = 10000
        features = ["a", "b", "c"]
        window = 32
        kind = "classification"
        batching = "approximate"
        [[input]]
        name = "sequence"
        [[input]]
        name = "context"
        features = ["c", "a"]
        window = 1
        [[input]]
        name = "id"
        symbol_ids = { BTCUSDT = 0, "ETH-PERP" = 1 }
        [output]
        value = "probabilities"
        class = 1
        "#,
    )
    .unwrap();
    assert_eq!(manifest.inputs[0].reads, Reads::Features { columns: None, window: None });
    assert_eq!(manifest.inputs[1].reads, Reads::Features { columns: Some(vec![2, 0]), window: Some(1) });
    assert_eq!(manifest.output.class.as_deref(), Some("1"));
    assert_eq!(manifest.batching, BatchingPolicy::Approximate);
    assert!(manifest.names("BTCUSDT") && manifest.accepts("ETH-PERP") && !manifest.accepts("SOLUSDT"));
}

#[test]
fn any_symbol_means_any_that_has_a_number() {
    let any = LEAST.replace("\"BTCUSDT\"", "\"*\"");
    let manifest = parse(&any).unwrap();
    assert!(manifest.accepts("X") && !manifest.names("X"));
    let ids = format!("{any}[[input]]\nname = \"id\"\nsymbol_ids = {{ A = 0 }}\n");
    let manifest = parse(&ids).unwrap();
    assert!(manifest.accepts("A") && !manifest.accepts("B"));
}

#[test]
fn faults_name_the_line_the_key_the_value_and_what_is_allowed() {
    let cases: &[(&str, &str, usize, &[&str])] = &[
        ("horizon = 5", "horizon = 0", 3, &["`horizon` is 0", "1 to 10000"]),
        ("horizon = 5", "horizon = \"5\"", 3, &["`horizon`", "string", "whole number"]),
        ("horizon = 5", "horizon = 5\nwindow = 5000", 4, &["`window` is 5000", "4096"]),
        ("horizon = 5", "horizon = 5\nhorizn = 1", 4, &["horizn", "horizon"]),
        ("\"1m\"", "\"1M\"", 2, &["1M", "4h"]),
        ("\"BTCUSDT\"", "\"BTC USDT\"", 1, &["BTC USDT", "letters"]),
        ("\"BTCUSDT\"", "[\"*\", \"A\"]", 1, &["*"]),
        ("\"BTCUSDT\"", "[]", 1, &["empty"]),
        ("\"BTCUSDT\"", "7", 1, &["symbol"]),
        ("\"ret_1\"", "\"rsi_14@1h\"", 4, &["twice"]),
        ("\"ret_1\"", "\"a,b\"", 4, &["a,b"]),
        ("horizon = 5", "horizon = 5\nkind = \"magic\"", 4, &["magic", "quantiles"]),
        ("horizon = 5", "horizon = 5\nbatching = true", 4, &["batching"]),
    ];
    for (from, to, line, expected) in cases {
        let error = parse(&LEAST.replace(from, to)).unwrap_err();
        assert_eq!(error.line, Some(*line), "{to}: {error}");
        for part in *expected {
            assert!(error.to_string().contains(part), "{to}: {error}");
        }
    }
    let tails: &[(&str, &str)] = &[
        ("[[input]]\nname = \"x\"\nfeatures = [\"ema_9\"]", "ema_9"),
        ("[[input]]\nname = \"x\"\nwindow = 2", "`window` is 2"),
        ("[[input]]\nname = \"x\"\n[[input]]\nname = \"x\"", "two have the name"),
        ("[[input]]\nname = \"x\"\nsymbol_ids = { A = -1 }", "is -1"),
        ("[[input]]\nname = \"x\"\nsymbol_ids = { A = 1 }\nwindow = 1", "excludes"),
        ("[output]\ncolumn = -1", "count from 0"),
        ("[output]\ncolumn = 1\nclass = \"up\"", "exclude"),
        ("[output]\nvalu = \"x\"", "valu"),
    ];
    for (tail, expected) in tails {
        let error = parse(&format!("{LEAST}{tail}\n")).unwrap_err();
        assert!(error.line.is_some_and(|line| line > 4), "{tail}: {error}");
        assert!(error.to_string().contains(expected), "{tail}: {error}");
        assert!(error.to_string().starts_with("models/m/1/model.toml:"), "{error}");
    }
    assert!(parse("").unwrap_err().to_string().contains("symbol"));
    assert!(parse("= 1").unwrap_err().line == Some(1));
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = Manifest::read(Path::new("/no/such/model.toml")).unwrap_err().to_string();
    assert!(error.contains("/no/such/model.toml"), "{error}");
}

#[test]
fn the_shipped_reference_has_every_key_and_parses() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/model.toml");
    let manifest = Manifest::read(&file).unwrap();
    assert_eq!((manifest.horizon, manifest.window, manifest.features.len()), (5, 32, 5));
    assert_eq!(manifest.inputs.len(), 3);
    assert_eq!(manifest.output.value.as_deref(), Some("prediction"));
    assert!(manifest.accepts("BTCUSDT") && !manifest.accepts("DOGEUSDT"));
}

#[test]
fn short_forms_name_the_only_input_and_the_output() {
    let head = "symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"a\"]\n";
    let parse = |more: &str| Manifest::parse(&format!("{head}{more}"), Path::new("model.toml"));
    let short = parse("input = \"X\"\noutput = \"y\"\npinned = true\n[check]\ntolerance = 0.01\n").unwrap();
    let long = parse("[[input]]\nname = \"X\"\n[output]\nvalue = \"y\"\n").unwrap();
    assert_eq!((&short.inputs, &short.output), (&long.inputs, &long.output));
    assert_eq!((short.tolerance, short.pinned), (0.01, true));
    assert_eq!((long.tolerance, long.pinned), (TOLERANCE, false));
    for (text, line, part) in [
        ("input = 3\n", 5, "[[input]]"),
        ("output = 3\n", 5, "[output]"),
        ("[check]\ntolerance = 2.0\n", 6, "0 to 1"),
        ("[check]\nother = 2\n", 6, "other"),
        ("[[input]]\nname = \"X\"\nwindow = 9\n", 5, "window"),
        ("[output]\ncolumn = -1\n", 6, "count from 0"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.line == Some(line) && error.to_string().contains(part), "{text}: {error}");
    }
}

#[test]
fn a_refusal_is_plain_text_whatever_it_quotes() {
    for text in ["\0\0\0$=[", "\u{1b}[31m = 1", "a = \"\u{7}"] {
        let error = Manifest::parse(text, std::path::Path::new("model.toml")).unwrap_err().to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
    }
}

#[test]
fn the_hash_of_the_training_table_is_held_against_the_listed_features() {
    let text = |features: &str, hash: &str| {
        format!(
            "symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = {features}\nfeatures_hash = \"{hash}\"\n"
        )
    };
    let parse = |text: &str| Manifest::parse(text, Path::new("model.toml"));
    let names = ["ret_1", "rsi_14"].map(str::to_owned);
    let hash = format!("{:016x}", FeatureSet::new(names).hash());
    assert!(parse(&text("[\"ret_1\", \"rsi_14\"]", &hash)).is_ok());
    // Another order is another row, and another feature another model.
    for features in ["[\"rsi_14\", \"ret_1\"]", "[\"ret_1\", \"rsi_15\"]", "[\"ret_1\"]"] {
        let error = parse(&text(features, &hash)).unwrap_err();
        assert_eq!(error.line, Some(5));
        let listed = format!(
            "{:016x}",
            parse(&text(features, &hash).replace("features_hash", "#")).unwrap().features.hash()
        );
        assert!(error.detail.contains(&hash) && error.detail.contains(&listed), "{error}");
        assert_ne!(hash, listed);
    }
}
