//! The table as text: the reference file, and what is in effect.

use super::StoreUrl;
use super::keys::{KEYS, Key, SECTIONS};
use super::load::{Loaded, OTHER_VARIABLES};
use super::notation::toml_key;
use super::problem::SetBy;
use super::secret::masked;
use super::value::{Value, toml_of};
use super::watch::toml_of_rule;
use std::fmt::Write as _;

const COLUMNS_MAX: usize = 100;

const HEADER: &str = "\
Every key of vela's configuration, with its default. Made by `vela config reference`: do not edit \
it in place, copy what you want to change into a file of your own. All keys may be left out; unknown ones \
are refused.

Above each key stand its unit, the values it may have, and the environment variable that replaces what \
a file says; `--set key=value` replaces both. \"Change: live\": a change takes effect while vela runs; \
\"restart\": at its next start.

Relative paths in a file start at the FOLDER OF THE FILE; in the environment, with --set, and in the \
defaults at the working directory. That is why keys whose default is a path are commented out (#key = \
value) here: loaded as it is, this file changes nothing.";

/// The reference file: every key with its documentation, unit, range, default and environment variable.
pub fn render_reference() -> String {
    let mut out = String::new();
    comment(&mut out, HEADER.split('\n'));
    out.push_str("#\n# Other environment variables:\n");
    for (name, purpose) in OTHER_VARIABLES {
        push(&mut out, format_args!("#   {name:<15} {purpose}\n"));
    }
    let mut section = "";
    for key in KEYS {
        let (key_section, name) = key.parts();
        if key_section != section {
            section = key_section;
            push(&mut out, format_args!("\n\n"));
            if let Some(row) = SECTIONS.iter().find(|row| row.name == section) {
                comment(&mut out, row.doc.iter().copied());
            }
            push(&mut out, format_args!("[{section}]\n"));
        }
        out.push('\n');
        comment(&mut out, key.doc.iter().copied());
        out.push_str("#\n");
        comment(&mut out, std::iter::once(facts(key).as_str()));
        let value = key.default_value();
        if let Value::Rules(rules) = &value {
            for (rule, limits) in rules {
                push(&mut out, format_args!("{name}.{} = {}\n", toml_key(rule), toml_of_rule(limits)));
            }
            continue;
        }
        let hash = if starts_at_folder(&value) { "#" } else { "" };
        push(&mut out, format_args!("{hash}{name} = {}\n", toml_of(&value)));
    }
    out
}

/// What is in effect, as TOML in the table's order: `key = value  # who set it`. Passwords are masked.
pub fn render_effective(loaded: &Loaded) -> String {
    let mut out = String::new();
    let mut section = "";
    for key in KEYS {
        let (key_section, name) = key.parts();
        if key_section != section {
            section = key_section;
            push(&mut out, format_args!("\n[{section}]\n"));
        }
        let value = toml_of(&key.value(&loaded.settings));
        let set_by = loaded.origins.get(key.name).unwrap_or(&SetBy::Default).to_string();
        push(&mut out, format_args!("{name} = {}  # {}\n", masked(&value), set_by.escape_debug()));
    }
    out
}

/// Whether it would mean something else in a file in another folder.
fn starts_at_folder(value: &Value) -> bool {
    match value {
        Value::Path(path) => !path.as_os_str().is_empty(),
        Value::Store(url) => matches!(url, StoreUrl::Sqlite(_)),
        _ => false,
    }
}

fn facts(key: &Key) -> String {
    let unit = if key.unit.is_empty() { String::new() } else { format!("Unit: {}. ", key.unit) };
    let value = key.default_value();
    let default = if matches!(value, Value::Rules(_)) { "these".to_owned() } else { toml_of(&value) };
    format!(
        "{unit}Allowed: {}. Default: {}. Change: {}. Variable: {}",
        key.allowed,
        default,
        key.change,
        key.variable()
    )
}

/// Paragraphs as comments, filled up to the width; empty lines part them.
fn comment<'a>(out: &mut String, lines: impl Iterator<Item = &'a str>) {
    let mut column = 0;
    for line in lines {
        if line.trim().is_empty() {
            out.push_str(if column == 0 { "#\n" } else { "\n#\n" });
            column = 0;
            continue;
        }
        for word in line.split_whitespace() {
            let width = word.chars().count();
            if column != 0 && column + 1 + width > COLUMNS_MAX {
                out.push('\n');
                column = 0;
            }
            out.push_str(if column == 0 { "# " } else { " " });
            out.push_str(word);
            column += width + if column == 0 { 2 } else { 1 };
        }
    }
    out.push('\n');
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}
