//! Windowed features against two passes over the window, on markets that are hard on running sums.

use super::Plan;
use super::tests_support::{Market, agree};
use crate::domain::{Bar, Timeframe};

/// One column, its first bar, and the plain computation over the bars up to and including the newest.
type Naive = (&'static str, usize, fn(&[Bar], usize) -> f64);

pub fn last(bars: &[Bar], n: usize, f: impl Fn(&Bar) -> f64) -> Vec<f64> {
    bars[bars.len() - n..].iter().map(f).collect()
}

pub fn mean(x: &[f64]) -> f64 {
    // Around the first value, so that the reference is more exact than what it judges.
    x[0] + x.iter().map(|v| v - x[0]).sum::<f64>() / x.len() as f64
}

/// Mean deviation from `x[0]`, population deviation, newest less mean: all free of cancellation.
pub fn spread(x: &[f64]) -> (f64, f64) {
    let d: Vec<f64> = x.iter().map(|v| v - x[0]).collect();
    let m = d.iter().sum::<f64>() / d.len() as f64;
    let squares: f64 = d.iter().map(|v| (v - m) * (v - m)).sum();
    let deviation = if x.iter().all(|v| *v == x[0]) { 0.0 } else { (squares / d.len() as f64).sqrt() };
    (deviation, d[d.len() - 1] - m)
}

pub fn quotient(a: f64, b: f64) -> f64 {
    if b == 0.0 { f64::NAN } else { a / b }
}

pub fn closes(bars: &[Bar], n: usize) -> Vec<f64> {
    last(bars, n, |b| b.close)
}

pub fn typical(b: &Bar) -> f64 {
    (b.high + b.low + b.close) / 3.0
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-14 * (a.abs() + b.abs())
}

/// `None` where the range is empty.
fn stoch_raw(bars: &[Bar], n: usize) -> Option<f64> {
    let high = last(bars, n, |b| b.high).into_iter().fold(f64::MIN, f64::max);
    let low = last(bars, n, |b| b.low).into_iter().fold(f64::MAX, f64::min);
    (high > low).then(|| 100.0 * (bars[bars.len() - 1].close - low) / (high - low))
}

fn stoch_k(bars: &[Bar], n: usize) -> f64 {
    let end = bars.len();
    (0..3).map(|back| stoch_raw(&bars[..end - back], n).unwrap_or(0.0)).sum::<f64>() / 3.0
}

fn mfi(bars: &[Bar], n: usize) -> f64 {
    let (mut up, mut down) = (0.0, 0.0);
    for pair in bars[bars.len() - n - 1..].windows(2) {
        let (before, now) = (typical(&pair[0]), typical(&pair[1]));
        let flow = now * pair[1].volume;
        match now > before {
            _ if same(before, now) => {}
            true => up += flow,
            false => down += flow,
        }
    }
    if up + down == 0.0 { 0.0 } else { 100.0 * up / (up + down) }
}

fn cci(bars: &[Bar], n: usize) -> f64 {
    let tp = last(bars, n, typical);
    let (_, distance) = spread(&tp);
    let m = mean(&tp);
    let mad = tp.iter().map(|x| (x - tp[n - 1] + distance).abs()).sum::<f64>() / n as f64;
    if distance.abs() <= 1e-14 * m || mad <= 1e-14 * m { 0.0 } else { distance / (0.015 * mad) }
}

fn naive(family: &'static str) -> Naive {
    match family {
        "ret" => (family, 0, |b, n| b[b.len() - 1].close / b[b.len() - 1 - n].close - 1.0),
        "logret" => (family, 0, |b, n| (b[b.len() - 1].close / b[b.len() - 1 - n].close).ln()),
        "roc" => (family, 0, |b, n| (b[b.len() - 1].close / b[b.len() - 1 - n].close - 1.0) * 100.0),
        "sma" => (family, 1, |b, n| mean(&closes(b, n))),
        "bb_upper" => (family, 1, |b, n| mean(&closes(b, n)) + 2.0 * spread(&closes(b, n)).0),
        "bb_lower" => (family, 1, |b, n| mean(&closes(b, n)) - 2.0 * spread(&closes(b, n)).0),
        "bb_width" => (family, 1, |b, n| 4.0 * spread(&closes(b, n)).0 / mean(&closes(b, n))),
        "bb_pctb" => (family, 1, |b, n| {
            let (deviation, distance) = spread(&closes(b, n));
            quotient(distance + 2.0 * deviation, 4.0 * deviation)
        }),
        "zscore" => (family, 1, |b, n| {
            let (deviation, distance) = spread(&closes(b, n));
            quotient(distance, deviation)
        }),
        "rv" => (family, 0, |b, n| {
            let returns: Vec<f64> =
                b[b.len() - n - 1..].windows(2).map(|w| (w[1].close / w[0].close).ln()).collect();
            spread(&returns).0 * (n as f64 / (n as f64 - 1.0)).sqrt()
        }),
        "willr" => (family, 1, |b, n| match stoch_raw(b, n) {
            Some(raw) => raw - 100.0,
            None => 0.0,
        }),
        "cci" => (family, 1, cci),
        "mfi" => (family, 0, mfi),
        "vwap" => (family, 1, |b, n| {
            let value: f64 = last(b, n, |x| typical(x) * x.volume).iter().sum();
            quotient(value, last(b, n, |x| x.volume).iter().sum())
        }),
        "vol_ratio" => (family, 1, |b, n| quotient(b[b.len() - 1].volume, mean(&last(b, n, |x| x.volume)))),
        _ => panic!("{family} has no plain computation"),
    }
}

const WINDOWED: [&str; 15] = [
    "ret",
    "logret",
    "roc",
    "sma",
    "bb_upper",
    "bb_lower",
    "bb_width",
    "bb_pctb",
    "zscore",
    "rv",
    "willr",
    "cci",
    "mfi",
    "vwap",
    "vol_ratio",
];

/// Compares every windowed family of period `n` at every `stride`-th of `bars` bars.
fn compare(seed: u64, level: f64, n: usize, bars: usize, stride: usize) {
    let names: Vec<String> = WINDOWED
        .iter()
        .map(
            |family| {
                if family.starts_with("bb_") { format!("{family}_{n}_2") } else { format!("{family}_{n}") }
            },
        )
        .collect();
    let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
    let mut state = plan.state();
    let mut seen: Vec<Bar> = Vec::new();
    for (i, bar) in Market::new(seed, level).take(bars).enumerate() {
        state.update(&bar);
        seen.push(bar);
        if i % stride != 0 {
            continue;
        }
        for (c, family) in WINDOWED.iter().enumerate() {
            let (_, back, of) = naive(family);
            let expected = if i + back >= n { of(&seen, n) } else { f64::NAN };
            let scale = match *family {
                "sma" | "vwap" => expected.abs(),
                // A band is a difference: its scale is that of what is subtracted.
                "bb_upper" | "bb_lower" if i + back >= n => mean(&closes(&seen, n)),
                _ => expected.abs().max(1.0),
            };
            let ours = state.values()[c];
            assert!(
                agree(ours, expected, scale),
                "level {level}, bar {i}, {}: {ours:e}, plain {expected:e}",
                names[c]
            );
        }
    }
}

#[test]
fn windows_equal_two_passes_at_every_price_level() {
    for (seed, level) in [1e-8, 1.0, 6e4, 1e12, 0.0].into_iter().enumerate() {
        for n in [2, 3, 14, 20, 97] {
            compare(seed as u64, level, n, 3000, 1);
        }
    }
}

#[test]
fn long_windows_equal_two_passes() {
    compare(11, 1.0, 1000, 12_000, 37);
    compare(12, 0.0, 10_000, 45_000, 3001);
}

/// The hardest for sums: the origin that distances are measured from is the one price, or return, far from all others, and
/// these are the same, so that every addition rounds the same way.
#[test]
fn the_longest_window_keeps_its_digits_where_every_addition_rounds_alike() {
    const N: usize = 10_000;
    let names = ["sma", "zscore", "skew", "kurt"].map(|family| format!("{family}_{N}"));
    let mut state = Plan::new(&names, Timeframe::MINUTE).unwrap().state();
    let mut seen: Vec<Bar> = Vec::new();
    for (i, bar) in Market::new(1, 1.0).take(2 * N).enumerate() {
        // The last bar of the first block of closes is far off, and so the last return of the first of returns.
        let close = if i == N - 2 { 1.0 } else { 0.1 + 1e-3 * (i % 2) as f64 };
        seen.push(Bar { open: close, high: close, low: close, close, ..bar });
        state.update(&seen[i]);
        if i < N || i % 97 != 0 {
            continue;
        }
        let (prices, returns) = (closes(&seen, N), closes(&seen, N + 1));
        let returns: Vec<f64> = returns.windows(2).map(|pair| (pair[1] / pair[0]).ln()).collect();
        let (deviation, distance) = spread(&prices);
        let center = mean(&returns);
        let moment = |power| returns.iter().map(|x| (x - center).powi(power)).sum::<f64>() / N as f64;
        let variance = moment(2);
        let (skew, kurt) = (moment(3) / variance.powf(1.5), moment(4) / (variance * variance) - 3.0);
        let expected = [mean(&prices), distance / deviation, skew, kurt];
        for ((name, ours), expected) in names.iter().zip(state.values()).zip(expected) {
            assert!(
                agree(*ours, expected, expected.abs().max(1.0)),
                "bar {i}, {name}: {ours:e}, {expected:e}"
            );
        }
    }
}

#[test]
fn the_stochastic_equals_its_definition() {
    let plan = Plan::new(&["stoch_k_9_3_3", "stoch_d_9_3_3"], Timeframe::MINUTE).unwrap();
    let mut state = plan.state();
    let mut seen = Vec::new();
    for (i, bar) in Market::new(5, 1e-8).take(3000).enumerate() {
        state.update(&bar);
        seen.push(bar);
        let d = |end: usize| (0..3).map(|back| stoch_k(&seen[..end - back], 9)).sum::<f64>() / 3.0;
        let expected = if i < 12 { [f64::NAN; 2] } else { [stoch_k(&seen, 9), d(i + 1)] };
        for (ours, expected) in state.values().iter().zip(expected) {
            assert!(agree(*ours, expected, 100.0), "bar {i}: {ours}, plain {expected}");
        }
    }
}

#[test]
fn an_outlier_leaves_no_trace() {
    let names = [
        "sma_5",
        "zscore_5",
        "bb_width_5_2",
        "vwap_5",
        "vol_ratio_5",
        "vwap_dist_5",
        "rvol_5",
        "vol_z_5",
        "cmf_5",
        "obv_win_5",
        "skew_5",
        "kurt_5",
        "ac1_5",
        "corr_rv_5",
        "rv_ratio_3_5",
        "parkinson_5",
        "gk_5",
        "linreg_slope_5",
        "linreg_r2_5",
        "aroonosc_5",
        "donch_5",
        "dd_5",
        "er_5",
    ];
    let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
    let run = |outlier: f64| {
        let mut state = plan.state();
        for (i, mut bar) in Market::new(3, 1e-8).take(200).enumerate() {
            if i == 100 {
                bar.close *= outlier;
                bar.high = bar.high.max(bar.close);
                bar.volume = outlier;
            }
            state.update(&bar);
        }
        state.values().to_vec()
    };
    assert!(run(1.0).iter().all(|x| x.is_finite()));
    assert_eq!(run(1.0), run(1e100));
    assert_eq!(run(1.0), run(f64::NAN));
}

#[test]
fn what_does_not_move_is_exactly_flat_and_what_is_not_traded_exactly_zero() {
    let names = [
        "bb_width_20_2",
        "bb_pctb",
        "zscore_20",
        "rv_20",
        "vwap_20",
        "vol_ratio_20",
        "mfi_14",
        "cci_20",
        "rsi_14",
    ];
    let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
    let mut state = plan.state();
    let wild: Vec<Bar> = Market::new(9, 1.0).filter(|b| b.high > b.low).take(333).collect();
    wild.iter().for_each(|bar| state.update(bar));
    let close = 0.1 + 0.2;
    let flat = Bar { open: close, high: close, low: close, close, volume: 0.0, ..wild[332] };
    for _ in 0..21 {
        state.update(&flat);
    }
    let nan = f64::NAN.to_bits();
    let bits = super::tests_support::bits(state.values());
    assert_eq!(bits[..8], [0, nan, nan, 0, nan, nan, 0, 0]);
    assert!((0.0..=100.0).contains(&state.values()[8]));
}
