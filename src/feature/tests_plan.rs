//! Plans: sharing, order, snapshots, and that streaming, peeking and replaying are the same thing.

use super::catalogue::{self, DEFAULT, FAMILIES, SETS, VELA_CORE_1};
use super::tests_support::{Market, Random, bits};
use super::{Batch, FeatureError, Plan};
use crate::domain::{Bar, GapPolicy, Grid, Stability, Timeframe};

/// Every family with its defaults, and with other parameters, small, odd and large.
fn many() -> Vec<String> {
    let mut names: Vec<String> = SETS.iter().flat_map(|(_, set)| *set).map(|n| n.to_string()).collect();
    for family in FAMILIES {
        for periods in [[2, 3, 1], [5, 9, 2], [7, 64, 10]] {
            let mut name = family.name.to_owned();
            for (parameter, n) in family.parameters.iter().zip(periods) {
                name += &if parameter.whole { format!("_{n}") } else { format!("_{n}.5") };
            }
            names.push(name);
        }
    }
    names
}

#[test]
fn every_column_is_defined_from_its_first_bar_and_not_before() {
    let plan = Plan::new(&many(), Timeframe::MINUTE).unwrap();
    let mut state = plan.state();
    assert!(state.values().iter().all(|x| x.is_nan()));
    // A market that always moves and trades: nothing is undefined but for the warm-up.
    let mut close = 0.0;
    let moves =
        |b: &Bar| b.high > b.low && b.volume > 0.0 && std::mem::replace(&mut close, b.close) != b.close;
    let bars = Market::new(4, 10.0).filter(moves);
    let warm_up = plan.warm_up_bars_max(Stability::Defined);
    for (bars, bar) in (1..=warm_up + 50).zip(bars) {
        state.update(&bar);
        for (column, (name, value)) in plan.names().iter().zip(state.values()).enumerate() {
            let warm_up = plan.warm_up_bars(column, Stability::Defined);
            let settled = bars >= warm_up;
            assert_eq!(value.is_finite(), settled, "{name} after {bars} bars is {value}, not {warm_up}");
        }
    }
    assert_eq!(state.bars(), warm_up + 50);
}

#[test]
fn a_peek_is_an_update_that_was_not_committed() {
    let plan = Plan::new(&many(), Timeframe::MINUTE).unwrap();
    let mut state = plan.state();
    let mut out = vec![0.0; plan.len()];
    for (bar, other) in Market::new(6, 1.0).zip(Market::new(7, 1.0)).take(700) {
        // A provisional bar, peeked at in between, changes nothing.
        state.peek(&other, &mut out);
        let mut fork = state.clone();
        fork.update(&other);
        assert_eq!(bits(&out), bits(fork.values()));
        state.peek(&bar, &mut out);
        state.update(&bar);
        assert_eq!(bits(&out), bits(state.values()));
    }
}

#[test]
fn a_batch_gives_what_bars_one_by_one_give_bit_for_bit() {
    let mut names = many();
    names.extend(["rsi_14@5m", "sma_3@15m", "q_gap_20@5m"].map(str::to_owned));
    for (seed, policy) in [GapPolicy::Skip, GapPolicy::FillFlat, GapPolicy::Reset].into_iter().enumerate() {
        let grid = Grid { policy, gap_bars_max: 40, ..Timeframe::MINUTE.into() };
        let plan = Plan::new(&names, grid).unwrap();
        let columns: Vec<usize> = (0..plan.len()).collect();
        let warm_up = plan.warm_up(&columns[..10], 3, Stability::Digits4);
        let mut random = Random(seed as u64);
        let mut there = |i: usize| !random.chance(0.02) && !(1000..1060).contains(&i);
        let all = Market::new(9, 0.0).take(3000).enumerate();
        let bars: Vec<Bar> = all.filter(|(i, _)| there(*i)).map(|(_, bar)| bar).collect();
        let (mut one_by_one, mut batch) = (plan.state(), Batch::new(&plan));
        let mut rest = &bars[..];
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((random.next() as usize % 200).min(rest.len()));
            let mut given = 0;
            batch.update(head, &warm_up, |i, row, settled| {
                one_by_one.update(&head[i]);
                assert_eq!((i, bits(row)), (given, bits(one_by_one.values())), "{policy:?}");
                assert_eq!(settled, one_by_one.is_past(&warm_up), "{policy:?}, {}", head[i].ts);
                given += 1;
            });
            assert_eq!(given, head.len());
            rest = tail;
        }
    }
}

#[test]
fn a_snapshot_goes_on_bit_for_bit() {
    let plan = Plan::new(&many(), Timeframe::MINUTE).unwrap();
    let bars: Vec<Bar> = Market::new(8, 0.0).take(1500).collect();
    let mut straight = plan.state();
    let rows: Vec<Vec<u64>> = bars
        .iter()
        .map(|bar| {
            straight.update(bar);
            bits(straight.values())
        })
        .collect();
    let mut random = Random(1);
    let mut state = plan.state();
    let mut snapshot = plan.state();
    let (mut i, mut saved) = (0, 0);
    while i < bars.len() {
        state.update(&bars[i]);
        assert_eq!(bits(state.values()), rows[i], "bar {i}");
        i += 1;
        if random.chance(0.05) {
            snapshot.clone_from(&state);
            saved = i;
        } else if i - saved > 10 && random.chance(0.03) {
            state = snapshot.clone();
            i = saved;
        }
    }
}

#[test]
fn a_column_does_not_depend_on_its_company() {
    let names = many();
    let bars: Vec<Bar> = Market::new(13, 3.0).take(400).collect();
    let all = Plan::new(&names, Timeframe::MINUTE).unwrap();
    let mut together = all.state();
    bars.iter().for_each(|bar| together.update(bar));
    for (name, value) in names.iter().zip(together.values()) {
        let mut alone = Plan::new(&[name], Timeframe::MINUTE).unwrap().state();
        bars.iter().for_each(|bar| alone.update(bar));
        assert_eq!(bits(alone.values()), bits(&[*value]), "{name}");
    }
}

#[test]
fn columns_that_can_share_a_kernel_do() {
    let kernels = |names: &[&str]| Plan::new(names, Timeframe::MINUTE).unwrap().kernels();
    assert_eq!(
        kernels(&["bb_upper", "bb_mid", "bb_lower_20_3", "bb_pctb_20_2", "bb_width", "zscore_20", "sma_20"]),
        1
    );
    assert_eq!(kernels(&["sma_20"]), kernels(&["bb_mid"]));
    assert_eq!(kernels(&["macd", "macd_signal_12_26_9", "macd_hist"]), 1);
    assert_eq!(kernels(&["stoch_d", "stoch_k_14_3_3"]), 1);
    assert_eq!(kernels(&["adx_14", "minus_di_14", "plus_di_14"]), 1);
    assert_eq!(kernels(&["ret_5", "logret_5", "roc_5"]), 1);
    assert_eq!(kernels(&["rsi_14", "rsi_15"]), 2);
    assert_eq!(kernels(&["rsi_14", "rsi_unit_14", "cmo_14"]), 1);
    assert_eq!(kernels(&["atr_14", "natr_14", "atr_rel_14"]), 1);
    assert_eq!(kernels(&["vwap_20", "vwap_dist_20"]), 1);
    assert_eq!(kernels(&["vol_ratio_20", "rvol_20"]), 1);
    assert_eq!(kernels(&["skew_48", "kurt_48", "linreg_r2_20", "linreg_slope_20", "parkinson_9", "gk_9"]), 3);
    assert_eq!(kernels(&["tod_sin", "week_cos", "q_gap_20", "q_synth_20"]), 2);
    assert_eq!(kernels(&DEFAULT), 25);
    assert_eq!(kernels(&VELA_CORE_1), 45);
}

#[test]
fn names_keep_their_order_and_may_repeat() {
    let plan = Plan::new(&["obv", "sma_2", "obv", "hl_range"], Timeframe::MINUTE).unwrap();
    assert_eq!(plan.names().iter().map(|n| &**n).collect::<Vec<_>>(), ["obv", "sma_2", "obv", "hl_range"]);
    assert_eq!([0, 1, 2, 3].map(|column| plan.warm_up_bars(column, Stability::Defined)), [1, 2, 1, 1]);
    let mut state = plan.state();
    state.update(&Bar { open: 2.0, high: 4.0, low: 2.0, close: 2.0, volume: 7.0, ..Bar::default() });
    let mut out = [0.0; 4];
    state.write(&mut out);
    assert!(out[1].is_nan());
    assert_eq!([out[0], out[2], out[3]], [7.0, 7.0, 1.0]);
}

#[test]
fn a_wrong_name_refuses_the_whole_plan() {
    let error = Plan::new(&["obv", "smq_20"], Timeframe::MINUTE).map(|_| ()).unwrap_err();
    assert!(matches!(&error, FeatureError::Unknown { closest: Some("sma_20"), .. }), "{error}");
    for empty in ["", "@1h"] {
        assert_eq!(Plan::new(&["rsi_14", empty], Timeframe::MINUTE).unwrap_err(), FeatureError::Empty);
    }
    assert_eq!(catalogue::set("default"), Some(&DEFAULT[..]));
    assert_eq!(catalogue::set("vela-core-1"), Some(&VELA_CORE_1[..]));
    assert_eq!(catalogue::set("other"), None);
    assert!(Plan::new(&[""; 0], Timeframe::MINUTE).unwrap().is_empty());
}

#[test]
fn what_is_too_large_for_a_number_is_undefined() {
    let plan = Plan::new(&many(), Timeframe::MINUTE).unwrap();
    let mut state = plan.state();
    let mut peeked = vec![0.0; plan.len()];
    for (i, mut bar) in Market::new(8, 1.0).take(300).enumerate() {
        // Valid bars, however absurd: ranges of 400 decades, closes next to nothing, volumes next to everything.
        (bar.high, bar.low) = (1e200, 1e-200);
        (bar.open, bar.close) = if i % 2 == 0 { (1e-200, 1e200) } else { (1e200, 1e-200) };
        bar.volume = 1e300;
        state.peek(&bar, &mut peeked);
        state.update(&bar);
        for (name, value) in plan.names().iter().zip(state.values()) {
            assert!(!value.is_infinite(), "bar {i}: {name} is {value}");
            let one = !value.is_nan() || value.to_bits() == f64::NAN.to_bits();
            assert!(one, "bar {i}: {name} is another NaN, {:x}", value.to_bits());
        }
        assert_eq!(bits(&peeked), bits(state.values()), "bar {i}");
    }
}
