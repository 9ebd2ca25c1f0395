//! How long features depend on where their series begins: what the rules say, and what real bars show.

use super::Plan;
use super::catalogue::{FAMILIES, FirstBars, Memory, SETS, VELA_CORE_1};
use super::name::{parse, warm_up};
use super::tests_support::{read_bars, reference};
use crate::domain::{Bar, Stability, Timeframe};

fn expected(first_defined: usize, stable_4: usize, stable_8: usize) -> FirstBars {
    FirstBars { first_defined, stable_4: Some(stable_4), stable_8: Some(stable_8) }
}

#[test]
fn the_rules_give_the_published_numbers() {
    // Lookback and stability to 4 and to 8 digits of every column that is not a plain window.
    let recursive = [
        ("ema_dist_9", 8, 58, 103),
        ("ema_dist_21", 20, 130, 229),
        ("ema_dist_50", 49, 304, 534),
        ("ema_dist_200", 199, 1204, 2109),
        ("ema_x_9_21", 20, 130, 229),
        ("macd_hist_rel", 33, 218, 385),
        ("rsi_unit_14", 14, 154, 280),
        ("rsi_unit_7", 7, 77, 140),
        ("cmo_14", 14, 154, 280),
        ("adx_unit_14", 27, 251, 377),
        ("di_diff_14", 14, 154, 280),
        ("atr_rel_14", 14, 154, 280),
    ];
    let windows = [
        ("logret_1", 1),
        ("logret_3", 3),
        ("logret_6", 6),
        ("logret_12", 12),
        ("logret_24", 24),
        ("logret_48", 48),
        ("body_ratio", 0),
        ("upper_wick", 0),
        ("lower_wick", 0),
        ("clv", 0),
        ("range", 0),
        ("gap", 1),
        ("sma_dist_20", 19),
        ("stoch_k_unit_14_3_3", 17),
        ("stoch_d_unit_14_3_3", 17),
        ("willr_unit_14", 13),
        ("cci_unit_20", 19),
        ("mfi_unit_14", 14),
        ("ret_10", 10),
        ("aroonosc_25", 25),
        ("linreg_slope_20", 19),
        ("linreg_r2_20", 19),
        ("bb_pctb_20_2", 19),
        ("bb_width_20_2", 19),
        ("rv_pop_12", 12),
        ("rv_pop_48", 48),
        ("rv_ratio_12_48", 48),
        ("parkinson_20", 19),
        ("gk_20", 19),
        ("donch_20", 19),
        ("donch_55", 54),
        ("dd_48", 47),
        ("rvol_20", 19),
        ("vol_z_20", 19),
        ("cmf_20", 19),
        ("obv_win_20", 20),
        ("vwap_dist_20", 19),
        ("corr_rv_20", 20),
        ("skew_48", 48),
        ("kurt_48", 48),
        ("ac1_24", 25),
        ("er_10", 10),
        ("tod_sin", 0),
        ("tod_cos", 0),
        ("week_sin", 0),
        ("week_cos", 0),
    ];
    let mut table: Vec<(&str, FirstBars)> = Vec::new();
    table.extend(recursive.map(|(name, first, four, eight)| (name, expected(first, four, eight))));
    table.extend(windows.map(|(name, first)| (name, expected(first, first, first))));
    // Defined from the first bar, but what lay before it inside the window is not known to them.
    table.extend(["q_gap_20", "q_synth_20"].map(|name| (name, expected(0, 19, 19))));
    assert_eq!(table.len(), VELA_CORE_1.len());
    let plan = Plan::new(&VELA_CORE_1, Timeframe::MINUTE).unwrap();
    for (name, expected) in table {
        assert_eq!(warm_up(name), Ok(expected), "{name}");
        let column = VELA_CORE_1.iter().position(|known| *known == name).unwrap();
        let bars = |stability| Some(plan.warm_up_bars(column, stability) as usize - 1);
        assert_eq!(bars(Stability::Digits4), expected.stable_4, "{name}");
        assert_eq!(bars(Stability::Digits8), expected.stable_8, "{name}");
    }
    assert_eq!(plan.warm_up_bars_max(Stability::Defined), 200);
    assert_eq!(plan.warm_up_bars_max(Stability::Digits4), 1205);
    assert_eq!(plan.warm_up_bars_max(Stability::Digits8), 2110);
    assert_eq!(warm_up("obv"), Ok(FirstBars { first_defined: 0, stable_4: None, stable_8: None }));
}

#[test]
fn rules_are_written_as_they_are_counted() {
    let rule = |name: &str| FAMILIES.iter().find(|family| family.name == name).unwrap().settling();
    assert_eq!(rule("sma"), "0");
    assert_eq!(rule("ema"), "ceil(K * (N + 1) / 2)");
    assert_eq!(rule("ema_x"), "ceil(K * (SLOW + 1) / 2)");
    assert_eq!(rule("macd_signal"), "ceil(K * (SLOW + 1) / 2) + ceil(K * (SIGNAL + 1) / 2)");
    assert_eq!(rule("rsi"), "K * N");
    assert_eq!(rule("adx"), "(K + 6) * N");
    assert_eq!(rule("q_gap"), "N - 1");
    assert_eq!(rule("obv"), "never");
}

/// What a column's differences are measured against: its value, or its mean magnitude over the series where that is more.
/// For prices that is stricter than the price where they are differences of prices. What lies between -1 and 1 around 0 is
/// measured against 1.
struct Scales(Vec<f64>);

impl Scales {
    fn new(names: &[&str], rows: &[Vec<f64>]) -> Self {
        let of = |(column, name): (usize, &&str)| {
            let around_0 = ["rsi_unit", "cmo", "di_diff"].iter().any(|family| name.starts_with(family));
            let known = rows.iter().map(|row| row[column].abs()).filter(|x| x.is_finite());
            let (count, sum) = known.fold((0.0, 0.0), |(count, sum), x| (count + 1.0, sum + x));
            if around_0 { 1.0 } else { sum / f64::max(count, 1.0) }
        };
        Self(names.iter().enumerate().map(of).collect())
    }

    fn relative(&self, column: usize, ours: f64, settled: f64) -> f64 {
        let difference = (ours - settled).abs();
        if difference == 0.0 || (ours.is_nan() && settled.is_nan()) {
            0.0
        } else if difference.is_nan() {
            f64::INFINITY
        } else {
            difference / settled.abs().max(self.0[column])
        }
    }
}

#[test]
fn real_bars_forget_their_beginning_within_the_rule() {
    let names: Vec<&str> =
        SETS.iter().flat_map(|(_, set)| *set).copied().filter(|name| *name != "obv").collect();
    let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
    // For every column the worst difference from its first value on, and where 4 and 8 digits should be settled.
    let mut worst = vec![[0.0_f64; 3]; names.len()];
    for series in
        ["BTCPERP_1m", "ETHBTC_5m", "EURUSD_1h", "GBPUSD_1m", "XAUUSD_1h", "XLMBTC_5m", "DASHBTC_1m"]
    {
        let Some(path) = reference(&format!("data/{series}.csv")) else { return };
        let bars = read_bars(&path);
        let bars = &bars[..bars.len().min(7000)];
        let rows_from = |from: usize| {
            let mut state = plan.state();
            let row = |bar: &Bar| {
                state.update(bar);
                state.values().to_vec()
            };
            bars[from..].iter().map(row).collect::<Vec<_>>()
        };
        let settled = rows_from(0);
        let scales = Scales::new(&names, &settled);
        for from in [2200, 2345, 2600, 2811, 3000, 3100, 3333, 3500] {
            let rows = rows_from(from);
            for (column, name) in names.iter().enumerate() {
                let FirstBars { first_defined, stable_4, stable_8 } = warm_up(name).unwrap();
                let bars = [first_defined, stable_4.unwrap(), stable_8.unwrap()];
                for (worst, skipped) in worst[column].iter_mut().zip(bars) {
                    // Not only at the first such bar, but at every one after it.
                    for (ours, settled) in rows.iter().zip(&settled[from..]).skip(skipped) {
                        *worst = worst.max(scales.relative(column, ours[column], settled[column]));
                    }
                }
            }
        }
    }
    for (name, [first, four, eight]) in names.iter().zip(worst) {
        match parse(name).unwrap().0.memory {
            Memory::Window => assert!(first < 1e-9, "{name}: {first:e}, though it is a window"),
            Memory::Filling => assert!(four < 1e-9, "{name}: {four:e} when its window is full"),
            Memory::Fading(_) => {
                println!(
                    "{name}: {first:.1e}, {four:.1e} when 4 digits should be settled, {eight:.1e} when 8"
                );
                assert!(first > 1e-3, "{name}: {first:e}, it does not depend on the beginning at all");
                assert!(four < 1e-4 && eight < 1e-8, "{name}: {four:e}, {eight:e}");
            }
            Memory::Endless => unreachable!("{name}"),
        }
    }
}
