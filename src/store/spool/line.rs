//! One line of a spool file: a checksum, and a row, a watermark or an alert as JSON.
//!
//! ```text
//! 5f2a91c3 {"watermark":["BTCUSDT","1m",1717245240000]}
//! ```

use crate::domain::{AlertEvent, Process, SeriesKey, Timestamp};
use crate::store::Watermark;
use crate::store::row::{Content, Predicted, Row};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a line holds.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::store) enum Entry {
    /// Whose rows these are: the first line of a file.
    Store(String),
    Row(Row),
    Watermark(Watermark),
    Alert(AlertEvent),
}

/// The same as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Text {
    Store(String),
    Watermark(String, String, i64),
    Prediction {
        #[serde(flatten)]
        key: Key,
        version: u32,
        value: f64,
        outputs: Option<String>,
        stages_us: [Option<f64>; 4],
    },
    Error {
        #[serde(flatten)]
        key: Key,
        reason: String,
        detail: String,
    },
    Alert {
        at_ms: i64,
        code: String,
        subject: String,
        severity: String,
        state: String,
        detail: String,
        count: u64,
        host: String,
        pid: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct Key {
    symbol: String,
    timeframe: String,
    horizon: u32,
    ts_ms: i64,
    model: String,
    revision: u32,
    created_at_ms: i64,
    unless_answered: bool,
}

/// Appends `entry` as a line to `out`.
pub(super) fn put(out: &mut Vec<u8>, entry: &Entry) {
    let begin = out.len();
    // Room for the checksum, which is known when the rest is.
    out.extend_from_slice(b"00000000 ");
    // Writing to a Vec cannot fail, and no key of the type is anything but a text.
    let _ = serde_json::to_writer(&mut *out, &Text::from(entry));
    let sum = format!("{:08x}", crc32fast::hash(&out[begin + 9..]));
    out[begin..begin + 8].copy_from_slice(sum.as_bytes());
    out.push(b'\n');
}

/// Reads a line without its line break; the error says what is wrong with it.
pub(super) fn read(line: &[u8]) -> Result<Entry, String> {
    let (sum, text) = line.split_at_checked(9).ok_or("it is cut short")?;
    let found = format!("{:08x} ", crc32fast::hash(text));
    if sum != found.as_bytes() {
        return Err(format!("its checksum is {found}and not {}", sum.escape_ascii()));
    }
    let text: Text = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    text.try_into()
}

impl From<&Entry> for Text {
    fn from(entry: &Entry) -> Self {
        let row = match entry {
            Entry::Store(name) => return Self::Store(name.clone()),
            Entry::Watermark((series, ts)) => {
                return Self::Watermark(
                    series.symbol.to_string(),
                    series.timeframe.to_string(),
                    ts.as_millis(),
                );
            }
            Entry::Alert(alert) => return Self::from(alert),
            Entry::Row(row) => row,
        };
        let key = Key {
            symbol: row.series.symbol.to_string(),
            timeframe: row.series.timeframe.to_string(),
            horizon: row.horizon,
            ts_ms: row.ts.as_millis(),
            model: row.model.to_string(),
            revision: row.revision,
            created_at_ms: row.created_at.as_millis(),
            unless_answered: row.unless_answered,
        };
        match row.content.clone() {
            Content::Prediction(Predicted { version, value, outputs, stages_us }) => {
                Self::Prediction { key, version, value, outputs, stages_us }
            }
            Content::Error { reason, detail } => {
                Self::Error { key, reason: reason.into_owned(), detail: detail.into_owned() }
            }
        }
    }
}

impl From<&AlertEvent> for Text {
    fn from(alert: &AlertEvent) -> Self {
        let AlertEvent { at, process, code, subject, severity, state, detail, count } = alert.clone();
        Self::Alert {
            at_ms: at.as_millis(),
            code: code.into_owned(),
            subject,
            severity: severity.into_owned(),
            state: state.into_owned(),
            detail,
            count,
            host: process.host.to_string(),
            pid: process.pid,
        }
    }
}

impl TryFrom<Text> for Entry {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        let (key, content) = match text {
            Text::Store(name) => return Ok(Self::Store(name)),
            Text::Watermark(symbol, timeframe, ts_ms) => {
                return Ok(Self::Watermark((series(&symbol, &timeframe)?, Timestamp::from_millis(ts_ms))));
            }
            Text::Prediction { key, version, value, outputs, stages_us } => {
                (key, Content::Prediction(Predicted { version, value, outputs, stages_us }))
            }
            Text::Alert { at_ms, code, subject, severity, state, detail, count, host, pid } => {
                return Ok(Self::Alert(AlertEvent {
                    at: Timestamp::from_millis(at_ms),
                    process: Arc::new(Process { host: host.into(), pid }),
                    code: code.into(),
                    subject,
                    severity: severity.into(),
                    state: state.into(),
                    detail,
                    count,
                }));
            }
            Text::Error { key, reason, detail } => {
                (key, Content::Error { reason: reason.into(), detail: detail.into() })
            }
        };
        Ok(Self::Row(Row {
            series: series(&key.symbol, &key.timeframe)?,
            horizon: key.horizon,
            ts: Timestamp::from_millis(key.ts_ms),
            revision: key.revision,
            model: key.model.into(),
            created_at: Timestamp::from_millis(key.created_at_ms),
            unless_answered: key.unless_answered,
            content,
        }))
    }
}

fn series(symbol: &str, timeframe: &str) -> Result<Arc<SeriesKey>, String> {
    let timeframe = timeframe.parse().map_err(|error| format!("{error}"))?;
    SeriesKey::new(symbol, timeframe).map(Arc::new).map_err(|error| error.to_string())
}
