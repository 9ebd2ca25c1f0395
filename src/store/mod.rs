//! Where predictions go.

mod csv;
mod memory;
mod null;
mod postgres;
mod row;
mod spool;
mod sqlite;
mod tee;
#[cfg(test)]
mod testing;

pub use self::postgres::{CHANNEL, PostgresStore};
pub use csv::{Completion, CsvStore};
pub use memory::MemoryStore;
pub use null::Null;
pub use spool::Waiting;
pub use sqlite::SqliteStore;
pub use tee::Tee;

use crate::config::{Settings, StoreUrl};
use crate::domain::{AlertEvent, Outcome, SeriesKey, Stored, SymbolPerformance, Timestamp, Wanted};
use std::sync::Arc;
use std::time::Duration;

/// Up to which bar, inclusive, every outcome of a series is stored.
pub type Watermark = (Arc<SeriesKey>, Timestamp);

/// A store that could not write.
#[derive(Debug, thiserror::Error)]
#[error("{store}: {problem}")]
pub struct StoreError {
    /// Which store (a URL without credentials, or a file).
    pub store: String,
    /// What was tried and what came back.
    pub problem: String,
    /// Whether trying again may help (locked, full, away).
    pub retryable: bool,
}

/// How a store is, beside what `write` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreReading {
    /// How long it has taken nothing; `None` where it takes what it is given.
    pub away: Option<Duration>,
    /// Rows that wait on disk for their database, in bytes.
    pub spool_bytes: u64,
    /// How much may wait there; 0 where there is no such place.
    pub spool_bytes_max: u64,
    /// Rows that can be seen in the database, and are kept until its disk has them.
    pub unflushed_rows: u64,
    /// Rows that were kept when the connection was lost, and so were sent again.
    pub resent_rows: u64,
}

/// Reads how a store is, while another thread writes into it.
pub type Gauge = Box<dyn Fn() -> StoreReading + Send + Sync>;

/// Reads what is stored, on a connection of its own, while another thread writes.
pub trait Archive: Send + Sync {
    /// The newest rows that are wanted, the newest bar first.
    ///
    /// # Errors
    /// When they cannot be read; retryable where the store is away or busy.
    fn newest(&self, wanted: &Wanted) -> Result<Vec<Stored>, StoreError>;
}

/// A sink of outcomes. Called by one thread at a time.
pub trait Store: Send {
    /// Writes a batch, whole or not at all, together with the watermarks that become true with it.
    /// Writing the same outcome again changes nothing.
    ///
    /// # Errors
    /// When nothing of the batch was written.
    fn write(&mut self, outcomes: &[Outcome], watermarks: &[Watermark]) -> Result<(), StoreError>;

    /// What there is to know of it beside what `write` says.
    fn gauge(&self) -> Option<Gauge> {
        None
    }

    /// Reads what it holds; `None` where nobody can ask.
    fn archive(&self) -> Option<Box<dyn Archive>> {
        None
    }

    /// Stores what the process says of itself, each of it once. Outcomes come first: it is not tried twice in one call,
    /// and where there is no room for it, it is given back.
    ///
    /// # Errors
    /// When it was not stored, or only in part: alerts may be handed in again.
    fn report(&mut self, _: &[SymbolPerformance], _: &[AlertEvent]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Called about twice a second, between two batches: makes durable what was written and is not durable yet.
    ///
    /// # Errors
    /// When something that `write` took can neither be made durable nor be kept elsewhere; it is tried again.
    fn settle(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Makes everything that was written durable; called once at the end of a run.
    ///
    /// # Errors
    /// When something that `write` took cannot be made durable.
    fn finish(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Opens the store that `settings` name, and reads up to where everything is stored already.
///
/// # Errors
/// When the store cannot be opened, lacks its tables, or was made by a newer version. Retryable when it is a database
/// that is away.
pub fn open(settings: &Settings) -> Result<(Box<dyn Store>, Vec<Watermark>), StoreError> {
    Ok(match &settings.store.url {
        StoreUrl::None => (Box::new(Null), Vec::new()),
        StoreUrl::Sqlite(path) => {
            let store = SqliteStore::open(path)?;
            let watermarks = store.watermarks()?;
            (Box::new(store), watermarks)
        }
        StoreUrl::Postgres(url) => {
            let (store, watermarks) = PostgresStore::open(url, settings)?;
            (Box::new(store), watermarks)
        }
    })
}
