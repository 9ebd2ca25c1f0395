//! Sequences of good, repeated, late, revised and broken bars, against a naive model of what ingest says.
//!
//! The model keeps every bar ever taken in a list; a bar that is refused changes nothing of it, so that the verdicts
//! on all later bars show whether the real thing changed.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vela::domain::{Admission, Bar, Reason, Timeframe, Timestamp};
use vela::ingest::{Limits, Order, validate};

/// How many of the newest bars are told apart from late ones at least, as in `Order`.
const REMEMBERED: usize = 64;

#[derive(Arbitrary, Debug)]
struct Input {
    timeframe: u8,
    start: Start,
    now: Option<i64>,
    clock_skew_ms_max: u32,
    any_price: bool,
    revision_bars: u8,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
enum Start {
    Usual(i32),
    Any(i64),
    /// At the first or last time there is, where arithmetic may overflow.
    End(bool, u32),
}

#[derive(Arbitrary, Debug)]
enum Operation {
    /// So many timeframes after the newest one.
    Next { gap: u8, shape: [u8; 4], volume: u16 },
    /// One that was taken, unchanged.
    Again { ago: u8 },
    /// One that was taken, with another close or volume.
    Revised { ago: u8, close: u8 },
    /// On the grid, but before the newest one.
    Late { ago: u16 },
    /// The next one, with a number that may be none.
    Broken { field: u8, value: Value },
    /// The next one, off the grid.
    Unaligned { by_ms: i32 },
    /// Anything at all.
    Any { ts: i64, numbers: [f64; 5] },
}

#[derive(Arbitrary, Debug)]
enum Value {
    Nan,
    Infinite(bool),
    Zero(bool),
    Negative(u8),
    Any(f64),
}

impl Value {
    fn number(&self) -> f64 {
        match *self {
            Self::Nan => f64::NAN,
            Self::Infinite(true) => f64::INFINITY,
            Self::Infinite(false) => f64::NEG_INFINITY,
            Self::Zero(true) => 0.0,
            Self::Zero(false) => -0.0,
            Self::Negative(by) => -f64::from(by) - 1.0,
            Self::Any(number) => number,
        }
    }
}

struct Model {
    timeframe: Timeframe,
    limits: Limits,
    revision_bars: usize,
    taken: Vec<Bar>,
}

impl Model {
    fn verdict(&self, bar: &Bar) -> Result<Admission, Reason> {
        let prices = [bar.open, bar.high, bar.low, bar.close];
        if prices.iter().any(|x| x.is_nan() || x.is_infinite())
            || bar.volume.is_nan()
            || bar.volume.is_infinite()
        {
            return Err(Reason::NotFinite);
        }
        if !self.limits.any_price && prices.iter().any(|x| *x <= 0.0) {
            return Err(Reason::PriceNotPositive);
        }
        if bar.volume < 0.0 {
            return Err(Reason::NegativeVolume);
        }
        if bar.high < bar.low {
            return Err(Reason::HighBelowLow);
        }
        if bar.open < bar.low || bar.open > bar.high || bar.close < bar.low || bar.close > bar.high {
            return Err(Reason::OutsideRange);
        }
        // The grid in wide numbers, where nothing overflows: from the epoch, weeks from Monday 1970-01-05.
        let length = i128::from(self.timeframe.as_millis());
        let origin = if length % 604_800_000 == 0 { 4 * 86_400_000 } else { 0 };
        if (i128::from(bar.ts.as_millis()) - origin) % length != 0 {
            return Err(Reason::Unaligned);
        }
        if let Some(now) = self.limits.now {
            let top = i128::from(i64::MAX);
            let closes = (i128::from(bar.ts.as_millis()) + length).min(top);
            if closes > (i128::from(now.as_millis()) + i128::from(self.limits.clock_skew_ms_max)).min(top) {
                return Err(Reason::Future);
            }
        }
        match self.taken.last() {
            Some(newest) if bar.ts <= newest.ts => {
                let remembered = REMEMBERED.max(self.revision_bars + 1);
                // How many bars are as new or newer, of those that are remembered.
                let newer = |known: &&Bar| known.ts >= bar.ts;
                let newer = self.taken.iter().rev().take(remembered).take_while(newer).count();
                let older = self.taken.len().min(remembered) > newer;
                let known = self.taken.iter().rev().take(remembered).find(|known| known.ts == bar.ts);
                let changes = newer <= self.revision_bars;
                match known {
                    Some(known) if known == bar => Err(Reason::Duplicate),
                    Some(_) if changes => Ok(Admission::Revision),
                    Some(_) => Err(Reason::Revision),
                    None if changes && older => Ok(Admission::Late),
                    None => Err(Reason::Late),
                }
            }
            _ => Ok(Admission::Next),
        }
    }

    fn take(&mut self, bar: Bar) {
        let at = self.taken.partition_point(|known| known.ts < bar.ts);
        match self.taken.get_mut(at).filter(|known| known.ts == bar.ts) {
            Some(known) => *known = bar,
            None => self.taken.insert(at, bar),
        }
    }

    fn ago(&self, ago: usize) -> Option<Bar> {
        self.taken.len().checked_sub(1 + ago).map(|index| self.taken[index])
    }
}

fn next(model: &Model, start: Timestamp, gap: u8, shape: [u8; 4], volume: u16) -> Bar {
    let step = model.timeframe.as_millis();
    let ts = model.taken.last().map_or(start, |newest| newest.ts.plus_millis(step * (1 + i64::from(gap))));
    vela_fuzz::bar(ts, shape.map(|x| 100.0 + f64::from(x) / 4.0), f64::from(volume))
}

fn bar_of(operation: &Operation, model: &Model, start: Timestamp) -> Option<Bar> {
    let step = model.timeframe.as_millis();
    let usual = || next(model, start, 0, [1, 9, 0, 5], 7);
    Some(match *operation {
        Operation::Next { gap, shape, volume } => next(model, start, gap, shape, volume),
        Operation::Again { ago } => model.ago(ago.into())?,
        Operation::Revised { ago, close } => {
            let bar = model.ago(ago.into())?;
            Bar { close: bar.low + (bar.high - bar.low) * f64::from(close) / 255.0, ..bar }
        }
        Operation::Late { ago } => {
            let newest = model.ago(0)?;
            Bar { ts: newest.ts.plus_millis(-step * i64::from(ago)), ..newest }
        }
        Operation::Broken { field, ref value } => {
            let mut bar = usual();
            let fields = [&mut bar.open, &mut bar.high, &mut bar.low, &mut bar.close, &mut bar.volume];
            let count = fields.len();
            if let Some(target) = fields.into_iter().nth(usize::from(field) % count) {
                *target = value.number();
            }
            bar
        }
        Operation::Unaligned { by_ms } => {
            let bar = usual();
            Bar { ts: bar.ts.plus_millis(by_ms.into()), ..bar }
        }
        Operation::Any { ts, numbers: [open, high, low, close, volume] } => {
            Bar { ts: Timestamp::from_millis(ts), open, high, low, close, volume }
        }
    })
}

fuzz_target!(|input: Input| {
    let names = ["1s", "1m", "5m", "1h", "7h", "1d", "1w", "2w"];
    let timeframe: Timeframe =
        names[usize::from(input.timeframe) % names.len()].parse().expect("a timeframe");
    let start = match input.start {
        Start::Usual(seconds) => Timestamp::from_secs(seconds.into()),
        Start::Any(ms) => Timestamp::from_millis(ms),
        Start::End(true, before) => Timestamp::from_millis(i64::MAX - i64::from(before)),
        Start::End(false, after) => Timestamp::from_millis(i64::MIN + i64::from(after)),
    };
    let start = timeframe.open_of(start);
    let now = input.now.map(Timestamp::from_millis);
    let clock_skew_ms_max = input.clock_skew_ms_max.into();
    let limits = Limits { now, clock_skew_ms_max, any_price: input.any_price };
    let revision_bars = usize::from(input.revision_bars);
    let mut model = Model { timeframe, limits, revision_bars, taken: Vec::new() };
    let mut order = Order::new(revision_bars);
    for operation in &input.operations {
        let Some(bar) = bar_of(operation, &model, start) else { continue };
        let expected = model.verdict(&bar);
        let found = validate(&bar, timeframe, limits).and_then(|()| order.admit(&bar));
        if let Err(refusal) = &found {
            assert!(!refusal.to_string().is_empty());
        }
        assert_eq!(found.map_err(|refusal| refusal.reason), expected, "{operation:?}: {bar:?}");
        if expected.is_ok() {
            model.take(bar);
        }
        assert_eq!(order.newest(), model.taken.last(), "after {operation:?}");
    }
});
