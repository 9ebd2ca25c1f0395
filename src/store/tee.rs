//! Several stores as one.

use super::{Archive, Gauge, Store, StoreError, StoreReading, Watermark};
use crate::domain::{AlertEvent, Outcome, SymbolPerformance};

/// Writes to every store in turn. When one fails the batch has failed: writing it again changes nothing in the
/// stores that took it, because none of them stores an outcome twice.
#[derive(Default)]
pub struct Tee(pub Vec<Box<dyn Store>>);

impl Store for Tee {
    fn write(&mut self, outcomes: &[Outcome], watermarks: &[Watermark]) -> Result<(), StoreError> {
        self.0.iter_mut().try_for_each(|store| store.write(outcomes, watermarks))
    }

    /// The worst of each.
    fn gauge(&self) -> Option<Gauge> {
        let gauges: Vec<Gauge> = self.0.iter().filter_map(|store| store.gauge()).collect();
        let worst = |a: StoreReading, b: StoreReading| StoreReading {
            away: a.away.max(b.away),
            spool_bytes: a.spool_bytes.max(b.spool_bytes),
            spool_bytes_max: a.spool_bytes_max.max(b.spool_bytes_max),
            unflushed_rows: a.unflushed_rows.max(b.unflushed_rows),
            resent_rows: a.resent_rows.max(b.resent_rows),
        };
        Some(Box::new(move || gauges.iter().map(|gauge| gauge()).fold(StoreReading::default(), worst)))
    }

    /// The first one's that can be asked: all hold the same.
    fn archive(&self) -> Option<Box<dyn Archive>> {
        self.0.iter().find_map(|store| store.archive())
    }

    fn report(&mut self, performance: &[SymbolPerformance], alerts: &[AlertEvent]) -> Result<(), StoreError> {
        self.0.iter_mut().try_for_each(|store| store.report(performance, alerts))
    }

    /// Settles all of them, also behind one that fails; the first error is returned.
    fn settle(&mut self) -> Result<(), StoreError> {
        self.0.iter_mut().map(|store| store.settle()).fold(Ok(()), Result::and)
    }

    /// Finishes all of them, also behind one that fails; the first error is returned.
    fn finish(&mut self) -> Result<(), StoreError> {
        self.0.iter_mut().map(|store| store.finish()).fold(Ok(()), Result::and)
    }
}
