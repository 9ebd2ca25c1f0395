//! Coarser timeframes from a series' own bars, and gaps: against plain loops over whole histories.

use super::tests_support::{Market, bits, read_bars, reference};
use super::{FeatureError, Plan};
use crate::domain::{Bar, GapPolicy, Grid, Stability, Timeframe, Timestamp};

fn timeframe(text: &str) -> Timeframe {
    text.parse().unwrap()
}

/// Coarser bars by a plain pass: grouped by where they open. The last one may not have closed.
fn grouped(bars: &[Bar], coarse: Timeframe) -> Vec<Bar> {
    let mut out: Vec<Bar> = Vec::new();
    for bar in bars {
        let open = coarse.open_of(bar.ts);
        match out.last_mut().filter(|last| last.ts == open) {
            Some(last) => {
                last.high = last.high.max(bar.high);
                last.low = last.low.min(bar.low);
                last.close = bar.close;
                last.volume += bar.volume;
            }
            None => out.push(Bar { ts: open, ..*bar }),
        }
    }
    out
}

/// What `names` say over the coarser bars that have closed by the close of the last of `bars`.
fn naive(bars: &[Bar], own: Timeframe, coarse: Timeframe, names: &[&str]) -> Vec<f64> {
    let mut state = Plan::new(names, coarse).unwrap().state();
    let closes = |bar: &Bar, timeframe: Timeframe| bar.ts.plus_millis(timeframe.as_millis());
    let now = closes(&bars[bars.len() - 1], own);
    let cut_short = coarse.open_of(bars[0].ts) != bars[0].ts;
    for bar in
        grouped(bars, coarse).iter().skip(usize::from(cut_short)).filter(|bar| closes(bar, coarse) <= now)
    {
        state.update(bar);
    }
    state.values().to_vec()
}

/// Minutes with holes: one in five is missing, now and then an hour.
fn with_holes(seed: u64, count: usize) -> Vec<Bar> {
    let mut hour = 0;
    let keep = |i: usize| {
        hour = if i.is_multiple_of(977) { 61 } else { hour - i32::from(hour > 0) };
        hour == 0 && !(i * 7919).is_multiple_of(5)
    };
    let mut keep = keep;
    Market::new(seed, 20.0).enumerate().filter(|(i, _)| keep(*i)).map(|(_, bar)| bar).take(count).collect()
}

#[test]
fn multi_timeframe_values_are_those_of_closed_coarser_bars_at_every_bar() {
    const COARSE: [&str; 4] = ["ret_2", "rsi_3", "atr_4", "vwap_2"];
    for (seed, coarse) in [(1, "5m"), (2, "15m"), (3, "1h"), (4, "7m")] {
        let bars = with_holes(seed, 700);
        let names: Vec<String> = COARSE.iter().map(|name| format!("{name}@{coarse}")).collect();
        let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
        let mut state = plan.state();
        for end in 1..=bars.len() {
            state.update(&bars[end - 1]);
            let expected = naive(&bars[..end], Timeframe::MINUTE, timeframe(coarse), &COARSE);
            assert_eq!(bits(state.values()), bits(&expected), "{coarse} after {end} bars");
        }
    }
}

#[test]
fn no_value_looks_ahead_of_its_bar() {
    // Whatever comes later, and wherever the future is cut off, what was said stays said.
    let names = ["rsi_3@5m", "close_free", "sma_3", "hl_range@1h", "atr_2@15m"]
        .map(|n| n.replace("close_free", "roc_2"));
    let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
    let bars = with_holes(9, 400);
    let mut whole = plan.state();
    let rows: Vec<Vec<u64>> = bars
        .iter()
        .map(|bar| {
            whole.update(bar);
            bits(whole.values())
        })
        .collect();
    for end in 0..bars.len() {
        let mut cut = plan.state();
        bars[..=end].iter().for_each(|bar| cut.update(bar));
        assert_eq!(bits(cut.values()), rows[end], "cut after bar {end}");
        // Another future changes nothing either, at the very next bar.
        let mut other = Bar { close: bars[end].low, low: bars[end].low, ..bars[end] };
        other.ts = bars[end].ts.plus_millis(60_000);
        let before = bits(cut.values());
        cut.peek(&other, &mut vec![0.0; plan.len()]);
        assert_eq!(bits(cut.values()), before);
    }
}

#[test]
fn tied_closes_show_the_coarser_bar_with_the_finer_one() {
    let plan = Plan::new(&["ret_1@5m", "ret_5"], Timeframe::MINUTE).unwrap();
    let mut state = plan.state();
    for (i, bar) in Market::new(3, 10.0).take(40).enumerate() {
        state.update(&bar);
        let [coarse, fine] = *state.values() else { unreachable!() };
        // The fifth minute's close is the five minutes' close.
        if i >= 14 && (bar.ts.as_secs() / 60 + 1) % 5 == 0 {
            assert_eq!(coarse.to_bits(), fine.to_bits(), "bar {i}");
        }
    }
}

#[test]
fn a_provisional_bar_peeks_into_coarser_timeframes_and_over_gaps() {
    let names = ["rsi_3@5m", "sma_3", "atr_2@1h", "obv@15m", "rsi_14"];
    for policy in [GapPolicy::Skip, GapPolicy::FillFlat] {
        let grid = Grid { policy, gap_bars_max: 30, ..Timeframe::MINUTE.into() };
        let mut state = Plan::new(&names, grid).unwrap().state();
        let mut out = [0.0; 5];
        for bar in with_holes(12, 1500) {
            state.peek(&bar, &mut out);
            state.update(&bar);
            assert_eq!(bits(&out), bits(state.values()), "{policy:?} {}", bar.ts);
        }
    }
}

#[test]
fn published_coarser_bars_are_the_aggregate_of_the_finer_ones() {
    for symbol in ["DASHBTC", "ETCBTC", "ETHBTC", "XLMBTC"] {
        let (Some(fine), Some(coarse)) =
            (reference(&format!("data/{symbol}_1m.csv")), reference(&format!("data/{symbol}_5m.csv")))
        else {
            return;
        };
        let names = ["sma_1", "obv", "hl_range", "atr_1"];
        let coarser = names.map(|name| format!("{name}@5m"));
        let mut derived = Plan::new(&coarser, Timeframe::MINUTE).unwrap().state();
        let mut published = Plan::new(&names, timeframe("5m")).unwrap().state();
        let fine = read_bars(&fine);
        let mut compared = 0;
        let mut next = fine.iter().peekable();
        let whole = fine[0].ts;
        for bar in read_bars(&coarse).iter().filter(|bar| bar.ts >= whole) {
            let closes = bar.ts.plus_millis(300_000);
            while let Some(bar) = next.next_if(|bar| bar.ts < closes) {
                derived.update(bar);
            }
            // A bar without its last minute is seen to have closed at the next minute that there is.
            let Some(after) = next.peek() else { break };
            let mut fork = derived.clone();
            if fine.binary_search_by_key(&closes.plus_millis(-60_000), |bar| bar.ts).is_err() {
                fork.update(after);
            }
            published.update(bar);
            if after.ts.as_secs() / 60 % 5 == 4 && after.ts >= closes {
                // It closes the next one as well, which is not what is compared here.
                continue;
            }
            for (name, (a, b)) in names.iter().zip(fork.values().iter().zip(published.values())) {
                // Volumes are added in another order than the exchange's, prices are rounded in the files.
                let same = (a - b).abs() <= 1e-9 * b.abs().max(1.0);
                assert!(same || (a.is_nan() && b.is_nan()), "{symbol} {name} {}: {a} {b}", bar.ts);
            }
            compared += 1;
        }
        assert!(compared > 2000, "{symbol}: {compared}");
    }
}

#[test]
fn a_timeframe_behind_the_at_must_be_coarser() {
    let plan =
        |name: &str, own: &str| Plan::new(&[name], timeframe(own)).map(|_| ()).map_err(|e| e.to_string());
    assert_eq!(plan("rsi_14@1h", "1m"), Ok(()));
    assert_eq!(plan("rsi_14@1d", "1h"), Ok(()));
    let text = "behind @ stands the timeframe of coarser bars, a multiple of the series' own";
    for (name, own) in [
        ("rsi_14@1m", "1m"),
        ("rsi_14@1m", "5m"),
        ("rsi_14@60m", "1m"),
        ("rsi_14@7m", "5m"),
        ("rsi_14@", "1m"),
        ("rsi_14@1h@1d", "1m"),
    ] {
        let error = plan(name, own).unwrap_err();
        assert!(error.starts_with(&format!("`{name}`: {text} {own}")), "{error}");
    }
    assert!(matches!(Plan::new(&["rsi@1h"], Timeframe::MINUTE), Err(FeatureError::Parameters { .. })));
    let plan = Plan::new(&["rsi_14@1h", "rsi_14"], Timeframe::MINUTE).unwrap();
    // The first hour may be cut short.
    assert_eq!(plan.warm_up_bars(0, Stability::Defined), 15 * 60 + 59);
    assert_eq!((plan.warm_up_bars(1, Stability::Defined), plan.kernels()), (15, 2));
}

fn minute(n: i64, close: f64) -> Bar {
    Bar { ts: Timestamp::from_secs(n * 60), open: close, high: close, low: close, close, volume: 2.0 }
}

#[test]
fn a_gap_is_skipped_filled_flat_or_begins_anew() {
    let with = |policy, gap_bars_max| Grid { policy, gap_bars_max, ..Timeframe::MINUTE.into() };
    // Thirds, to compare whole numbers.
    let after = |grid: Grid, next: i64| {
        let mut state = Plan::new(&["sma_3", "ret_1", "vol_ratio_2"], grid).unwrap().state();
        [minute(0, 1.0), minute(1, 2.0), minute(2, 3.0), minute(next, 10.0)]
            .iter()
            .for_each(|bar| state.update(bar));
        (state.values().iter().map(|x| (x * 3.0).round()).collect::<Vec<_>>(), state.bars())
    };
    assert_eq!(after(with(GapPolicy::Skip, 0), 5), (vec![15.0, 7.0, 3.0], 4));
    assert_eq!(after(with(GapPolicy::FillFlat, 0), 5), (vec![16.0, 7.0, 6.0], 6));
    assert_eq!(after(with(GapPolicy::Skip, 2), 5), (vec![15.0, 7.0, 3.0], 4));
    let (values, bars) = after(with(GapPolicy::Skip, 2), 6);
    assert!(values.iter().all(|value| value.is_nan()) && bars == 1, "{values:?} {bars}");
    assert_eq!(after(with(GapPolicy::FillFlat, 2), 6).1, 1);
    assert_eq!(after(with(GapPolicy::FillFlat, 0), 1 << 40).1, 1, "too long to be filled in");
}

#[test]
fn an_omitted_empty_minute_filled_flat_is_the_zero_volume_bar_of_other_venues() {
    let with_zeroes: Vec<Bar> = Market::new(31, 5.0).take(3000).collect();
    let mut omitting = Vec::new();
    let mut close = None;
    let mut spelled_out = Vec::new();
    for bar in with_zeroes {
        // A venue that sends empty minutes sends them flat at the last close.
        let empty = bar.volume == 0.0 && close.is_some();
        let flat = |close: f64| Bar { open: close, high: close, low: close, close, ..bar };
        let bar = if empty { flat(close.unwrap_or(bar.close)) } else { bar };
        close = Some(bar.close);
        spelled_out.push(bar);
        omitting.extend((!empty).then_some(bar));
    }
    let names = [&super::catalogue::DEFAULT[..], &["rsi_3@5m"]].concat();
    let mut full = Plan::new(&names, Timeframe::MINUTE).unwrap().state();
    let mut filled =
        Plan::new(&names, Grid { policy: GapPolicy::FillFlat, ..Timeframe::MINUTE.into() }).unwrap().state();
    let mut next = spelled_out.iter();
    for bar in &omitting {
        filled.update(bar);
        for other in next.by_ref() {
            full.update(other);
            if other.ts == bar.ts {
                break;
            }
        }
        assert_eq!(bits(filled.values()), bits(full.values()), "{}", bar.ts);
    }
}

#[test]
fn a_session_market_has_no_gap_over_its_weekend() {
    let hours = "sun 22:00-fri 22:00".parse().unwrap();
    let grid = Grid { policy: GapPolicy::FillFlat, gap_bars_max: 5, hours, ..Timeframe::MINUTE.into() };
    let friday: Timestamp = "2012-02-03T21:50:00Z".parse().unwrap();
    let sunday: Timestamp = "2012-02-05T22:00:00Z".parse().unwrap();
    let mut state = Plan::new(&["sma_2"], grid).unwrap().state();
    for i in 0..10 {
        state.update(&Bar { ts: friday.plus_millis(i * 60_000), ..minute(0, 4.0) });
    }
    state.update(&Bar { ts: sunday, ..minute(0, 6.0) });
    assert_eq!((state.values(), state.bars()), (&[5.0][..], 11));
    // Three minutes late on Monday are three bars filled in, whatever the weekend.
    state.update(&Bar { ts: sunday.plus_millis(4 * 60_000), ..minute(0, 6.0) });
    assert_eq!((state.values(), state.bars()), (&[6.0][..], 15));
}

#[test]
fn a_gap_that_leaves_windows_undefined_until_they_are_full_again() {
    let names = ["sma_3", "ret_1"];
    let grid = Grid { policy: GapPolicy::Reset, ..Timeframe::MINUTE.into() };
    let mut state = Plan::new(&names, grid).unwrap().state();
    let mut values = Vec::new();
    // The minute 5 is missing.
    for n in [0, 1, 2, 3, 4, 6, 7, 8, 9] {
        state.update(&minute(n, (n + 1) as f64));
        values.push(state.values().to_vec());
    }
    let defined = |column: usize| values.iter().map(|row| !row[column].is_nan()).collect::<Vec<_>>();
    assert_eq!(defined(0), [false, false, true, true, true, false, false, true, true]);
    assert_eq!(defined(1), [false, true, true, true, true, false, true, true, true]);
    assert_eq!(values[7][0], 8.0, "7, 8 and 9: none from before the gap");
}

#[test]
fn a_partial_first_bar_of_a_coarser_timeframe_is_dropped() {
    let mut state = Plan::new(&["ret_1@5m"], Timeframe::MINUTE).unwrap().state();
    // From the third minute of one: the first whole one closes after the minute 9, the second after the minute 14.
    for n in 2..=14 {
        assert!(state.values()[0].is_nan(), "{n}");
        state.update(&minute(n, (n + 1) as f64));
    }
    assert_eq!(state.values()[0], 15.0 / 10.0 - 1.0);
}
