//! Reading the cells of a bar table: times in their several spellings, prices, series names.

use crate::domain::{Bar, SeriesKey, Timestamp};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use std::collections::HashMap;
use std::sync::Arc;

/// How a table spells its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// RFC 3339 text.
    Text,
    /// Seconds since the epoch.
    Seconds,
    /// Milliseconds since the epoch.
    Millis,
    /// Microseconds since the epoch.
    Micros,
}

/// A time that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TimeProblem {
    /// No time at all: concerns its row only.
    Unreadable(String),
    /// A time in another unit than the table's, or in one that cannot be told: every time of the table is in doubt.
    Doubtful(String),
}

/// Reads times, all in the unit of the first one.
#[derive(Debug, Default)]
pub(super) struct Times {
    unit: Option<Unit>,
}

/// The unit of an integer time, by its magnitude: 1973 to 2286 in each unit, which do not overlap.
fn unit_of(value: i64) -> Option<Unit> {
    match value {
        100_000_000..10_000_000_000 => Some(Unit::Seconds),
        100_000_000_000..10_000_000_000_000 => Some(Unit::Millis),
        100_000_000_000_000..10_000_000_000_000_000 => Some(Unit::Micros),
        _ => None,
    }
}

impl Times {
    /// The time in a cell: RFC 3339 text, or an integer (also as text).
    pub(super) fn read(&mut self, cell: ValueRef<'_>) -> Result<Timestamp, TimeProblem> {
        let (unit, ts) = match cell {
            ValueRef::Integer(value) => epoch(value)?,
            ValueRef::Text(bytes) => {
                let text = std::str::from_utf8(bytes).unwrap_or_default();
                match text.parse::<i64>() {
                    Ok(value) => epoch(value)?,
                    Err(_) => {
                        let ts = text.parse().map_err(|e| TimeProblem::Unreadable(format!("ts: {e}")))?;
                        (Unit::Text, ts)
                    }
                }
            }
            other => {
                return Err(TimeProblem::Unreadable(format!("ts: {} is not a time", other.data_type())));
            }
        };
        match *self.unit.get_or_insert(unit) {
            first if first == unit => Ok(ts),
            first => Err(TimeProblem::Doubtful(format!(
                "ts: {ts} is written as {}, earlier ones as {}; write all in one unit",
                unit.name(),
                first.name()
            ))),
        }
    }
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "RFC 3339 text",
            Self::Seconds => "seconds",
            Self::Millis => "milliseconds",
            Self::Micros => "microseconds",
        }
    }
}

fn epoch(value: i64) -> Result<(Unit, Timestamp), TimeProblem> {
    let unit = unit_of(value).ok_or_else(|| {
        TimeProblem::Doubtful(format!(
            "ts: {value} is neither seconds, milliseconds nor microseconds since 1970 between 1973 and 2286"
        ))
    })?;
    let ts = match unit {
        Unit::Seconds => Timestamp::from_secs(value),
        Unit::Micros => Timestamp::from_millis(value / 1000),
        _ => Timestamp::from_millis(value),
    };
    Ok((unit, ts))
}

/// The bar that opens at `ts` with the five cells from column `first`. What is no number becomes NaN:
/// ingest rejects and counts such a bar, which says more than leaving it out here.
pub(super) fn bar(row: &Row<'_>, first: usize, ts: Timestamp) -> rusqlite::Result<Bar> {
    let number = |offset: usize| -> rusqlite::Result<f64> {
        Ok(match row.get_ref(first + offset)? {
            ValueRef::Real(value) => value,
            ValueRef::Integer(value) => value as f64,
            _ => f64::NAN,
        })
    };
    Ok(Bar { ts, open: number(0)?, high: number(1)?, low: number(2)?, close: number(3)?, volume: number(4)? })
}

/// The series seen so far, by the cells that name them: a row of a known series allocates nothing.
#[derive(Debug, Default)]
pub(super) struct SeriesNames {
    known: HashMap<String, Vec<(String, Arc<SeriesKey>)>>,
}

impl SeriesNames {
    /// The series of a (symbol, timeframe) pair of cells.
    ///
    /// # Errors
    /// The problem, when one of them is no text or names nothing.
    pub(super) fn get(
        &mut self,
        symbol: ValueRef<'_>,
        timeframe: ValueRef<'_>,
    ) -> Result<Arc<SeriesKey>, String> {
        let symbol = symbol.as_str().map_err(|_| format!("symbol: {} is not text", symbol.data_type()))?;
        let timeframe =
            timeframe.as_str().map_err(|_| format!("timeframe: {} is not text", timeframe.data_type()))?;
        let of_symbol = self.known.get(symbol).map_or(&[][..], Vec::as_slice);
        if let Some((_, series)) = of_symbol.iter().find(|(name, _)| name == timeframe) {
            return Ok(Arc::clone(series));
        }
        let parsed = timeframe.parse().map_err(|error| format!("timeframe: {error}"))?;
        let key = SeriesKey::new(symbol, parsed).map_err(|error| format!("symbol: {error}"))?;
        let series = Arc::new(key);
        let entry = (timeframe.to_owned(), Arc::clone(&series));
        self.known.entry(symbol.to_owned()).or_default().push(entry);
        Ok(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_unit_their_size_tells() {
        let noon: Timestamp = "2024-06-01T12:00:00Z".parse().unwrap();
        for cell in [
            ValueRef::Integer(1_717_243_200),
            ValueRef::Integer(1_717_243_200_000),
            ValueRef::Integer(1_717_243_200_000_000),
            ValueRef::Text(b"1717243200"),
            ValueRef::Text(b"2024-06-01T12:00:00Z"),
            ValueRef::Text(b"2024-06-01 14:00:00+02:00"),
        ] {
            assert_eq!(Times::default().read(cell), Ok(noon), "{cell:?}");
        }
    }

    #[test]
    fn doubtful_units_and_unreadable_cells_are_told_apart() {
        for value in [0, 7, -1_717_243_200, 20_240_601, 50_000_000_000, i64::MAX] {
            let read = Times::default().read(ValueRef::Integer(value));
            assert!(matches!(read, Err(TimeProblem::Doubtful(_))), "{value}: {read:?}");
        }
        for cell in
            [ValueRef::Null, ValueRef::Text(b"soon"), ValueRef::Text(b"2024-06-01"), ValueRef::Real(1.7e9)]
        {
            let read = Times::default().read(cell);
            assert!(matches!(read, Err(TimeProblem::Unreadable(_))), "{cell:?}: {read:?}");
        }
        let mut times = Times::default();
        assert!(times.read(ValueRef::Integer(1_717_243_200)).is_ok());
        for other in [ValueRef::Integer(1_717_243_200_000), ValueRef::Text(b"2024-06-01T12:00:00Z")] {
            assert!(matches!(times.read(other), Err(TimeProblem::Doubtful(_))));
        }
    }
}
