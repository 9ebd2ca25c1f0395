//! The columns of a file of bars, whatever its format: what they are called, and where a file has them.

use crate::domain::Excerpt;

/// The columns that a file must have, in any order and case; further ones are passed over.
pub(super) const COLUMNS: [&str; 6] = ["ts", "open", "high", "low", "close", "volume"];

/// What files call the open time, the surest first: where a file has several, the first of these is it.
const TIMES: [&str; 6] = [COLUMNS[0], "open_time", "timestamp", "datetime", "time", "date"];

/// Where among a file's columns `names` each of [`COLUMNS`] is.
///
/// # Errors
/// The problem, when one is missing or there twice.
pub(super) fn locate(names: &[&str]) -> Result<[usize; COLUMNS.len()], String> {
    let expected = || format!("expected {}", COLUMNS.join(","));
    let find = |wanted: &str| {
        let mut found = (0..names.len()).filter(|index| names[*index].eq_ignore_ascii_case(wanted));
        let first = found.next();
        match found.next() {
            Some(again) => Err(format!("column `{}` is there twice; {}", names[again], expected())),
            None => Ok(first),
        }
    };
    let missing = |name: &str, otherwise: String| {
        let names = names.join(",");
        format!("column `{name}` is missing in `{:.120}`; {}{otherwise}", Excerpt(&names), expected())
    };
    let mut at = [0; COLUMNS.len()];
    for (name, at) in COLUMNS.iter().zip(&mut at).skip(1) {
        *at = find(name)?.ok_or_else(|| missing(name, String::new()))?;
    }
    for name in TIMES {
        if let Some(index) = find(name)? {
            at[0] = index;
            return Ok(at);
        }
    }
    Err(missing(COLUMNS[0], format!("; the open time may be called {} as well", TIMES[1..].join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_in_any_order_and_case_and_the_open_time_by_its_usual_names() {
        for (header, at) in [
            ("ts,open,high,low,close,volume", [0, 1, 2, 3, 4, 5]),
            ("Close,VOLUME,note,low,High,Open,Timestamp", [6, 5, 4, 3, 0, 1]),
            ("date,open,high,low,close,volume,open_time,close_time", [6, 1, 2, 3, 4, 5]),
            ("time,open,high,low,close,volume,ts", [6, 1, 2, 3, 4, 5]),
        ] {
            assert_eq!(locate(&header.split(',').collect::<Vec<_>>()), Ok(at), "{header}");
        }
        for (header, problem) in [
            (
                "ts,open,high,low,close",
                "column `volume` is missing in `ts,open,high,low,close`; expected ts,open",
            ),
            ("open,high,low,close,volume,close_time", "column `ts` is missing"),
            ("ts,open,high,low,close,volume,TS", "column `TS` is there twice"),
            ("ts,open,high,low,close,volume,open", "column `open` is there twice"),
        ] {
            let error = locate(&header.split(',').collect::<Vec<_>>()).unwrap_err();
            assert!(error.starts_with(problem), "{error}");
        }
        assert!(
            locate(&["open", "high", "low", "close", "volume"]).unwrap_err().contains("open_time, timestamp")
        );
    }
}
