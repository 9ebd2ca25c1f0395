//! Rows that the server has committed and may not have on its disk: they are kept until it has.

use crate::store::row::Row;
use crate::store::spool::Spool;
use crate::store::{StoreError, Watermark};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many rows and watermarks are kept before a batch waits for the disk: half a second of 30,000 rows a second, a few MB.
const KEPT_MAX: usize = 16_384;

/// How many of them the spool takes at once.
const TAKEN_MAX: usize = 1024;

/// What was written in one transaction.
pub(super) struct Batch {
    pub rows: Vec<Row>,
    pub watermarks: Vec<Watermark>,
}

/// Batches that the server has committed, the oldest first, all on one connection.
#[derive(Default)]
pub(super) struct Unflushed {
    batches: VecDeque<Arc<Batch>>,
    /// Their rows and watermarks.
    kept: usize,
    counts: Arc<Counts>,
}

/// What others may read of it.
#[derive(Default)]
pub(super) struct Counts {
    rows: AtomicU64,
    resent: AtomicU64,
}

impl Counts {
    /// Rows that are kept.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Rows that went into the spool, to be sent again.
    pub(super) fn resent(&self) -> u64 {
        self.resent.load(Ordering::Relaxed)
    }
}

impl Batch {
    fn len(&self) -> usize {
        self.rows.len() + self.watermarks.len()
    }
}

impl Unflushed {
    /// What others may read.
    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether no more should be kept.
    pub(super) fn is_full(&self) -> bool {
        self.kept > KEPT_MAX
    }

    /// Keeps a batch that was committed.
    pub(super) fn keep(&mut self, batch: Arc<Batch>) {
        self.counts.rows.fetch_add(batch.rows.len() as u64, Ordering::Relaxed);
        self.kept += batch.len();
        self.batches.push_back(batch);
    }

    /// The server has all of them on its disk.
    pub(super) fn let_go(&mut self) {
        self.batches.clear();
        self.kept = 0;
        self.counts.rows.store(0, Ordering::Relaxed);
    }

    /// Whether the server has them is not known: they go into `spool`, the oldest first.
    ///
    /// # Errors
    /// When it does not take them: what it did not take is kept.
    pub(super) fn spill(&mut self, spool: &Mutex<Spool>) -> Result<(), StoreError> {
        while let Some(oldest) = self.batches.front() {
            let mut len = oldest.len();
            let more = self.batches.iter().skip(1).take_while(|batch| {
                len += batch.len();
                len <= TAKEN_MAX
            });
            let count = 1 + more.count();
            let batches = || self.batches.iter().take(count);
            let rows: Vec<Row> = batches().flat_map(|batch| &batch.rows).cloned().collect();
            let watermarks: Vec<Watermark> = batches().flat_map(|batch| &batch.watermarks).cloned().collect();
            spool.lock().append(&rows, &watermarks)?;
            self.batches.drain(..count);
            self.kept -= rows.len() + watermarks.len();
            self.counts.rows.fetch_sub(rows.len() as u64, Ordering::Relaxed);
            self.counts.resent.fetch_add(rows.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}
