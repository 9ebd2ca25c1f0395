//! From what was written to a checked value: pure functions of a row of the table and a text.

use super::choice::lane_of;
use super::keys::Key;
use super::notation::{Refused, type_name};
use super::table::Allowed;
use super::value::Value;
use super::watch::{check_rules, rules_of_table, rules_of_text};
use super::{PostgresUrl, StoreUrl, tables};
use crate::domain::{Adjustments, Aliases, Excerpt, Lane, MarketHours, SeriesKey, Timeframe};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest part of an SQL name, in bytes: PostgreSQL's limit, which SQLite does not need.
const SQL_NAME_BYTES_MAX: usize = 63;

/// A value as it was written.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    /// In a TOML file.
    Toml(&'a Spanned<DeValue<'a>>),
    /// In the environment or on the command line, where everything is text.
    Text(&'a str),
}

/// Reads and checks a value of `key`; relative paths are taken from `folder` where there is one.
pub(super) fn read(key: &Key, raw: Raw<'_>, folder: Option<&Path>) -> Result<Value, Vec<Refused>> {
    let value = match &key.allowed {
        Allowed::Whole(_) => Value::Whole(whole(key, raw)?),
        Allowed::Fraction(_) => Value::Fraction(fraction(key, raw)?),
        Allowed::Bool => Value::Bool(boolean(key, raw)?),
        Allowed::OneOf(_)
        | Allowed::SqlName
        | Allowed::Hours
        | Allowed::Events
        | Allowed::Names
        | Allowed::HttpUrlOrEmpty
        | Allowed::Listen
        | Allowed::Hosts
        | Allowed::Symbols => Value::Text(text(key, raw)?.to_owned()),
        Allowed::Path | Allowed::PathOrEmpty => Value::Path(beside(folder, Path::new(text(key, raw)?))),
        Allowed::Store => match StoreUrl::parse(text(key, raw)?) {
            Some(StoreUrl::Sqlite(path)) => Value::Store(StoreUrl::Sqlite(beside(folder, &path))),
            Some(url) => Value::Store(url),
            None => return Err(Refused::whole(not_allowed(key))),
        },
        Allowed::PostgresOrEmpty => match text(key, raw)? {
            "" => Value::Postgres(None),
            url => match PostgresUrl::parse(url) {
                Some(url) => Value::Postgres(Some(url)),
                None => return Err(Refused::whole(not_allowed(key))),
            },
        },
        Allowed::Tables => Value::Tables(match raw {
            Raw::Toml(value) => match value.get_ref() {
                DeValue::Array(entries) => tables::of_toml(entries)?,
                _ => return Err(wrong_type(key, raw)),
            },
            Raw::Text(text) => tables::of_text(text)?,
        }),
        Allowed::Lanes => Value::Lanes(lanes(key, raw)?),
        Allowed::Rules => Value::Rules(match raw {
            Raw::Toml(value) => match value.get_ref() {
                DeValue::Table(table) => rules_of_table(table)?,
                _ => return Err(wrong_type(key, raw)),
            },
            Raw::Text(text) => rules_of_text(text).map_err(Refused::whole)?,
        }),
    };
    check(key, &value).map_err(Refused::whole)?;
    Ok(value)
}

/// Whether `value` is one that `key` may have; if not, what is.
pub(super) fn check(key: &Key, value: &Value) -> Result<(), String> {
    let path_fits = |path: &Path| !path.as_os_str().as_encoded_bytes().contains(&0);
    let allowed = match (&key.allowed, value) {
        (Allowed::Whole(range), Value::Whole(number)) => range.contains(number),
        (Allowed::Fraction(range), Value::Fraction(number)) => range.contains(number),
        (Allowed::Bool, Value::Bool(_)) => true,
        (Allowed::OneOf(words), Value::Text(word)) => words.contains(&word.as_str()),
        (Allowed::Path, Value::Path(path)) => !path.as_os_str().is_empty() && path_fits(path),
        (Allowed::PathOrEmpty, Value::Path(path)) => path_fits(path),
        (Allowed::SqlName, Value::Text(name)) => is_sql_name(name),
        (Allowed::Events, Value::Text(events)) => events.parse::<Adjustments>().map(|_| true)?,
        (Allowed::Names, Value::Text(names)) => names.parse::<Aliases>().map(|_| true)?,
        (Allowed::Hours, Value::Text(hours)) => hours.parse::<MarketHours>().is_ok(),
        (Allowed::Listen, Value::Text(address)) => {
            address.is_empty() || address.parse::<std::net::SocketAddr>().is_ok()
        }
        (Allowed::Hosts, Value::Text(hosts)) => {
            hosts.is_empty() || hosts.split(',').map(str::trim).all(is_host_name)
        }
        (Allowed::Symbols, Value::Text(symbols)) => {
            if !symbols.is_empty() {
                symbols.split(',').map(str::trim).try_for_each(symbol_checked)?;
            }
            true
        }
        (Allowed::Store, Value::Store(StoreUrl::None | StoreUrl::Postgres(_))) => true,
        (Allowed::Store, Value::Store(StoreUrl::Sqlite(path))) => {
            !path.as_os_str().is_empty() && path_fits(path)
        }
        (Allowed::PostgresOrEmpty, Value::Postgres(_)) => true,
        (Allowed::Tables, Value::Tables(tables)) => {
            for table in tables {
                table.check().map_err(|problem| format!("table `{}`: {problem}", Excerpt(&table.name)))?;
            }
            true
        }
        (Allowed::Lanes, Value::Lanes(lanes)) => {
            lanes.keys().try_for_each(|symbol| symbol_checked(symbol))?;
            true
        }
        (Allowed::HttpUrlOrEmpty, Value::Text(url)) => url.is_empty() || is_http_url(url),
        (Allowed::Rules, Value::Rules(rules)) => {
            check_rules(rules)?;
            true
        }
        _ => false,
    };
    if allowed { Ok(()) } else { Err(not_allowed(key)) }
}

fn not_allowed(key: &Key) -> String {
    match key.allowed {
        Allowed::Whole(_) | Allowed::Fraction(_) => format!("allowed is {}", key.allowed_text()),
        _ => format!("allowed is {}", key.allowed),
    }
}

/// What kind of value is wanted, and which ones are.
pub(super) fn expected(key: &Key) -> String {
    let (expected, allowed) = (key.allowed.expected(), key.allowed_text());
    if expected == allowed {
        format!("expected {expected}")
    } else {
        format!("expected {expected} ({allowed})")
    }
}

fn wrong_type(key: &Key, raw: Raw<'_>) -> Vec<Refused> {
    let mut detail = expected(key);
    if let Raw::Toml(value) = raw {
        detail.push_str(&format!(", found {}", type_name(value.get_ref())));
    }
    Refused::whole(detail)
}

fn whole(key: &Key, raw: Raw<'_>) -> Result<u64, Vec<Refused>> {
    let (digits, radix) = match raw {
        Raw::Toml(value) => match value.get_ref() {
            DeValue::Integer(number) => (number.as_str().to_owned(), number.radix()),
            _ => return Err(wrong_type(key, raw)),
        },
        Raw::Text(text) => (text.trim().replace('_', ""), 10),
    };
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    if unsigned.is_empty() || !unsigned.chars().all(|c| c.is_digit(radix)) {
        return Err(wrong_type(key, raw));
    }
    // What is left can only be negative or too large.
    u64::from_str_radix(&digits, radix).map_err(|_| Refused::whole(not_allowed(key)))
}

fn fraction(key: &Key, raw: Raw<'_>) -> Result<f64, Vec<Refused>> {
    let digits = match raw {
        Raw::Toml(value) => match value.get_ref() {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(wrong_type(key, raw)),
        },
        Raw::Text(text) => text.trim(),
    };
    digits.parse().map_err(|_| wrong_type(key, raw))
}

fn boolean(key: &Key, raw: Raw<'_>) -> Result<bool, Vec<Refused>> {
    match raw {
        Raw::Toml(value) => match value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(wrong_type(key, raw)),
        },
        Raw::Text(text) => text.trim().parse().map_err(|_| wrong_type(key, raw)),
    }
}

fn text<'a>(key: &Key, raw: Raw<'a>) -> Result<&'a str, Vec<Refused>> {
    match raw {
        Raw::Toml(value) => match value.get_ref() {
            DeValue::String(text) => Ok(text),
            _ => Err(wrong_type(key, raw)),
        },
        Raw::Text(text) => Ok(text),
    }
}

fn beside(folder: Option<&Path>, path: &Path) -> PathBuf {
    match folder {
        Some(folder) if !path.as_os_str().is_empty() => folder.join(path),
        _ => path.to_owned(),
    }
}

fn is_http_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let plain = url.chars().all(|c| c.is_ascii_graphic());
    plain && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':', '@']))
}

fn is_sql_name(name: &str) -> bool {
    let part_fits = |part: &str| {
        let first_fits = part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        first_fits
            && part.len() <= SQL_NAME_BYTES_MAX
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    name.split('.').count() <= 2 && name.split('.').all(part_fits)
}

/// A host's name or address, without a port.
fn is_host_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !name.is_empty() && name.len() <= 253 && name.bytes().all(fits)
}

fn symbol_checked(symbol: &str) -> Result<(), String> {
    SeriesKey::new(symbol, Timeframe::MINUTE).map(drop).map_err(|error| error.to_string())
}

fn lanes(key: &Key, raw: Raw<'_>) -> Result<BTreeMap<String, Lane>, Vec<Refused>> {
    match raw {
        Raw::Toml(value) => match value.get_ref() {
            DeValue::Table(table) => lanes_of_table(key, table),
            _ => Err(wrong_type(key, raw)),
        },
        Raw::Text(text) => lanes_of_text(key, text).map_err(Refused::whole),
    }
}

fn lanes_of_table(key: &Key, table: &DeTable<'_>) -> Result<BTreeMap<String, Lane>, Vec<Refused>> {
    let mut lanes = BTreeMap::new();
    let mut refused = Vec::new();
    for (symbol, value) in table {
        let lane = match value.get_ref() {
            DeValue::String(word) => lane_of(word).ok_or_else(|| not_allowed(key)),
            other => Err(format!("{}, found {}", not_allowed(key), type_name(other))),
        };
        match symbol_checked(symbol.get_ref()).and(lane) {
            Ok(lane) => drop(lanes.insert(symbol.get_ref().to_string(), lane)),
            Err(detail) => {
                refused.push(Refused { entry: Some((symbol.get_ref().to_string(), value.span())), detail });
            }
        }
    }
    if refused.is_empty() { Ok(lanes) } else { Err(refused) }
}

/// `BTCUSDT=high,DOGEUSDT=low`; the empty text is the empty table.
fn lanes_of_text(key: &Key, text: &str) -> Result<BTreeMap<String, Lane>, String> {
    let mut lanes = BTreeMap::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (symbol, word) =
            entry.split_once('=').ok_or_else(|| format!("`{}` is no SYMBOL=lane", Excerpt(entry)))?;
        symbol_checked(symbol.trim())?;
        let lane = lane_of(word.trim()).ok_or_else(|| not_allowed(key))?;
        if lanes.insert(symbol.trim().to_owned(), lane).is_some() {
            return Err(format!("{} is given twice", symbol.trim()));
        }
    }
    Ok(lanes)
}
