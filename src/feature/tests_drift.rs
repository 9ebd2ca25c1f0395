//! Nothing drifts: after very many bars, windowed features are what a fresh start over the last window gives.

use super::Plan;
use super::tests_support::{Market, agree};
use crate::domain::{Bar, Timeframe};
use std::collections::VecDeque;
use std::time::Instant;

/// Everything that depends on a window alone, and the most bars that one of them looks back.
const WINDOWED: [&str; 36] = [
    "ret_10",
    "logret_1",
    "sma_50",
    "bb_upper",
    "bb_lower",
    "bb_pctb",
    "bb_width",
    "zscore_20",
    "rv_20",
    "stoch_k",
    "stoch_d",
    "cci_20",
    "willr_14",
    "roc_10",
    "mfi_14",
    "vwap_20",
    "vol_ratio_20",
    "zscore_7",
    "vwap_50",
    "sma_dist_20",
    "rv_ratio_12_48",
    "parkinson_20",
    "gk_20",
    "donch_55",
    "dd_48",
    "er_10",
    "aroonosc_25",
    "linreg_slope_20",
    "linreg_r2_20",
    "skew_48",
    "kurt_48",
    "ac1_24",
    "corr_rv_20",
    "cmf_20",
    "obv_win_20",
    "vwap_dist_20",
];
const BACK: usize = 56;

fn drift(bars: usize) {
    for level in [1e-8, 1e9, 0.0] {
        let plan = Plan::new(&WINDOWED, Timeframe::MINUTE).unwrap();
        let mut state = plan.state();
        let mut recent: VecDeque<Bar> = VecDeque::new();
        for (i, bar) in Market::new(21, level).take(bars).enumerate() {
            state.update(&bar);
            recent.push_back(bar);
            if recent.len() > BACK {
                recent.pop_front();
            }
            // At any phase of every window's block, and more often towards the end.
            if i < BACK || (i % 9973 != 0 && i + 500 < bars) {
                continue;
            }
            let mut fresh = plan.state();
            recent.iter().for_each(|bar| fresh.update(bar));
            for ((name, old), new) in WINDOWED.iter().zip(state.values()).zip(fresh.values()) {
                let scale = match *name {
                    "sma_50" | "vwap_20" | "vwap_50" => new.abs(),
                    // A band is a difference: its scale is that of what is subtracted.
                    "bb_upper" | "bb_lower" => recent.range(BACK - 20..).map(|b| b.close / 20.0).sum(),
                    _ => new.abs().max(1.0),
                };
                assert!(agree(*old, *new, scale), "level {level}, bar {i}, {name}: {old:e}, fresh {new:e}");
            }
        }
    }
}

#[test]
fn nothing_drifts_over_two_hundred_thousand_bars() {
    drift(200_000);
}

#[test]
#[ignore = "takes ten seconds or so"]
fn nothing_drifts_over_five_million_bars() {
    drift(5_000_000);
}

#[test]
#[ignore = "a measurement; meaningful in a release build when nothing else runs"]
fn what_the_named_sets_cost() {
    let bars: Vec<Bar> = Market::new(1, 100.0).take(200_000).collect();
    for (set, names) in super::catalogue::SETS {
        let mut state = Plan::new(names, Timeframe::MINUTE).unwrap().state();
        let mut out = vec![0.0; names.len()];
        for round in 0..3 {
            let start = Instant::now();
            for bar in &bars {
                state.update(bar);
                state.write(&mut out);
            }
            let update = start.elapsed().as_nanos() / bars.len() as u128;
            let start = Instant::now();
            for bar in &bars {
                state.peek(bar, &mut out);
            }
            let peek = start.elapsed().as_nanos() / bars.len() as u128;
            let mut copy = state.clone();
            let start = Instant::now();
            for _ in 0..10_000 {
                copy.clone_from(std::hint::black_box(&state));
            }
            let snapshot = start.elapsed().as_nanos() / 10_000;
            println!("{set}, round {round}: update {update} ns, peek {peek} ns, snapshot {snapshot} ns");
        }
        for name in names {
            let mut state = Plan::new(&[name], Timeframe::MINUTE).unwrap().state();
            let start = Instant::now();
            bars.iter().for_each(|bar| state.update(bar));
            print!("{name} {} ns; ", start.elapsed().as_nanos() / bars.len() as u128);
        }
        println!();
    }
}
