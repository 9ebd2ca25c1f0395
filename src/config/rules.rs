//! Rules between keys, and the check of settings that were made by hand.

use super::keys::{KEYS, Key, Settings};
use super::problem::{ConfigError, Problem, SetBy};
use super::read::check;
use super::secret::masked;
use super::value::{Value, toml_of};
use super::{PostgresUrl, SourceKind, StoreUrl};
use crate::domain::Dialect;

/// The first of each pair must not exceed the second.
const ORDERED: [(&str, &str); 3] = [
    ("workers_min", "workers_initial"),
    ("workers_initial", "workers_max"),
    ("batch_size_initial", "batch_size_max"),
];
/// What the sum of shares may exceed 1 by: decimal fractions are not exact in binary.
const SHARE_ROUNDING: f64 = 1e-9;

impl Settings {
    /// The dialect in which bars come.
    pub fn dialect(&self) -> Dialect {
        Dialect::new(self.ingest.symbol_aliases.clone(), self.ingest.price_unit)
    }

    /// The PostgreSQL database that bars are read from: `source.url`, or that of the store.
    pub fn source_url(&self) -> Option<&PostgresUrl> {
        match (&self.source.url, &self.store.url) {
            (Some(url), _) | (None, StoreUrl::Postgres(url)) => Some(url),
            _ => None,
        }
    }

    /// Checks settings that were made or changed by hand; [`Settings::load`] has done so already.
    ///
    /// # Errors
    /// With every value that is out of range, and those that do not go together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refused = |key: &Key| check(key, &key.value(self)).err();
        let mut problems: Vec<Problem> = KEYS
            .iter()
            .filter_map(|key| {
                let detail = refused(key)?;
                let value = masked(&toml_of(&key.value(self))).into_owned();
                Some(problem(&SetBy::Program, key.name, value, detail))
            })
            .collect();
        problems.extend(broken(self, |name| {
            let sound = !problems.iter().any(|problem| problem.key == name);
            sound.then_some(&SetBy::Program)
        }));
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }
}

/// The rules that `settings` break. `set_by` says who set a key; `None` excuses what concerns it.
pub(super) fn broken<'a>(
    settings: &Settings,
    set_by: impl Fn(&'static str) -> Option<&'a SetBy>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (small, large) in ORDERED {
        let (Some(small_by), Some(large_by)) = (set_by(small), set_by(large)) else { continue };
        let (small_value, large_value) = (number_of(settings, small), number_of(settings, large));
        if small_value <= large_value {
            continue;
        }
        // The one that somebody set is the one to blame.
        problems.push(if *small_by == SetBy::Default {
            let detail = format!("must be at least {small} = {small_value} ({small_by})");
            problem(large_by, large, large_value.to_string(), detail)
        } else {
            let detail = format!("must not exceed {large} = {large_value} ({large_by})");
            problem(small_by, small, small_value.to_string(), detail)
        });
    }
    let (high, low) = ("priority.high_share", "priority.low_share");
    let shares = &settings.priority;
    if let (Some(high_by), Some(low_by)) = (set_by(high), set_by(low))
        && shares.high_share + shares.low_share > 1.0 + SHARE_ROUNDING
    {
        problems.push(if *high_by == SetBy::Default {
            let detail =
                format!("must not exceed 1 together with {high} = {} ({high_by})", shares.high_share);
            problem(low_by, low, shares.low_share.to_string(), detail)
        } else {
            let detail = format!("must not exceed 1 together with {low} = {} ({low_by})", shares.low_share);
            problem(high_by, high, shares.high_share.to_string(), detail)
        });
    }
    let (kind, url) = ("source.kind", "source.url");
    if let (Some(kind_by), Some(_)) = (set_by(kind), set_by(url))
        && settings.source.kind == SourceKind::Postgres
        && settings.source_url().is_none()
    {
        let detail = format!("needs a database: set {url}, or store.url to a PostgreSQL database");
        problems.push(problem(kind_by, kind, "\"postgres\"".to_owned(), detail));
    }
    problems
}

fn problem(set_by: &SetBy, key: &str, value: String, detail: String) -> Problem {
    Problem { set_by: Some(set_by.clone()), key: key.to_owned(), value, detail }
}

fn number_of(settings: &Settings, name: &str) -> u64 {
    match KEYS.iter().find(|key| key.name == name).map(|key| key.value(settings)) {
        Some(Value::Whole(number)) => number,
        _ => unreachable!("{name} is a row of the table, and a whole number"),
    }
}
