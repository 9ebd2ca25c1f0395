//! Labels: what a model is to learn of the bars after the one whose features it sees.
//!
//! ```text
//! kind=logret,horizon=5             ln(c[t+5] / c[t]), the fifth later bar of the series
//! kind=direction,horizon=5,by=clock 1 if the last close by close_ts + 5 timeframes is above c[t], else 0
//! ```
//!
//! Of the bar that it is joined to a label sees the close alone, as the price that it starts from.

use crate::domain::{Bar, HORIZON_MAX, PriceChange, Timeframe, Timestamp};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// What is computed of the two closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelKind {
    /// `ln(c[t+H] / c[t])`.
    LogReturn,
    /// `c[t+H] / c[t] - 1`.
    Return,
    /// 1 if `c[t+H] > c[t]`, else 0.
    Direction,
}

impl LabelKind {
    const ALL: [Self; 3] = [Self::LogReturn, Self::Return, Self::Direction];

    /// How it is written in a label and in the name of the label's column.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LogReturn => "logret",
            Self::Return => "ret",
            Self::Direction => "direction",
        }
    }

    /// The label of a bar that closed at `reference`, where the one that it looks at closed at `target`;
    /// NaN where that is no finite number.
    pub fn of(self, reference: f64, target: f64) -> f64 {
        let value = match self {
            Self::LogReturn => (target / reference).ln(),
            Self::Return => target / reference - 1.0,
            Self::Direction => f64::from(u8::from(target > reference)),
        };
        if value.is_finite() { value } else { f64::NAN }
    }
}

/// What H counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HorizonBy {
    /// Bars of the series, however long that takes: for markets with sessions.
    #[default]
    Bars,
    /// Timeframes of the clock: the last bar that has closed H timeframes after this one. For markets that
    /// never close, where a missing bar means that nothing was traded.
    Clock,
}

impl HorizonBy {
    const ALL: [Self; 2] = [Self::Bars, Self::Clock];

    /// How it is written in a label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bars => "bars",
            Self::Clock => "clock",
        }
    }
}

/// A label, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// What it is.
    pub kind: LabelKind,
    /// How far it looks: 1 to [`HORIZON_MAX`].
    pub horizon: u32,
    /// What the horizon counts.
    pub by: HorizonBy,
}

impl Label {
    /// The name of its column: `label_logret_5`, `label_logret_5_clock`.
    pub fn column(&self) -> String {
        let clock = if self.by == HorizonBy::Clock { "_clock" } else { "" };
        format!("label_{}_{}{clock}", self.kind.name(), self.horizon)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kind={},horizon={},by={}", self.kind.name(), self.horizon, self.by.name())
    }
}

/// A text that is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{problem}; write kind=logret|ret|direction,horizon=H[,by=bars|clock], such as kind=logret,horizon=5"
)]
pub struct LabelError {
    problem: String,
}

/// The value of `key` among `all`, by name.
fn one_of<T: Copy>(key: &str, value: &str, all: &[T], name: fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|one| name(*one) == value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| name(*one)).collect();
        format!("`{key}` is `{}`: {} are known", value.escape_debug(), names.join(", "))
    })
}

fn horizon(value: &str) -> Result<u32, String> {
    // Plain digits only: a name that a column carries has one spelling.
    let plain = !value.starts_with('0') && value.bytes().all(|byte| byte.is_ascii_digit());
    let parsed: Option<u32> = value.parse().ok().filter(|h| plain && (1..=HORIZON_MAX).contains(h));
    parsed.ok_or_else(|| {
        format!("`horizon` is `{}`: a whole number from 1 to {HORIZON_MAX} is allowed", value.escape_debug())
    })
}

fn parse(text: &str) -> Result<Label, String> {
    let (mut kind, mut bars, mut by) = (None, None, None);
    for part in text.split(',') {
        let (key, value) = part
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .ok_or_else(|| format!("`{}` is not KEY=VALUE", part.trim().escape_debug()))?;
        let again = match key {
            "kind" => kind.replace(one_of(key, value, &LabelKind::ALL, LabelKind::name)?).is_some(),
            "horizon" => bars.replace(horizon(value)?).is_some(),
            "by" => by.replace(one_of(key, value, &HorizonBy::ALL, HorizonBy::name)?).is_some(),
            _ => return Err(format!("`{}` is no key: kind, horizon and by are", key.escape_debug())),
        };
        if again {
            return Err(format!("`{key}` is there twice"));
        }
    }
    Ok(Label {
        kind: kind.ok_or("`kind` is missing")?,
        horizon: bars.ok_or("`horizon` is missing")?,
        by: by.unwrap_or_default(),
    })
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        parse(text).map_err(|problem| LabelError { problem })
    }
}

/// The bars of one series that wait for their label, oldest first: at most H of them.
#[derive(Debug)]
pub(super) struct Waiting {
    label: Label,
    /// H timeframes in ms.
    span_ms: i64,
    /// Open time and close of each bar that waits.
    bars: VecDeque<(Timestamp, f64)>,
    /// The close of the newest bar.
    newest: f64,
}

impl Waiting {
    pub(super) fn new(label: Label, timeframe: Timeframe) -> Self {
        let span_ms = timeframe.as_millis().saturating_mul(i64::from(label.horizon));
        Self { label, span_ms, bars: VecDeque::new(), newest: f64::NAN }
    }

    /// The label of the oldest bar that waits, if `bar`, the next of its series and not yet taken, decides
    /// it; that bar then waits no more. To be asked until there is none, before `bar` is taken.
    pub(super) fn decided_by(&mut self, bar: &Bar) -> Option<f64> {
        let (ts, reference) = *self.bars.front()?;
        let target = match self.label.by {
            HorizonBy::Bars if self.bars.len() < self.label.horizon as usize => return None,
            HorizonBy::Bars => bar.close,
            HorizonBy::Clock => {
                let due = ts.plus_millis(self.span_ms);
                if bar.ts < due {
                    return None;
                }
                // A bar that opens later had not closed by then: the one before it was the last.
                if bar.ts == due { bar.close } else { self.newest }
            }
        };
        self.bars.pop_front();
        Some(self.label.kind.of(reference, target))
    }

    /// The closes so far are taken as changed by `price`: a label sees no split.
    pub(super) fn adjust(&mut self, price: PriceChange) {
        self.bars.iter_mut().for_each(|(_, close)| *close = price.of(*close));
        self.newest = price.of(self.newest);
    }

    /// `bar` waits from now on.
    pub(super) fn take(&mut self, bar: &Bar) {
        self.bars.push_back((bar.ts, bar.close));
        self.newest = bar.close;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_read_and_print_and_name_their_column() {
        for (text, printed, column) in [
            ("kind=logret,horizon=5", "kind=logret,horizon=5,by=bars", "label_logret_5"),
            (" horizon = 10000 , kind = ret ", "kind=ret,horizon=10000,by=bars", "label_ret_10000"),
            (
                "by=clock,kind=direction,horizon=1",
                "kind=direction,horizon=1,by=clock",
                "label_direction_1_clock",
            ),
        ] {
            let label: Label = text.parse().unwrap();
            assert_eq!((label.to_string().as_str(), label.column().as_str()), (printed, column));
            assert_eq!(printed.parse(), Ok(label));
        }
    }

    #[test]
    fn what_is_refused_says_which_part_and_what_is_known() {
        for (text, problem) in [
            ("", "`` is not KEY=VALUE"),
            ("logret", "`logret` is not KEY=VALUE"),
            ("kind=logret,", "`` is not KEY=VALUE"),
            ("kind=logret", "`horizon` is missing"),
            ("horizon=5", "`kind` is missing"),
            ("kind=log,horizon=5", "`kind` is `log`: logret, ret, direction are known"),
            ("kind=ret,horizon=0", "`horizon` is `0`: a whole number from 1 to 10000 is allowed"),
            ("kind=ret,horizon=10001", "`horizon` is `10001`: a whole number from 1 to 10000 is allowed"),
            ("kind=ret,horizon=05", "`horizon` is `05`: a whole number from 1 to 10000 is allowed"),
            ("kind=ret,horizon=+5", "`horizon` is `+5`: a whole number from 1 to 10000 is allowed"),
            ("kind=ret,horizon=", "`horizon` is ``: a whole number from 1 to 10000 is allowed"),
            ("kind=ret,horizon=5m", "`horizon` is `5m`: a whole number from 1 to 10000 is allowed"),
            ("kind=ret,horizon=5,by=time", "`by` is `time`: bars, clock are known"),
            ("kind=ret,kind=ret,horizon=5", "`kind` is there twice"),
            ("kind=ret,horizon=5,threshold=1", "`threshold` is no key: kind, horizon and by are"),
            ("kind=ret,horizon=\n", "`horizon` is ``: a whole number from 1 to 10000 is allowed"),
            ("\u{1b}=1", "`\\u{1b}` is no key: kind, horizon and by are"),
        ] {
            let error = text.parse::<Label>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{problem}; write kind=")), "{text}: {error}");
        }
    }

    /// (label of each bar, `None` where the series ended before), as the definition says it.
    fn naive(label: Label, timeframe: Timeframe, bars: &[Bar]) -> Vec<Option<f64>> {
        let horizon = label.horizon as usize;
        let last = bars.last().map(|bar| bar.ts);
        let of = |(t, bar): (usize, &Bar)| {
            let target = match label.by {
                HorizonBy::Bars => bars.get(t + horizon),
                HorizonBy::Clock => {
                    let due = bar.ts.plus_millis(horizon as i64 * timeframe.as_millis());
                    if last < Some(due) { None } else { bars.iter().rfind(|other| other.ts <= due) }
                }
            };
            target.map(|target| label.kind.of(bar.close, target.close))
        };
        bars.iter().enumerate().map(of).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn a_stream_gives_the_labels_of_the_definition(
            steps in prop::collection::vec((1i64..4, 0.5f64..2.0), 0..60),
            horizon in 1u32..20,
            kind in prop::sample::select(LabelKind::ALL.to_vec()),
            by in prop::sample::select(HorizonBy::ALL.to_vec()),
        ) {
            let mut minute = 0;
            let bars: Vec<Bar> = steps.iter().map(|(step, close)| {
                // Mostly one minute after another, sometimes a gap.
                minute += if *step == 3 { 7 } else { 1 };
                Bar { ts: Timestamp::from_secs(minute * 60), close: *close, ..Bar::default() }
            }).collect();
            let label = Label { kind, horizon, by };
            let mut waiting = Waiting::new(label, Timeframe::MINUTE);
            let mut found = Vec::new();
            for bar in &bars {
                while let Some(value) = waiting.decided_by(bar) {
                    found.push(Some(value));
                }
                waiting.take(bar);
                prop_assert!(waiting.bars.len() <= horizon as usize, "memory is bounded");
            }
            found.resize(bars.len(), None);
            prop_assert_eq!(found, naive(label, Timeframe::MINUTE, &bars));
        }

        #[test]
        fn any_text_is_a_label_or_a_problem_in_plain_text(text in "\\PC*|(kind|by|horizon|=|,|logret|[0-9]|clock)*") {
            match text.parse::<Label>() {
                Ok(label) => prop_assert_eq!(label.to_string().parse(), Ok(label)),
                Err(error) => prop_assert!(!error.to_string().contains(char::is_control)),
            }
        }
    }
}
