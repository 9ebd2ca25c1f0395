//! Families of momentum: oscillators, directional movement, trend.

use super::rows::{n_from, period};
use super::{Fade, Family, Memory, Memory::Window, Parameter};
use crate::feature::kernel::{Read, Spec};

const WILDER: Memory = Memory::Fading(Fade::Wilder);
const DIRECTIONAL: Memory = Memory::Fading(Fade::Directional);
/// The slow average, and then the signal.
const MACD_FADE: Memory = Memory::Fading(Fade::Exponential(&[1, 2]));
const MACD: &[Parameter] = &[period("FAST", 1, 12), period("SLOW", 2, 26), period("SIGNAL", 1, 9)];
const STOCH: &[Parameter] = &[period("N", 1, 14), period("SMOOTH", 1, 3), period("SIGNAL", 1, 3)];

/// A part of MACD.
macro_rules! macd {
    ($name:literal, $formula:literal, $unit:ident, $read:expr) => {
        family!(
            $name,
            MACD,
            true,
            $formula,
            $unit,
            MACD_FADE,
            Constant,
            "SLOW + SIGNAL - 2" = |a| a.n[1] + a.n[2] - 2,
            |a| (Spec::Macd(a.n), $read)
        )
    };
}

/// A part of the stochastic oscillator.
macro_rules! stoch {
    ($name:literal, $formula:literal, $unit:ident, $read:expr) => {
        family!(
            $name,
            STOCH,
            true,
            $formula,
            $unit,
            Window,
            Constant,
            "N + SMOOTH + SIGNAL - 3" = |a| a.n[0] + a.n[1] + a.n[2] - 3,
            |a| (Spec::Stochastic(a.n), $read)
        )
    };
}

#[rustfmt::skip]
pub(super) const ROWS: &[Family] = &[
    macd!("macd", "fast average - slow average of c, both seeded at bar SLOW - 1", Price, Read::Value(0)),
    macd!("macd_signal", "exponential average of macd, seeded with the mean of its first SIGNAL values", Price, Read::Value(1)),
    macd!("macd_hist", "macd - macd_signal", Price, Read::Value(2)),
    macd!("macd_hist_rel", "macd_hist / c", Ratio, Read::Quotient(2, 3)),
    family!("rsi", N from 1 as 14, "100 * gain / (gain + loss), Wilder's averages of the moves of c; 0 when nothing moved",
            Percent, WILDER, "N" = |a| a.n[0], |a| (Spec::Rsi(a.n[0]), Read::Value(0))),
    family!("rsi_unit", N from 1 as 14, "(rsi - 50) / 50; -1 when nothing moved", Ratio, WILDER, "N" = |a| a.n[0],
            |a| (Spec::Rsi(a.n[0]), Read::Value(1))),
    family!("cmo", N from 1 as 14, "(gain - loss) / (gain + loss), Wilder's averages of the moves of c; 0 when nothing moved",
            Ratio, WILDER, "N" = |a| a.n[0], |a| (Spec::Rsi(a.n[0]), Read::Value(2))),
    stoch!("stoch_k", "mean of SMOOTH values of 100 * (c - lowest) / (highest - lowest) over N bars, 0 where the range is empty",
           Percent, Read::Value(0)),
    stoch!("stoch_d", "mean of SIGNAL values of stoch_k", Percent, Read::Value(1)),
    stoch!("stoch_k_unit", "stoch_k / 100", Ratio, Read::Scaled(0, 100.0)),
    stoch!("stoch_d_unit", "stoch_d / 100", Ratio, Read::Scaled(1, 100.0)),
    family!("willr", N from 1 as 14, "-100 * (highest - c) / (highest - lowest) over N bars; 0 when the range is empty", Percent, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::WilliamsR(a.n[0]), Read::Value(0))),
    family!("willr_unit", N from 1 as 14, "(highest - c) / (highest - lowest) over N bars; 0 when the range is empty", Ratio, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::WilliamsR(a.n[0]), Read::Value(1))),
    family!("cci", &n_from(2, 20), false, "(tp - mean) / (0.015 * mean absolute deviation) of N typical prices; 0 when flat",
            Ratio, Window, Linear, "N - 1" = |a| a.n[0] - 1, |a| (Spec::Cci(a.n[0]), Read::Value(0))),
    family!("cci_unit", &n_from(2, 20), false, "cci / 100", Ratio, Window, Linear, "N - 1" = |a| a.n[0] - 1,
            |a| (Spec::Cci(a.n[0]), Read::Scaled(0, 100.0))),
    family!("adx", N from 2 as 14, "Wilder's average of 100 * |plus_di - minus_di| / (plus_di + minus_di)", Percent, DIRECTIONAL,
            "2N - 1" = |a| 2 * a.n[0] - 1, |a| (Spec::Directional(a.n[0]), Read::Value(0))),
    family!("adx_unit", N from 2 as 14, "adx / 100, where moves up and down that are equal but for rounding are equal", Ratio, DIRECTIONAL,
            "2N - 1" = |a| 2 * a.n[0] - 1, |a| (Spec::DirectionalUnit(a.n[0]), Read::Scaled(0, 100.0))),
    family!("plus_di", N from 1 as 14, "100 * smoothed upward movement / smoothed true range; 0 when nothing moved", Percent, WILDER,
            "N" = |a| a.n[0], |a| (Spec::Directional(a.n[0]), Read::Value(1))),
    family!("minus_di", N from 1 as 14, "100 * smoothed downward movement / smoothed true range; 0 when nothing moved", Percent, WILDER,
            "N" = |a| a.n[0], |a| (Spec::Directional(a.n[0]), Read::Value(2))),
    family!("di_diff", N from 1 as 14, "(plus_di - minus_di) / 100, where moves up and down that are equal but for rounding are equal",
            Ratio, WILDER, "N" = |a| a.n[0], |a| (Spec::DirectionalUnit(a.n[0]), Read::Value(3))),
    family!("aroonosc", N from 1 as 25, "(bars since lowest l - bars since highest h) / N, over N + 1 bars, the latest of several",
            Ratio, Window, "N" = |a| a.n[0], |a| (Spec::Aroon(a.n[0]), Read::Value(0))),
    family!("linreg_slope", N from 2 as 20, "slope per bar of the least squares line through N closes, over c", Ratio, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::Regression(a.n[0]), Read::Value(0))),
    family!("linreg_r2", N from 2 as 20, "squared correlation of N closes with their numbers; undefined when they are all the same",
            Ratio, Window, "N - 1" = |a| a.n[0] - 1, |a| (Spec::Regression(a.n[0]), Read::Value(1))),
    family!("er", N from 1 as 10, "|c[t] - c[t-N]| / sum of N values of |c - c[t-1]|; undefined when c did not move", Ratio, Window,
            "N" = |a| a.n[0], |a| (Spec::Efficiency(a.n[0]), Read::Value(0))),
];
