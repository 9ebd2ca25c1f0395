//! When a market is open: the weekly hours in which bars are expected.

use super::{Timeframe, Timestamp};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const MINUTE_MS: i64 = 60_000;
const WEEK_MS: i64 = 7 * 86_400_000;
/// 1970-01-01 was a Thursday: the week that covers it began this long before.
const EPOCH_IN_WEEK_MS: i64 = 3 * 86_400_000;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The weekly hours of a market, UTC: written `always`, or `sun 22:00-fri 22:00`, several separated by commas.
///
/// Time outside of them is no gap when bars are missing there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarketHours {
    /// Half-open stretches of the week in ms from Monday 00:00, in order, apart from each other; empty: always.
    open: Arc<[(i64, i64)]>,
}

/// A text that names no market hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseMarketHoursError {
    text: String,
}

impl fmt::Display for ParseMarketHoursError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` are no market hours: write always, or stretches of the week in UTC such as \
             sun 22:00-fri 22:00 or mon 13:30-mon 20:00,tue 13:30-tue 20:00, in order and without overlap",
            self.text
        )
    }
}

impl std::error::Error for ParseMarketHoursError {}

/// Weeks since the one that covers the epoch, and ms from that week's Monday.
fn in_week(ts: Timestamp) -> (i64, i64) {
    let ms = ts.as_millis().saturating_add(EPOCH_IN_WEEK_MS);
    (ms.div_euclid(WEEK_MS), ms.rem_euclid(WEEK_MS))
}

impl MarketHours {
    /// Whether the market never closes.
    pub fn is_always(&self) -> bool {
        self.open.is_empty()
    }

    /// Open milliseconds from a fixed point to `ts`.
    fn open_ms_until(&self, ts: Timestamp) -> i64 {
        if self.is_always() {
            return ts.as_millis();
        }
        let (week, ms) = in_week(ts);
        let of_week: i64 = self.open.iter().map(|(from, to)| to - from).sum();
        let of_this: i64 = self.open.iter().map(|(from, to)| (ms.min(*to) - from).max(0)).sum();
        week.saturating_mul(of_week).saturating_add(of_this)
    }

    /// How many bars of `timeframe` fit into the open time between the open times `from` (included) and `to`
    /// (not included).
    pub fn slots(&self, from: Timestamp, to: Timestamp, timeframe: Timeframe) -> u64 {
        let open_ms = self.open_ms_until(to).saturating_sub(self.open_ms_until(from)).max(0);
        open_ms.unsigned_abs() / timeframe.as_millis().unsigned_abs()
    }

    /// The first open time of a bar of `timeframe`, at `ts` or later, that lies in open hours.
    pub fn next_open(&self, ts: Timestamp, timeframe: Timeframe) -> Timestamp {
        if self.is_always() {
            return ts;
        }
        let (_, ms) = in_week(ts);
        let wait_ms = self
            .open
            .iter()
            .chain(self.open.first().map(|(from, to)| (from + WEEK_MS, to + WEEK_MS)).as_ref())
            .find(|(_, to)| ms < *to)
            .map_or(0, |(from, _)| (from - ms).max(0));
        let opens = ts.plus_millis(wait_ms);
        let grid = timeframe.open_of(opens);
        if grid == opens { opens } else { grid.plus_millis(timeframe.as_millis()) }
    }
}

impl fmt::Display for MarketHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_always() {
            return f.write_str("always");
        }
        let point = |ms: i64| {
            let minutes = ms / MINUTE_MS;
            let (day, of_day) = (minutes / 1440, minutes % 1440);
            format!("{} {:02}:{:02}", DAYS[(day % 7) as usize], of_day / 60, of_day % 60)
        };
        for (i, (from, to)) in self.open.iter().enumerate() {
            write!(f, "{}{}-{}", if i == 0 { "" } else { "," }, point(*from), point(*to))?;
        }
        Ok(())
    }
}

/// Milliseconds from Monday 00:00 of `day HH:MM`.
fn point(text: &str) -> Option<i64> {
    let (day, time) = text.trim().split_once(' ')?;
    let day = DAYS.iter().position(|known| *known == day)? as i64;
    let (hour, minute) = time.trim().split_once(':')?;
    let number = |text: &str, max: i64| {
        let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i64>().ok().filter(|n| plain && *n <= max)
    };
    let (hour, minute) = (number(hour, 24)?, number(minute, 59)?);
    (hour < 24 || minute == 0).then_some(((day * 24 + hour) * 60 + minute) * MINUTE_MS)
}

impl FromStr for MarketHours {
    type Err = ParseMarketHoursError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseMarketHoursError { text: text.chars().take(80).collect() };
        if text.trim() == "always" {
            return Ok(Self::default());
        }
        let mut open: Vec<(i64, i64)> = Vec::new();
        for stretch in text.split(',') {
            let (from, to) = stretch.split_once('-').ok_or_else(error)?;
            let (from, to) = (point(from).ok_or_else(error)?, point(to).ok_or_else(error)?);
            if from < to {
                open.push((from, to));
            } else {
                // Over the end of the week, as from Sunday to Friday.
                open.push((from, WEEK_MS));
                open.extend((to > 0).then_some((0, to)));
            }
        }
        open.sort_unstable();
        if open.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Err(error());
        }
        Ok(Self { open: open.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn missing_bars_are_counted_in_open_hours_only() {
        let forex: MarketHours = "sun 22:00-fri 22:00".parse().unwrap();
        let always = MarketHours::default();
        // 2012-02-03 was a Friday.
        let (last, next) = (ts("2012-02-03T22:00:00Z"), ts("2012-02-05T22:00:00Z"));
        assert_eq!(always.slots(last, next, Timeframe::MINUTE), 2 * 1440);
        assert_eq!(forex.slots(last, next, Timeframe::MINUTE), 0);
        assert_eq!(forex.slots(ts("2012-02-03T21:55:00Z"), ts("2012-02-05T22:03:00Z"), Timeframe::MINUTE), 8);
        assert_eq!(
            forex.slots(ts("2012-01-01T00:00:00Z"), ts("2012-01-29T00:00:00Z"), Timeframe::MINUTE),
            4 * 5 * 1440
        );
        assert_eq!(forex.slots(next, last, Timeframe::MINUTE), 0, "backwards: none");
        assert_eq!(forex.next_open(last, Timeframe::MINUTE), next);
        assert_eq!(forex.next_open(ts("2012-02-04T03:00:00Z"), "1h".parse().unwrap()), next);
        assert_eq!(
            forex.next_open(ts("2012-02-01T03:00:00Z"), Timeframe::MINUTE),
            ts("2012-02-01T03:00:00Z")
        );
        let day: MarketHours = "mon 13:30-mon 20:00,tue 13:30-tue 20:00".parse().unwrap();
        assert_eq!(day.next_open(ts("2012-02-07T20:00:00Z"), Timeframe::MINUTE), ts("2012-02-13T13:30:00Z"));
        assert_eq!(
            day.next_open(ts("2012-02-13T13:00:00Z"), "1h".parse().unwrap()),
            ts("2012-02-13T14:00:00Z")
        );
        // Slots counted and slots walked are the same, whatever the stretch.
        let (mut walked, mut at, end) = (0, ts("2012-01-31T07:13:00Z"), ts("2012-03-01T19:41:00Z"));
        let counted = day.slots(at, end, Timeframe::MINUTE);
        loop {
            at = day.next_open(at, Timeframe::MINUTE);
            if at >= end {
                break;
            }
            walked += 1;
            at = at.plus_millis(60_000);
        }
        assert_eq!(walked, counted);
    }

    #[test]
    fn hours_are_read_and_written() {
        for text in ["always", "mon 13:30-mon 20:00,tue 13:30-tue 20:00", "mon 00:00-sat 00:00"] {
            assert_eq!(text.parse::<MarketHours>().unwrap().to_string(), text);
        }
        let forex: MarketHours = "sun 22:00-fri 22:00".parse().unwrap();
        assert_eq!(forex, forex.to_string().parse().unwrap());
        for wrong in [
            "",
            "24/7",
            "mon-fri",
            "mon 9:30-mon 16:00",
            "mon 25:00-tue 01:00",
            "mon 24:01-tue 01:00",
            "mon 10:00-mon 12:00,mon 11:00-mon 13:00",
            "Mon 10:00-Mon 12:00",
            "sun 22:00-fri 22:00,mon 01:00-mon 02:00",
        ] {
            assert!(wrong.parse::<MarketHours>().is_err(), "{wrong}");
        }
        let all: MarketHours = "mon 00:00-mon 00:00".parse().unwrap();
        assert_eq!(
            all.slots(Timestamp::from_secs(0), Timestamp::from_secs(WEEK_MS / 1000), Timeframe::MINUTE),
            7 * 1440
        );
        assert!(
            all.slots(Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX), Timeframe::MINUTE)
                > 0
        );
    }
}
