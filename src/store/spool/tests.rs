//! What went into a spool comes out, whatever was done to its files between.

use super::*;
use crate::domain::{Process, SeriesKey, Timestamp};
use crate::store::row::{Content, Predicted};
use std::sync::Arc;

const NAME: &str = "postgres://there/db";

fn row(n: u32) -> Row {
    let content = if n.is_multiple_of(3) {
        Content::Error { reason: "late".into(), detail: format!("\"{n}\"\n\0é").into() }
    } else {
        // No two of these texts of numbers are read back by luck.
        let value = f64::from_bits(0x3fb9_9999_9999_999a + u64::from(n));
        let outputs = n.is_multiple_of(2).then(|| format!("{{\"p10\":{value}}}"));
        let value = if n == 1 { -0.0 } else { value };
        let stages_us = [Some(0.1 + f64::from(n)), None, Some(1e-7), None];
        Content::Prediction(Predicted { version: n, value, outputs, stages_us })
    };
    Row {
        series: Arc::new(SeriesKey::new("BTC/USDT", "5m".parse().unwrap()).unwrap()),
        horizon: 5,
        ts: Timestamp::from_secs(i64::from(n) * 300),
        revision: n % 2,
        model: "m".into(),
        created_at: Timestamp::from_millis(1_700_000_000_123),
        unless_answered: n.is_multiple_of(2),
        content,
    }
}

fn mark(n: u32) -> Watermark {
    (row(n).series, row(n).ts)
}

fn rows(from: u32, to: u32) -> Vec<Row> {
    (from..to).map(row).collect()
}

fn open(folder: &Path) -> Spool {
    Spool::open(folder, NAME, 1 << 30).unwrap()
}

/// Everything that waits, oldest first; the spool is empty afterwards.
fn drain(spool: &mut Spool) -> (Vec<Row>, Option<Timestamp>, Vec<String>) {
    let (mut rows, mut newest, mut bad) = (Vec::new(), None, Vec::new());
    while let Some(oldest) = spool.oldest() {
        let (batch, aside) = oldest.read().unwrap();
        spool.done(&batch, &aside).unwrap();
        rows.extend(batch.rows);
        newest = newest.max(batch.watermarks.first().map(|(_, ts)| *ts));
        bad.extend(batch.bad);
    }
    assert_eq!(spool.bytes(), 0);
    (rows, newest, bad)
}

#[test]
fn rows_come_back_in_order_and_bit_for_bit_over_many_files_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    for n in 0..70 {
        spool.append(&rows(n * 100, n * 100 + 100), &[mark(n * 100 + 99)]).unwrap();
    }
    assert!(!spool.closed.is_empty() && spool.open.is_some(), "one file is whole, another one begun");
    drop(spool);
    let mut spool = open(folder.path());
    spool.append(&rows(7000, 7001), &[]).unwrap();
    assert_eq!(drain(&mut spool), (rows(0, 7001), Some(mark(6999).1), vec![]));
    spool.append(&rows(1, 2), &[]).unwrap();
    let (again, _, _) = drain(&mut spool);
    let Content::Prediction(Predicted { value, .. }) = again[0].content else { panic!("{again:?}") };
    assert!(value == 0.0 && value.is_sign_negative());
}

#[test]
fn a_file_cut_at_any_byte_gives_every_whole_row_and_reports_the_torn_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    spool.append(&rows(0, 2), &[mark(1)]).unwrap();
    let before = spool.bytes() as usize;
    spool.append(&rows(2, 4), &[mark(3)]).unwrap();
    let path = spool.path(1);
    drop(spool);
    let whole = std::fs::read(&path).unwrap();
    for cut in before..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut spool = open(folder.path());
        let (found, newest, bad) = drain(&mut spool);
        assert!(found.len() >= 2 && found == rows(0, found.len() as u32), "cut at {cut}");
        let complete = whole[..cut].iter().filter(|byte| **byte == b'\n').count() - 4;
        assert_eq!(found.len(), 2 + complete.min(2), "cut at {cut}");
        // The watermark stands behind its rows: it never says more than they do.
        assert_eq!(newest, Some(if complete == 3 { mark(3).1 } else { mark(1).1 }), "cut at {cut}");
        let torn = !whole[..cut].ends_with(b"\n");
        assert_eq!(bad.len(), usize::from(torn), "cut at {cut}: {bad:?}");
        assert_eq!(path.with_extension("bad").exists(), torn);
        drop(std::fs::remove_file(path.with_extension("bad")));
    }
}

#[test]
fn alerts_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let alert = AlertEvent {
        at: Timestamp::from_millis(-1),
        process: Arc::new(Process { host: "h\"\n".into(), pid: u32::MAX }),
        code: "c".into(),
        subject: "\0é".into(),
        severity: "error".into(),
        state: "cleared".into(),
        detail: "\r\n".into(),
        count: u64::MAX,
    };
    spool.append(&rows(0, 1), &[]).unwrap();
    spool.append_alerts(&[alert.clone(), alert.clone()]).unwrap();
    let (batch, aside) = spool.oldest().unwrap().read().unwrap();
    assert_eq!((batch.rows, batch.alerts, aside), (rows(0, 1), vec![alert.clone(), alert], vec![]));
}

#[test]
fn any_flipped_bit_is_noticed_and_costs_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    spool.append(&rows(0, 3), &[]).unwrap();
    let path = spool.path(1);
    drop(spool);
    let whole = std::fs::read(&path).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for at in header..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        std::fs::write(&path, &changed).unwrap();
        let (found, _, bad) = drain(&mut open(folder.path()));
        assert!(!bad.is_empty() && found.iter().all(|row| rows(0, 3).contains(row)), "byte {at}: {found:?}");
        assert!(!found.is_empty(), "byte {at}: a broken line end joins two lines, no more");
    }
}

#[test]
fn a_full_spool_a_second_process_and_another_store_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), NAME, 700).unwrap();
    spool.append(&rows(0, 2), &[]).unwrap();
    let error = spool.append(&rows(2, 4), &[]).unwrap_err();
    assert!(error.retryable && error.problem.contains("it is full"), "{error}");
    let error = Spool::open(folder.path(), NAME, 1).err().unwrap();
    assert!(error.problem.contains("another vela uses it"), "{error}");
    drop(spool);
    let error = Spool::open(folder.path(), "postgres://elsewhere/db", 1).err().unwrap();
    assert!(error.problem.contains("it holds rows for postgres://there/db"), "{error}");
    assert_eq!(drain(&mut open(folder.path())).0, rows(0, 2), "what was refused left nothing behind");
}
