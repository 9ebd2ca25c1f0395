//! `golden.csv`: rows that a version must reproduce before it may serve.
//!
//! The header names the columns `x_0` to `x_n`, one for each of a row's `window * features` values, the oldest
//! bar first; then `y`, the prediction itself, or `y_0`, `y_1` for the output values in their order, or `y_NAME`
//! for one by its name (`y_p_1`, `y_q10`).
//! A column `symbol` may stand anywhere, for models that take the symbol's number.

use super::session::{Row, RunError, Session};
use std::path::Path;
use std::time::{Duration, Instant};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long replaying all rows may take.
const TIME_MAX: Duration = Duration::from_secs(5);

/// What a replay of the golden rows found.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct GoldenReport {
    /// Rows that were run.
    pub rows: usize,
    /// The largest distance between an answer and what was expected.
    pub worst: f64,
    /// The line of the file it was found in, from 1; 0 where there is no row.
    pub worst_line: usize,
}

/// Why golden rows are not reproduced.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GoldenError {
    /// The file is not as it must be.
    #[error("golden.csv: {0}")]
    File(String),
    /// A run failed.
    #[error("golden.csv line {line}: {error}")]
    Run {
        /// The line, from 1.
        line: usize,
        /// What the session said.
        error: RunError,
    },
    /// An answer is too far from what was expected.
    #[error(
        "golden.csv line {line}: `{column}` is {got}, {expected} is expected (off by {:.1e}, allowed is {allowed:.1e}: check.tolerance)",
        (got - expected).abs()
    )]
    Differs {
        /// The line, from 1.
        line: usize,
        /// The column.
        column: String,
        /// What the model answered.
        got: f64,
        /// What the file says.
        expected: f64,
        /// How far it may be off.
        allowed: f64,
    },
}

/// What a column holds.
enum Column {
    Input(usize),
    /// Which value of the model's row.
    Output(usize),
    Symbol,
}

/// Runs every row of the file at `path` alone and compares; `tolerance` counts absolutely plus relatively.
///
/// # Errors
/// As [`GoldenError`] lists.
pub fn replay(session: &mut Session, path: &Path, tolerance: f64) -> Result<GoldenReport, GoldenError> {
    let wrong = |detail: String| GoldenError::File(detail);
    let unread = |e: std::io::Error| wrong(format!("cannot be read: {e}"));
    let found = path.metadata().map_err(unread)?;
    // A pipe would keep who opens it until somebody writes.
    if !found.is_file() {
        return Err(wrong("is not a file".to_owned()));
    }
    let size = found.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("has {size} bytes, at most {FILE_BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(unread)?;
    // Some programs begin every text with a mark of its encoding.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let header = lines.next().map(|(_, line)| line).unwrap_or_default();
    let columns = columns(header, session).map_err(wrong)?;
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    let any_symbol = session.symbols().first().cloned().unwrap_or_default();
    let mut report = GoldenReport::default();
    let mut window = vec![0.0; session.row_len()];
    let (mut expected, mut out) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for (line, text) in lines.map(|(at, text)| (at + 1, text)) {
        let cells: Vec<&str> = text.split(',').map(str::trim).collect();
        if cells.len() != columns.len() {
            let (has, wants) = (cells.len(), columns.len());
            return Err(wrong(format!("line {line} has {has} cells, the header has {wants}")));
        }
        expected.clear();
        let mut symbol = any_symbol.as_str();
        for ((cell, column), name) in cells.iter().zip(&columns).zip(&names) {
            let value = || {
                let bad = || {
                    wrong(format!(
                        "line {line}: `{name}` is `{}`: a number is expected",
                        cell.escape_default()
                    ))
                };
                cell.parse::<f64>().map_err(|_| bad())
            };
            match column {
                Column::Input(at) => window[*at] = value()?,
                Column::Output(at) => expected.push((*at, value()?, *name)),
                Column::Symbol => symbol = cell,
            }
        }
        let row = Row { window: &window, symbol };
        session.run(&[row], &mut out).map_err(|error| GoldenError::Run { line, error })?;
        report.rows += 1;
        for (at, expected, name) in &expected {
            let (got, allowed) = (out[*at], tolerance + tolerance * expected.abs());
            let off = (got - expected).abs();
            if off > report.worst || report.worst_line == 0 {
                (report.worst, report.worst_line) = (off, line);
            }
            if off.is_nan() || off > allowed {
                let (column, expected) = ((*name).to_owned(), *expected);
                return Err(GoldenError::Differs { line, column, got, expected, allowed });
            }
        }
        if begin.elapsed() > TIME_MAX {
            let done = report.rows;
            let detail = format!("its first {done} rows took {TIME_MAX:?}: give fewer rows");
            return Err(wrong(detail));
        }
    }
    if report.rows == 0 {
        return Err(wrong("has no row: give some, or remove the file".to_owned()));
    }
    Ok(report)
}

/// What the columns of `header` hold for `session`.
fn columns(header: &str, session: &Session) -> Result<Vec<Column>, String> {
    let (inputs, outputs) = (session.row_len(), session.names());
    let column = |name: &str| match name.split_once('_') {
        _ if name == "y" => Ok(Column::Output(session.value_index())),
        _ if name == "symbol" => Ok(Column::Symbol),
        Some(("x", number)) => {
            number.parse().ok().filter(|at| *at < inputs).map(Column::Input).ok_or_else(|| {
                format!("the column `{name}` is none of x_0 to x_{}: a row has {inputs} values", inputs - 1)
            })
        }
        Some(("y", output)) => {
            let by_name = outputs.iter().position(|known| **known == *output);
            let by_place = || output.parse().ok().filter(|at| *at < session.values_per_row());
            by_name.or_else(by_place).map(Column::Output).ok_or_else(|| {
                let (last, names) = (session.values_per_row() - 1, outputs.join(" "));
                format!("the column `{name}` is no output value; there are y, y_0 to y_{last}: {names}")
            })
        }
        _ => Err(format!("the column `{}` is none of x_0…, y, y_NAME, symbol", name.escape_default())),
    };
    let found: Vec<Column> = header.split(',').map(|name| column(name.trim())).collect::<Result<_, _>>()?;
    let mut seen = vec![false; inputs];
    found.iter().for_each(|column| {
        if let Column::Input(at) = column {
            seen[*at] = true;
        }
    });
    if let Some(missing) = seen.iter().position(|seen| !seen) {
        return Err(format!("the column x_{missing} is missing: a row has {inputs} values"));
    }
    if !found.iter().any(|column| matches!(column, Column::Output(_))) {
        return Err("it has no column y: what is to be reproduced?".to_owned());
    }
    Ok(found)
}
