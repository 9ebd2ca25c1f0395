//! Open times as feeds write them: RFC 3339, or a whole number since 1970 whose size tells its unit.

use crate::domain::Timestamp;

/// How a feed spells its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// RFC 3339 text.
    Text,
    /// Seconds since the epoch.
    Seconds,
    /// Milliseconds since the epoch.
    Millis,
    /// Microseconds since the epoch.
    Micros,
    /// Nanoseconds since the epoch.
    Nanos,
}

/// A time that was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TimeProblem {
    /// No time at all: concerns its row only.
    #[error("{0}")]
    Unreadable(String),
    /// A time in another unit than the feed's, or in one that cannot be told: every time of the feed is in doubt.
    #[error("{0}")]
    Doubtful(String),
}

/// Reads the times of one feed, all in the unit of the first one.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    unit: Option<Unit>,
}

impl Unit {
    /// The unit of an integer time, by its magnitude: 1973 to 2286 in each unit (nanoseconds: to 2262, where
    /// 64 bits end), which do not overlap.
    fn of(value: i64) -> Option<Self> {
        match value {
            100_000_000..10_000_000_000 => Some(Self::Seconds),
            100_000_000_000..10_000_000_000_000 => Some(Self::Millis),
            100_000_000_000_000..10_000_000_000_000_000 => Some(Self::Micros),
            100_000_000_000_000_000.. => Some(Self::Nanos),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "RFC 3339 text",
            Self::Seconds => "seconds",
            Self::Millis => "milliseconds",
            Self::Micros => "microseconds",
            Self::Nanos => "nanoseconds",
        }
    }
}

impl Times {
    /// The time in a text: RFC 3339, or a whole number.
    pub(super) fn read_text(&mut self, text: &str) -> Result<Timestamp, TimeProblem> {
        match text.parse::<i64>() {
            Ok(value) => self.read_integer(value),
            Err(_) => {
                let ts = text.parse().map_err(|error| {
                    TimeProblem::Unreadable(format!(
                        "{error}, or a whole number of seconds or finer since 1970"
                    ))
                })?;
                self.agreed(Unit::Text, ts)
            }
        }
    }

    /// The time that a whole number stands for; what is finer than a millisecond is cut off.
    pub(super) fn read_integer(&mut self, value: i64) -> Result<Timestamp, TimeProblem> {
        let Some(unit) = Unit::of(value) else {
            return Err(TimeProblem::Doubtful(format!(
                "{value} is neither seconds, milliseconds, microseconds nor nanoseconds since 1970 between 1973 and 2262"
            )));
        };
        let ts = match unit {
            Unit::Seconds => Timestamp::from_secs(value),
            Unit::Micros => Timestamp::from_millis(value / 1000),
            Unit::Nanos => Timestamp::from_millis(value / 1_000_000),
            Unit::Millis | Unit::Text => Timestamp::from_millis(value),
        };
        self.agreed(unit, ts)
    }

    /// `ts` as the whole number it is in this feed; `None` where none was read yet.
    pub(super) fn write_integer(&self, ts: Timestamp) -> Option<i64> {
        let ms = ts.as_millis();
        match self.unit? {
            Unit::Text => None,
            // Rounded down: an earlier time leads to the same bars and some more.
            Unit::Seconds => Some(ms.div_euclid(1000)),
            Unit::Millis => Some(ms),
            Unit::Micros => Some(ms.saturating_mul(1000)),
            Unit::Nanos => Some(ms.saturating_mul(1_000_000)),
        }
    }

    fn agreed(&mut self, unit: Unit, ts: Timestamp) -> Result<Timestamp, TimeProblem> {
        match *self.unit.get_or_insert(unit) {
            first if first == unit => Ok(ts),
            first => Err(TimeProblem::Doubtful(format!(
                "{ts} is written as {}, earlier ones as {}; write all in one unit",
                unit.name(),
                first.name()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_unit_their_size_tells() {
        let noon: Timestamp = "2024-06-01T12:00:00Z".parse().unwrap();
        for text in [
            "1717243200",
            "1717243200000",
            "1717243200000000",
            "1717243200000000000",
            "1717243200000999999",
            "2024-06-01T12:00:00Z",
            "2024-06-01 14:00:00+02:00",
        ] {
            assert_eq!(Times::default().read_text(text), Ok(noon), "{text}");
        }
    }

    #[test]
    fn a_time_is_written_as_the_feed_writes_it() {
        let noon: Timestamp = "2024-06-01T12:00:00Z".parse().unwrap();
        assert_eq!(Times::default().write_integer(noon), None);
        for value in [1_717_243_200, 1_717_243_200_000, 1_717_243_200_000_000, 1_717_243_200_000_000_000] {
            let mut times = Times::default();
            assert_eq!(times.read_integer(value), Ok(noon));
            assert_eq!(times.write_integer(noon), Some(value));
        }
    }

    #[test]
    fn doubtful_units_and_unreadable_texts_are_told_apart() {
        for value in [0, 7, -1_717_243_200, 20_240_601, 50_000_000_000, 50_000_000_000_000_000] {
            let read = Times::default().read_integer(value);
            assert!(matches!(read, Err(TimeProblem::Doubtful(_))), "{value}: {read:?}");
        }
        for text in ["", "soon", "2024-06-01", "2024-06-01T12:00:00", "1.7e9"] {
            let read = Times::default().read_text(text);
            assert!(matches!(read, Err(TimeProblem::Unreadable(_))), "{text}: {read:?}");
        }
        let mut times = Times::default();
        assert!(times.read_integer(1_717_243_200).is_ok());
        for other in ["1717243200000", "1717243200000000000", "2024-06-01T12:00:00Z"] {
            assert!(matches!(times.read_text(other), Err(TimeProblem::Doubtful(_))));
        }
    }
}
