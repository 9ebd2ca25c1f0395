//! Configuration: one table of keys, from which everything else about them is made.
//!
//! `keys.rs` holds every key once: name, type, default, allowed values, unit, whether it takes effect
//! while running, and its documentation. The [`Settings`] types, their defaults, parsing, range checks, the
//! texts of refusals, the names of environment variables, `config show` and the shipped reference file all
//! come from that table.
//!
//! Loading happens on the main thread before anything starts; nothing here logs, exits or keeps state.
//!
//! Invariant: a [`Loaded`] has passed every check; what failed is returned whole, as one [`ConfigError`].

mod table;

mod change;
mod choice;
mod handed;
mod keys;
mod load;
mod notation;
mod patch;
mod problem;
mod read;
mod render;
mod rules;
mod secret;
mod tables;
mod value;
mod watch;

pub use change::Reconfigured;
pub use choice::{CatchUp, LogFormat, LogLevel, PostgresUrl, SourceKind, Stale, StoreUrl};
pub use keys::{
    AlertSettings, DatabaseSettings, FeatureSettings, IngestSettings, KEYS, Key, LogSettings, ModelsSettings,
    PersistSettings, PredictSettings, PrioritySettings, RuntimeSettings, ServeSettings, Settings,
    SourceSettings, StoreSettings, WatchdogSettings,
};
pub use load::{Loaded, OTHER_VARIABLES, WEBHOOK_KEY, environment};
pub use problem::{ConfigError, Problem, SetBy};
pub use render::{render_effective, render_reference};
pub use secret::masked;
pub use table::{Allowed, Change};
pub use tables::{BarColumns, BarTable};
pub use value::Value;
pub use watch::{Measure, Rule, Rules};
