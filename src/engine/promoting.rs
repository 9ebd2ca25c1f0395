//! The models, for whoever has the engine: promoting and rolling back while running, and inference by callers.

use super::Engine;
use crate::predict::Inference;
use crate::predict::promotion::{self, Author, Entry, PromotionError};
use std::sync::Arc;

/// Why a version was not promoted, or not rolled back.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// The list of promoted versions cannot be changed.
    #[error("{0}")]
    List(#[from] PromotionError),
    /// The version fails the check that it would have to pass to serve.
    #[error("version {version} of {model} was not promoted, its check failed: {detail}")]
    Check {
        /// The model.
        model: String,
        /// The version.
        version: u32,
        /// What failed.
        detail: String,
    },
}

impl Engine {
    /// Its models for callers with tensors of their own, in at most `sessions_max` sessions that bars do not use.
    pub fn inference(&self, sessions_max: usize) -> Inference {
        Inference::new(Arc::clone(&self.models), sessions_max)
    }

    /// Checks a version of a model and makes it the one that serves; takes as long as loading and running it does.
    /// `unchecked` leaves the check out. What serves follows within `models.look_interval_ms`.
    ///
    /// # Errors
    /// Why it was not promoted; nothing has changed then.
    pub fn promote(
        &self,
        model: &str,
        version: u32,
        unchecked: bool,
        author: &Author,
    ) -> Result<Entry, PromoteError> {
        let failed = || self.models.check_version(model, version).and_then(|report| report.error);
        if let Some(detail) = (!unchecked).then(failed).flatten() {
            return Err(PromoteError::Check { model: model.to_owned(), version, detail });
        }
        Ok(promotion::promote(self.models.folder(), model, version, author)?)
    }

    /// Takes a model's newest promoted version away: the one before it serves.
    ///
    /// # Errors
    /// Why it was not rolled back; nothing has changed then.
    pub fn rollback(&self, model: &str, author: &Author) -> Result<Entry, PromoteError> {
        Ok(promotion::rollback(self.models.folder(), model, author)?)
    }
}
