//! The types of the keys that are chosen from a few words.

use crate::domain::Lane;
use std::fmt;
use std::path::PathBuf;

/// Names of the lanes, in [`Lane::ALL`]'s order.
pub(super) const LANES: &[&str] = &["high", "normal", "low"];

const SQLITE: &str = "sqlite:";

macro_rules! choice {
    ($(
        $(#[doc = $doc:literal])+
        $Name:ident { $($(#[doc = $word_doc:literal])+ $Word:ident = $word:literal,)+ }
    )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $Name { $($(#[doc = $word_doc])+ $Word,)+ }

        impl $Name {
            /// The words of the configuration, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word,)+];

            /// The word of the configuration.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Word => $word,)+ }
            }

            /// What the configuration calls so.
            pub(super) fn of_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$Word),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    )+ };
}

choice! {
    /// Where bars come from.
    SourceKind {
        /// A table of an SQLite file.
        Sqlite = "sqlite",
        /// Tables of a PostgreSQL database.
        Postgres = "postgres",
        /// A folder of growing CSV files.
        Csv = "csv",
        /// Nowhere: they only come through the library.
        None = "none",
    }

    /// What happens to bars that closed while nobody watched.
    CatchUp {
        /// Every one is predicted.
        All = "all",
        /// Only the newest one of each series is predicted.
        Latest = "latest",
        /// None is predicted.
        None = "none",
    }

    /// What becomes of a bar that has not been predicted when a newer one of its series comes.
    Stale {
        /// It is predicted.
        Predict = "predict",
        /// It is recorded as superseded.
        Supersede = "supersede",
    }

    /// How the log writes its lines.
    LogFormat {
        /// For people.
        Text = "text",
        /// For programs: each line is an object.
        Json = "json",
    }

    /// How much the log says: a level and all that is graver.
    LogLevel {
        /// What went wrong.
        Error = "error",
        /// What may go wrong.
        Warn = "warn",
        /// What a person wants to know in a normal run.
        Info = "info",
        /// Decisions with their inputs.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

/// Where predictions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// Nowhere: they only reach subscribers.
    None,
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresUrl),
}

/// The URL of a PostgreSQL database, as libpq reads it. What is shown of it has no password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// `None` where `text` is no URL of a PostgreSQL database.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))?;
        (!rest.is_empty() && !text.contains('\0')).then(|| Self(text.to_owned()))
    }

    /// The URL with its password: for connecting, never for showing.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::secret::masked(&self.0))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

impl StoreUrl {
    /// `None` where `text` is no URL of a store.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::None);
        }
        if let Some(url) = PostgresUrl::parse(text) {
            return Some(Self::Postgres(url));
        }
        let path = text.strip_prefix(SQLITE)?;
        // `:memory:` would be a store that nobody else can read and that a restart loses.
        let usable = !path.is_empty() && !path.contains('\0') && !path.starts_with(':');
        usable.then(|| Self::Sqlite(PathBuf::from(path)))
    }
}

impl std::str::FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or_else(|| {
            let text = super::secret::masked(text);
            format!("`{text}` is no store: write sqlite:FILE, postgres://USER@HOST/DATABASE, or none")
        })
    }
}

impl LogLevel {
    /// The level of the `tracing` crate.
    pub const fn tracing(self) -> tracing::Level {
        match self {
            Self::Error => tracing::Level::ERROR,
            Self::Warn => tracing::Level::WARN,
            Self::Info => tracing::Level::INFO,
            Self::Debug => tracing::Level::DEBUG,
            Self::Trace => tracing::Level::TRACE,
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Sqlite(path) => write!(f, "{SQLITE}{}", path.display()),
            Self::Postgres(url) => write!(f, "{url}"),
        }
    }
}

/// The lane that the configuration calls `word`.
pub(super) fn lane_of(word: &str) -> Option<Lane> {
    LANES.iter().position(|name| *name == word).map(|index| Lane::ALL[index])
}

/// What the configuration calls `lane`.
pub(super) fn lane_word(lane: Lane) -> &'static str {
    LANES[lane as usize]
}
