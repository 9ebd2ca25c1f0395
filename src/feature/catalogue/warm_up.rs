//! How long a feature depends on where its series begins.
//!
//! The rules are TA-Lib's design rules for its unstable periods: an exponential average of n bars forgets by
//! `(1 - 2 / (n + 1))` a bar, and so by e^-K in K (n + 1) / 2 bars; one of Wilder's by `(1 - 1 / n)`, and so in K n. With
//! K = 10 (e^-10 = 4.5e-5) four significant digits are free of the beginning, with K = 19 (5.6e-9) eight. ADX smooths
//! what is made of averages that are still settling: (K + 6) n. The digits are those of the averages: a difference of two
//! (`ema_x`, `macd_hist`), or a share of one in the other less a half (`cmo`), has fewer of its own where it passes 0.

use super::{Arguments, Parameter};
use crate::domain::Stability;

/// How far back a value looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Over the bars of its window and nothing before: the same wherever the series begins.
    Window,
    /// Over a window of the first parameter's length, but defined before it is full.
    Filling,
    /// Recursive: where the series begins fades out.
    Fading(Fade),
    /// Over the whole history: it never agrees between two beginnings.
    Endless,
}

/// How a recursive feature forgets where its series begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fade {
    /// Exponential averages in a row; which parameters are their periods.
    Exponential(&'static [usize]),
    /// Wilder's averages, of the first parameter's period.
    Wilder,
    /// A Wilder average of what is made of Wilder averages, all of the first parameter's period.
    Directional,
}

/// How long a feature warms up: the first bars, as indices from 0 of bars of its timeframe, at which it is so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstBars {
    /// The first bar at which it is defined.
    pub first_defined: usize,
    /// The first from which on four significant digits do not depend on where the series begins; `None`: never.
    pub stable_4: Option<usize>,
    /// The same of eight digits.
    pub stable_8: Option<usize>,
}

/// How many times e^-1 a beginning has to have faded; `None` where it does not matter.
fn folds(stability: Stability) -> Option<usize> {
    match stability {
        Stability::Defined => None,
        Stability::Digits4 => Some(10),
        Stability::Digits8 => Some(19),
    }
}

impl Memory {
    /// How many bars after the first value; `None`: never.
    pub(super) fn settles_in(self, arguments: &Arguments, stability: Stability) -> Option<usize> {
        let Some(k) = folds(stability) else { return Some(0) };
        let n = arguments.n[0];
        match self {
            Self::Window => Some(0),
            Self::Filling => Some(n - 1),
            Self::Fading(Fade::Exponential(periods)) => {
                Some(periods.iter().map(|at| (k * (arguments.n[*at] + 1)).div_ceil(2)).sum())
            }
            Self::Fading(Fade::Wilder) => Some(k * n),
            Self::Fading(Fade::Directional) => Some((k + 6) * n),
            Self::Endless => None,
        }
    }

    /// The same as a formula.
    pub(super) fn rule(self, parameters: &[Parameter]) -> String {
        match self {
            Self::Window => "0".to_owned(),
            Self::Filling => format!("{} - 1", parameters[0].name),
            Self::Fading(Fade::Exponential(periods)) => {
                let of = |at: &usize| format!("ceil(K * ({} + 1) / 2)", parameters[*at].name);
                periods.iter().map(of).collect::<Vec<_>>().join(" + ")
            }
            Self::Fading(Fade::Wilder) => format!("K * {}", parameters[0].name),
            Self::Fading(Fade::Directional) => format!("(K + 6) * {}", parameters[0].name),
            Self::Endless => "never".to_owned(),
        }
    }
}
