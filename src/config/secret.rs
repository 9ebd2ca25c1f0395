//! Secrets inside texts that are shown: passwords of URLs.

use std::borrow::Cow;

/// What stands for a secret.
pub(super) const MASK: &str = "***";

const PARAMETER: &str = "password";

/// `text` with the password part of a URL, and the value of every `password=`, replaced by `***`.
///
/// Errs towards hiding: in `scheme://user:pass@host` everything between the first colon and the last `@`
/// goes, since a password that was not escaped may hold any character.
pub fn masked(text: &str) -> Cow<'_, str> {
    match (user_password_masked(text), text) {
        (Some(once), _) => Cow::Owned(parameters_masked(&once).unwrap_or(once)),
        (None, text) => parameters_masked(text).map_or(Cow::Borrowed(text), Cow::Owned),
    }
}

/// Whether a key of this name holds a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    // Where a secret lies is none.
    !lower.ends_with("_file") && ["password", "secret", "token"].iter().any(|word| lower.contains(word))
}

fn user_password_masked(text: &str) -> Option<String> {
    let user_start = text.find("://")? + 3;
    let host_start = user_start + text[user_start..].rfind('@')?;
    let user_end = user_start + text[user_start..host_start].find(':')?;
    Some(format!("{}:{MASK}{}", &text[..user_end], &text[host_start..]))
}

fn parameters_masked(text: &str) -> Option<String> {
    // Lower-casing ASCII keeps every offset.
    let lower = text.to_ascii_lowercase();
    let mut out = String::new();
    let mut copied = 0;
    let mut found_any = false;
    while let Some(found) = lower[copied..].find(PARAMETER) {
        let name_end = copied + found + PARAMETER.len();
        out.push_str(&text[copied..name_end]);
        copied = name_end;
        let Some(value) = text[name_end..].trim_start().strip_prefix('=') else { continue };
        let value = value.trim_start();
        let length = match value.chars().next() {
            Some(quote @ ('\'' | '"')) => value[1..].find(quote).map_or(value.len(), |end| end + 2),
            _ => value.find(|c: char| c.is_whitespace() || c == '&' || c == '"').unwrap_or(value.len()),
        };
        out.push('=');
        out.push_str(MASK);
        copied = text.len() - value.len() + length;
        found_any = true;
    }
    out.push_str(&text[copied..]);
    found_any.then_some(out)
}
