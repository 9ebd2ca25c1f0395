//! Every family of features as data: names are read by it, errors are worded by it, users can list it.

use super::kernel::{Read, Spec};
use crate::domain::Stability;

#[macro_use]
mod rows;
mod momentum;
mod price;
mod sets;
mod time;
mod volatility;
mod volume;
mod warm_up;

pub use sets::{DEFAULT, SETS, VELA_CORE_1, set};
pub use warm_up::{Fade, FirstBars, Memory};

/// The longest period, in bars, that any parameter takes.
pub const PERIOD_MAX: usize = 10_000;

/// All families, by theme.
pub const FAMILIES: &[Family] = &rows::joined::<
    {
        price::ROWS.len()
            + momentum::ROWS.len()
            + volatility::ROWS.len()
            + volume::ROWS.len()
            + time::ROWS.len()
    },
>([price::ROWS, momentum::ROWS, volatility::ROWS, volume::ROWS, time::ROWS]);

/// What a value is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The price's own units: depends on the level of the series.
    Price,
    /// The volume's own units.
    Volume,
    /// A plain number.
    Ratio,
    /// Hundredths.
    Percent,
}

/// What one bar costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The same whatever the period, O(1) amortised.
    Constant,
    /// Proportional to the period, O(n).
    Linear,
}

/// One parameter of a family, written after its name.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// What it is called in patterns and errors.
    pub name: &'static str,
    /// The smallest value taken.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// What it is when the family is asked for by its bare name, and in examples.
    pub default: f64,
    /// Whether it is a whole number (of bars).
    pub whole: bool,
}

/// The values of a family's parameters: the whole ones in order, and the other one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arguments {
    pub(super) n: [usize; 3],
    pub(super) k: f64,
}

/// A family of features: one formula, any parameters.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What its names begin with.
    pub name: &'static str,
    /// Its parameters, in the order in which they are written.
    pub parameters: &'static [Parameter],
    /// Whether the bare name stands for the defaults; if not, all parameters must be written.
    pub bare: bool,
    /// What it computes; `c`, `o`, `h`, `l`, `v` are the bar, `tp = (h + l + c) / 3`, `r = ln(c / c[t-1])`.
    pub formula: &'static str,
    /// What the value is measured in.
    pub unit: Unit,
    /// How far back it looks.
    pub memory: Memory,
    /// What a bar costs.
    pub cost: Cost,
    /// The first bar (counted from 0) at which it is defined, as a formula of the parameters. How many more it takes to
    /// settle: [`Family::settling`].
    pub warm_up: &'static str,
    first: fn(&Arguments) -> usize,
    build: fn(&Arguments) -> (Spec, Read),
}

impl Family {
    /// How it is written: `rsi_N`, `bb_pctb or bb_pctb_N_K`.
    pub fn pattern(&self) -> String {
        let names = self.parameters.iter().map(|p| p.name.to_owned());
        self.spelled(names)
    }

    /// A name that is taken, such as `rsi_14`; with its parameters, unless it has none.
    pub fn example(&self) -> String {
        std::iter::once(self.name.to_owned())
            .chain(self.parameters.iter().map(|p| p.default.to_string()))
            .collect::<Vec<_>>()
            .join("_")
    }

    fn spelled(&self, parameters: impl Iterator<Item = String>) -> String {
        let full = std::iter::once(self.name.to_owned()).chain(parameters).collect::<Vec<_>>().join("_");
        if self.bare && !self.parameters.is_empty() { format!("{} or {full}", self.name) } else { full }
    }

    /// Whether the first of its periods has to be below the second.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.parameters, [first, second, ..] if (first.name, second.name) == ("FAST", "SLOW"))
    }

    /// The first bar at which the feature is defined.
    pub(super) fn first_defined(&self, arguments: &Arguments) -> usize {
        (self.first)(arguments)
    }

    /// The first bar from which on the feature is as free of where its series begins as `stability` says; `None` where
    /// it never is.
    pub(super) fn settled(&self, arguments: &Arguments, stability: Stability) -> Option<usize> {
        Some(self.first_defined(arguments) + self.memory.settles_in(arguments, stability)?)
    }

    /// How many bars after its first value it is free of where its series begins, as a formula of the parameters, where
    /// K is 10 for 4 significant digits and 19 for 8: `0`, `never`, `K * N`.
    pub fn settling(&self) -> String {
        self.memory.rule(self.parameters)
    }

    /// The kernel, and how to read it.
    pub(super) fn build(&self, arguments: &Arguments) -> (Spec, Read) {
        (self.build)(arguments)
    }
}
