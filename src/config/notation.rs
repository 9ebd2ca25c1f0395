//! How TOML is written, and what is said of a value that cannot be read.

use toml::de::DeValue;

/// Why a value, or an entry of a table, is not taken.
pub(super) struct Refused {
    /// The entry of a table and where in the file its value starts and ends; `None` for the value itself.
    pub(super) entry: Option<(String, std::ops::Range<usize>)>,
    /// What is wrong and what is allowed.
    pub(super) detail: String,
}

impl Refused {
    /// What is wrong with a value as a whole.
    pub(super) fn whole(detail: String) -> Vec<Self> {
        vec![Self { entry: None, detail }]
    }
}

/// What a person calls the type of a TOML value.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// A key as TOML writes it.
pub(super) fn toml_key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { name.to_owned() } else { toml_string(name) }
}

/// A text as TOML writes it.
pub(super) fn toml_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
