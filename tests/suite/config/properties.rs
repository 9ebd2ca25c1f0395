//! Whatever is written in whichever layer is taken or refused, and never a panic.

use super::Home;
use proptest::prelude::*;
use vela::config::{KEYS, Settings, masked, render_effective};

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
