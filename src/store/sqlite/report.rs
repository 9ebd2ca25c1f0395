//! The performance of symbols and the alerts, into their tables.

use crate::domain::{AlertEvent, SymbolPerformance};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

const INSERT_PERFORMANCE: &str = "
INSERT INTO trading.inference_metrics (symbol, measured_at, predictions, errors, latency_avg_ms, latency_max_ms, host, pid)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";

const INSERT_ALERT: &str = "
INSERT INTO trading.alerts (at, code, subject, severity, state, detail, count, host, pid)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";

/// Writes all or nothing.
pub(super) fn write(
    connection: &Connection,
    performance: &[SymbolPerformance],
    alerts: &[AlertEvent],
) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    {
        let mut insert = transaction.prepare_cached(INSERT_PERFORMANCE)?;
        for one in performance {
            insert.execute(params![
                &*one.symbol,
                one.at.to_string(),
                whole(one.predictions),
                whole(one.errors),
                one.latency_avg_ms,
                one.latency_max_ms,
                &*one.process.host,
                one.process.pid,
            ])?;
        }
        let mut insert = transaction.prepare_cached(INSERT_ALERT)?;
        for alert in alerts {
            insert.execute(params![
                alert.at.to_string(),
                alert.code,
                alert.subject,
                alert.severity,
                alert.state,
                alert.detail,
                whole(alert.count),
                &*alert.process.host,
                alert.process.pid,
            ])?;
        }
    }
    transaction.commit()
}

/// A count as tables hold it.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
