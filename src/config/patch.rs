//! Changes as a program sends them: keys with texts, or a JSON merge patch (RFC 7396), read by the rules of a file.

use super::keys::{Key, SECTIONS, Settings};
use super::load::{Layers, quoted};
use super::notation::{toml_key, toml_string};
use super::problem::{ConfigError, Problem, SetBy};
use super::read::{Raw, expected, read};
use super::table::Allowed;
use super::value::{Value, toml_of};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use toml::de::DeTable;

/// The most problems of a patch that are told.
const PROBLEMS_MAX: usize = 20;

impl Settings {
    /// These settings with some keys changed (dotted key, text), checked whole.
    ///
    /// # Errors
    /// With everything that is wrong with the changes; nothing has changed then.
    pub fn with(&self, changes: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut layers = Layers::over(self.clone());
        for (name, value) in changes {
            layers.named(name, value, SetBy::Program);
        }
        Ok(layers.checked()?.settings)
    }

    /// These settings with `patch` merged in, checked whole. Sections are objects, and a key may be named with its dots
    /// (`"log.level"`) as well; entries of the tables `priority.pinned` and `alert.rules` are merged one by one. What is
    /// `null` goes back to its default, and an entry goes.
    ///
    /// # Errors
    /// With what is wrong; nothing has changed then. Keys that name files are not for whoever sends a patch.
    pub fn patched(&self, patch: &Map<String, Json>) -> Result<Self, ConfigError> {
        let mut layers = Layers::over(self.clone());
        let mut named = BTreeMap::new();
        for (name, change) in patch {
            if !SECTIONS.iter().any(|section| section.name == name) {
                layers.once(&mut named, name.clone(), change);
            } else if let Json::Object(section) = change {
                section.iter().for_each(|(key, change)| {
                    layers.once(&mut named, format!("{name}.{key}"), change);
                });
            } else {
                layers.wrong(name, change, "expected an object, as it is a section".to_owned());
            }
        }
        for (name, change) in named {
            layers.patch(&name, change);
            if layers.problems.len() >= PROBLEMS_MAX {
                break;
            }
        }
        Ok(layers.checked()?.settings)
    }
}

impl Layers {
    /// A key with its dots, and one in its section, may be the same.
    fn once<'a>(&mut self, named: &mut BTreeMap<String, &'a Json>, name: String, change: &'a Json) {
        if named.insert(name.clone(), change).is_some() {
            self.wrong(&name, change, "is given twice: give it once".to_owned());
        }
    }

    fn wrong(&mut self, name: &str, change: &Json, detail: String) {
        let value = quoted(name, &change.to_string());
        let key = quoted("", name);
        self.problems.push(Problem { set_by: Some(SetBy::Request), key, value, detail });
    }

    fn patch(&mut self, name: &str, change: &Json) {
        let Some(key) = self.known(name, &change.to_string(), SetBy::Request) else { return };
        if matches!(key.allowed, Allowed::Path | Allowed::PathOrEmpty) {
            let detail = "names a file, which no request may: change it in the configuration file";
            return self.wrong(name, change, detail.to_owned());
        }
        if change.is_null() {
            return self.take(key, key.default_value(), SetBy::Request);
        }
        match value_of(key, &key.value(&self.settings), change) {
            Ok(value) => self.take(key, value, SetBy::Request),
            Err(details) => {
                self.refused.insert(key.name);
                details.into_iter().for_each(|detail| self.wrong(name, change, detail));
            }
        }
    }
}

/// What `key` becomes by a change of the value that it has.
fn value_of(key: &Key, before: &Value, change: &Json) -> Result<Value, Vec<String>> {
    let mut merged = change.clone();
    if matches!(before, Value::Lanes(_) | Value::Rules(_)) && change.is_object() {
        merged = json_of(before);
        merge(&mut merged, change);
    }
    let wrong = |problem: &str| vec![format!("{problem}: {}", expected(key))];
    let text = toml_of_json(&merged).ok_or_else(|| wrong("null is no value here"))?;
    let document = format!("value = {text}");
    let table = DeTable::parse(&document).map_err(|error| wrong(error.message()))?;
    let Some(value) = table.get_ref().get("value") else { unreachable!("it was just written") };
    read(key, Raw::Toml(value), None).map_err(|refused| {
        let said = |one: super::notation::Refused| match one.entry {
            Some((entry, _)) => format!("{}: {}", quoted("", &entry), one.detail),
            None => one.detail,
        };
        refused.into_iter().map(said).collect()
    })
}

/// A table as JSON.
fn json_of(table: &Value) -> Json {
    let document = format!("value = {}", toml_of(table));
    let read: Result<BTreeMap<String, Json>, _> = toml::from_str(&document);
    read.ok().and_then(|mut read| read.remove("value")).unwrap_or_default()
}

/// RFC 7396.
fn merge(target: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Json::Object(Map::new());
    }
    let Json::Object(target) = target else { unreachable!("made one above") };
    for (name, change) in patch {
        if change.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.as_str()).or_insert(Json::Null), change);
        }
    }
}

/// JSON as TOML writes it; `None` where it holds a null.
fn toml_of_json(json: &Json) -> Option<String> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(yes) => yes.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => toml_string(text),
        Json::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(toml_of_json).collect();
            format!("[{}]", items?.join(", "))
        }
        Json::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let value = toml_of_json(value)?;
                Some(format!("{} = {value}", toml_key(name)))
            });
            let members: Option<Vec<String>> = members.collect();
            format!("{{ {} }}", members?.join(", "))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Measure;
    use crate::domain::Lane;
    use serde_json::json;

    fn patched(settings: &Settings, patch: Json) -> Result<Settings, String> {
        settings.patched(patch.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn merge_is_that_of_the_rfc() {
        // The examples of RFC 7396, appendix A.
        for (mut target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"a": "foo"}), json!("bar"), json!("bar")),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            merge(&mut target, &patch);
            assert_eq!(target, result, "{patch}");
        }
    }

    #[test]
    fn keys_sections_and_entries_are_merged_and_null_is_the_default() {
        let mut settings = Settings { max_latency_ms: 7, ..Settings::default() };
        settings.priority.pinned.insert("A".into(), Lane::High);
        settings.alert.rules.get_mut("cpu").unwrap().enabled = false;
        let patch = json!({
            "max_latency_ms": null,
            "log.level": "debug",
            "priority": {"pinned": {"B/C": "low"}, "high_share": 0.25},
            "alert": {"rules": {
                "memory": {"over": 80},
                "hot": {"measure": "cpu", "over": 50.5, "severity": "error"},
            }},
        });
        let next = patched(&settings, patch).unwrap();
        assert_eq!((next.max_latency_ms, next.priority.high_share), (5000, 0.25));
        assert_eq!(next.log.level.tracing(), tracing::Level::DEBUG);
        assert_eq!(
            next.priority.pinned,
            BTreeMap::from([("A".into(), Lane::High), ("B/C".into(), Lane::Low)])
        );
        let rules = &next.alert.rules;
        assert!(rules["memory"].over == 80.0 && rules["hot"].over == 50.5 && !rules["cpu"].enabled);
        assert_eq!(rules["hot"].measure, Measure::Cpu);
        let back = patched(&next, json!({"priority": {"pinned": {"A": null}}, "alert.rules": {"hot": null}}))
            .unwrap();
        assert_eq!(back.priority.pinned.keys().collect::<Vec<_>>(), ["B/C"]);
        assert_eq!(back.alert.rules.len(), Measure::ALL.len());
        assert_eq!(patched(&settings, json!({})).unwrap(), settings);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (patch, said) in [
            (json!({"max_latency_ms": "7"}), "request: max_latency_ms = \"7\": expected a whole number"),
            (json!({"max_latency_ms": 0}), "allowed is 1 to 3600000 ms"),
            (json!({"max_latency_ms": -1}), "allowed is 1 to 3600000 ms"),
            (json!({"max_latency_ms": 1e30}), "expected a whole number"),
            (json!({"max_latency_ms": u64::MAX}), "allowed is 1 to 3600000 ms"),
            (json!({"max_latency_ms": [null]}), "null is no value"),
            (json!({"max_latncy_ms": 7}), "the closest known one is max_latency_ms"),
            (json!({"log": {"levl": 7}}), "the closest known one is log.level"),
            (json!({"log": 7}), "expected an object"),
            (json!({"log": {"level": "info"}, "log.level": "info"}), "is given twice"),
            (json!({"log": {"level": "loud\u{7f}\u{0}\"\\"}}), "\"error\" or \"warn\""),
            (json!({"priority": {"pinned": {"A": "top"}}}), "A: allowed is"),
            (json!({"priority": {"high_share": 0.9}}), "must not exceed 1 together with"),
            (json!({"alert": {"rules": {"cpu": {"over": -1}}}}), "cpu.over: allowed is a number"),
            (json!({"alert": {"rules": {"cpu": 3}}}), "cpu: expected a table"),
            (json!({"alert": {"webhook_key_path": "/etc/passwd"}}), "names a file"),
            (json!({"alert": {"webhook_url": "http://u:pass@h/ x"}}), "webhook_url = \"http://u:***@h/ x\""),
        ] {
            let error = patched(&Settings::default(), patch.clone()).unwrap_err();
            assert!(error.contains(said) && !error.contains("pass@"), "{patch}: {error}");
        }
        let many: Map<String, Json> = (0..10_000).map(|n| (format!("k{n}"), json!(n))).collect();
        assert_eq!(Settings::default().patched(&many).unwrap_err().problems.len(), PROBLEMS_MAX);
    }
}
