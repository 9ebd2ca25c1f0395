//! Families of time, and of how complete the series is.

use super::Family;
use super::Memory::{Filling, Window};
use crate::feature::kernel::{Read, Spec};

#[rustfmt::skip]
pub(super) const ROWS: &[Family] = &[
    family!("hour_sin", "sin(2 pi (hour + minute / 60) / 24) of the bar's open time, UTC", Ratio, Window,
            |_| (Spec::Hour, Read::Value(0))),
    family!("hour_cos", "cos(2 pi (hour + minute / 60) / 24) of the bar's open time, UTC", Ratio, Window,
            |_| (Spec::Hour, Read::Value(1))),
    family!("dow_sin", "sin(2 pi weekday / 7) of the bar's open time, UTC, Monday = 0", Ratio, Window,
            |_| (Spec::Weekday, Read::Value(0))),
    family!("dow_cos", "cos(2 pi weekday / 7) of the bar's open time, UTC, Monday = 0", Ratio, Window,
            |_| (Spec::Weekday, Read::Value(1))),
    family!("tod_sin", "sin(2 pi x), x the time of day, UTC, at which the bar closes, over a day", Ratio, Window,
            |_| (Spec::Phase, Read::Value(0))),
    family!("tod_cos", "cos(2 pi x), x the time of day, UTC, at which the bar closes, over a day", Ratio, Window,
            |_| (Spec::Phase, Read::Value(1))),
    family!("week_sin", "sin(2 pi x), x the time since Monday 0:00 UTC at which the bar closes, over a week", Ratio, Window,
            |_| (Spec::Phase, Read::Value(2))),
    family!("week_cos", "cos(2 pi x), x the time since Monday 0:00 UTC at which the bar closes, over a week", Ratio, Window,
            |_| (Spec::Phase, Read::Value(3))),
    family!("q_gap", N from 1 as 20, "how many of the last N slots are empty, over N; those before the first bar are not empty",
            Ratio, Filling, "0" = |_| 0, |a| (Spec::Completeness(a.n[0]), Read::Value(0))),
    family!("q_synth", N from 1 as 20, "how many of the last N slots hold a bar that was filled in, over N", Ratio, Filling,
            "0" = |_| 0, |a| (Spec::Completeness(a.n[0]), Read::Value(1))),
];
