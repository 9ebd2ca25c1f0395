//! The named sets of features.

/// The named set `default`: the reference columns, in order.
pub const DEFAULT: [&str; 44] = [
    "ret_1",
    "ret_3",
    "ret_5",
    "ret_10",
    "logret_1",
    "sma_5",
    "sma_10",
    "sma_20",
    "sma_50",
    "ema_12",
    "ema_26",
    "macd",
    "macd_signal",
    "macd_hist",
    "rsi_14",
    "atr_14",
    "natr_14",
    "bb_upper",
    "bb_mid",
    "bb_lower",
    "bb_pctb",
    "bb_width",
    "stoch_k",
    "stoch_d",
    "adx_14",
    "plus_di_14",
    "minus_di_14",
    "cci_20",
    "willr_14",
    "roc_10",
    "obv",
    "mfi_14",
    "vwap_20",
    "rv_20",
    "zscore_20",
    "vol_ratio_20",
    "hl_range",
    "body_ratio",
    "upper_wick",
    "lower_wick",
    "hour_sin",
    "hour_cos",
    "dow_sin",
    "dow_cos",
];

/// The named set `vela-core-1`: 60 columns, none of which depends on the level of the prices.
///
/// What it takes from the literature under a name that means something else here, it takes under another name:
///
/// | usual name | here | because |
/// | --- | --- | --- |
/// | ret (log) | `logret_N` | `ret_N` is the plain return |
/// | body, wick_up, wick_dn | `body_ratio`, `upper_wick`, `lower_wick` | the same formulas |
/// | macd_hist over the close | `macd_hist_rel` | `macd_hist` is in units of the price |
/// | rsi, -1 to 1 | `rsi_unit_N` | `rsi_N` is 0 to 100 |
/// | stoch, over 100 | `stoch_k_unit`, `stoch_d_unit` | `stoch_k` is 0 to 100 |
/// | cci, mfi, adx, over 100 | `cci_unit_N`, `mfi_unit_N`, `adx_unit_N` | without `_unit` they are not divided |
/// | willr, 0 at the high to 1 | `willr_unit_N` | `willr_N` is 0 to -100 |
/// | roc | `ret_10` | the same formula |
/// | natr (a share) | `atr_rel_N` | `natr_N` is in percent |
/// | rv (population) | `rv_pop_N`, `rv_ratio_FAST_SLOW` | `rv_N` is the sample's deviation |
/// | dow (of the close) | `week_sin`, `week_cos` | `dow_sin` is of the open time, and knows the weekday only |
/// | tod (of the close) | `tod_sin`, `tod_cos` | `hour_sin` is of the open time |
///
/// Two of them say the same: `rsi_unit_14` and `cmo_14` are one number wherever anything ever moved. Two depend on the
/// unit of the volume, because they take `ln(1 + v)`: `vol_z_20` and `corr_rv_20`.
pub const VELA_CORE_1: [&str; 60] = [
    "logret_1",
    "logret_3",
    "logret_6",
    "logret_12",
    "logret_24",
    "logret_48",
    "body_ratio",
    "upper_wick",
    "lower_wick",
    "clv",
    "range",
    "gap",
    "ema_dist_9",
    "ema_dist_21",
    "ema_dist_50",
    "ema_dist_200",
    "ema_x_9_21",
    "macd_hist_rel",
    "sma_dist_20",
    "rsi_unit_14",
    "rsi_unit_7",
    "stoch_k_unit_14_3_3",
    "stoch_d_unit_14_3_3",
    "willr_unit_14",
    "cci_unit_20",
    "mfi_unit_14",
    "ret_10",
    "cmo_14",
    "adx_unit_14",
    "di_diff_14",
    "aroonosc_25",
    "linreg_slope_20",
    "linreg_r2_20",
    "atr_rel_14",
    "bb_pctb_20_2",
    "bb_width_20_2",
    "rv_pop_12",
    "rv_pop_48",
    "rv_ratio_12_48",
    "parkinson_20",
    "gk_20",
    "donch_20",
    "donch_55",
    "dd_48",
    "rvol_20",
    "vol_z_20",
    "cmf_20",
    "obv_win_20",
    "vwap_dist_20",
    "corr_rv_20",
    "skew_48",
    "kurt_48",
    "ac1_24",
    "er_10",
    "tod_sin",
    "tod_cos",
    "week_sin",
    "week_cos",
    "q_gap_20",
    "q_synth_20",
];

/// The named sets.
pub const SETS: [(&str, &[&str]); 2] = [("default", &DEFAULT), ("vela-core-1", &VELA_CORE_1)];

/// The features of a named set.
pub fn set(name: &str) -> Option<&'static [&'static str]> {
    SETS.iter().find(|(known, _)| *known == name).map(|(_, names)| *names)
}
