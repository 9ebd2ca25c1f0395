//! `vela features --list` and `--warmup`: what features there are, and how long they take to warm up.

use super::CliError;
use crate::domain::{Stability, Timeframe};
use crate::feature::catalogue::{Cost, FAMILIES, Family, Memory, Parameter, SETS, Unit};
use crate::feature::{Plan, warm_up as warm_up_of};
use serde_json::{Value, json};
use std::io::Write as _;

/// What a warm-up is told of: its key in JSON, its title, and how free of where the series begins the value is.
const LEVELS: &[(&str, &str, Stability)] = &[
    ("bars_until_defined", "bars until defined", Stability::Defined),
    ("bars_until_stable_4", "stable to 4 digits", Stability::Digits4),
    ("bars_until_stable_8", "to 8 digits", Stability::Digits8),
];
/// The width of what is printed, in columns.
const WIDTH: usize = 100;

const fn cost(cost: Cost) -> &'static str {
    match cost {
        Cost::Constant => "O(1)",
        Cost::Linear => "O(N)",
    }
}

const fn memory(memory: Memory) -> &'static str {
    match memory {
        Memory::Window => "window",
        Memory::Filling => "filling",
        Memory::Fading(_) => "fading",
        Memory::Endless => "endless",
    }
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Price => "price",
        Unit::Volume => "volume",
        Unit::Ratio => "ratio",
        Unit::Percent => "percent",
    }
}

/// `N from 2 to 10000, default 20`.
fn parameter(family: &Family, p: &Parameter) -> String {
    let word = if family.bare { "default" } else { "such as" };
    format!("{} from {} to {}, {word} {}", p.name, p.min, p.max, p.default)
}

/// The full name with its parameters, `bb_pctb_N_K`.
fn full_name(family: &Family) -> String {
    let names = family.parameters.iter().map(|p| p.name);
    std::iter::once(family.name).chain(names).collect::<Vec<_>>().join("_")
}

/// `text` in lines of at most `width` columns, each behind `indent`.
fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            lines.push('\n');
            column = 0;
        }
        if column == 0 {
            lines.push_str(indent);
            column = indent.chars().count();
        } else {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines + "\n"
}

fn family_json(family: &Family) -> Value {
    let parameters: Vec<Value> = family
        .parameters
        .iter()
        .map(|p| json!({"name": p.name, "min": p.min, "max": p.max, "default": p.default, "whole": p.whole}))
        .collect();
    json!({
        "name": family.name,
        "pattern": family.pattern(),
        "example": family.example(),
        "formula": family.formula,
        "parameters": parameters,
        "bare": family.bare,
        "defined_from_bar": family.warm_up,
        "settles_in_bars": family.settling(),
        "memory": memory(family.memory),
        "cost": cost(family.cost),
        "unit": unit(family.unit),
    })
}

/// Shows every family and the named sets.
pub(super) fn families(as_json: bool) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let families: Vec<Value> = FAMILIES.iter().map(family_json).collect();
        let sets: serde_json::Map<String, Value> =
            SETS.iter().map(|(name, names)| ((*name).to_owned(), (*names).into())).collect();
        writeln!(out, "{}", json!({"families": families, "sets": sets}))?;
        return Ok(());
    }
    let names: Vec<String> = FAMILIES.iter().map(full_name).collect();
    let wide =
        |texts: &mut dyn Iterator<Item = &str>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let name_width = wide(&mut names.iter().map(String::as_str)).max("feature".len());
    let defined = "defined from bar";
    let warm_up_width = wide(&mut FAMILIES.iter().map(|family| family.warm_up)).max(defined.len());
    writeln!(out, "{:name_width$}  {defined:warm_up_width$}  memory   cost  unit", "feature")?;
    for (family, name) in FAMILIES.iter().zip(&names) {
        writeln!(
            out,
            "{name:name_width$}  {:warm_up_width$}  {:7}  {:4}  {}",
            family.warm_up,
            memory(family.memory),
            cost(family.cost),
            unit(family.unit)
        )?;
        write!(out, "{}", wrapped(family.formula, "    ", WIDTH))?;
        if !family.parameters.is_empty() {
            let parameters: Vec<String> = family.parameters.iter().map(|p| parameter(family, p)).collect();
            let mut text = parameters.join("; ");
            if family.bare {
                text += &format!("; `{}` alone has the defaults", family.name);
            }
            write!(out, "{}", wrapped(&text, "    ", WIDTH))?;
        }
        if matches!(family.memory, Memory::Fading(_) | Memory::Filling) {
            let text = format!("settles in {} bars more", family.settling());
            write!(out, "{}", wrapped(&text, "    ", WIDTH))?;
        }
    }
    let legend = "Bars count from 0. memory: window, the same wherever the series begins; filling, the same once \
                  its window is full; fading, where it begins fades out; endless, it never does. What settles \
                  takes so many bars more until its digits do not depend on where the series begins, K being \
                  10 for 4 digits and 19 for 8. cost: of one bar.";
    write!(out, "\n{}", wrapped(legend, "", WIDTH))?;
    for (name, names) in SETS {
        writeln!(out, "\nset {name}, {} features:", names.len())?;
        write!(out, "{}", wrapped(&names.join(" "), "    ", WIDTH))?;
    }
    Ok(())
}

/// How many bars a feature of a series of `timeframe` takes, by name and by level; `None`: never.
fn warm_ups(names: &[String], timeframe: Timeframe) -> Result<Vec<Vec<Option<u64>>>, CliError> {
    let plan = Plan::new(names, timeframe)?;
    let row = |(column, name): (usize, &String)| {
        // What follows @ is the timeframe of its bars, which changes nothing about whether it ever settles.
        let never = warm_up_of(name.split('@').next().unwrap_or_default())?.stable_4.is_none();
        let bars = |(.., level): &(&str, &str, Stability)| {
            (*level == Stability::Defined || !never).then(|| plan.warm_up_bars(column, *level))
        };
        Ok(LEVELS.iter().map(bars).collect())
    };
    names.iter().enumerate().map(row).collect()
}

/// Shows how many bars each of `names` takes.
pub(super) fn warm_up(names: &[String], timeframe: Timeframe, as_json: bool) -> Result<(), CliError> {
    let rows = warm_ups(names, timeframe)?;
    let mut out = std::io::stdout().lock();
    if as_json {
        let feature = |(name, bars): (&String, &Vec<Option<u64>>)| {
            let levels = LEVELS.iter().zip(bars).map(|((key, ..), bars)| ((*key).to_owned(), json!(bars)));
            let mut feature: serde_json::Map<String, Value> = levels.collect();
            feature.insert("name".to_owned(), name.as_str().into());
            Value::Object(feature)
        };
        let features: Vec<Value> = names.iter().zip(&rows).map(feature).collect();
        writeln!(out, "{}", json!({"timeframe": timeframe.to_string(), "features": features}))?;
        return Ok(());
    }
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("feature".len());
    write!(out, "{:width$}", "feature")?;
    LEVELS.iter().try_for_each(|(_, title, _)| write!(out, "  {title}"))?;
    for (name, bars) in names.iter().zip(&rows) {
        write!(out, "\n{name:width$}")?;
        for ((_, title, _), bars) in LEVELS.iter().zip(bars) {
            let bars = bars.map_or_else(|| "never".to_owned(), |bars| bars.to_string());
            write!(out, "  {bars:>0$}", title.len())?;
        }
    }
    writeln!(out)?;
    Ok(())
}
