//! Valid bars of any shape and scale, through every kernel.
//!
//! Holds after every bar:
//! - nothing panics, and no value is infinite;
//! - `peek` gives what `update` gives on a clone, bit for bit;
//! - a snapshot that is restored and fed the bars since comes to the same bits;
//! - and where no number is so large or small that products of it overflow: a value is NaN before its first
//!   bar and never after, but for ratios of nothing; what is a percentage or a share stays one.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use vela::domain::{Bar, Stability, Timeframe, Timestamp};
use vela::feature::catalogue::{FAMILIES, SETS};
use vela::feature::{Plan, PlanState};

/// Prices and volumes within it are tame: sums of their squares and products neither overflow nor vanish.
const TAME: std::ops::RangeInclusive<f64> = 1e-30..=1e30;
/// Bars of one run; enough for every window of the plan to end several blocks.
const BARS_MAX: usize = 96;
/// Rounding that a percentage or share may carry beyond its range.
const SLACK: f64 = 1e-6;

/// The named sets, and every family with other periods: the shortest, an odd one, a long one.
static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let mut names: Vec<String> = SETS.iter().flat_map(|(_, set)| *set).map(ToString::to_string).collect();
    for family in FAMILIES {
        for period in [1, 3, 29] {
            // Every period of a family is another one, in rising order, as macd wants it.
            let written = family.parameters.iter().enumerate().map(|(i, parameter)| {
                let value = (period + i).max(parameter.min as usize);
                if parameter.whole { value.to_string() } else { "1.5".to_owned() }
            });
            names.push([family.name.to_owned()].into_iter().chain(written).collect::<Vec<_>>().join("_"));
        }
    }
    Plan::new(&names, Timeframe::MINUTE).expect("every family takes these periods")
});

/// What holds for one column.
struct Rule {
    first_defined: usize,
    /// A ratio that has nothing to divide by in a flat or untraded window.
    may_be_ratio_of_nothing: bool,
    /// Any number where nothing narrower is documented.
    min: f64,
    max: f64,
}

/// Families that divide by what may be nothing in a flat or untraded window.
const RATIOS_OF_NOTHING: [&str; 15] = [
    "bb_pctb",
    "zscore",
    "vwap",
    "vol_ratio",
    "donch",
    "er",
    "linreg_r2",
    "rv_ratio",
    "skew",
    "kurt",
    "ac1",
    "corr_rv",
    "vol_z",
    "cmf",
    "obv_win",
];

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |(column, name): (usize, &std::sync::Arc<str>)| {
        let family = family_of(name);
        let (min, max) = range_of(family).unwrap_or((f64::MIN, f64::MAX));
        Rule {
            first_defined: PLAN.warm_up_bars(column, Stability::Defined) as usize - 1,
            may_be_ratio_of_nothing: RATIOS_OF_NOTHING.contains(&family),
            min: min - SLACK,
            max: max + SLACK,
        }
    };
    PLAN.names().iter().enumerate().map(rule).collect()
});

/// The longest family name that `name` begins with.
fn family_of(name: &str) -> &'static str {
    let begins = |family: &&str| {
        name.strip_prefix(*family).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    let known = FAMILIES.iter().map(|family| family.name).filter(begins);
    known.max_by_key(|family| family.len()).expect("the plan took it")
}

/// Where the documented values of a family lie.
fn range_of(family: &str) -> Option<(f64, f64)> {
    Some(match family {
        "rsi" | "stoch_k" | "stoch_d" | "adx" | "plus_di" | "minus_di" | "mfi" => (0.0, 100.0),
        "willr" => (-100.0, 0.0),
        "upper_wick" | "lower_wick" | "stoch_k_unit" | "stoch_d_unit" | "willr_unit" | "mfi_unit"
        | "adx_unit" | "donch" | "linreg_r2" | "er" | "q_gap" | "q_synth" => (0.0, 1.0),
        "body_ratio" | "clv" | "rsi_unit" | "cmo" | "di_diff" | "aroonosc" | "cmf" | "obv_win"
        | "corr_rv" | "ac1" | "hour_sin" | "hour_cos" | "dow_sin" | "dow_cos" | "tod_sin" | "tod_cos"
        | "week_sin" | "week_cos" => (-1.0, 1.0),
        "dd" => (-1.0, 0.0),
        "kurt" => (-2.0, f64::MAX),
        "rv" | "rv_pop" | "rv_ratio" | "parkinson" | "gk" | "atr_rel" | "natr" | "atr" | "bb_width"
        | "range" | "hl_range" | "vol_ratio" => (0.0, f64::MAX),
        _ => return None,
    })
}

/// Makes bars of bytes: around the last close, at another scale, of any bits, flat.
struct Maker {
    ts: i64,
    level: f64,
}

/// Any positive finite number.
fn positive(u: &mut Unstructured<'_>) -> arbitrary::Result<f64> {
    let x = f64::from_bits(u64::arbitrary(u)? & !(1 << 63));
    Ok(if x.is_finite() && x > 0.0 { x } else { 1.0 })
}

impl Maker {
    fn bar(&mut self, u: &mut Unstructured<'_>) -> arbitrary::Result<Bar> {
        let mode = u8::arbitrary(u)?;
        let prices = match mode % 8 {
            // Ticks around the level, as a market moves.
            0..=3 => {
                let moves = <[i8; 4]>::arbitrary(u)?;
                moves.map(|ticks| self.level * (1.0 + f64::from(ticks) / 10_000.0))
            }
            4 => [self.level; 4],
            // Another level, far away, and a bar that spans a part of the way.
            5 => {
                let far = self.level * 10_f64.powi(i8::arbitrary(u)?.into());
                [self.level, far, far * 1.5, far]
            }
            6 => [positive(u)?, positive(u)?, positive(u)?, positive(u)?],
            _ => {
                // Rounding noise: neighbours of the level.
                let moves = <[u8; 4]>::arbitrary(u)?;
                let bits = |ulps: u8| self.level.to_bits() + u64::from(ulps % 4);
                moves.map(|ulps| f64::from_bits(bits(ulps).min(f64::MAX.to_bits())))
            }
        };
        let prices = prices.map(|x| x.clamp(f64::from_bits(1), f64::MAX));
        let volume = match mode / 8 % 4 {
            0 => 0.0,
            1 => f64::from(u16::arbitrary(u)?) / 8.0,
            2 => 10_f64.powi(i32::from(i8::arbitrary(u)?) / 5),
            _ => positive(u)?,
        };
        let gap = if mode & 0x80 == 0 { 60_000 } else { i64::from(u32::arbitrary(u)?) * 60_000 };
        self.ts = self.ts.saturating_add(gap);
        self.level = prices[3];
        Ok(vela_fuzz::bar(Timestamp::from_millis(self.ts), prices, volume))
    }
}

fn is_tame(bar: &Bar) -> bool {
    let prices = [bar.open, bar.high, bar.low, bar.close];
    prices.iter().all(|price| TAME.contains(price)) && (bar.volume == 0.0 || TAME.contains(&bar.volume))
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn check_values(state: &PlanState, bar: &Bar, tame: bool) {
    let index = state.bars() as usize - 1;
    for (column, (value, rule)) in state.values().iter().zip(&*RULES).enumerate() {
        let wrong = if value.is_infinite() {
            "infinite"
        } else if index < rule.first_defined {
            if value.is_nan() { continue } else { "defined too early" }
        } else if !tame {
            continue;
        } else if value.is_nan() {
            if rule.may_be_ratio_of_nothing { continue } else { "undefined" }
        } else if (rule.min..=rule.max).contains(value) {
            continue;
        } else {
            "out of its range"
        };
        panic!("{} is {wrong}: {value} after bar {index}, {bar:?}", PLAN.names()[column]);
    }
}

fn run(u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let start = i64::arbitrary(u)?;
    let level = if bool::arbitrary(u)? { 100.0 } else { positive(u)? };
    let mut maker = Maker { ts: start, level };
    let mut state = PLAN.state();
    let (mut snapshot, mut since) = (state.clone(), Vec::new());
    let mut restored = PLAN.state();
    let mut peeked = vec![0.0; PLAN.len()];
    let mut tame = true;
    for _ in 0..BARS_MAX {
        if u.is_empty() {
            break;
        }
        let bar = maker.bar(u)?;
        tame &= is_tame(&bar);
        state.peek(&bar, &mut peeked);
        state.update(&bar);
        since.push(bar);
        assert!(same_bits(&peeked, state.values()), "peek and update differ over {bar:?}");
        check_values(&state, &bar, tame);
        if since.len() == 40 {
            // `restored` has seen other bars: nothing of them may be left.
            restored.clone_from(&snapshot);
            since.iter().for_each(|bar| restored.update(bar));
            assert!(same_bits(restored.values(), state.values()), "a restored snapshot differs");
            assert_eq!(restored.bars(), state.bars());
            snapshot.clone_from(&state);
            since.clear();
        }
    }
    restored.clone_from(&snapshot);
    since.iter().for_each(|bar| restored.update(bar));
    assert!(same_bits(restored.values(), state.values()), "a restored snapshot differs at the end");
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    // Bytes that run out end the run; they are no failure.
    let _ = run(&mut Unstructured::new(data));
});
