//! What is written down of the market, and what it must look like.

use super::random::exp;
use super::*;
use std::fmt::Write as _;

fn play(settings: MarketSettings, minutes: usize) -> Vec<(Arc<SeriesKey>, Bar)> {
    let mut market = Market::new(settings).unwrap();
    let mut bars = Vec::new();
    for _ in 0..minutes {
        market.next_minute(&mut bars);
    }
    bars
}

fn bits(bar: &Bar) -> [u64; 6] {
    let ts = bar.ts.as_millis() as u64;
    [ts].into_iter()
        .chain([bar.open, bar.high, bar.low, bar.close, bar.volume].map(f64::to_bits))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
}

/// FNV-1a over the bits of all bars.
fn fingerprint(bars: &[(Arc<SeriesKey>, Bar)]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in bars.iter().flat_map(|(_, bar)| bits(bar)).flat_map(u64::to_le_bytes) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

#[test]
fn the_same_seed_gives_the_same_bars_bit_for_bit() {
    let play = |seed| fingerprint(&play(MarketSettings { seed, ..Default::default() }, 2000));
    assert_eq!(play(1), play(1));
    assert_ne!(play(1), play(2));
    // The bundled models were trained on these bars: who changes them retrains the models.
    assert_eq!(play(TRAINING_SEED), 11_881_343_636_841_297_794);
}

#[test]
fn the_first_bars_are_the_ones_written_down() {
    let mut text = String::new();
    for (series, bar) in play(MarketSettings::default(), 1) {
        let Bar { ts, open, high, low, close, volume } = bar;
        writeln!(text, "{series} {ts} {open} {high} {low} {close} {volume}").unwrap();
    }
    let expected = "\
        BTCUSD 1m 2026-01-05T00:00:00Z 59980.6 60013.9 59961.2 60013.9 40.33682
        ETHUSD 1m 2026-01-05T00:00:00Z 3000.04 3005.15 2999.66 2999.66 779.5384
        SOLUSD 1m 2026-01-05T00:00:00Z 150.02 150.02 149.56 149.74 6183.45
        EURUSD 1m 2026-01-05T00:00:00Z 1.10012 1.10024 1.10003 1.10024 932960
        XAUUSD 1m 2026-01-05T00:00:00Z 2400 2400.7 2399.86 2400.7 206.499
        DOGEUSD 1m 2026-01-05T00:00:00Z 0.100051 0.100142 0.099977 0.100071 4936428";
    assert!(text.lines().eq(expected.lines().map(str::trim)), "{text}");
}

#[test]
fn the_generator_is_the_published_one() {
    // SplitMix64 from 1234567 and xoshiro256++ from 1, 2, 3, 4: the known answers that other
    // implementations test against.
    assert_eq!(Random::new(1_234_567).state[..2], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    let mut random = Random { state: [1, 2, 3, 4] };
    let values: [u64; 4] = std::array::from_fn(|_| random.bits());
    assert_eq!(values, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
}

#[test]
fn noise_is_standard_and_exp_is_e_to_the_x() {
    let mut random = Random::new(5);
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..200_000 {
        let z = random.gaussian();
        assert!(z.abs() <= 6.0);
        sum += z;
        squares += z * z;
    }
    assert!((sum / 2e5_f64).abs() < 0.01);
    assert!((squares / 2e5 - 1.0_f64).abs() < 0.01);
    for i in -200..=200 {
        let x = f64::from(i) / 10.0;
        assert!((exp(x) / x.exp() - 1.0).abs() < 1e-12, "{x}: {}", exp(x));
    }
}

#[test]
fn every_bar_is_valid_and_follows_the_one_before() {
    let instruments: Vec<_> = Instrument::majors().into_iter().chain(Instrument::synthetic(40)).collect();
    let count = instruments.len();
    let bars = play(MarketSettings { instruments, ..Default::default() }, 3000);
    assert_eq!(bars.len(), 3000 * count);
    for (index, (series, bar)) in bars.iter().enumerate() {
        let minute = (index / count) as i64;
        assert_eq!(bar.ts, MarketSettings::default().start.plus_millis(minute * MINUTE_MS));
        assert!(bar.low > 0.0 && bar.low <= bar.open.min(bar.close), "{series} {bar:?}");
        assert!(bar.high >= bar.open.max(bar.close), "{series} {bar:?}");
        assert!(bar.high < 2.0 * bar.low, "{series} {bar:?}");
        assert!(bar.volume >= 0.0 && bar.volume.is_finite(), "{series} {bar:?}");
    }
    let no_volume = bars.iter().filter(|(_, bar)| bar.volume == 0.0).count();
    assert_eq!(no_volume, 0, "every symbol trades every minute");
}

#[test]
fn scales_stay_sane_over_ten_weeks() {
    let majors = Instrument::majors();
    let mut market = Market::new(MarketSettings::default()).unwrap();
    let mut bars = Vec::new();
    for _ in 0..100_000 {
        bars.clear();
        market.next_minute(&mut bars);
        for (instrument, (series, bar)) in majors.iter().zip(&bars) {
            let ratio = bar.close / instrument.price;
            assert!((0.3..3.0).contains(&ratio), "{series} {bar:?}");
        }
    }
}

#[test]
fn volumes_follow_a_power_law_over_symbols_and_a_u_over_the_day() {
    const DAYS: usize = 7;
    let instruments = Instrument::synthetic(50);
    let bars = play(MarketSettings { instruments, ..Default::default() }, DAYS * 1440);
    let mut by_symbol = [0.0; 50];
    let mut by_hour = [0.0; 24];
    for (index, (_, bar)) in bars.iter().enumerate() {
        by_symbol[index % 50] += bar.quote_volume();
        by_hour[index / 50 / 60 % 24] += bar.quote_volume();
    }
    let points: Vec<(f64, f64)> =
        by_symbol.iter().enumerate().map(|(k, v)| (((k + 1) as f64).ln(), v.ln())).collect();
    let n = points.len() as f64;
    let (mean_x, mean_y) =
        (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let covariance = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>();
    let slope = covariance / points.iter().map(|p| (p.0 - mean_x).powi(2)).sum::<f64>();
    assert!((-1.05..-0.95).contains(&slope), "{slope}");
    assert!(by_symbol[..8].is_sorted_by(|a, b| a > b), "{by_symbol:?}");
    assert!(by_hour[0] > 2.0 * by_hour[11] && by_hour[23] > 2.0 * by_hour[12], "{by_hour:?}");
}

#[test]
fn volatility_clusters_and_tails_are_fat() {
    let bars = play(MarketSettings::default(), 20_000);
    let closes: Vec<f64> = bars.iter().step_by(6).map(|(_, bar)| bar.close).collect();
    let returns: Vec<f64> = closes.windows(2).map(|w| w[1] / w[0] - 1.0).collect();
    let squares: Vec<f64> = returns.iter().map(|r| r * r).collect();
    let n = squares.len() as f64;
    let mean = squares.iter().sum::<f64>() / n;
    let variance = squares.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / n;
    let lag = 30;
    let together = squares.windows(lag + 1).map(|w| (w[0] - mean) * (w[lag] - mean)).sum::<f64>() / n;
    assert!(together / variance > 0.05, "autocorrelation of squares {}", together / variance);
    assert!(variance / (mean * mean) + 1.0 > 4.0, "kurtosis {}", variance / (mean * mean) + 1.0);
    let expected = Instrument::majors()[0].volatility;
    assert!((0.7..1.6).contains(&(mean.sqrt() / expected)), "{} {expected}", mean.sqrt());
}

#[test]
fn a_symbol_does_not_depend_on_its_neighbours() {
    let alone = MarketSettings { instruments: Instrument::majors()[..1].to_vec(), ..Default::default() };
    let among = play(MarketSettings::default(), 500);
    let alone = play(alone, 500);
    assert!(alone.iter().eq(among.iter().step_by(6)));
    assert_eq!(Instrument::synthetic(10), Instrument::synthetic(100)[..10]);
}

#[test]
fn longer_bars_are_the_minutes_put_together() {
    // From the middle of a bar: the market starts where the bar does.
    let start = MarketSettings::default().start.plus_millis(7 * MINUTE_MS);
    let five = "5m".parse().unwrap();
    let bars = play(MarketSettings { timeframe: five, start, ..Default::default() }, 100);
    let start = five.open_of(start);
    let minutes = play(MarketSettings { start, ..Default::default() }, 100);
    assert_eq!(bars.len(), 20 * 6);
    for (index, (series, bar)) in bars.iter().enumerate() {
        assert_eq!(series.timeframe, five);
        let parts: Vec<Bar> = (0..5).map(|k| minutes[(index / 6 * 5 + k) * 6 + index % 6].1).collect();
        assert_eq!((bar.ts, bar.open, bar.close), (parts[0].ts, parts[0].open, parts[4].close));
        assert_eq!(bar.high, parts.iter().map(|p| p.high).fold(0.0, f64::max));
        assert_eq!(bar.low, parts.iter().map(|p| p.low).fold(f64::INFINITY, f64::min));
        let volume: f64 = parts.iter().map(|p| p.volume).sum();
        assert!((bar.volume / volume - 1.0).abs() < 1e-9);
    }
}

#[test]
fn what_makes_no_market_is_refused() {
    let btc = || Instrument::majors().remove(0);
    let refusal = |instruments| {
        Market::new(MarketSettings { instruments, ..Default::default() }).unwrap_err().to_string()
    };
    assert_eq!(refusal(vec![]), "the market has no instruments: list at least one");
    assert_eq!(refusal(vec![btc(), btc()]), "`BTCUSD` is listed twice");
    assert!(refusal(vec![Instrument { symbol: "a b".into(), ..btc() }]).contains("is not a symbol"));
    assert_eq!(
        refusal(vec![Instrument { price: f64::NAN, ..btc() }]),
        "BTCUSD: price is NaN, allowed is 1e-9 to 1e9"
    );
    for broken in [
        Instrument { volatility: 0.5, ..btc() },
        Instrument { market_beta: -1.5, ..btc() },
        Instrument { price_decimals: 13, ..btc() },
        Instrument { volume_decimals: 99, ..btc() },
        Instrument { price: 0.1, ..btc() },
    ] {
        assert!(refusal(vec![broken]).contains("allowed is"));
    }
    let timeframe = "90s".parse().unwrap();
    let error = Market::new(MarketSettings { timeframe, ..Default::default() }).unwrap_err();
    assert_eq!(error, MarketError::Timeframe(timeframe));
}
