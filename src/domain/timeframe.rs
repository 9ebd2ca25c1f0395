//! The length of a bar.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const DAY_S: i64 = 86_400;
/// 1970-01-01 was a Thursday; weekly bars open on Mondays.
const MONDAY_OFFSET_S: i64 = 4 * DAY_S;

/// How long a bar lasts: a whole number of seconds, written `30s`, `1m`, `4h`, `1d`, `1w`.
///
/// Months are refused: they have no fixed length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timeframe {
    seconds: u32,
}

/// A text that names no timeframe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTimeframeError {
    text: String,
}

impl fmt::Display for ParseTimeframeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        write!(
            f,
            "`{text}` is not a timeframe: write a whole number and s, m, h, d or w, such as 1m, 4h, 1d; at most 52w"
        )?;
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return write!(f, " (some feeds count minutes and others seconds: write {text}m or {text}s)");
        }
        if text.ends_with('M') || text.to_ascii_lowercase().contains("mo") || text.starts_with("MN") {
            return f.write_str(" (months have no fixed length; a minute is 1m)");
        }
        Ok(())
    }
}

impl std::error::Error for ParseTimeframeError {}

impl Timeframe {
    /// One minute.
    pub const MINUTE: Self = Self { seconds: 60 };

    /// The length in milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.seconds as i64 * 1000
    }

    /// The length in seconds.
    pub const fn as_secs(self) -> u32 {
        self.seconds
    }

    /// `n` times as long; the same where that would be longer than a timeframe may be.
    #[must_use]
    pub fn times(self, n: u32) -> Self {
        let longer = self.seconds.checked_mul(n).map(|seconds| Self { seconds }.to_string().parse());
        match longer {
            Some(Ok(timeframe)) => timeframe,
            _ => self,
        }
    }

    const fn origin_ms(self) -> i64 {
        if self.seconds as i64 % (7 * DAY_S) == 0 { MONDAY_OFFSET_S * 1000 } else { 0 }
    }

    /// Milliseconds from the open of the bar that covers `ts` to `ts`.
    const fn since_open_ms(self, ts: Timestamp) -> i64 {
        // Remainders first: whatever time a caller hands in, nothing overflows.
        let length = self.as_millis();
        (ts.as_millis().rem_euclid(length) - self.origin_ms()).rem_euclid(length)
    }

    /// The open time of the bar that covers `ts`: minutes, hours and days count from the epoch in UTC,
    /// weeks from Monday. The first time there is where the bar would open before it.
    pub const fn open_of(self, ts: Timestamp) -> Timestamp {
        ts.plus_millis(-self.since_open_ms(ts))
    }

    /// Whether a bar may open at `ts`.
    pub const fn is_aligned(self, ts: Timestamp) -> bool {
        self.since_open_ms(ts) == 0
    }
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.seconds;
        match s {
            _ if s.is_multiple_of(7 * 86_400) => write!(f, "{}w", s / (7 * 86_400)),
            _ if s.is_multiple_of(86_400) => write!(f, "{}d", s / 86_400),
            _ if s.is_multiple_of(3600) => write!(f, "{}h", s / 3600),
            _ if s.is_multiple_of(60) => write!(f, "{}m", s / 60),
            _ => write!(f, "{s}s"),
        }
    }
}

impl FromStr for Timeframe {
    type Err = ParseTimeframeError;

    /// Reads what [`fmt::Display`] writes, and what feeds call the same: `1min`, `1Min`, `1H`, `M1`, `PT1M`, `candle1m`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseTimeframeError { text: text.to_owned() };
        let (number, unit_s) = split(text).ok_or_else(error)?;
        if number.is_empty() || number.starts_with('0') || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let count: u32 = number.parse().map_err(|_| error())?;
        let seconds = count.checked_mul(unit_s).filter(|s| *s <= 52 * 7 * 86_400).ok_or_else(error)?;
        Ok(Self { seconds })
    }
}

/// The number in the name of a timeframe, and the seconds of its unit.
fn split(text: &str) -> Option<(&str, u32)> {
    // ISO 8601: minutes are behind a T, months are not.
    if let Some(time) = text.strip_prefix("PT") {
        let unit = time.len().checked_sub(1)?;
        return Some((time.get(..unit)?, unit_s(time.get(unit..)?, &["S", "M", "H"])?));
    }
    if let Some(date) = text.strip_prefix('P') {
        let unit = date.len().checked_sub(1)?;
        return Some((date.get(..unit)?, unit_s(date.get(unit..)?, &["", "", "", "D", "W"])?));
    }
    // MetaTrader's: M1, H4.
    if let Some(rest) = text.get(1..).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        && let Some(unit_s) = unit_s(&text[..1], &["S", "M", "H", "D", "W"])
    {
        return Some((rest, unit_s));
    }
    let text = text.strip_prefix("candle").unwrap_or(text);
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    // A lone M is a month wherever it differs from m.
    let words: [&[&str]; 5] = [
        &["s", "S", "sec", "second"],
        &["m", "min", "minute"],
        &["h", "H", "hour"],
        &["d", "D", "day"],
        &["w", "W", "week"],
    ];
    let lower = unit.to_ascii_lowercase();
    let singular = lower.strip_suffix('s').filter(|word| word.len() >= 3);
    let word = if unit.len() == 1 { unit } else { singular.unwrap_or(&lower) };
    let unit = words.iter().position(|words| words.contains(&word))?;
    Some((number, UNITS_S[unit]))
}

/// Seconds of a second, a minute, an hour, a day, a week.
const UNITS_S: [u32; 5] = [1, 60, 3600, 86_400, 7 * 86_400];

/// What the one of `letters`, in the order of [`UNITS_S`], stands for.
fn unit_s(letter: &str, letters: &[&str]) -> Option<u32> {
    letters.iter().position(|known| *known == letter).map(|unit| UNITS_S[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeframes_read_and_print_in_their_largest_unit() {
        for (text, canonical, seconds) in [
            ("1m", "1m", 60),
            ("60s", "1m", 60),
            ("5m", "5m", 300),
            ("60m", "1h", 3600),
            ("24h", "1d", 86_400),
            ("7d", "1w", 604_800),
            ("90s", "90s", 90),
        ] {
            let timeframe: Timeframe = text.parse().unwrap();
            assert_eq!(timeframe.as_secs(), seconds);
            assert_eq!(timeframe.to_string(), canonical);
        }
        for text in
            ["", "m", "0m", "01m", "1M", "-1m", "1.5h", "1 m", "1y", "99999999999m", "53w", "+1m", "5€"]
        {
            assert!(text.parse::<Timeframe>().is_err(), "{text}");
        }
    }

    #[test]
    fn spelling_variants_of_timeframes_are_read_and_doubtful_ones_refused() {
        for (texts, canonical) in [
            (&["1min", "1MIN", "1Min", "1minute", "60s", "60sec", "60S", "PT1M", "M1", "candle1m"][..], "1m"),
            (&["15mins", "15minutes", "PT15M", "M15", "PT900S"], "15m"),
            (&["1H", "1hour", "60min", "PT1H", "H1", "candle1H"], "1h"),
            (&["4hours", "PT4H", "H4"], "4h"),
            (&["1D", "1day", "P1D", "D1", "candle1D", "24H"], "1d"),
            (&["1W", "1week", "P1W", "W1", "P7D"], "1w"),
        ] {
            for text in texts {
                assert_eq!(
                    text.parse::<Timeframe>().map(|tf| tf.to_string()).as_deref(),
                    Ok(canonical),
                    "{text}"
                );
            }
        }
        for (text, hint) in [
            ("60", "write 60m or 60s"),
            ("1M", "months have no fixed length"),
            ("P1M", "months"),
            ("1mo", "months"),
            ("MN1", "months"),
            ("3months", "months"),
        ] {
            let error = text.parse::<Timeframe>().unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
        for text in
            ["P", "PT", "PT1D", "P1S", "M", "D", "M01", "M0", "1ms", "1minn", "1s1m", "candle", "1mS", "€1"]
        {
            assert!(text.parse::<Timeframe>().is_err(), "{text}");
        }
    }

    #[test]
    fn bars_open_on_the_grid_and_weeks_on_mondays() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let tf = |text: &str| text.parse::<Timeframe>().unwrap();
        assert_eq!(tf("5m").open_of(at("2024-06-01T12:34:56Z")), at("2024-06-01T12:30:00Z"));
        assert_eq!(tf("1w").open_of(at("2024-06-01T12:34:56Z")), at("2024-05-27T00:00:00Z"));
        assert!(tf("1d").is_aligned(at("1969-12-30T00:00:00Z")));
        assert!(!tf("1h").is_aligned(at("2024-06-01T12:30:00Z")));
    }

    #[test]
    fn the_grid_reaches_to_the_ends_of_time() {
        let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        for text in ["1s", "1m", "7h", "1d", "1w", "52w"] {
            let timeframe: Timeframe = text.parse().unwrap();
            assert_eq!(timeframe.open_of(first), first, "{text}");
            assert!(!timeframe.is_aligned(first) && !timeframe.is_aligned(last), "{text}");
            assert!(timeframe.is_aligned(timeframe.open_of(last)), "{text}");
        }
    }
}
