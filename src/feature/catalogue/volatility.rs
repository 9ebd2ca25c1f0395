//! Families of volatility: true range, bands, deviation and shape of returns.

use super::rows::period;
use super::{Fade, Family, Memory, Memory::Window, Parameter};
use crate::feature::kernel::{Read, Spec};

const WILDER: Memory = Memory::Fading(Fade::Wilder);
const BANDS: &[Parameter] =
    &[period("N", 2, 20), Parameter { name: "K", min: 0.01, max: 100.0, default: 2.0, whole: false }];
const TWO: &[Parameter] = &[period("FAST", 2, 12), period("SLOW", 3, 48)];

/// A Bollinger band.
macro_rules! band {
    ($name:literal, $formula:literal, $unit:ident, $read:expr) => {
        family!($name, BANDS, true, $formula, $unit, Window, Constant, "N - 1" = |a| a.n[0] - 1, |a| (
            Spec::Deviation(a.n[0]),
            $read(a.k)
        ))
    };
}

#[rustfmt::skip]
pub(super) const ROWS: &[Family] = &[
    family!("atr", N from 1 as 14, "Wilder's average of max(h - l, |h - c[t-1]|, |l - c[t-1]|)", Price, WILDER,
            "N" = |a| a.n[0], |a| (Spec::Atr(a.n[0]), Read::Value(0))),
    family!("natr", N from 1 as 14, "100 * atr / c", Percent, WILDER, "N" = |a| a.n[0],
            |a| (Spec::Atr(a.n[0]), Read::Value(1))),
    family!("atr_rel", N from 1 as 14, "atr / c", Ratio, WILDER, "N" = |a| a.n[0], |a| (Spec::Atr(a.n[0]), Read::Value(2))),
    band!("bb_upper", "mean + K * population deviation of N closes", Price, Read::Upper),
    band!("bb_mid", "mean of N closes", Price, |_| Read::Value(0)),
    band!("bb_lower", "mean - K * population deviation of N closes", Price, Read::Lower),
    band!("bb_pctb", "(c - lower) / (upper - lower); undefined when the window is flat", Ratio, Read::PercentB),
    band!("bb_width", "(upper - lower) / mean", Ratio, Read::Width),
    family!("zscore", N from 2 as 20, "(c - mean) / population deviation of N closes; undefined when the window is flat", Ratio, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::Deviation(a.n[0]), Read::Quotient(2, 1))),
    family!("rv", N from 2 as 20, "sample deviation (N - 1) of N values of r, per bar", Ratio, Window, "N" = |a| a.n[0],
            |a| (Spec::Volatility(a.n[0]), Read::Value(0))),
    family!("rv_pop", N from 2 as 12, "population deviation (N) of N values of r, per bar", Ratio, Window, "N" = |a| a.n[0],
            |a| (Spec::Volatility(a.n[0]), Read::Value(1))),
    family!("rv_ratio", TWO, false, "rv_pop_FAST / rv_pop_SLOW; undefined when rv_pop_SLOW is 0 (at most 1e-14)", Ratio, Window, Constant,
            "SLOW" = |a| a.n[1], |a| (Spec::VolatilityRatio([a.n[0], a.n[1]]), Read::Value(0))),
    family!("parkinson", N from 1 as 20, "sqrt(mean of N values of ln(h / l)^2 / (4 ln 2))", Ratio, Window, "N - 1" = |a| a.n[0] - 1,
            |a| (Spec::RangeVolatility(a.n[0]), Read::Value(0))),
    family!("gk", N from 1 as 20, "sqrt(mean of N values of ln(h / l)^2 / 2 - (2 ln 2 - 1) ln(c / o)^2), after Garman and Klass",
            Ratio, Window, "N - 1" = |a| a.n[0] - 1, |a| (Spec::RangeVolatility(a.n[0]), Read::Value(1))),
    family!("skew", N from 2 as 48, "m3 / m2^1.5, population moments of N values of r; undefined when they are all the same (within 1e-14)",
            Ratio, Window, "N" = |a| a.n[0], |a| (Spec::ReturnShape(a.n[0]), Read::Value(0))),
    family!("kurt", N from 2 as 48, "excess: m4 / m2^2 - 3, population moments of N values of r; undefined as skew is",
            Ratio, Window, "N" = |a| a.n[0], |a| (Spec::ReturnShape(a.n[0]), Read::Value(1))),
    family!("ac1", N from 2 as 24, "correlation of r with r[t-1] over N pairs; undefined when either is all the same (within 1e-14)",
            Ratio, Window, "N + 1" = |a| a.n[0] + 1, |a| (Spec::Autocorrelation(a.n[0]), Read::Value(0))),
];
