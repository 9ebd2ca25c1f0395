//! What one bar says by itself, or beside the one before: its shape, its gap, and when it opened.

use super::memory::Memory;
use super::{Slot, Step, UNDEFINED, Values, ratio};
use crate::domain::Bar;
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

const DAY_S: i64 = 86_400;
/// 1970-01-01 was a Thursday: three days after a Monday.
const EPOCH_WEEKDAY: i64 = 3;

/// `hl_range = (high - low) / close`; `body_ratio = (close - open) / (high - low)`, -1 to 1;
/// `upper_wick = (high - max(open, close)) / (high - low)` and
/// `lower_wick = (min(open, close) - low) / (high - low)`, 0 to 1. The last three are 0 when high equals low.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Shape;

impl Step for Shape {
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let range = bar.high - bar.low;
        let share = |part: f64| if range == 0.0 { 0.0 } else { part / range };
        [
            ratio(range, bar.close),
            share(bar.close - bar.open),
            share(bar.high - bar.open.max(bar.close)),
            share(bar.open.min(bar.close) - bar.low),
        ]
    }
}

/// Where the close stands in its bar, -1 at the low to 1 at the high; 0 when high equals low: `clv`.
#[inline]
pub fn close_place(bar: &Bar) -> f64 {
    let range = bar.high - bar.low;
    if range == 0.0 { 0.0 } else { ((bar.close - bar.low) - (bar.high - bar.close)) / range }
}

/// `clv`, and `range = (high - low) / open`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Place;

impl Step for Place {
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        [close_place(bar), ratio(bar.high - bar.low, bar.open), f64::NAN, f64::NAN]
    }
}

/// `gap = ln(open / previous close)`; defined from bar 1.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Opening {
    previous: Option<f64>,
}

impl Step for Opening {
    /// The gap.
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        match self.previous.replace(bar.close) {
            Some(previous) => [ratio(bar.open, previous).ln(), f64::NAN, f64::NAN, f64::NAN],
            None => UNDEFINED,
        }
    }
}

/// `hour_sin`, `hour_cos`: sine and cosine of `2 pi * hour / 24`, where the hour of the bar's open time in UTC
/// includes its minutes as a fraction (and not its seconds).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Hour;

impl Step for Hour {
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let minute = bar.ts.as_secs().rem_euclid(DAY_S) / 60;
        let (sin, cos) = (2.0 * PI * (minute as f64 / 60.0) / 24.0).sin_cos();
        [sin, cos, f64::NAN, f64::NAN]
    }
}

/// `dow_sin`, `dow_cos`: sine and cosine of `2 pi * weekday / 7` of the bar's open time in UTC, Monday = 0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Weekday;

impl Step for Weekday {
    #[inline(always)]
    fn step(&mut self, Slot { bar, .. }: &Slot<'_>, _: &mut impl Memory) -> Values {
        let weekday = (bar.ts.as_secs().div_euclid(DAY_S) + EPOCH_WEEKDAY).rem_euclid(7);
        let (sin, cos) = (2.0 * PI * weekday as f64 / 7.0).sin_cos();
        [sin, cos, f64::NAN, f64::NAN]
    }
}
