//! The scale-free columns, each against a plain computation in two passes over its window, on real bars and on markets
//! that are hard on sums; and that prices and volumes in other units give the same values.

use super::Plan;
use super::catalogue::VELA_CORE_1;
use super::tests_support::{Market, read_bars, reference};
use super::tests_windows::{closes, last, mean, quotient, spread, typical};
use crate::domain::{Bar, Timeframe};
use proptest::prelude::*;

/// Below this deviation returns are all the same.
const SAME: f64 = 1e-14;

fn returns(bars: &[Bar], n: usize) -> Vec<f64> {
    bars[bars.len() - n - 1..].windows(2).map(|w| (w[1].close / w[0].close).ln()).collect()
}

/// Population deviation.
fn deviation(x: &[f64]) -> f64 {
    spread(x).0
}

/// The mean of the deviations' power `p`.
fn moment(x: &[f64], p: i32) -> f64 {
    let m = mean(x);
    x.iter().map(|v| (v - m).powi(p)).sum::<f64>() / x.len() as f64
}

fn correlation(x: &[f64], y: &[f64], same: f64) -> f64 {
    let (mx, my) = (mean(x), mean(y));
    let xy = x.iter().zip(y).map(|(a, b)| (a - mx) * (b - my)).sum::<f64>() / x.len() as f64;
    let (dx, dy) = (deviation(x), deviation(y));
    if dx > same && dy > same { xy / (dx * dy) } else { f64::NAN }
}

fn log_volumes(bars: &[Bar], n: usize) -> Vec<f64> {
    last(bars, n, |b| (1.0 + b.volume).ln())
}

fn highest(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::MIN, f64::max)
}

fn lowest(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::MAX, f64::min)
}

/// How many bars ago the latest of the largest was.
fn since_largest(x: &[f64]) -> f64 {
    let largest = highest(x);
    x.iter().rev().position(|v| *v == largest).unwrap() as f64
}

/// From the first bar on, as the formula says.
fn ema(bars: &[Bar], n: usize) -> f64 {
    let seed = bars[..n].iter().map(|b| b.close).sum::<f64>() / n as f64;
    let k = 2.0 / (n as f64 + 1.0);
    bars[n..].iter().fold(seed, |e, b| b.close * k + e * (1.0 - k))
}

/// (close's place in its bar, whether it has one)
fn clv(b: &Bar) -> f64 {
    if b.high == b.low { 0.0 } else { (2.0 * b.close - b.high - b.low) / (b.high - b.low) }
}

/// A family, which bar of period n is its first, and the plain computation over the bars up to the newest.
type Naive = (&'static str, fn(usize) -> usize, fn(&[Bar], usize) -> f64);

/// Families of two periods are asked for n and 2n + 1.
const PAIRS: [&str; 2] = ["ema_x", "rv_ratio"];

fn second(n: usize) -> usize {
    2 * n + 1
}

const NAIVE: &[Naive] = &[
    ("sma_dist", |n| n - 1, |b, n| spread(&closes(b, n)).1 / mean(&closes(b, n))),
    ("ema_dist", |n| n - 1, |b, n| b[b.len() - 1].close / ema(b, n) - 1.0),
    ("ema_x", |n| second(n) - 1, |b, n| ema(b, n) / ema(b, second(n)) - 1.0),
    (
        "cmo",
        |n| n,
        |b, n| {
            let moves: Vec<f64> = b.windows(2).map(|w| w[1].close - w[0].close).collect();
            let average = |of: fn(f64) -> f64| {
                let seed = moves[..n].iter().map(|x| of(*x)).sum::<f64>() / n as f64;
                moves[n..].iter().fold(seed, |mean, x| mean + (of(*x) - mean) / n as f64)
            };
            let (gain, loss) = (average(|x| x.max(0.0)), average(|x| (-x).max(0.0)));
            if gain + loss == 0.0 { 0.0 } else { (gain - loss) / (gain + loss) }
        },
    ),
    (
        "donch",
        |n| n - 1,
        |b, n| {
            let low = lowest(&last(b, n, |x| x.low));
            quotient(b[b.len() - 1].close - low, highest(&last(b, n, |x| x.high)) - low)
        },
    ),
    ("dd", |n| n - 1, |b, n| b[b.len() - 1].close / highest(&closes(b, n)) - 1.0),
    (
        "er",
        |n| n,
        |b, n| {
            let way: f64 = b[b.len() - n - 1..].windows(2).map(|w| (w[1].close - w[0].close).abs()).sum();
            quotient((b[b.len() - 1].close - b[b.len() - 1 - n].close).abs(), way)
        },
    ),
    (
        "aroonosc",
        |n| n,
        |b, n| {
            let since_high = since_largest(&last(b, n + 1, |x| x.high));
            let since_low = since_largest(&last(b, n + 1, |x| -x.low));
            (since_low - since_high) / n as f64
        },
    ),
    (
        "linreg_slope",
        |n| n - 1,
        |b, n| {
            let middle = (n as f64 - 1.0) / 2.0;
            let (m, c) = (mean(&closes(b, n)), closes(b, n));
            let xy: f64 = c.iter().enumerate().map(|(i, y)| (i as f64 - middle) * (y - m)).sum();
            let xx: f64 = (0..n).map(|i| (i as f64 - middle).powi(2)).sum();
            xy / xx / c[n - 1]
        },
    ),
    (
        "linreg_r2",
        |n| n - 1,
        |b, n| {
            let numbers: Vec<f64> = (0..n).map(|i| i as f64).collect();
            correlation(&numbers, &closes(b, n), 0.0).powi(2)
        },
    ),
    ("rv_pop", |n| n, |b, n| deviation(&returns(b, n))),
    ("rv_ratio", second, |b, n| {
        let slow = deviation(&returns(b, second(n)));
        if slow > SAME { deviation(&returns(b, n)) / slow } else { f64::NAN }
    }),
    (
        "parkinson",
        |n| n - 1,
        |b, n| (mean(&last(b, n, |x| (x.high / x.low).ln().powi(2))) / (4.0 * 2_f64.ln())).sqrt(),
    ),
    (
        "gk",
        |n| n - 1,
        |b, n| {
            let of = |x: &Bar| {
                0.5 * (x.high / x.low).ln().powi(2)
                    - (2.0 * 2_f64.ln() - 1.0) * (x.close / x.open).ln().powi(2)
            };
            mean(&last(b, n, of)).sqrt()
        },
    ),
    (
        "skew",
        |n| n,
        |b, n| {
            let r = returns(b, n);
            if deviation(&r) > SAME { moment(&r, 3) / moment(&r, 2).powf(1.5) } else { f64::NAN }
        },
    ),
    (
        "kurt",
        |n| n,
        |b, n| {
            let r = returns(b, n);
            if deviation(&r) > SAME { moment(&r, 4) / moment(&r, 2).powi(2) - 3.0 } else { f64::NAN }
        },
    ),
    ("ac1", |n| n + 1, |b, n| correlation(&returns(b, n), &returns(&b[..b.len() - 1], n), SAME)),
    (
        "corr_rv",
        |n| n,
        |b, n| {
            let changes: Vec<f64> = log_volumes(b, n + 1).windows(2).map(|w| w[1] - w[0]).collect();
            correlation(&returns(b, n), &changes, SAME)
        },
    ),
    (
        "vol_z",
        |n| n - 1,
        |b, n| {
            let (deviation, distance) = spread(&log_volumes(b, n));
            quotient(distance, deviation)
        },
    ),
    (
        "rvol",
        |n| n - 1,
        |b, n| {
            let m = mean(&last(b, n, |x| x.volume));
            if m == 0.0 { 0.0 } else { ((b[b.len() - 1].volume + 0.01 * m) / (1.01 * m)).ln() }
        },
    ),
    (
        "cmf",
        |n| n - 1,
        |b, n| {
            let flow: f64 = last(b, n, |x| clv(x) * x.volume).iter().sum();
            quotient(flow, last(b, n, |x| x.volume).iter().sum())
        },
    ),
    (
        "obv_win",
        |n| n,
        |b, n| {
            let balance = b[b.len() - n - 1..].windows(2).map(|w| match w[1].close.total_cmp(&w[0].close) {
                std::cmp::Ordering::Greater => w[1].volume,
                std::cmp::Ordering::Less => -w[1].volume,
                std::cmp::Ordering::Equal => 0.0,
            });
            quotient(balance.sum(), last(b, n, |x| x.volume).iter().sum())
        },
    ),
    (
        "vwap_dist",
        |n| n - 1,
        |b, n| {
            let volume: f64 = last(b, n, |x| x.volume).iter().sum();
            let value: f64 = last(b, n, |x| typical(x) * x.volume).iter().sum();
            let price = if volume == 0.0 { mean(&last(b, n, typical)) } else { value / volume };
            b[b.len() - 1].close / price - 1.0
        },
    ),
    ("clv", |_| 0, |b, _| clv(&b[b.len() - 1])),
    ("range", |_| 0, |b, _| (b[b.len() - 1].high - b[b.len() - 1].low) / b[b.len() - 1].open),
    ("gap", |_| 1, |b, _| (b[b.len() - 1].open / b[b.len() - 2].close).ln()),
];

/// A column that is made of others, which the reference values hold: (name, of, the formula over those and the close).
type Derived = (&'static str, [&'static str; 2], fn(f64, f64, f64) -> f64);

const DERIVED: [Derived; 12] = [
    ("rsi_unit_14", ["rsi_14", "rsi_14"], |rsi, _, _| (rsi - 50.0) / 50.0),
    ("stoch_k_unit", ["stoch_k", "stoch_d"], |k, _, _| k / 100.0),
    ("stoch_d_unit_14_3_3", ["stoch_k", "stoch_d"], |_, d, _| d / 100.0),
    ("willr_unit_14", ["willr_14", "willr_14"], |willr, _, _| -willr / 100.0),
    ("cci_unit_20", ["cci_20", "cci_20"], |cci, _, _| cci / 100.0),
    ("mfi_unit_14", ["mfi_14", "mfi_14"], |mfi, _, _| mfi / 100.0),
    ("adx_unit_14", ["adx_14", "adx_14"], |adx, _, _| adx / 100.0),
    ("di_diff_14", ["plus_di_14", "minus_di_14"], |plus, minus, _| (plus - minus) / 100.0),
    ("atr_rel_14", ["atr_14", "atr_14"], |atr, _, close| atr / close),
    ("macd_hist_rel", ["macd", "macd_signal"], |macd, signal, close| (macd - signal) / close),
    ("ema_dist_12", ["ema_12", "ema_12"], |ema, _, close| close / ema - 1.0),
    ("ema_x_12_26", ["ema_12", "ema_26"], |fast, slow, _| fast / slow - 1.0),
];

#[test]
fn columns_that_only_differ_in_scale_do() {
    let mut names: Vec<&str> = DERIVED.iter().map(|(name, ..)| *name).collect();
    names.extend(DERIVED.iter().flat_map(|(_, of, _)| of));
    // Ticks that are exact: where moves up and down are equal to the last bit all take them for equal.
    for tick in [6.0, 2_f64.powi(-40), 2_f64.powi(40)] {
        let mut state = Plan::new(&names, Timeframe::MINUTE).unwrap().state();
        for (i, bar) in Market::new(17, tick * 10_000.0).take(4000).enumerate() {
            state.update(&bar);
            let (ours, of) = state.values().split_at(DERIVED.len());
            for ((name, _, formula), (ours, of)) in DERIVED.iter().zip(ours.iter().zip(of.as_chunks::<2>().0))
            {
                let expected = formula(of[0], of[1], bar.close);
                assert!(agree(name, *ours, expected), "tick {tick}, bar {i}, {name}: {ours:e}, {expected:e}");
            }
        }
    }
}

fn written(family: &str, n: usize) -> String {
    match family {
        "clv" | "range" | "gap" => family.to_owned(),
        _ if PAIRS.contains(&family) => format!("{family}_{n}_{}", second(n)),
        _ => format!("{family}_{n}"),
    }
}

/// What is a share of the price, a thousandth or so by nature; everything else is a share of a range, or a ratio.
const OF_PRICE: [&str; 15] = [
    "logret",
    "ret",
    "range",
    "gap",
    "ema_",
    "sma_dist",
    "macd_hist_rel",
    "linreg_slope",
    "atr_rel",
    "bb_width",
    "rv_pop",
    "parkinson",
    "gk",
    "dd",
    "vwap_dist",
];

/// Both undefined, or equal to nine digits. A share of the price may be off by 1e-13 besides, a thousand times a price's
/// rounding; a share of a range by 1e-9, because ranges of a few ticks are differences of prices.
fn agree(name: &str, ours: f64, plain: f64) -> bool {
    let floor = if OF_PRICE.iter().any(|family| name.starts_with(family)) { 1e-4 } else { 1.0 };
    super::tests_support::agree(ours, plain, plain.abs().max(floor))
}

/// Compares every column of period `n` at every `stride`-th of `bars`.
fn compare(label: &str, bars: &[Bar], n: usize, stride: usize) {
    let names: Vec<String> = NAIVE.iter().map(|(family, ..)| written(family, n)).collect();
    let mut state = Plan::new(&names, Timeframe::MINUTE).unwrap().state();
    for (i, bar) in bars.iter().enumerate() {
        state.update(bar);
        if i % stride != 0 && i > 2 * n + 3 {
            continue;
        }
        for ((name, (_, first, plain)), ours) in names.iter().zip(NAIVE).zip(state.values()) {
            let expected = if i >= first(n) { plain(&bars[..=i], n) } else { f64::NAN };
            assert!(agree(name, *ours, expected), "{label}, bar {i}, {name}: {ours:e}, plain {expected:e}");
        }
    }
}

#[test]
fn columns_equal_two_passes_at_every_price_level() {
    for (seed, level) in [1e-8, 1.0, 6e4, 1e12].into_iter().enumerate() {
        let bars: Vec<Bar> = Market::new(seed as u64, level).take(1500).collect();
        for n in [2, 3, 14, 20, 97] {
            compare(&format!("level {level}"), &bars, n, 3);
        }
    }
}

#[test]
fn columns_equal_two_passes_over_long_windows() {
    let bars: Vec<Bar> = Market::new(11, 1.0).take(9_000).collect();
    compare("long", &bars, 1000, 97);
}

#[test]
fn columns_equal_two_passes_over_real_bars() {
    for series in ["BTCPERP_1m", "XLMBTC_1m", "DASHBTC_5m", "EURUSD_1h", "GBPUSD_1m", "XAUUSD_1h"] {
        let Some(path) = reference(&format!("data/{series}.csv")) else { return };
        let bars = read_bars(&path);
        for n in [14, 48] {
            compare(series, &bars[..bars.len().min(6000)], n, 11);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn other_units_of_price_and_volume_give_the_same_values(
        seed in any::<u64>(),
        level in -6.0..6.0_f64,
        price in -6.0..6.0_f64,
        volume in -6.0..6.0_f64,
    ) {
        let (price, volume) = (10_f64.powf(price), 10_f64.powf(volume));
        // ln(1 + v) depends on the unit of v: the volume stays as it is for what takes it.
        let takes_ln = |name: &&str| name.starts_with("vol_z") || name.starts_with("corr_rv");
        let (fixed, free): (Vec<&str>, Vec<&str>) = VELA_CORE_1.into_iter().partition(takes_ln);
        prop_assert_eq!(fixed.len(), 2);
        for (names, volume) in [(fixed, 1.0), (free, volume)] {
            let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
            let (mut one, mut other) = (plan.state(), plan.state());
            for (i, bar) in Market::new(seed, 10_f64.powf(level)).take(260).enumerate() {
                let scaled = Bar {
                    open: bar.open * price,
                    high: bar.high * price,
                    low: bar.low * price,
                    close: bar.close * price,
                    volume: bar.volume * volume,
                    ..bar
                };
                one.update(&bar);
                other.update(&scaled);
                for (name, (a, b)) in names.iter().zip(one.values().iter().zip(other.values())) {
                    prop_assert!(agree(name, *b, *a), "bar {}, {}: {:e}, in other units {:e}", i, name, a, b);
                }
            }
        }
    }
}
