//! Families of volume.

use super::Family;
use super::Memory::{Endless, Window};
use crate::feature::kernel::{Read, Spec};

#[rustfmt::skip]
pub(super) const ROWS: &[Family] = &[
    family!("obv", "first v, then + v where c rose and - v where it fell", Volume, Endless,
            |_| (Spec::Obv, Read::Value(0))),
    family!("obv_win", N from 1 as 20,
            "sum of v where c rose and - v where it fell, over sum(v), of N bars; undefined when nothing was traded", Ratio, Window,
            "N" = |a| a.n[0], |a| (Spec::Balance(a.n[0]), Read::Value(0))),
    family!("mfi", N from 1 as 14, "100 * up / (up + down), sums of tp * v over N bars by the sign of tp's move; 0 when none flowed",
            Percent, Window, "N" = |a| a.n[0], |a| (Spec::Mfi(a.n[0]), Read::Value(0))),
    family!("mfi_unit", N from 1 as 14, "mfi / 100", Ratio, Window, "N" = |a| a.n[0],
            |a| (Spec::Mfi(a.n[0]), Read::Scaled(0, 100.0))),
    family!("cmf", N from 1 as 20, "sum(clv * v) / sum(v) over N bars; undefined when nothing was traded", Ratio, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::MoneyFlow(a.n[0]), Read::Value(0))),
    family!("vwap", N from 1 as 20, "sum(tp * v) / sum(v) over N bars; undefined when nothing was traded", Price, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::Vwap(a.n[0]), Read::Value(0))),
    family!("vwap_dist", N from 1 as 20, "c / vwap - 1; when nothing was traded the mean of N values of tp stands in for vwap", Ratio,
            Window, "N - 1" = |a| a.n[0] - 1, |a| (Spec::Vwap(a.n[0]), Read::Quotient(2, 1))),
    family!("vol_ratio", N from 1 as 20, "v / mean of N volumes; undefined when nothing was traded", Ratio, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::VolumeRatio(a.n[0]), Read::Value(0))),
    family!("rvol", N from 1 as 20, "ln((v + 0.01m) / 1.01m), m the mean of N volumes; 0 when nothing was traded", Ratio, Window,
            "N - 1" = |a| a.n[0] - 1, |a| (Spec::VolumeRatio(a.n[0]), Read::RelativeVolume)),
    family!("vol_z", N from 2 as 20, "(x - mean) / population deviation of N values of x = ln(1 + v), which depends on the unit of v; \
            undefined when flat", Ratio, Window, "N - 1" = |a| a.n[0] - 1, |a| (Spec::LogVolume(a.n[0]), Read::Value(0))),
    family!("corr_rv", N from 2 as 20, "correlation of r with the change of ln(1 + v) over N bars, which depends on the unit of v; \
            undefined when either is all the same (within 1e-14)", Ratio, Window, "N" = |a| a.n[0],
            |a| (Spec::VolumeCorrelation(a.n[0]), Read::Value(0))),
];
