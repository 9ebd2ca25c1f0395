//! Families of prices: returns, the shape of a bar, averages, where the close stands.

use super::rows::period;
use super::{Fade, Family, Memory, Memory::Window, Parameter};
use crate::feature::kernel::{Read, Spec};

const EMA: Memory = Memory::Fading(Fade::Exponential(&[0]));
/// The slow average is the last to settle.
const CROSS: Memory = Memory::Fading(Fade::Exponential(&[1]));
const CROSSING: &[Parameter] = &[period("FAST", 1, 9), period("SLOW", 2, 21)];

#[rustfmt::skip]
pub(super) const ROWS: &[Family] = &[
    family!("ret", N from 1 as 1, "c[t] / c[t-N] - 1", Ratio, Window, "N" = |a| a.n[0],
            |a| (Spec::Lag(a.n[0]), Read::Return)),
    family!("logret", N from 1 as 1, "ln(c[t] / c[t-N])", Ratio, Window, "N" = |a| a.n[0],
            |a| (Spec::Lag(a.n[0]), Read::Log)),
    family!("roc", N from 1 as 10, "100 * (c[t] / c[t-N] - 1)", Percent, Window, "N" = |a| a.n[0],
            |a| (Spec::Lag(a.n[0]), Read::Percent)),
    family!("gap", &[], true, "ln(o / c[t-1])", Ratio, Window, Constant, "1" = |_| 1, |_| (Spec::Opening, Read::Value(0))),
    family!("hl_range", "(h - l) / c", Ratio, Window, |_| (Spec::Shape, Read::Value(0))),
    family!("range", "(h - l) / o", Ratio, Window, |_| (Spec::Place, Read::Value(1))),
    family!("body_ratio", "(c - o) / (h - l); 0 when h equals l", Ratio, Window, |_| (Spec::Shape, Read::Value(1))),
    family!("upper_wick", "(h - max(o, c)) / (h - l); 0 when h equals l", Ratio, Window, |_| (Spec::Shape, Read::Value(2))),
    family!("lower_wick", "(min(o, c) - l) / (h - l); 0 when h equals l", Ratio, Window, |_| (Spec::Shape, Read::Value(3))),
    family!("clv", "(2c - h - l) / (h - l); 0 when h equals l", Ratio, Window, |_| (Spec::Place, Read::Value(0))),
    family!("sma", N from 1 as 20, "mean of N closes", Price, Window, "N - 1" = |a| a.n[0] - 1,
            |a| (Spec::Mean(a.n[0]), Read::Value(0))),
    family!("sma_dist", N from 1 as 20, "c / sma - 1", Ratio, Window, "N - 1" = |a| a.n[0] - 1,
            |a| (Spec::Deviation(a.n[0]), Read::Quotient(2, 0))),
    family!("ema", N from 1 as 12, "e += (c - e) * 2 / (N + 1), seeded with the mean of the first N closes", Price, EMA,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::Ema(a.n[0]), Read::Value(0))),
    family!("ema_dist", N from 1 as 21, "c / ema - 1", Ratio, EMA,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::Ema(a.n[0]), Read::Quotient(1, 0))),
    family!("ema_x", CROSSING, false, "ema_FAST / ema_SLOW - 1", Ratio, CROSS, Constant,
            "SLOW - 1" = |a| a.n[1] - 1, |a| (Spec::Crossing([a.n[0], a.n[1]]), Read::Quotient(1, 0))),
    family!("donch", N from 1 as 20, "(c - lowest) / (highest - lowest) over N bars; undefined when the range is empty", Ratio,
            Window, "N - 1" = |a| a.n[0] - 1, |a| (Spec::Channel(a.n[0]), Read::Value(0))),
    family!("dd", N from 1 as 48, "c / highest of N closes - 1", Ratio, Window, "N - 1" = |a| a.n[0] - 1,
            |a| (Spec::Drawdown(a.n[0]), Read::Value(0))),
];
