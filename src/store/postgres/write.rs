//! Rows into tables: one statement and one round trip, however many rows there are.

use super::commit::Commit;
use crate::database::Client;
use crate::domain::Timestamp;
use crate::store::Watermark;
use crate::store::row::{Content, Predicted, Row};
use postgres::Error;
use postgres::types::ToSql;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The channel on which stored predictions are announced, where `store.notify` asks for it.
pub const CHANNEL: &str = "vela_predictions";

// Every prediction goes into these columns.
const INTO_PREDICTIONS: &str = "INSERT INTO trading.agentpreds AS a
        (symbol, timeframe, horizon, ts, model, version, value, outputs,
         latency_us, ingest_us, feature_us, predict_us, created_at, revision)";

// Its revision is what is selected next.
const SELECTED: &str = "
    SELECT symbol, timeframe, horizon, ts, model, version, value, outputs::json,
           latency_us, ingest_us, feature_us, predict_us, created_at,";

// What is there already stays; what is new may be announced.
const UNLESS_THERE: &str = "
    ON CONFLICT DO NOTHING";
const NEW_PREDICTIONS: &str = "
    RETURNING a.symbol, a.timeframe, a.horizon, a.ts, a.model, a.version, a.value, a.revision";

// The first answer to a lone bar, which somebody waits for: arrays would have to be taken apart, for half as long as all
// the rest of the statement takes the server.
const LONE: &str = "
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::json, $9, $10, $11, $12, $13, 0)";

// Predictions of bars that nothing was said of before, which nearly all are: there is nothing to be compared with.
const FIRST: &str = " 0
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::text[], $6::bigint[], $7::float8[],
                $8::text[], $9::float8[], $10::float8[], $11::float8[], $12::float8[], $13::timestamptz[])
        AS n(symbol, timeframe, horizon, ts, model, version, value, outputs,
             latency_us, ingest_us, feature_us, predict_us, created_at)";

// What may have been answered before is compared with the last word: see `Row::unless_answered`.
const ANY: &str = " CASE WHEN unless_answered AND last_revision IS NULL THEN 0 ELSE revision END
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::text[], $6::bigint[], $7::float8[],
                $8::text[], $9::float8[], $10::float8[], $11::float8[], $12::float8[], $13::timestamptz[],
                $14::bigint[], $15::boolean[])
        AS n(symbol, timeframe, horizon, ts, model, version, value, outputs,
             latency_us, ingest_us, feature_us, predict_us, created_at, revision, unless_answered)
    LEFT JOIN LATERAL (
        SELECT o.version, o.value, o.revision FROM trading.agentpreds o
        WHERE n.unless_answered
          AND (o.symbol, o.timeframe, o.horizon, o.ts, o.model) = (n.symbol, n.timeframe, n.horizon, n.ts, n.model)
        ORDER BY o.revision DESC, o.version = n.version DESC LIMIT 1
    ) AS last(last_version, last_value, last_revision) ON true
    WHERE NOT unless_answered OR last_revision IS NULL
       OR (last_revision < revision AND last_version = version
           AND abs(last_value - value) > 1e-9 * greatest(abs(last_value), abs(value)))";

const ERRORS: &str = ", errors AS (
    INSERT INTO trading.inference_errors
        (symbol, timeframe, horizon, ts, reason, model, detail, created_at, revision)
    SELECT symbol, timeframe, horizon, ts, reason, model, detail, created_at, revision
    FROM unnest($16::text[], $17::text[], $18::bigint[], $19::timestamptz[], $20::text[], $21::text[], $22::text[],
                $23::timestamptz[], $24::bigint[], $25::boolean[])
        AS n(symbol, timeframe, horizon, ts, reason, model, detail, created_at, revision, unless_answered)
    WHERE NOT unless_answered OR NOT EXISTS (
        SELECT FROM trading.agentpreds o
        WHERE (o.symbol, o.timeframe, o.horizon, o.ts) = (n.symbol, n.timeframe, n.horizon, n.ts)
          AND (n.model = '' OR o.model = n.model))
    ON CONFLICT DO NOTHING
)";

/// What a prediction and an error have.
const PREDICTION_PARAMETERS: usize = 15;
const ERROR_PARAMETERS: usize = 10;
/// What of a prediction's a first one has: all but its revision and whether it is one more try.
const FIRST_PARAMETERS: usize = 13;

// `to_json` writes a time as RFC 3339 and a number so that it can be read back exactly.
const WITH_NOTIFY: &str = "
SELECT FROM predictions p, LATERAL pg_notify('vela_predictions', row_to_json(p)::text)";

/// The statements that write rows.
pub(super) struct Statements {
    /// What their commits wait for.
    pub(super) commit: Commit,
    /// One that is a first answer, and no watermark.
    lone: String,
    first: String,
    any: String,
}

impl Statements {
    /// `notify` announces every prediction that is new.
    pub(super) fn new(notify: bool, commit: Commit) -> Self {
        let end = match (notify, commit.condition()) {
            (false, None) => "\nSELECT".to_owned(),
            (false, Some(condition)) => format!("\nSELECT WHERE {condition}"),
            (true, None) => WITH_NOTIFY.to_owned(),
            (true, Some(condition)) => format!("{WITH_NOTIFY}\nUNION ALL SELECT WHERE {condition}"),
        };
        let statement = |selected: &str, errors: &str, parameters: usize| {
            let watermarks = watermarks(parameters + 1);
            format!(
                "WITH predictions AS (
    {INTO_PREDICTIONS}{SELECTED}{selected}{UNLESS_THERE}{NEW_PREDICTIONS}
){errors}{watermarks}{end}"
            )
        };
        let lone = format!("{INTO_PREDICTIONS}{LONE}{UNLESS_THERE}{NEW_PREDICTIONS}");
        Self {
            commit,
            lone: format!("WITH predictions AS ({lone}){end}"),
            first: statement(FIRST, "", FIRST_PARAMETERS),
            any: statement(ANY, ERRORS, PREDICTION_PARAMETERS + ERROR_PARAMETERS),
        }
    }
}

/// The part that writes watermarks, whose parameters begin with number `first`. One never goes backwards: another process may
/// be further. They come sorted by series, as they could lock each other out.
fn watermarks(first: usize) -> String {
    let [symbol, timeframe, watermark] = [first, first + 1, first + 2];
    format!(
        ", watermarks AS (
    INSERT INTO trading.inference_state AS s (symbol, timeframe, watermark)
    SELECT * FROM unnest(${symbol}::text[], ${timeframe}::text[], ${watermark}::timestamptz[])
    ON CONFLICT (symbol, timeframe) DO UPDATE SET watermark = excluded.watermark
    WHERE s.watermark < excluded.watermark
)"
    )
}

/// Writes all or nothing.
pub(super) fn write(
    client: &mut Client,
    statements: &Statements,
    rows: &[Row],
    watermarks: &[Watermark],
) -> Result<(), Error> {
    let is_first = |row: &Row| {
        matches!(row.content, Content::Prediction(_)) && row.revision == 0 && !row.unless_answered
    };
    if let ([row @ Row { content: Content::Prediction(predicted), .. }], []) = (rows, watermarks)
        && is_first(row)
    {
        return write_lone(client, &statements.lone, row, predicted);
    }
    let all_first = rows.iter().all(is_first);
    let mut predictions = Predictions::default();
    let mut errors = Errors::default();
    for row in rows {
        match &row.content {
            Content::Prediction(predicted) => predictions.push(row, predicted),
            Content::Error { reason, detail } => errors.push(row, reason, detail),
        }
    }
    let mut marks: Vec<_> = watermarks.iter().collect();
    marks.sort_unstable();
    let mark_symbols: Vec<&str> = marks.iter().map(|(series, _)| &*series.symbol).collect();
    let mark_timeframes: Vec<String> = marks.iter().map(|(series, _)| series.timeframe.to_string()).collect();
    let mark_times: Vec<SystemTime> = marks.iter().map(|(_, ts)| system_time(*ts)).collect();
    let mut parameters: Vec<&(dyn ToSql + Sync)> = Vec::with_capacity(28);
    parameters.extend(predictions.parameters());
    if all_first {
        parameters.truncate(FIRST_PARAMETERS);
    } else {
        parameters.extend(errors.parameters());
    }
    parameters.extend([&mark_symbols as &(dyn ToSql + Sync), &mark_timeframes, &mark_times]);
    let (driver, statement) = client.prepared(if all_first { &statements.first } else { &statements.any })?;
    driver.execute(&statement, &parameters).map(|_| ())
}

fn write_lone(client: &mut Client, statement: &str, row: &Row, predicted: &Predicted) -> Result<(), Error> {
    let Predicted { version, value, outputs, stages_us: [latency_us, ingest_us, feature_us, predict_us] } =
        predicted;
    let (timeframe, horizon, version) =
        (row.series.timeframe.to_string(), i64::from(row.horizon), i64::from(*version));
    let (ts, created_at) = (system_time(row.ts), system_time(row.created_at));
    let parameters: [&(dyn ToSql + Sync); FIRST_PARAMETERS] = [
        &&*row.series.symbol,
        &timeframe,
        &horizon,
        &ts,
        &&*row.model,
        &version,
        value,
        outputs,
        latency_us,
        ingest_us,
        feature_us,
        predict_us,
        &created_at,
    ];
    let (driver, statement) = client.prepared(statement)?;
    driver.execute(&statement, &parameters).map(|_| ())
}

/// What both tables have, by column.
#[derive(Default)]
struct Keys<'a> {
    symbol: Vec<&'a str>,
    timeframe: Vec<String>,
    horizon: Vec<i64>,
    ts: Vec<SystemTime>,
    model: Vec<&'a str>,
    created_at: Vec<SystemTime>,
    revision: Vec<i64>,
    unless_answered: Vec<bool>,
}

impl<'a> Keys<'a> {
    fn push(&mut self, row: &'a Row) {
        self.symbol.push(&row.series.symbol);
        self.timeframe.push(row.series.timeframe.to_string());
        self.horizon.push(row.horizon.into());
        self.ts.push(system_time(row.ts));
        self.model.push(&row.model);
        self.created_at.push(system_time(row.created_at));
        self.revision.push(row.revision.into());
        self.unless_answered.push(row.unless_answered);
    }
}

#[derive(Default)]
struct Predictions<'a> {
    keys: Keys<'a>,
    version: Vec<i64>,
    value: Vec<f64>,
    outputs: Vec<Option<&'a str>>,
    stages_us: [Vec<Option<f64>>; 4],
}

impl<'a> Predictions<'a> {
    fn push(&mut self, row: &'a Row, predicted: &'a Predicted) {
        self.keys.push(row);
        self.version.push(predicted.version.into());
        self.value.push(predicted.value);
        self.outputs.push(predicted.outputs.as_deref());
        for (column, took_us) in self.stages_us.iter_mut().zip(predicted.stages_us) {
            column.push(took_us);
        }
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); PREDICTION_PARAMETERS] {
        let Keys { symbol, timeframe, horizon, ts, model, created_at, revision, unless_answered } =
            &self.keys;
        let [latency_us, ingest_us, feature_us, predict_us] = &self.stages_us;
        [
            symbol,
            timeframe,
            horizon,
            ts,
            model,
            &self.version,
            &self.value,
            &self.outputs,
            latency_us,
            ingest_us,
            feature_us,
            predict_us,
            created_at,
            revision,
            unless_answered,
        ]
    }
}

#[derive(Default)]
struct Errors<'a> {
    keys: Keys<'a>,
    reason: Vec<&'a str>,
    detail: Vec<String>,
}

impl<'a> Errors<'a> {
    fn push(&mut self, row: &'a Row, reason: &'a str, detail: &'a str) {
        self.keys.push(row);
        self.reason.push(reason);
        self.detail.push(text(detail));
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); ERROR_PARAMETERS] {
        let Keys { symbol, timeframe, horizon, ts, model, created_at, revision, unless_answered } =
            &self.keys;
        [
            symbol,
            timeframe,
            horizon,
            ts,
            &self.reason,
            model,
            &self.detail,
            created_at,
            revision,
            unless_answered,
        ]
    }
}

/// PostgreSQL's texts hold every character but this one.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The times that a `timestamptz` holds, in ms since 1970: 4713 BC to the year 294276.
const TIMES_MS: std::ops::RangeInclusive<i64> = -210_866_803_200_000..=9_224_318_015_999_000;

/// What the driver takes for a time; what no column holds is the nearest that it holds.
pub(super) fn system_time(ts: Timestamp) -> SystemTime {
    let ms = ts.as_millis().clamp(*TIMES_MS.start(), *TIMES_MS.end());
    let since = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 { UNIX_EPOCH - since } else { UNIX_EPOCH + since }
}
