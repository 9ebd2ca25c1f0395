//! A value of any key: how it goes into a field of `Settings` and comes out of it, and how TOML writes it.

use super::choice::{CatchUp, LogFormat, LogLevel, PostgresUrl, SourceKind, Stale, StoreUrl, lane_word};
use super::notation::{toml_key, toml_string};
use super::secret::masked;
use super::tables::BarTable;
use super::watch::{Rules, toml_of_rule};
use crate::domain::{Adjustments, Aliases, GapPolicy, Lane, MarketHours, Stability};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A value of any key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Whole(u64),
    /// A number.
    Fraction(f64),
    /// Yes or no.
    Bool(bool),
    /// A text.
    Text(String),
    /// A file or folder.
    Path(PathBuf),
    /// Where predictions go.
    Store(StoreUrl),
    /// A PostgreSQL database, or none.
    Postgres(Option<PostgresUrl>),
    /// Tables of bars.
    Tables(Vec<BarTable>),
    /// Symbols and their lanes.
    Lanes(BTreeMap<String, Lane>),
    /// Alert rules by name.
    Rules(Rules),
}

impl Value {
    /// It as TOML writes it, without its secrets.
    pub fn shown(&self) -> String {
        masked(&toml_of(self)).into_owned()
    }
}

/// A value as TOML writes it.
pub(super) fn toml_of(value: &Value) -> String {
    match value {
        Value::Whole(number) => number.to_string(),
        Value::Fraction(number) => format!("{number:?}"),
        Value::Bool(yes) => yes.to_string(),
        Value::Text(text) => toml_string(text),
        Value::Path(path) => toml_string(&path.to_string_lossy()),
        Value::Store(url) => toml_string(&url.to_string()),
        Value::Rules(rules) => {
            let entries: Vec<String> = rules
                .iter()
                .map(|(name, rule)| format!("{} = {}", toml_key(name), toml_of_rule(rule)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Postgres(url) => toml_string(&url.as_ref().map_or_else(String::new, ToString::to_string)),
        Value::Tables(tables) => {
            let tables: Vec<String> = tables.iter().map(BarTable::to_toml).collect();
            format!("[{}]", tables.join(", "))
        }
        Value::Lanes(lanes) if lanes.is_empty() => "{}".to_owned(),
        Value::Lanes(lanes) => {
            let entries: Vec<String> = lanes
                .iter()
                .map(|(symbol, lane)| format!("{} = \"{}\"", toml_key(symbol), lane_word(*lane)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// The type of a field of `Settings`: how it goes into a [`Value`] and comes out of one.
pub(super) trait Field: Sized {
    /// The field as a value.
    fn to_value(&self) -> Value;
    /// The value as a field; `None` where it does not fit the type.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! fields {
    ($($ty:ty, $variant:ident;)+) => { $(
        impl Field for $ty {
            fn to_value(&self) -> Value {
                Value::$variant(self.clone())
            }

            fn from_value(value: Value) -> Option<Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
        }
    )+ };
}

fields! {
    f64, Fraction;
    bool, Bool;
    String, Text;
    PathBuf, Path;
    StoreUrl, Store;
    Option<PostgresUrl>, Postgres;
    Vec<BarTable>, Tables;
    BTreeMap<String, Lane>, Lanes;
    Rules, Rules;
    u64, Whole;
}

impl Field for usize {
    fn to_value(&self) -> Value {
        Value::Whole(*self as u64)
    }

    fn from_value(value: Value) -> Option<Self> {
        u64::from_value(value).and_then(|number| Self::try_from(number).ok())
    }
}

/// The types that are chosen from a few words.
macro_rules! chosen {
    ($($Name:ident),+) => { $(
        impl Field for $Name {
            fn to_value(&self) -> Value {
                Value::Text(self.word().to_owned())
            }

            fn from_value(value: Value) -> Option<Self> {
                if let Value::Text(text) = value { Self::of_word(&text) } else { None }
            }
        }
    )+ };
}

chosen!(SourceKind, CatchUp, Stale, LogFormat, LogLevel);

/// Words for a type that the whole house knows.
macro_rules! words {
    ($($WORDS:ident: $Name:ident { $($Word:ident = $word:literal,)+ })+) => { $(
        pub(super) const $WORDS: &[&str] = &[$($word,)+];

        impl Field for $Name {
            fn to_value(&self) -> Value {
                Value::Text(match self { $(Self::$Word => $word,)+ }.to_owned())
            }

            fn from_value(value: Value) -> Option<Self> {
                match value {
                    $(Value::Text(text) if text == $word => Some(Self::$Word),)+
                    _ => None,
                }
            }
        }
    )+ };
}

words! {
    GAPS: GapPolicy { Skip = "skip", FillFlat = "fill_flat", Reset = "reset", }
    STABILITY: Stability { Defined = "defined", Digits4 = "stable_4", Digits8 = "stable_8", }
}

/// The types that have a text of their own.
macro_rules! texts {
    ($($Name:ident),+) => { $(
        impl Field for $Name {
            fn to_value(&self) -> Value {
                Value::Text(self.to_string())
            }

            fn from_value(value: Value) -> Option<Self> {
                if let Value::Text(text) = value { text.parse().ok() } else { None }
            }
        }
    )+ };
}

texts!(Adjustments, Aliases, MarketHours);
