//! Points in time: UTC, whole milliseconds, printed and read as RFC 3339.

use super::Excerpt;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const MS_PER_DAY: i64 = 86_400_000;
/// What RFC 3339 can write: years 0000 to 9999.
const WRITABLE_MS: std::ops::Range<i64> = -62_167_219_200_000..253_402_300_800_000;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

/// A text that is no RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTimestampError {
    text: String,
}

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a time: write RFC 3339, such as 2026-01-31T23:59:00Z", Excerpt(&self.text))
    }
}

impl std::error::Error for ParseTimestampError {}

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// From seconds since the Unix epoch.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * 1000)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The wall clock's time now.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |d| d.as_millis() as i64))
    }

    /// This time moved by `ms` milliseconds, saturating at the ends of the range.
    pub const fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Days since the epoch to (year, month, day), proleptic Gregorian.
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = (if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 }) as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// (year, month, day) to days since the epoch; the inverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let month_from_march = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(MS_PER_DAY));
        let ms_of_day = self.0.rem_euclid(MS_PER_DAY);
        let (hour, minute) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
        let (second, milli) = (ms_of_day / 1000 % 60, ms_of_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if milli != 0 {
            write!(f, ".{milli:03}")?;
        }
        f.write_str("Z")
    }
}

/// Reads exactly `n` ASCII digits from the front of `text`.
fn digits(text: &mut &[u8], n: usize) -> Option<i64> {
    let (head, rest) = text.split_at_checked(n)?;
    let value = head
        .iter()
        .try_fold(0_i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))?;
    *text = rest;
    Some(value)
}

fn literal(text: &mut &[u8], accepted: &[u8]) -> Option<u8> {
    let (first, rest) = text.split_first()?;
    *text = rest;
    accepted.contains(first).then_some(*first)
}

fn parse(mut text: &[u8]) -> Option<Timestamp> {
    let t = &mut text;
    let year = digits(t, 4)?;
    literal(t, b"-")?;
    let month = digits(t, 2)? as u32;
    literal(t, b"-")?;
    let day = digits(t, 2)? as u32;
    literal(t, b"Tt ")?;
    let hour = digits(t, 2)?;
    literal(t, b":")?;
    let minute = digits(t, 2)?;
    literal(t, b":")?;
    let second = digits(t, 2)?;
    let valid = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let mut milli = 0;
    if t.first() == Some(&b'.') {
        *t = &t[1..];
        let count = t.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 || count > 9 {
            return None;
        }
        // Digits beyond the millisecond are cut off: no bar opens inside a millisecond.
        for place in [100, 10, 1].into_iter().take(count) {
            milli += digits(t, 1)? * place;
        }
        *t = &t[count.saturating_sub(3)..];
    }
    let offset_minutes = match literal(t, b"Zz+-")? {
        b'Z' | b'z' => 0,
        sign => {
            let hours = digits(t, 2)?;
            literal(t, b":")?;
            let minutes = digits(t, 2)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 60 + minutes;
            if sign == b'-' { -offset } else { offset }
        }
    };
    if !t.is_empty() {
        return None;
    }
    let days = days_from_civil(year, month, day);
    let seconds = days * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    // An offset may lead out of the years that four digits can write.
    let ms = seconds * 1000 + milli;
    WRITABLE_MS.contains(&ms).then_some(Timestamp(ms))
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Reads RFC 3339, with any offset; what is finer than a millisecond is cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A time is short: of a text that is none its beginning tells enough.
        parse(text.as_bytes()).ok_or_else(|| ParseTimestampError { text: text.chars().take(80).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_read_and_print() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2021-12-31T23:01:00Z", 1_640_991_660_000),
            ("2024-02-29T12:34:56Z", 1_709_210_096_000),
            ("1969-12-31T23:59:59Z", -1000),
            ("2000-03-01T00:00:00Z", 951_868_800_000),
            ("2026-11-23T18:46:00.250Z", 1_795_459_560_250),
            ("0000-01-01T00:00:00Z", WRITABLE_MS.start),
            ("9999-12-31T23:59:59.999Z", WRITABLE_MS.end - 1),
        ] {
            assert_eq!(text.parse::<Timestamp>().map(Timestamp::as_millis), Ok(ms), "{text}");
            assert_eq!(Timestamp::from_millis(ms).to_string(), text);
        }
    }

    #[test]
    fn offsets_fractions_and_separators_are_understood() {
        let noon: Timestamp = "2024-06-01T12:00:00Z".parse().unwrap();
        for text in [
            "2024-06-01T14:00:00+02:00",
            "2024-06-01 12:00:00Z",
            "2024-06-01T12:00:00.000000001Z",
            "2024-06-01T07:30:00-04:30",
        ] {
            assert_eq!(text.parse(), Ok(noon), "{text}");
        }
        assert_eq!("2024-06-01T12:00:00.5Z".parse(), Ok(noon.plus_millis(500)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2024-06-01",
            "2024-13-01T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2024-06-01T24:00:00Z",
            "2024-06-01T00:00:00",
            "2024-06-01T00:00:00Zx",
            "2024-06-01T00:00:00.Z",
            "2024-06-01T00:00:00+25:00",
            "20240601T000000Z",
            "0000-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59.999-00:01",
            "\u{20ac}",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for day in -80_000..80_000 {
            let (y, m, d) = civil_from_days(day);
            assert_eq!(days_from_civil(y, m, d), day);
        }
    }
}
