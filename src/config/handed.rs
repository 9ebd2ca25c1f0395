//! Settings as one text, for the process that replaces this one: it goes on with what is in force, whatever became of the
//! file meanwhile. Secrets are in it: it is for no other eyes.

use super::keys::{KEYS, Settings};
use super::load::Layers;
use super::notation::toml_string;
use super::problem::ConfigError;
use super::value::{Value, toml_of};
use super::{PostgresUrl, StoreUrl};
use std::fmt::Write as _;
use std::path::Path;

impl Settings {
    /// Every key with its value, as TOML.
    pub(crate) fn handed_over(&self) -> String {
        let mut out = String::new();
        for key in KEYS {
            let value = match key.value(self) {
                Value::Store(StoreUrl::Postgres(url)) | Value::Postgres(Some(url)) => revealed(&url),
                value => toml_of(&value),
            };
            // Writing into a string cannot fail.
            let _ = writeln!(out, "{} = {value}", key.name);
        }
        out
    }

    /// The settings that [`Settings::handed_over`] wrote.
    ///
    /// # Errors
    /// When it did not.
    pub(crate) fn taken_over(text: &str) -> Result<Self, ConfigError> {
        let mut layers = Layers::over(Self::default());
        // In no folder: paths mean what they meant.
        layers.toml(Path::new(""), text);
        Ok(layers.checked()?.settings)
    }
}

fn revealed(url: &PostgresUrl) -> String {
    toml_string(url.reveal())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment;

    #[test]
    fn settings_come_over_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vela.toml");
        let text = r#"
            max_latency_ms = 7
            [source]
            kind = "postgres"
            url = "postgres://u:p%40ss\"w@h/d?options=x"
            tables = [{ name = "a.bars", timeframe = "1m", columns = { ts = "open_time" } }]
            [store]
            url = "postgres://other:secret@h:5433/d"
            [priority]
            high_share = 0.1
            pinned = { "BTC-USD" = "high", "ODD:NAME/1" = "low" }
            [models]
            path = "mod\"els"
            [feature]
            market_hours = "sun 22:00-fri 22:00"
            [alert.rules]
            memory = { over = 80.5 }
            mine = { measure = "cpu", over = 1, for_s = 7, severity = "info", enabled = false }
        "#;
        std::fs::write(&file, text).unwrap();
        let environment = environment().filter(|(name, _)| name == "none");
        let settings = Settings::load(Some(&file), environment, &[]).unwrap().settings;
        let text = settings.handed_over();
        assert!(text.contains("secret@h:5433"), "{text}");
        for settings in [settings, Settings::default()] {
            assert_eq!(Settings::taken_over(&settings.handed_over()), Ok(settings));
        }
    }
}
