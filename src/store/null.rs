//! A store that keeps nothing.

use super::{Store, StoreError, Watermark};
use crate::domain::Outcome;

/// Drops what it is given: for measurements, and for runs whose outcomes go to subscribers only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl Store for Null {
    fn write(&mut self, _: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        Ok(())
    }
}
