//! What a row of the table of keys is, and the macro that turns the rows into `Settings` and `KEYS`.

use super::choice;
use super::value::Value;
use std::fmt;
use std::ops::RangeInclusive;

/// When a change to a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// While running.
    Live,
    /// At the next start.
    Restart,
}

/// The values a key may have.
#[derive(Clone, Debug, PartialEq)]
pub enum Allowed {
    /// A whole number in a range, both ends included.
    Whole(RangeInclusive<u64>),
    /// A number in a range, both ends included.
    Fraction(RangeInclusive<f64>),
    /// `true` or `false`.
    Bool,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A file or folder.
    Path,
    /// A file or folder, or the empty text.
    PathOrEmpty,
    /// The name of an SQL table, with or without a schema.
    SqlName,
    /// `none`, `sqlite:` and the path of a file, or the URL of a PostgreSQL database.
    Store,
    /// An IP address and a port to listen at, or the empty text.
    Listen,
    /// Names of hosts, separated by commas, or the empty text.
    Hosts,
    /// Symbols, separated by commas, or the empty text.
    Symbols,
    /// The URL of a PostgreSQL database, or the empty text.
    PostgresOrEmpty,
    /// Tables of bars in a PostgreSQL database.
    Tables,
    /// Weekly hours.
    Hours,
    /// Splits, dividends and rolls, or the empty text.
    Events,
    /// Other names of symbols, or the empty text.
    Names,
    /// A table from symbols to lanes.
    Lanes,
    /// The empty text, or the URL of an HTTP endpoint.
    HttpUrlOrEmpty,
    /// A table of alert rules.
    Rules,
}

/// A key of the configuration `S`: one row of its table.
#[derive(Clone)]
pub struct Key<S> {
    /// Its dotted name; the part before the dot is its section.
    pub name: &'static str,
    /// What its number counts (`ms`, `bars`); empty where there is none.
    pub unit: &'static str,
    /// The values it may have.
    pub allowed: Allowed,
    /// When a change takes effect.
    pub change: Change,
    /// What it is for: one line each, an empty one between paragraphs.
    pub doc: &'static [&'static str],
    pub(super) get: fn(&S) -> Value,
    pub(super) set: fn(&mut S, Value) -> bool,
}

/// A section of the configuration, with its documentation.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
}

impl<S: Default> Key<S> {
    /// The section and the name within it; the section is empty for a key of the top level.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }

    /// Its environment variable: `database.pool_size` is `VELA_DATABASE__POOL_SIZE`.
    pub fn variable(&self) -> String {
        format!("VELA_{}", self.name.replace('.', "__").to_ascii_uppercase())
    }

    /// Its value in `settings`.
    pub fn value(&self, settings: &S) -> Value {
        (self.get)(settings)
    }

    /// Gives `to` the value that `from` has.
    pub(super) fn copy(&self, from: &S, to: &mut S) {
        let fits = (self.set)(to, self.value(from));
        debug_assert!(fits, "a value of {} is one", self.name);
    }

    /// Its value when nobody sets it.
    pub fn default_value(&self) -> Value {
        self.value(&S::default())
    }

    /// Its allowed values and unit in words: `1 to 256 workers`.
    pub fn allowed_text(&self) -> String {
        if self.unit.is_empty() {
            self.allowed.to_string()
        } else {
            format!("{} {}", self.allowed, self.unit)
        }
    }
}

impl<S> fmt::Debug for Key<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Restart => "restart",
        })
    }
}

impl Allowed {
    /// What kind of value is wanted, as a refusal says it.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            Self::Whole(_) => "a whole number",
            Self::Fraction(_) => "a number",
            Self::Bool => "true or false",
            Self::Lanes => "a table of symbols",
            Self::Rules => "a table of rules",
            Self::Tables => "an array of tables",
            Self::OneOf(_)
            | Self::Path
            | Self::PathOrEmpty
            | Self::SqlName
            | Self::Store
            | Self::PostgresOrEmpty
            | Self::HttpUrlOrEmpty
            | Self::Listen
            | Self::Hosts
            | Self::Symbols
            | Self::Hours
            | Self::Events
            | Self::Names => "a string",
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(range) => write!(f, "{} to {}", range.start(), range.end()),
            Self::Fraction(range) => write!(f, "{:?} to {:?}", range.start(), range.end()),
            Self::Bool => f.write_str("true or false"),
            Self::OneOf(words) => write!(f, "\"{}\"", words.join("\" or \"")),
            Self::Path => f.write_str("a path, not empty"),
            Self::PathOrEmpty => f.write_str("a path, or \"\""),
            Self::SqlName => f.write_str(
                "a table's name, or schema.table: letters, digits and _, no digit first, each at most 63 long",
            ),
            Self::Store => {
                f.write_str("\"none\", \"sqlite:\" and the path of a file, or \"postgres://USER@HOST/DATABASE\"")
            }
            Self::Listen => f.write_str("an IP address with a port, such as \"127.0.0.1:8080\", or \"\""),
            Self::Hosts => f.write_str("names of hosts, separated by commas, or \"\""),
            Self::Symbols => f.write_str("symbols, separated by commas, or \"\""),
            Self::PostgresOrEmpty => f.write_str("\"postgres://USER@HOST/DATABASE\", or \"\""),
            Self::Tables => f.write_str(
                "tables with name and, where needed, symbol, timeframe, columns = { ts = \"open_time\", ... }",
            ),
            Self::Hours => f.write_str("\"always\", or stretches of the week such as \"sun 22:00-fri 22:00\""),
            Self::Events => f.write_str("SYMBOL TIME PRICE VOLUME entries, separated by commas, or \"\""),
            Self::Names => {
                f.write_str("NAME SYMBOL [from TIME] [until TIME] entries, separated by commas, or \"\"")
            }
            Self::Lanes => write!(f, "SYMBOL = \"{}\" entries", choice::LANES.join("\" or \"")),
            Self::HttpUrlOrEmpty => f.write_str("\"\", or a URL that begins with http:// or https://"),
            Self::Rules => f.write_str(
                "NAME = { measure = \"...\", over = NUMBER, for_s = SECONDS, severity = \"...\" } entries",
            ),
        }
    }
}

/// Turns the table of keys into the structs, their defaults, `KEYS` and `SECTIONS`.
macro_rules! settings {
    (
        $(#[doc = $root_doc:literal])+
        $Root:ident {
            $($(#[doc = $doc:literal])+
            $key:ident: $ty:ty = $default:expr, $allowed:expr, $unit:literal, $change:ident;)+
        }
        $($(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {
            $($(#[doc = $field_doc:literal])+
            $field:ident: $field_ty:ty = $field_default:expr, $field_allowed:expr, $field_unit:literal,
                $field_change:ident;)+
        })+
    ) => {
        $(#[doc = $root_doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Root {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nUnit: ", $unit, ". Allowed: `", stringify!($allowed), "`.")]
                pub $key: $ty,
            )+
            $($(#[doc = $section_doc])+ pub $section: $Section,)+
        }

        impl Default for $Root {
            fn default() -> Self {
                Self { $($key: $default,)+ $($section: $Section::default(),)+ }
            }
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $(
                    $(#[doc = $field_doc])+
                    #[doc = concat!("\n\nUnit: ", $field_unit, ". Allowed: `", stringify!($field_allowed), "`.")]
                    pub $field: $field_ty,
                )+
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($field: $field_default,)+ }
                }
            }
        )+

        /// Every key, in the order of the reference file.
        pub static KEYS: &[Key] = &[
            $(Key {
                name: stringify!($key),
                unit: $unit,
                allowed: $allowed,
                change: Change::$change,
                doc: &[$($doc,)+],
                get: |settings| settings.$key.to_value(),
                set: |settings, value| Field::from_value(value).map(|v| settings.$key = v).is_some(),
            },)+
            $($(Key {
                name: concat!(stringify!($section), ".", stringify!($field)),
                unit: $field_unit,
                allowed: $field_allowed,
                change: Change::$field_change,
                doc: &[$($field_doc,)+],
                get: |settings| settings.$section.$field.to_value(),
                set: |settings, value| {
                    Field::from_value(value).map(|v| settings.$section.$field = v).is_some()
                },
            },)+)+
        ];

        /// Every section, in the order of the reference file.
        pub(super) static SECTIONS: &[Section] =
            &[$(Section { name: stringify!($section), doc: &[$($section_doc,)+] },)+];
    };
}

pub(super) use settings;
