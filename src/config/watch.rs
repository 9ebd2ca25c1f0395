//! Alert rules: what is measured, and from where on somebody is told of it.

use super::notation::{Refused, type_name};
use crate::domain::Severity;
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// The rules by their names; a rule's name is the code of its alerts.
pub type Rules = BTreeMap<String, Rule>;

/// The most rules there may be.
const RULES_MAX: usize = 64;
/// The longest name of a rule.
const NAME_CHARS_MAX: usize = 40;
/// The longest time for which a measure must have been over its limit.
const FOR_S_MAX: u64 = 86_400;
/// The largest limit.
const OVER_MAX: f64 = 1e12;

/// When somebody is told: the measure is over the limit, for so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// What is measured.
    pub measure: Measure,
    /// The limit, in the measure's unit: beyond it the rule is broken.
    pub over: f64,
    /// How long it must be over it before it counts, and under it before it is over again, in s.
    pub for_s: u64,
    /// How grave that is.
    pub severity: Severity,
    /// Whether the rule is looked at.
    pub enabled: bool,
}

macro_rules! measures {
    ($($(#[doc = $doc:literal])+ $Name:ident = $word:literal, $over:literal $unit:literal, $for_s:literal, $Severity:ident;)+) => {
        /// What rules may be about. Each has a rule of its own name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Measure { $($(#[doc = $doc])+ #[doc = concat!("\n\nUnit: ", $unit, ".")] $Name,)+ }

        impl Measure {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$Name,)+];

            /// The word of the configuration.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Name => $word,)+ }
            }

            /// What its numbers count.
            pub const fn unit(self) -> &'static str {
                match self { $(Self::$Name => $unit,)+ }
            }

            /// The rule that it has when nothing is configured.
            pub const fn rule(self) -> Rule {
                match self { $(Self::$Name => Rule {
                    measure: self,
                    over: $over,
                    for_s: $for_s,
                    severity: Severity::$Severity,
                    enabled: true,
                },)+ }
            }
        }
    };
}

measures! {
    /// Live predictions since the last check that took longer than `max_latency_ms`.
    Latency = "latency", 1.0 "% of predictions", 0, Warning;
    /// Outcomes since the last check that are a failure: of a model, of a bar, of vela.
    Errors = "errors", 5.0 "% of outcomes", 0, Warning;
    /// Items over which a worker panicked since the last check.
    Panics = "panics", 0.0 "items", 0, Error;
    /// A stage that has work and finishes nothing.
    Stalled = "stalled", 30.0 "s", 0, Error;
    /// A stage's queue.
    Queue = "queue", 80.0 "% of its bound", 10, Warning;
    /// A series that is behind the newest one of its timeframe.
    FeedQuiet = "feed_quiet", 3.0 "bars", 60, Warning;
    /// The time since any bar came, in the shortest bars that are expected, in open hours.
    Silence = "silence", 10.0 "bars", 0, Warning;
    /// How far one of a series' newest eight bars moved, in average true ranges of those before: perhaps a bad tick.
    Spike = "spike", 20.0 "average true ranges", 0, Info;
    /// Models that serve, when there is none.
    ModelsMissing = "models_missing", 0.0 "models", 0, Error;
    /// Entries of the models folder that cannot be read.
    ModelsRefused = "models_refused", 0.0 "entries", 0, Warning;
    /// Versions that should serve a model and fail, while an older one serves.
    ModelFallback = "model_fallback", 0.0 "versions", 0, Warning;
    /// Models of which no version serves.
    ModelDown = "model_down", 0.0 "models", 0, Error;
    /// Sessions of ONNX Runtime whose creation hangs.
    Runtime = "runtime", 0.0 "sessions", 0, Warning;
    /// The time since the store last took what it was given.
    StoreAway = "store_away", 1.0 "s", 0, Warning;
    /// Outcomes since the last check that the store did not take.
    Unsaved = "unsaved", 0.0 "outcomes", 0, Error;
    /// The spool of rows that wait for their database.
    Spool = "spool", 10.0 "% of store.spool_size_max_mb", 0, Warning;
    /// Memory: of `max_memory_mb`, or of what the control group allows, whichever is nearer.
    Memory = "memory", 90.0 "% of its limit", 60, Warning;
    /// Processor time since the last check, of all processors that the process may use.
    Cpu = "cpu", 95.0 "% of all processors", 300, Warning;
    /// The file systems of the log, the store's file and the spool.
    Disk = "disk", 95.0 "% of its size", 0, Warning;
}

/// The rules when nothing is configured: one for each measure.
pub(super) fn default_rules() -> Rules {
    Measure::ALL.iter().map(|measure| (measure.word().to_owned(), measure.rule())).collect()
}

/// The default rules, changed and extended by a table of tables.
pub(super) fn rules_of_table(table: &DeTable<'_>) -> Result<Rules, Vec<Refused>> {
    let mut rules = default_rules();
    let mut refused = Vec::new();
    for (name, value) in table {
        let name_text = name.get_ref().to_string();
        let mut refuse = |field: &str, span, detail| {
            let entry = if field.is_empty() { name_text.clone() } else { format!("{name_text}.{field}") };
            refused.push(Refused { entry: Some((entry, span)), detail });
        };
        let DeValue::Table(fields) = value.get_ref() else {
            let found = type_name(value.get_ref());
            refuse("", value.span(), format!("expected a table of {FIELDS}, found {found}"));
            continue;
        };
        let mut fields: Vec<_> = fields.iter().map(|(field, value)| (field.get_ref(), value)).collect();
        // What is measured first: the rest may build on it.
        fields.sort_by_key(|(field, _)| *field != "measure");
        for (field, value) in fields {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.as_str().to_owned(),
                DeValue::Float(number) => number.as_str().to_owned(),
                DeValue::Boolean(yes) => yes.to_string(),
                other => {
                    let detail = format!("expected {}, found {}", expected(field), type_name(other));
                    refuse(field, value.span(), detail);
                    continue;
                }
            };
            if let Err(detail) = change(&mut rules, &name_text, field, &text) {
                refuse(field, value.span(), detail);
            }
        }
        if let Err(detail) = complete(&rules, &name_text) {
            refuse("", value.span(), detail);
        }
    }
    if refused.is_empty() { Ok(rules) } else { Err(refused) }
}

/// The default rules, changed and extended by `memory.over=80,cpu.enabled=false`.
pub(super) fn rules_of_text(text: &str) -> Result<Rules, String> {
    let mut rules = default_rules();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let parts =
            entry.split_once('=').and_then(|(path, value)| Some((path.trim().split_once('.')?, value)));
        let ((name, field), value) =
            parts.ok_or_else(|| format!("`{}` is no RULE.FIELD=value", entry.escape_debug()))?;
        change(&mut rules, name, field, value.trim())?;
    }
    rules.keys().try_for_each(|name| complete(&rules, name))?;
    Ok(rules)
}

const FIELDS: &str = "measure, over, for_s, severity, enabled";

fn words<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> String {
    let quoted: Vec<String> = all.iter().map(|one| format!("\"{}\"", word(*one))).collect();
    quoted.join(" or ")
}

fn expected(field: &str) -> String {
    match field {
        "measure" => words(Measure::ALL, Measure::word),
        "over" => format!("a number from 0 to {OVER_MAX:e}, in the measure's unit"),
        "for_s" => format!("a whole number from 0 to {FOR_S_MAX} (s)"),
        "severity" => words(&Severity::ALL, Severity::word),
        "enabled" => "true or false".to_owned(),
        _ => format!("one of {FIELDS}"),
    }
}

/// Sets one field of one rule; a rule that is new begins with its measure.
fn change(rules: &mut Rules, name: &str, field: &str, value: &str) -> Result<(), String> {
    let not_allowed = || format!("allowed is {}", expected(field));
    if field == "measure" {
        let measure = Measure::ALL.iter().find(|measure| measure.word() == value).ok_or_else(not_allowed)?;
        let rule = rules.entry(name.to_owned()).or_insert_with(|| measure.rule());
        rule.measure = *measure;
        return Ok(());
    }
    if !["over", "for_s", "severity", "enabled"].contains(&field) {
        return Err(format!("unknown field: a rule has {FIELDS}"));
    }
    let Some(rule) = rules.get_mut(name) else { return Err(without_measure()) };
    match field {
        "over" => {
            let over = value.replace('_', "").parse().map_err(|_| not_allowed())?;
            rule.over = if (0.0..=OVER_MAX).contains(&over) { over } else { return Err(not_allowed()) };
        }
        "for_s" => {
            let for_s = value.replace('_', "").parse().map_err(|_| not_allowed())?;
            rule.for_s = if for_s <= FOR_S_MAX { for_s } else { return Err(not_allowed()) };
        }
        "severity" => {
            let found = Severity::ALL.into_iter().find(|severity| severity.word() == value);
            rule.severity = found.ok_or_else(not_allowed)?;
        }
        _ => rule.enabled = value.parse().map_err(|_| not_allowed())?,
    }
    Ok(())
}

fn without_measure() -> String {
    format!("a rule of a new name says what it measures: measure = {}", expected("measure"))
}

/// Whether the rule of this name is one.
fn complete(rules: &Rules, name: &str) -> Result<(), String> {
    if !rules.contains_key(name) {
        return Err(without_measure());
    }
    check_names(rules)
}

/// Whether rules that were made by hand are such as a file could have.
pub(super) fn check_rules(rules: &Rules) -> Result<(), String> {
    check_names(rules)?;
    for (name, rule) in rules {
        if !(0.0..=OVER_MAX).contains(&rule.over) {
            return Err(format!("{name}.over: allowed is {}", expected("over")));
        }
        if rule.for_s > FOR_S_MAX {
            return Err(format!("{name}.for_s: allowed is {}", expected("for_s")));
        }
    }
    Ok(())
}

fn check_names(rules: &Rules) -> Result<(), String> {
    if rules.len() > RULES_MAX {
        return Err(format!(
            "{} rules: allowed are {RULES_MAX}, those that are built in included",
            rules.len()
        ));
    }
    let fits = |name: &str| {
        (1..=NAME_CHARS_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    match rules.keys().find(|name| !fits(name)) {
        Some(name) => Err(format!(
            "`{}` is no name of a rule: letters, digits, _ and -, at most {NAME_CHARS_MAX}",
            name.escape_debug()
        )),
        None => Ok(()),
    }
}

/// A rule as TOML writes it.
pub(super) fn toml_of_rule(rule: &Rule) -> String {
    let Rule { measure, over, for_s, severity, enabled } = rule;
    let enabled = if *enabled { "" } else { ", enabled = false" };
    let measure = measure.word();
    format!(
        "{{ measure = \"{measure}\", over = {over:?}, for_s = {for_s}, severity = \"{severity}\"{enabled} }}"
    )
}
