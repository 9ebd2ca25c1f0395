//! `vela features --list` and `--warmup`: what features there are, and how long they take to warm up.

use super::{CliError, SETS};
use crate::domain::{Stability, Timeframe};
use crate::feature::Plan;
use crate::feature::catalogue::{self, Cost, FAMILIES, Family, Memory, Parameter, Unit};
use serde_json::{Value, json};
use std::io::Write as _;

/// What a warm-up is told of: its key in JSON, its title, and how free of where the series begins the value is.
const LEVELS: &[(&str, &str, Stability)] =
    &[("bars_until_defined", "bars until defined", Stability::Defined)];
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
        Memory::Fading => "fading",
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
        "memory": memory(family.memory),
        "cost": cost(family.cost),
        "unit": unit(family.unit),
    })
}

/// The named sets that there are.
fn sets() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    SETS.iter().filter_map(|name| Some((*name, catalogue::set(name)?)))
}

/// Shows every family and the named sets.
pub(super) fn families(as_json: bool) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    if as_json {
        let families: Vec<Value> = FAMILIES.iter().map(family_json).collect();
        let sets: serde_json::Map<String, Value> =
            sets().map(|(name, names)| (name.to_owned(), names.into())).collect();
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
    }
    let legend = "Bars count from 0. memory: window, the same wherever the series begins; fading, where it \
                  begins fades out; endless, it never does. cost: of one bar.";
    write!(out, "\n{}", wrapped(legend, "", WIDTH))?;
    for (name, names) in sets() {
        writeln!(out, "\nset {name}, {} features:", names.len())?;
        write!(out, "{}", wrapped(&names.join(" "), "    ", WIDTH))?;
    }
    Ok(())
}

/// How many bars a feature of a series of `timeframe` takes, by name and by level; `None`: never.
fn warm_ups(names: &[String], timeframe: Timeframe) -> Result<Vec<Vec<Option<u64>>>, CliError> {
    let plan = Plan::new(names, timeframe)?;
    let row = |(column, name): (usize, &String)| {
        let base = name.split('@').next().unwrap_or_default();
        let endless = FAMILIES.iter().any(|family| family.memory == Memory::Endless && family.name == base);
        let bars = |(_, _, level): &(&str, &str, Stability)| {
            (*level == Stability::Defined || !endless).then(|| plan.warm_up_bars(column, *level))
        };
        LEVELS.iter().map(bars).collect()
    };
    Ok(names.iter().enumerate().map(row).collect())
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
