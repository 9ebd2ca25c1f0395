//! What the tables of families are written with.

use super::{Family, PERIOD_MAX, Parameter};

/// A period in bars.
pub(super) const fn period(name: &'static str, min: usize, default: usize) -> Parameter {
    Parameter { name, min: min as f64, max: PERIOD_MAX as f64, default: default as f64, whole: true }
}

/// The one parameter of most families.
pub(super) const fn n_from(min: usize, default: usize) -> [Parameter; 1] {
    [period("N", min, default)]
}

/// The tables one after the other; `N` is the length of all.
pub(super) const fn joined<const N: usize>(tables: [&[Family]; 5]) -> [Family; N] {
    let mut all = [tables[0][0]; N];
    let (mut table, mut next) = (0, 0);
    while table < tables.len() {
        let mut row = 0;
        while row < tables[table].len() {
            all[next] = tables[table][row];
            next += 1;
            row += 1;
        }
        table += 1;
    }
    assert!(next == N, "every table is counted");
    all
}

/// Shortens the tables: name, parameters, formula, unit, memory, warm-up (text and function), kernel.
macro_rules! family {
    ($name:literal, $parameters:expr, $bare:literal, $formula:literal, $unit:ident, $memory:expr, $cost:ident,
     $warm_up:literal = $first:expr, $build:expr) => {
        $crate::feature::catalogue::Family {
            name: $name,
            parameters: $parameters,
            bare: $bare,
            formula: $formula,
            unit: $crate::feature::catalogue::Unit::$unit,
            memory: $memory,
            cost: $crate::feature::catalogue::Cost::$cost,
            warm_up: $warm_up,
            first: $first,
            build: $build,
        }
    };
    // One period that must be written.
    ($name:literal, N from $min:literal as $default:literal, $formula:literal, $unit:ident, $memory:expr,
     $warm_up:literal = $first:expr, $build:expr) => {
        family!(
            $name,
            &$crate::feature::catalogue::rows::n_from($min, $default),
            false,
            $formula,
            $unit,
            $memory,
            Constant,
            $warm_up = $first,
            $build
        )
    };
    // No parameter; defined from the first bar.
    ($name:literal, $formula:literal, $unit:ident, $memory:expr, $build:expr) => {
        family!($name, &[], true, $formula, $unit, $memory, Constant, "0" = |_| 0, $build)
    };
}
