//! Bars of one series as they may really come, against a naive model.
//!
//! Bars come next, behind gaps, late, once more with other content, or before they have closed. The model keeps a
//! plain list of what each bar is by now, and computes everything afresh from its first one.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vela::domain::{Admission, Bar, GapPolicy, Grid, Stability, Timeframe, Timestamp};
use vela::feature::{Plan, SeriesFeatures};
use vela_fuzz::{place, time_before};

const NAMES: [&str; 12] = [
    "ret_1",
    "sma_7",
    "rsi_5",
    "macd_3_6_4",
    "obv",
    "stoch_d_5_2_2",
    "adx_3",
    "bb_pctb_4_2",
    "cci_5",
    "atr_3@5m",
    "vwap_2@15m",
    "rv_4",
];
const WINDOW: usize = 3;
const OPERATIONS_MAX: usize = 80;

#[derive(Arbitrary, Debug)]
struct Input {
    fill: bool,
    gap_bars_max: u8,
    sessions: bool,
    revision_bars: u8,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Next {
        gap: u8,
        shape: [u8; 4],
        volume: u8,
    },
    /// The gap is so many hours.
    Later {
        hours: u16,
        shape: [u8; 4],
    },
    Revised {
        ago: u8,
        shape: [u8; 4],
        volume: u8,
    },
    /// In the place right before a bar, where there is one.
    Late {
        ago: u8,
        shape: [u8; 4],
    },
    Peek {
        shape: [u8; 4],
    },
}

fn bar(ts: Timestamp, shape: [u8; 4], volume: u8) -> Bar {
    vela_fuzz::bar(ts, shape.map(|x| 1.0 + f64::from(x) / 64.0), f64::from(volume))
}

fn series(grid: &Grid, revision_bars: usize) -> SeriesFeatures {
    let plan = Plan::new(&NAMES, grid.clone()).expect("names of the catalogue");
    SeriesFeatures::new(plan, WINDOW, revision_bars, Stability::Defined)
}

fn bits(series: &SeriesFeatures, provisional: bool) -> Vec<u64> {
    let columns: Vec<usize> = (0..NAMES.len()).collect();
    series.collect(&columns, WINDOW, provisional).values.iter().map(|x| x.to_bits()).collect()
}

fn fresh(grid: &Grid, bars: &[Bar]) -> Vec<u64> {
    let mut series = series(grid, 0);
    for bar in bars {
        assert!(series.take(bar, Admission::Next));
    }
    bits(&series, false)
}

fuzz_target!(|input: Input| {
    let hours = if input.sessions { "mon 13:30-mon 20:00,wed 22:00-fri 22:00" } else { "always" };
    let grid = Grid {
        policy: if input.fill { GapPolicy::FillFlat } else { GapPolicy::Skip },
        // Bounded here so that one run stays short; the bound itself has unit tests.
        gap_bars_max: u64::from(input.gap_bars_max).max(u64::from(input.fill)),
        hours: hours.parse().expect("market hours"),
        ..Timeframe::MINUTE.into()
    };
    let revision_bars = usize::from(input.revision_bars % 12);
    let mut series = series(&grid, revision_bars);
    let mut bars: Vec<Bar> = Vec::new();
    let first = Timestamp::from_secs(1_700_000_040);
    for operation in input.operations.iter().take(OPERATIONS_MAX) {
        let next_ts =
            |gap: i64| bars.last().map_or(first, |newest| newest.ts.plus_millis(60_000 * (1 + gap)));
        match *operation {
            Operation::Next { gap, shape, volume } => {
                let bar = bar(next_ts(i64::from(gap % 40)), shape, volume);
                assert!(series.take(&bar, Admission::Next));
                bars.push(bar);
            }
            Operation::Later { hours, shape } => {
                let bar = bar(next_ts(i64::from(hours) * 60), shape, 1);
                assert!(series.take(&bar, Admission::Next));
                bars.push(bar);
            }
            Operation::Revised { ago, shape, volume } => {
                let Some(at) = place(&bars, ago.into()) else { continue };
                let ago = bars.len() - 1 - at;
                let revised = bar(bars[at].ts, shape, volume);
                let taken = series.take(&revised, Admission::Revision);
                assert!(taken || ago >= revision_bars, "{operation:?}");
                if taken {
                    bars[at] = revised;
                }
            }
            Operation::Late { ago, shape } => {
                let Some(at) = place(&bars, ago.into()) else { continue };
                let Some(ts) = time_before(&bars, at) else { continue };
                let ago = bars.len() - 1 - at;
                let late = bar(ts, shape, 2);
                let taken = series.take(&late, Admission::Late);
                assert!(taken || ago >= revision_bars, "{operation:?}");
                if taken {
                    bars.insert(at, late);
                }
            }
            Operation::Peek { shape } => {
                let forming = bar(next_ts(0), shape, 3);
                series.peek(&forming);
                let peeked = bits(&series, true);
                bars.push(forming);
                assert_eq!(peeked, fresh(&grid, &bars), "{operation:?}");
                bars.pop();
            }
        }
        assert_eq!(series.newest(), bars.last().map(|bar| bar.ts), "{operation:?}");
    }
    assert_eq!(bits(&series, false), fresh(&grid, &bars));
});
