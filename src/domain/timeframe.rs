//! The length of a bar.

use super::Timestamp;
use std::fmt;
use std::str::FromStr;

const DAY_S: i64 = 86_400;
/// 1970-01-01 was a Thursday; weekly bars open on Mondays.
const MONDAY_OFFSET_S: i64 = 4 * DAY_S;

/// How long a bar lasts: a whole number of seconds, written `30s`, `1m`, `4h`, `1d`, `1w`.
///
/// Months are refused: they have no fixed length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        write!(
            f,
            "`{}` is not a timeframe: write a whole number and s, m, h, d or w, such as 1m, 4h, 1d; \
             at most 52w",
            self.text
        )
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

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseTimeframeError { text: text.to_owned() };
        let unit = text.chars().last().ok_or_else(error)?;
        let unit_s = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return Err(error()),
        };
        let number = &text[..text.len() - 1];
        if number.is_empty() || number.starts_with('0') || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let count: u32 = number.parse().map_err(|_| error())?;
        let seconds = count.checked_mul(unit_s).filter(|s| *s <= 52 * 7 * 86_400).ok_or_else(error)?;
        Ok(Self { seconds })
    }
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
