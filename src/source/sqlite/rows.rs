//! Reading the cells of a bar table: times in their several spellings, prices, series names.

use crate::domain::{Bar, SeriesKey, Timestamp};
use crate::source::times::{TimeProblem, Times};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use std::collections::HashMap;
use std::sync::Arc;

/// The time in a cell: text or a whole number.
pub(super) fn time(times: &mut Times, cell: ValueRef<'_>) -> Result<Timestamp, TimeProblem> {
    match cell {
        ValueRef::Integer(value) => times.read_integer(value),
        ValueRef::Text(bytes) => times.read_text(std::str::from_utf8(bytes).unwrap_or_default()),
        other => Err(TimeProblem::Unreadable(format!("{} is not a time", other.data_type()))),
    }
}

/// The bar that opens at `ts` with the five cells from column `first`. Untyped columns and NUMERIC decimals hold
/// numbers as text, which are read as numbers. What is no number becomes NaN:
/// ingest refuses and counts such a bar, which says more than leaving it out here.
pub(super) fn bar(row: &Row<'_>, first: usize, ts: Timestamp) -> rusqlite::Result<Bar> {
    let number = |offset: usize| -> rusqlite::Result<f64> {
        Ok(match row.get_ref(first + offset)? {
            ValueRef::Real(value) => value,
            ValueRef::Integer(value) => value as f64,
            ValueRef::Text(bytes) => {
                std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(f64::NAN)
            }
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
    fn cells_that_hold_no_time_are_unreadable() {
        for cell in [ValueRef::Null, ValueRef::Real(1.7e9), ValueRef::Blob(b"x"), ValueRef::Text(b"\xff")] {
            let read = time(&mut Times::default(), cell);
            assert!(matches!(read, Err(TimeProblem::Unreadable(_))), "{cell:?}: {read:?}");
        }
    }

    #[test]
    fn numeric_text_is_read_as_numbers_and_other_text_is_no_price() {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        let read = |cells: &str| {
            database
                .query_row(&format!("SELECT {cells}"), [], |row| bar(row, 0, Timestamp::default()))
                .unwrap()
        };
        let expected =
            Bar { ts: Timestamp::default(), open: 1.5, high: 3.0, low: 0.5, close: 2e-8, volume: 7.0 };
        assert_eq!(read("'1.5', ' 3 ', '.5', '2e-8', 7"), expected);
        let odd = read("'', 'x', NULL, '1,5', '0x10'");
        assert!([odd.open, odd.high, odd.low, odd.close, odd.volume].iter().all(|number| number.is_nan()));
    }
}
