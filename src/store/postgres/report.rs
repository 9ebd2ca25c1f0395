//! The performance of symbols and the alerts, into their tables: one statement for both.

use super::write::{system_time, text};
use crate::database::Client;
use crate::domain::{AlertEvent, SymbolPerformance};
use postgres::Error;
use postgres::types::ToSql;

const REPORT: &str = "
WITH performance AS (
    INSERT INTO trading.inference_metrics
        (symbol, measured_at, predictions, errors, latency_avg_ms, latency_max_ms, host, pid)
    SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::float8[], $6::float8[],
                         $7::text[], $8::bigint[])
    ON CONFLICT DO NOTHING
)
INSERT INTO trading.alerts (at, code, subject, severity, state, detail, count, host, pid)
SELECT * FROM unnest($9::timestamptz[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bigint[],
                     $16::text[], $17::bigint[])
ON CONFLICT DO NOTHING";

/// Writes all or nothing.
pub(super) fn write(
    client: &mut Client,
    performance: &[SymbolPerformance],
    alerts: &[AlertEvent],
) -> Result<(), Error> {
    fn columns<T, C>(rows: &[T], column: impl Fn(&T) -> C) -> Vec<C> {
        rows.iter().map(column).collect()
    }
    let parameters: [&(dyn ToSql + Sync); 17] = [
        &columns(performance, |one| text(&one.symbol)),
        &columns(performance, |one| system_time(one.at)),
        &columns(performance, |one| whole(one.predictions)),
        &columns(performance, |one| whole(one.errors)),
        &columns(performance, |one| one.latency_avg_ms),
        &columns(performance, |one| one.latency_max_ms),
        &columns(performance, |one| text(&one.process.host)),
        &columns(performance, |one| i64::from(one.process.pid)),
        &columns(alerts, |alert| system_time(alert.at)),
        &columns(alerts, |alert| text(&alert.code)),
        &columns(alerts, |alert| text(&alert.subject)),
        &columns(alerts, |alert| text(&alert.severity)),
        &columns(alerts, |alert| text(&alert.state)),
        &columns(alerts, |alert| text(&alert.detail)),
        &columns(alerts, |alert| whole(alert.count)),
        &columns(alerts, |alert| text(&alert.process.host)),
        &columns(alerts, |alert| i64::from(alert.process.pid)),
    ];
    let (driver, statement) = client.prepared(REPORT)?;
    driver.execute(&statement, &parameters).map(|_| ())
}

/// A count as tables hold it.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
