//! Eleven indicators beside other libraries that compute the same, and beside the least that it takes.

use super::floors::{exact_deviation, exact_mean, exact_mean_of, running_mean};
use super::{Bar, Contestant, Found, contest, each, vela, vela_batch};
use quantedge_ta as quantedge;
use std::hint::black_box;
use std::num::NonZero;
use ta::Next as _;
use vela::feature::indicator::{
    Adx, Atr, Bands, Bollinger, Cci, Directions, Ema, Macd, MacdValues, Obv, Rsi, Sma, Stochastic,
    StochasticValues, WilliamsR,
};
use yata::prelude::Method as _;

/// Who is compared, by the names of the contestants.
const COLUMNS: [&str; 9] = [
    "vela alone",
    "vela plan",
    "vela batch",
    "quantedge-ta",
    "ta",
    "yata",
    "running sum",
    "exact, the least",
    "exact, any length",
];

/// One of vela's indicators by itself, called as those of the other libraries are.
macro_rules! alone {
    ($new:expr, $read:expr) => {
        each("vela alone", || {
            let mut indicator = $new.unwrap();
            move |bar: &Bar| $read(indicator.update(bar))
        })
    };
}

/// Eleven of vela's indicators without a plan, composed as those of quantedge-ta are.
fn alone_together() -> Contestant<'static> {
    each("vela alone", || {
        macro_rules! all {
            ($($name:ident: $new:expr;)+) => {{
                $(let mut $name = $new.unwrap();)+
                move |bar: &Bar| {
                    $(black_box($name.update(bar));)+
                    bar.close
                }
            }};
        }
        all! {
            sma: Sma::new(20);
            ema: Ema::new(26);
            rsi: Rsi::new(14);
            atr: Atr::new(14);
            bands: Bollinger::new(20, 2.0);
            macd: Macd::new(12, 26, 9);
            stochastic: Stochastic::new(14, 3, 3);
            adx: Adx::new(14);
            willr: WilliamsR::new(14);
            cci: Cci::new(20);
            obv: Obv::new();
        }
    })
}

/// A mean of `n` closes, alone: one piece of machine code for every length, as in a program that reads the length.
fn mean(n: usize) -> Contestant<'static> {
    each("vela alone", move || {
        let mut sma = Sma::new(n).unwrap();
        move |bar: &Bar| sma.update(bar)
    })
}

/// A bar as quantedge-ta takes it.
pub fn ohlcv(bar: &Bar) -> quantedge::Ohlcv {
    quantedge::Ohlcv {
        open: bar.open,
        high: bar.high,
        low: bar.low,
        close: bar.close,
        open_time: bar.ts.as_millis() as u64,
        volume: bar.volume,
    }
}

/// Prints what the same values take, of eleven indicators together and of each.
pub fn print(bars: &[Bar]) {
    let nz = |n: usize| NonZero::new(n).unwrap();
    macro_rules! quantedge {
        ($type:ident, $config:expr, $read:expr) => {
            each("quantedge-ta", move || {
                let mut indicator = quantedge::$type::new($config);
                move |bar: &Bar| {
                    let bar = ohlcv(bar);
                    indicator.compute(&bar).map_or(f64::NAN, $read)
                }
            })
        };
    }
    macro_rules! ta {
        ($new:expr) => {
            each("ta", || {
                let mut indicator = $new.unwrap();
                move |bar: &Bar| indicator.next(bar.close)
            })
        };
    }
    let first = bars[0].close;
    macro_rules! yata {
        ($method:ident, $n:literal) => {
            each("yata", move || {
                let mut method = yata::methods::$method::new($n, &first).unwrap();
                move |bar: &Bar| method.next(&bar.close)
            })
        };
    }
    use quantedge::{
        AdxConfig, AtrConfig, BbConfig, CciConfig, EmaConfig, MacdConfig, ObvConfig, RsiConfig, SmaConfig,
        StochConfig, WillRConfig,
    };
    let stoch = move || StochConfig::builder().length(nz(14)).k_smooth(nz(3)).d_smooth(nz(3)).build();
    // All of them over the same bars, as a model would ask: a plan's own cost is paid once.
    let together = each("quantedge-ta", move || {
        macro_rules! all {
            ($($name:ident: $type:ident, $config:expr;)+) => {{
                $(let mut $name = quantedge::$type::new($config);)+
                move |bar: &Bar| {
                    let bar = ohlcv(bar);
                    let mut last = f64::NAN;
                    $(if black_box($name.compute(&bar)).is_some() { last = bar.close; })+
                    last
                }
            }};
        }
        all! {
            sma: Sma, SmaConfig::close(nz(20));
            ema: Ema, EmaConfig::close(nz(26));
            rsi: Rsi, RsiConfig::close(nz(14));
            atr: Atr, AtrConfig::builder().length(nz(14)).build();
            bb: Bb, BbConfig::close(nz(20));
            macd: Macd, MacdConfig::close(nz(12), nz(26), nz(9));
            stochastic: Stoch, stoch();
            adx: Adx, AdxConfig::builder().length(nz(14)).build();
            willr: WillR, WillRConfig::builder().length(nz(14)).build();
            cci: Cci, CciConfig::builder().length(nz(20)).build();
            obv: Obv, ObvConfig::default();
        }
    });
    let eleven = [
        "sma_20",
        "ema_26",
        "rsi_14",
        "atr_14",
        "bb_upper",
        "bb_mid",
        "bb_lower",
        "macd",
        "macd_signal",
        "macd_hist",
        "stoch_k",
        "stoch_d",
        "adx_14",
        "plus_di_14",
        "minus_di_14",
        "willr_14",
        "cci_20",
        "obv",
    ];
    let all = [alone_together(), vela(&eleven), vela_batch(&eleven), together];
    let found = contest(bars, &all);
    let theirs = found[3].fastest;
    println!(
        "\neleven indicators together, 18 columns\n\n| | ns a bar | over quantedge-ta |\n| --- | --- | --- |"
    );
    for ((who, _), found) in all.iter().zip(&found) {
        println!("| {who} | {:.1} | {:.2} |", found.fastest, found.fastest / theirs);
    }
    // yata's windows are of 254 items at most.
    macro_rules! means {
        ($n:literal $(, $more:expr)*) => {
            (
                concat!("sma_", $n),
                mean($n),
                vec![
                    quantedge!(Sma, SmaConfig::close(nz($n)), |x| x),
                    ta!(ta::indicators::SimpleMovingAverage::new($n)),
                    $($more,)*
                    exact_mean::<$n>(),
                    exact_mean_of(black_box($n)),
                ],
            )
        };
    }
    let table: Vec<(&str, Contestant<'_>, Vec<Contestant<'_>>)> = vec![
        means!(20, yata!(SMA, 20), running_mean::<20>()),
        means!(100, yata!(SMA, 100), running_mean::<100>()),
        means!(1000),
        (
            "ema_26",
            alone!(Ema::new(26), |x| x),
            vec![
                quantedge!(Ema, EmaConfig::close(nz(26)), |x| x),
                ta!(ta::indicators::ExponentialMovingAverage::new(26)),
                yata!(EMA, 26),
            ],
        ),
        ("rsi_14", alone!(Rsi::new(14), |x| x), vec![quantedge!(Rsi, RsiConfig::close(nz(14)), |x| x)]),
        (
            "atr_14",
            alone!(Atr::new(14), |x| x),
            vec![quantedge!(Atr, AtrConfig::builder().length(nz(14)).build(), |x| x)],
        ),
        (
            "bb_upper_20_2",
            alone!(Bollinger::new(20, 2.0), |x: Bands| x.upper),
            vec![quantedge!(Bb, BbConfig::close(nz(20)), |x| x.upper), exact_deviation::<20>()],
        ),
        (
            "macd_12_26_9",
            alone!(Macd::new(12, 26, 9), |x: MacdValues| x.line),
            vec![quantedge!(Macd, MacdConfig::close(nz(12), nz(26), nz(9)), |x| x.macd)],
        ),
        (
            "stoch_k_14_3_3",
            alone!(Stochastic::new(14, 3, 3), |x: StochasticValues| x.k),
            vec![quantedge!(Stoch, stoch(), |x| x.k)],
        ),
        (
            "adx_14",
            alone!(Adx::new(14), |x: Directions| x.adx),
            vec![quantedge!(Adx, AdxConfig::builder().length(nz(14)).build(), |x| x.adx)],
        ),
        (
            "willr_14",
            alone!(WilliamsR::new(14), |x| x),
            vec![quantedge!(WillR, WillRConfig::builder().length(nz(14)).build(), |x| x)],
        ),
        (
            "cci_20",
            alone!(Cci::new(20), |x| x),
            vec![quantedge!(Cci, CciConfig::builder().length(nz(20)).build(), |x| x)],
        ),
        ("obv", alone!(Obv::new(), |x| x), vec![quantedge!(Obv, ObvConfig::default(), |x| x)]),
    ];
    println!(
        "\nns a bar, the fastest round / the median one; `!` where the last value is not vela's within 1e-9 of it\n"
    );
    println!("| | {} |", COLUMNS.join(" | "));
    println!("| ---{} |", " | ---".repeat(COLUMNS.len()));
    for (name, alone, others) in table {
        let mut contestants = vec![alone, vela(&[name]), vela_batch(&[name])];
        contestants.extend(others);
        let found = contest(bars, &contestants);
        let (alone, plan) = (found[0].last, found[1].last);
        assert!(alone.to_bits() == plan.to_bits(), "{name}: alone and in a plan, the same bits");
        print!("| `{name}`");
        for column in COLUMNS {
            match contestants.iter().position(|(who, _)| who == column).map(|at| found[at]) {
                Some(found) => {
                    let Found { fastest, median, last } = found;
                    let same = (last - alone).abs() <= 1e-9 * alone.abs();
                    let digits = if fastest < 3.0 { 2 } else { 1 };
                    print!(" | {fastest:.digits$} / {median:.digits$}{}", if same { "" } else { " !" });
                }
                None => print!(" |"),
            }
        }
        println!(" |");
    }
}
