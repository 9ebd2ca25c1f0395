//! The models of one engine: what serves, and the sessions for it.

use super::runtime::{InstallProgress, Runtime, RuntimeError};
use super::{Catalogue, Pool};
use crate::config::Settings;
use std::sync::Arc;

/// The models that serve, with the pool of their sessions.
pub struct Models {
    /// Which models serve which series.
    pub catalogue: Arc<Catalogue>,
    /// Their sessions.
    pub pool: Arc<Pool>,
}

/// Why models cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// ONNX Runtime is missing or unusable.
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    /// The folder cannot be read.
    #[error("{0}")]
    Folder(String),
}

impl Models {
    /// Reads the models folder and loads ONNX Runtime, fetching it where there is none and the settings
    /// allow it; `progress` is told how far that is.
    ///
    /// # Errors
    /// When the folder cannot be read, or ONNX Runtime cannot be found, fetched or loaded.
    pub fn open(settings: &Settings, progress: &mut dyn FnMut(InstallProgress)) -> Result<Self, OpenError> {
        let catalogue = Catalogue::read(&settings.models.path).map_err(OpenError::Folder)?;
        let library = &settings.runtime.library;
        let configured = (!library.as_os_str().is_empty()).then_some(library.as_path());
        let runtime = if settings.runtime.download {
            Runtime::ensure(configured, progress)?
        } else {
            Runtime::load(&super::runtime::locate(configured)?)?
        };
        let (sessions_max, batch_max) = (settings.model_pool_size, settings.batch_size_max);
        let deadline = std::time::Duration::from_millis(settings.predict.deadline_ms);
        let pool = Pool::new(runtime, &catalogue, sessions_max, batch_max, deadline);
        Ok(Self { catalogue: Arc::new(catalogue), pool: Arc::new(pool) })
    }
}
