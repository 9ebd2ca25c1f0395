//! The scale-free columns where markets are odd: nothing to divide by, returns that are all the same, slots that are missing or
//! filled in; and the phases of the clock.

use super::Plan;
use super::kernel::{Column, Kernel, Layout, Read, Slot, Spec};
use super::tests_support::Random;
use crate::domain::{Bar, GapPolicy, Grid, Timeframe, Timestamp};
use std::collections::VecDeque;

#[test]
fn what_has_nothing_to_divide_by_is_undefined_and_never_infinite() {
    let bar = |close: f64, volume: f64| Bar {
        open: close,
        high: close,
        low: close,
        close,
        volume,
        ..Bar::default()
    };
    let nan = f64::NAN;
    // (name, in a market that stands still, in one that stands still and does not trade)
    let expected: [(&str, f64, f64); 33] = [
        ("clv", 0.0, 0.0),
        ("range", 0.0, 0.0),
        ("gap", 0.0, 0.0),
        ("body_ratio", 0.0, 0.0),
        ("ema_dist_9", 0.0, 0.0),
        ("ema_x_5_9", 0.0, 0.0),
        ("macd_hist_rel", 0.0, 0.0),
        ("sma_dist_9", 0.0, 0.0),
        ("rsi_unit_9", -1.0, -1.0),
        ("cmo_9", 0.0, 0.0),
        ("stoch_k_unit", 0.0, 0.0),
        ("willr_unit_9", 0.0, 0.0),
        ("cci_unit_9", 0.0, 0.0),
        ("mfi_unit_9", 0.0, 0.0),
        ("adx_unit_9", 0.0, 0.0),
        ("di_diff_9", 0.0, 0.0),
        ("aroonosc_9", 0.0, 0.0),
        ("atr_rel_9", 0.0, 0.0),
        ("linreg_slope_9", 0.0, 0.0),
        ("linreg_r2_9", nan, nan),
        ("er_9", nan, nan),
        ("donch_9", nan, nan),
        ("dd_9", 0.0, 0.0),
        ("rv_pop_9", 0.0, 0.0),
        ("rv_ratio_5_9", nan, nan),
        ("parkinson_9", 0.0, 0.0),
        ("gk_9", 0.0, 0.0),
        ("skew_9", nan, nan),
        ("kurt_9", nan, nan),
        ("ac1_9", nan, nan),
        ("vwap_dist_9", 0.0, 0.0),
        ("rvol_9", 0.0, 0.0),
        ("cmf_9", 0.0, nan),
    ];
    let others = [("obv_win_9", 0.0, nan), ("vol_z_9", nan, nan), ("corr_rv_9", nan, nan)];
    let expected: Vec<_> = expected.into_iter().chain(others).collect();
    let names: Vec<&str> = expected.iter().map(|(name, ..)| *name).collect();
    for close in [1e-8, 0.1 + 0.2, 1e12] {
        for (volume, trades) in [(7.25, true), (0.0, false)] {
            let mut state = Plan::new(&names, Timeframe::MINUTE).unwrap().state();
            (0..60).for_each(|_| state.update(&bar(close, volume)));
            for ((name, still, untraded), ours) in expected.iter().zip(state.values()) {
                let expected = if trades { still } else { untraded };
                // The mean of a weighted price may differ from the price in its last digit.
                let same = ours.is_nan() && expected.is_nan() || (ours - expected).abs() < 1e-15;
                assert!(same, "{name} at {close}, volume {volume}: {ours}, not {expected}");
            }
        }
    }
}

#[test]
fn returns_that_only_differ_by_rounding_are_all_the_same() {
    let names = ["skew_9", "kurt_9", "ac1_9", "rv_ratio_5_9", "corr_rv_9"];
    let mut state = Plan::new(&names, Timeframe::MINUTE).unwrap().state();
    for i in 0..200 {
        let close = 0.37 * 1.01_f64.powi(i);
        state.update(&Bar {
            open: close,
            high: close,
            low: close,
            close,
            volume: f64::from(i % 7),
            ..Bar::default()
        });
        assert!(state.values().iter().all(|x| x.is_nan()), "bar {i}: {:?}", state.values());
    }
}

#[test]
fn phases_are_those_of_the_close() {
    let names = ["tod_sin", "tod_cos", "week_sin", "week_cos"];
    // 2024-01-01 was a Monday.
    for (open, timeframe, day, week) in [
        ("2023-12-31T23:55:00Z", "5m", 0.0, 0.0),
        ("2024-01-03T11:55:00Z", "5m", 0.5, 2.5 / 7.0),
        ("2024-01-06T05:00:00Z", "1h", 0.25, 5.25 / 7.0),
        ("1969-12-31T17:59:00Z", "1m", 0.75, 2.75 / 7.0),
    ] {
        let timeframe: Timeframe = timeframe.parse().unwrap();
        let mut state = Plan::new(&names, timeframe).unwrap().state();
        state.update(&Bar { ts: open.parse().unwrap(), close: 1.0, ..Bar::default() });
        let turn = |x: f64| (x * 2.0 * std::f64::consts::PI).sin_cos();
        let expected = [turn(day).0, turn(day).1, turn(week).0, turn(week).1];
        for (ours, expected) in state.values().iter().zip(expected) {
            assert!((ours - expected).abs() < 1e-15, "{open}: {:?}, not {expected:?}", state.values());
        }
    }
}

/// What stands in a slot.
#[derive(Clone, Copy, PartialEq)]
enum Stands {
    Bar,
    Synthetic,
    Nothing,
}

#[test]
fn completeness_counts_slots() {
    for n in [1, 2, 20, 97] {
        let mut layout = Layout::default();
        let mut kernel = Kernel::new(Spec::Completeness(n), &mut layout);
        let columns = [0, 1].map(|at| Column { at, read: Read::Value(at as u8) });
        let mut memory = vec![f64::NAN; layout.len()];
        let mut slots: VecDeque<Stands> = VecDeque::new();
        let mut random = Random(n as u64);
        for i in 0..5000 {
            let missing = match random.next() % 40 {
                _ if i == 0 => 0,
                0 => u32::MAX,
                1..8 => (random.next() % 30) as u32,
                _ => 0,
            };
            let synthetic = random.chance(0.2);
            slots.extend((0..missing.min(200)).map(|_| Stands::Nothing));
            slots.push_back(if synthetic { Stands::Synthetic } else { Stands::Bar });
            let bar = Bar::default();
            let slot = Slot { bar: &bar, close: Timestamp::default(), missing, synthetic };
            let mut values = [f64::NAN; 2];
            kernel.take(&slot, &mut memory, &columns, &mut values);
            while slots.len() > n {
                slots.pop_front();
            }
            let share = |of: Stands| slots.iter().filter(|slot| **slot == of).count() as f64 / n as f64;
            assert_eq!(values[..2], [share(Stands::Nothing), share(Stands::Synthetic)], "n {n}, bar {i}");
        }
    }
}

#[test]
fn a_gap_shows_as_gap_or_as_filled_in_until_it_has_left_the_window() {
    for policy in [GapPolicy::Skip, GapPolicy::FillFlat] {
        let grid = Grid { policy, ..Timeframe::MINUTE.into() };
        let mut state = Plan::new(&["q_gap_20", "q_synth_20"], grid).unwrap().state();
        for minute in (0..50).chain(53..100) {
            let ts = Timestamp::from_secs(minute * 60);
            state.update(&Bar { ts, open: 1.0, high: 1.0, low: 1.0, close: 1.0, volume: 1.0 });
            let inside = match minute {
                53..70 => 3,
                70..73 => 72 - minute,
                _ => 0,
            };
            let share = inside as f64 / 20.0;
            let expected = if policy == GapPolicy::Skip { [share, 0.0] } else { [0.0, share] };
            assert_eq!(state.values(), expected, "minute {minute}");
        }
    }
}
