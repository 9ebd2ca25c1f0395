//! What is left of a window's mean and deviation after many bars, and after a fall of the price.

use super::floors::{exact_deviation, exact_mean, running_mean};
use super::peers::ohlcv;
use super::{Bar, Contestant, each, market, vela};
use quantedge_ta as quantedge;
use std::num::NonZero;
use ta::Next as _;
use yata::prelude::Method as _;

pub fn print(bars: &[Bar]) {
    println!("\nrelative error after 5,000,000 bars of the same market\n");
    errors(&market(5_000_000));
    println!("\nrelative error, {} bars after a price of 1e9 has fallen to 1\n", bars.len() / 2);
    errors(&fall(bars));
}

/// The price falls from near 1e9 to around 1, halfway through.
fn fall(bars: &[Bar]) -> Vec<Bar> {
    let scaled = |bar: &Bar, by: f64| Bar {
        open: bar.open * by,
        high: bar.high * by,
        low: bar.low * by,
        close: bar.close * by,
        ..*bar
    };
    let half = bars.len() / 2;
    bars.iter().enumerate().map(|(i, bar)| scaled(bar, if i < half { 1e7 } else { 0.01 })).collect()
}

/// The relative error of what is said about the last 20 closes of `bars`, beside two passes over them.
fn errors(bars: &[Bar]) {
    let closes: Vec<f64> = bars[bars.len() - 20..].iter().map(|bar| bar.close).collect();
    let mean = closes.iter().sum::<f64>() / 20.0;
    let deviation = (closes.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20.0).sqrt();
    let nz = NonZero::new(20).unwrap();
    let first = bars[0].close;
    let means = [
        vela(&["sma_20"]),
        each("quantedge-ta", move || {
            let mut sma = quantedge::Sma::new(quantedge::SmaConfig::close(nz));
            move |bar: &Bar| sma.compute(&ohlcv(bar)).unwrap_or(f64::NAN)
        }),
        each("ta", || {
            let mut sma = ta::indicators::SimpleMovingAverage::new(20).unwrap();
            move |bar: &Bar| sma.next(bar.close)
        }),
        each("yata", move || {
            let mut sma = yata::methods::SMA::new(20, &first).unwrap();
            move |bar: &Bar| sma.next(&bar.close)
        }),
        running_mean::<20>(),
        exact_mean::<20>(),
    ];
    let bands = [
        vela(&["bb_upper_20_2"]),
        each("quantedge-ta", move || {
            let mut bands = quantedge::Bb::new(quantedge::BbConfig::close(nz));
            move |bar: &Bar| bands.compute(&ohlcv(bar)).map_or(f64::NAN, |bands| bands.upper)
        }),
        exact_deviation::<20>(),
    ];
    let row = |what: &str, exact: f64, contestants: &[Contestant<'_>]| {
        print!("`{what}`:");
        for (who, build) in contestants {
            print!(" {who} {:.0e};", ((build()(bars) - exact) / exact).abs());
        }
        println!();
    };
    row("sma_20", mean, &means);
    row("bb_upper_20_2", mean + 2.0 * deviation, &bands);
}
