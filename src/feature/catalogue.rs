//! Every family of features as data: names are read by it, errors are worded by it, users can list it.

use super::kernel::{Read, Spec};
use crate::domain::Stability;

/// The longest period, in bars, that any parameter takes.
pub const PERIOD_MAX: usize = 10_000;

/// The named set `default`: the reference columns, in order.
pub const DEFAULT: [&str; 44] = [
    "ret_1",
    "ret_3",
    "ret_5",
    "ret_10",
    "logret_1",
    "sma_5",
    "sma_10",
    "sma_20",
    "sma_50",
    "ema_12",
    "ema_26",
    "macd",
    "macd_signal",
    "macd_hist",
    "rsi_14",
    "atr_14",
    "natr_14",
    "bb_upper",
    "bb_mid",
    "bb_lower",
    "bb_pctb",
    "bb_width",
    "stoch_k",
    "stoch_d",
    "adx_14",
    "plus_di_14",
    "minus_di_14",
    "cci_20",
    "willr_14",
    "roc_10",
    "obv",
    "mfi_14",
    "vwap_20",
    "rv_20",
    "zscore_20",
    "vol_ratio_20",
    "hl_range",
    "body_ratio",
    "upper_wick",
    "lower_wick",
    "hour_sin",
    "hour_cos",
    "dow_sin",
    "dow_cos",
];

/// The features of a named set: of `default`, so far.
pub fn set(name: &str) -> Option<&'static [&'static str]> {
    (name == "default").then_some(&DEFAULT)
}

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

/// How far back a value looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Over the bars of its window and nothing before: the same wherever the series begins.
    Window,
    /// Recursive: where the series begins fades out over several periods.
    Fading,
    /// Over the whole history: it never agrees between two beginnings.
    Endless,
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
    /// What it computes; `c`, `o`, `h`, `l`, `v` are the bar, `tp = (h + l + c) / 3`.
    pub formula: &'static str,
    /// What the value is measured in.
    pub unit: Unit,
    /// How far back it looks.
    pub memory: Memory,
    /// What a bar costs.
    pub cost: Cost,
    /// The first bar (counted from 0) at which it is defined, as a formula of the parameters.
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

    /// The first bar at which the feature is defined.
    pub(super) fn first_defined(&self, arguments: &Arguments) -> usize {
        (self.first)(arguments)
    }

    /// The first bar from which on the feature is as free of where its series begins as `stability` says.
    pub(super) fn settled(&self, arguments: &Arguments, _stability: Stability) -> usize {
        (self.first)(arguments)
    }

    /// The kernel, and how to read it.
    pub(super) fn build(&self, arguments: &Arguments) -> (Spec, Read) {
        (self.build)(arguments)
    }
}

const fn period(name: &'static str, min: usize, default: usize) -> Parameter {
    Parameter { name, min: min as f64, max: PERIOD_MAX as f64, default: default as f64, whole: true }
}

const fn n_from(min: usize, default: usize) -> [Parameter; 1] {
    [period("N", min, default)]
}

const BANDS: &[Parameter] =
    &[period("N", 2, 20), Parameter { name: "K", min: 0.01, max: 100.0, default: 2.0, whole: false }];
const MACD: &[Parameter] = &[period("FAST", 1, 12), period("SLOW", 2, 26), period("SIGNAL", 1, 9)];
const STOCH: &[Parameter] = &[period("N", 1, 14), period("SMOOTH", 1, 3), period("SIGNAL", 1, 3)];

/// Shortens the table below: name, parameters, formula, unit, memory, warm-up (text and function), kernel.
macro_rules! family {
    ($name:literal, $parameters:expr, $bare:literal, $formula:literal, $unit:ident, $memory:ident, $cost:ident,
     $warm_up:literal = $first:expr, $build:expr) => {
        Family {
            name: $name,
            parameters: $parameters,
            bare: $bare,
            formula: $formula,
            unit: Unit::$unit,
            memory: Memory::$memory,
            cost: Cost::$cost,
            warm_up: $warm_up,
            first: $first,
            build: $build,
        }
    };
    // One period that must be written.
    ($name:literal, N from $min:literal as $default:literal, $formula:literal, $unit:ident, $memory:ident,
     $warm_up:literal = $first:expr, $build:expr) => {
        family!(
            $name,
            &n_from($min, $default),
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
    ($name:literal, $formula:literal, $unit:ident, $memory:ident, $build:expr) => {
        family!($name, &[], true, $formula, $unit, $memory, Constant, "0" = |_| 0, $build)
    };
    // A Bollinger band.
    (band $name:literal, $formula:literal, $unit:ident, $read:expr) => {
        family!($name, BANDS, true, $formula, $unit, Window, Constant, "N - 1" = |a| a.n[0] - 1, |a| (
            Spec::Deviation(a.n[0]),
            $read(a.k)
        ))
    };
    // A part of MACD.
    (macd $name:literal, $formula:literal, $value:literal) => {
        family!(
            $name,
            MACD,
            true,
            $formula,
            Price,
            Fading,
            Constant,
            "SLOW + SIGNAL - 2" = |a| a.n[1] + a.n[2] - 2,
            |a| (Spec::Macd(a.n), Read::Value($value))
        )
    };
    // A part of the stochastic oscillator.
    (stoch $name:literal, $formula:literal, $value:literal) => {
        family!(
            $name,
            STOCH,
            true,
            $formula,
            Percent,
            Window,
            Constant,
            "N + SMOOTH + SIGNAL - 3" = |a| a.n[0] + a.n[1] + a.n[2] - 3,
            |a| (Spec::Stochastic(a.n), Read::Value($value))
        )
    };
}

/// All families, in the order of [`DEFAULT`].
#[rustfmt::skip]
pub const FAMILIES: &[Family] = &[
    family!("ret", N from 1 as 1, "c[t] / c[t-N] - 1", Ratio, Window, "N" = |a| a.n[0],
            |a| (Spec::Lag(a.n[0]), Read::Return)),
    family!("logret", N from 1 as 1, "ln(c[t] / c[t-N])", Ratio, Window, "N" = |a| a.n[0],
            |a| (Spec::Lag(a.n[0]), Read::Log)),
    family!("sma", N from 1 as 20, "mean of N closes", Price, Window, "N - 1" = |a| a.n[0] - 1,
            |a| (Spec::Deviation(a.n[0]), Read::Value(0))),
    family!("ema", N from 1 as 12, "e += (c - e) * 2 / (N + 1), seeded with the mean of the first N closes", Price, Fading,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::Ema(a.n[0]), Read::Value(0))),
    family!(macd "macd", "fast average - slow average of c, both seeded at bar SLOW - 1", 0),
    family!(macd "macd_signal", "exponential average of macd, seeded with the mean of its first SIGNAL values", 1),
    family!(macd "macd_hist", "macd - macd_signal", 2),
    family!("rsi", N from 1 as 14, "100 * gain / (gain + loss), Wilder's averages of the moves of c; 0 when nothing moved",
            Percent, Fading, "N" = |a| a.n[0], |a| (Spec::Rsi(a.n[0]), Read::Value(0))),
    family!("atr", N from 1 as 14, "Wilder's average of max(h - l, |h - c[t-1]|, |l - c[t-1]|)", Price, Fading,
            "N" = |a| a.n[0], |a| (Spec::Atr(a.n[0]), Read::Value(0))),
    family!("natr", N from 1 as 14, "100 * atr / c", Percent, Fading, "N" = |a| a.n[0],
            |a| (Spec::Atr(a.n[0]), Read::Value(1))),
    family!(band "bb_upper", "mean + K * population deviation of N closes", Price, Read::Upper),
    family!(band "bb_mid", "mean of N closes", Price, |_| Read::Value(0)),
    family!(band "bb_lower", "mean - K * population deviation of N closes", Price, Read::Lower),
    family!(band "bb_pctb", "(c - lower) / (upper - lower); undefined when the window is flat", Ratio, Read::PercentB),
    family!(band "bb_width", "(upper - lower) / mean", Ratio, Read::Width),
    family!(stoch "stoch_k", "mean of SMOOTH values of 100 * (c - lowest) / (highest - lowest) over N bars, 0 where the range is empty", 0),
    family!(stoch "stoch_d", "mean of SIGNAL values of stoch_k", 1),
    family!("adx", N from 2 as 14, "Wilder's average of 100 * |plus_di - minus_di| / (plus_di + minus_di)", Percent, Fading,
            "2N - 1" = |a| 2 * a.n[0] - 1, |a| (Spec::Directional(a.n[0]), Read::Value(0))),
    family!("plus_di", N from 1 as 14, "100 * smoothed upward movement / smoothed true range; 0 when nothing moved", Percent, Fading,
            "N" = |a| a.n[0], |a| (Spec::Directional(a.n[0]), Read::Value(1))),
    family!("minus_di", N from 1 as 14, "100 * smoothed downward movement / smoothed true range; 0 when nothing moved", Percent, Fading,
            "N" = |a| a.n[0], |a| (Spec::Directional(a.n[0]), Read::Value(2))),
    family!("cci", &n_from(2, 20), false, "(tp - mean) / (0.015 * mean absolute deviation) of N typical prices; 0 when flat",
            Ratio, Window, Linear, "N - 1" = |a| a.n[0] - 1, |a| (Spec::Cci(a.n[0]), Read::Value(0))),
    family!("willr", N from 1 as 14, "-100 * (highest - c) / (highest - lowest) over N bars; 0 when the range is empty", Percent, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::WilliamsR(a.n[0]), Read::Value(0))),
    family!("roc", N from 1 as 10, "100 * (c[t] / c[t-N] - 1)", Percent, Window, "N" = |a| a.n[0],
            |a| (Spec::Lag(a.n[0]), Read::Percent)),
    family!("obv", "first v, then + v where c rose and - v where it fell", Volume, Endless,
            |_| (Spec::Obv, Read::Value(0))),
    family!("mfi", N from 1 as 14, "100 * up / (up + down), sums of tp * v over N bars by the sign of tp's move; 0 when none flowed",
            Percent, Window, "N" = |a| a.n[0], |a| (Spec::Mfi(a.n[0]), Read::Value(0))),
    family!("vwap", N from 1 as 20, "sum(tp * v) / sum(v) over N bars; undefined when nothing was traded", Price, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::Vwap(a.n[0]), Read::Value(0))),
    family!("rv", N from 2 as 20, "sample deviation (N - 1) of N values of logret_1, per bar", Ratio, Window, "N" = |a| a.n[0],
            |a| (Spec::Volatility(a.n[0]), Read::Value(0))),
    family!("zscore", N from 2 as 20, "(c - mean) / population deviation of N closes; undefined when the window is flat", Ratio, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::Deviation(a.n[0]), Read::ZScore)),
    family!("vol_ratio", N from 1 as 20, "v / mean of N volumes; undefined when nothing was traded", Ratio, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::VolumeRatio(a.n[0]), Read::Value(0))),
    family!("hl_range", "(h - l) / c", Ratio, Window, |_| (Spec::Shape, Read::Value(0))),
    family!("body_ratio", "(c - o) / (h - l); 0 when h equals l", Ratio, Window, |_| (Spec::Shape, Read::Value(1))),
    family!("upper_wick", "(h - max(o, c)) / (h - l); 0 when h equals l", Ratio, Window, |_| (Spec::Shape, Read::Value(2))),
    family!("lower_wick", "(min(o, c) - l) / (h - l); 0 when h equals l", Ratio, Window, |_| (Spec::Shape, Read::Value(3))),
    family!("hour_sin", "sin(2 pi (hour + minute / 60) / 24) of the bar's open time, UTC", Ratio, Window,
            |_| (Spec::Hour, Read::Value(0))),
    family!("hour_cos", "cos(2 pi (hour + minute / 60) / 24) of the bar's open time, UTC", Ratio, Window,
            |_| (Spec::Hour, Read::Value(1))),
    family!("dow_sin", "sin(2 pi weekday / 7) of the bar's open time, UTC, Monday = 0", Ratio, Window,
            |_| (Spec::Weekday, Read::Value(0))),
    family!("dow_cos", "cos(2 pi weekday / 7) of the bar's open time, UTC, Monday = 0", Ratio, Window,
            |_| (Spec::Weekday, Read::Value(1))),
];
