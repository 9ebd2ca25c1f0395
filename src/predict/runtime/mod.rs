//! ONNX Runtime: finding its shared library, fetching it where there is none, loading it once.

mod child;
mod division;
mod install;
mod locate;
pub(super) mod memory;

pub use install::{InstallProgress, Pin, install, pin};
pub use locate::{Found, Place, PlaceKind, Status, locate, status};

use crate::config::RuntimeSettings;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The version that is fetched where none is installed.
pub const PINNED_VERSION: &str = "1.32.0";
/// The oldest minor version (1.N) whose interface is understood.
pub const MINOR_MIN: u32 = 17;

/// How to get a library when there is none; part of every text that says so.
const REMEDY: &str = "run `vela runtime install`, or set ORT_DYLIB_PATH or `runtime.library` in the \
                      configuration to a libonnxruntime.so (1.17 or newer)";

/// Why ONNX Runtime cannot be used, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A path that was named by hand is not there.
    #[error("{origin} names `{}`, which {problem}: correct the path or remove the setting", path.display())]
    BadPath {
        /// Which setting named it.
        origin: &'static str,
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing was found in any place.
    #[error("no ONNX Runtime library was found in any place (`vela runtime status` lists them): {REMEDY}")]
    NotFound,
    /// The file is no usable ONNX Runtime.
    #[error("`{}` cannot be used as ONNX Runtime: {detail}; {REMEDY}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        detail: String,
    },
    /// This process already uses another library; it cannot be exchanged.
    #[error("ONNX Runtime was already loaded from `{}`: restart to use `{}`", loaded.display(), asked.display())]
    OtherLoaded {
        /// What is in use.
        loaded: PathBuf,
        /// What was asked for.
        asked: PathBuf,
    },
    /// Fetching failed.
    #[error("ONNX Runtime {PINNED_VERSION} could not be fetched: {0}")]
    Install(String),
}

/// ONNX Runtime, loaded; lives until the process ends.
pub struct Runtime {
    path: PathBuf,
    version: Option<String>,
    environment: ort::environment::Environment,
    bounds_memory: bool,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("path", &self.path)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What this process has loaded. The library is remembered apart from the environment, because it stays
/// loaded even when making the environment fails.
struct Loaded {
    library: Option<PathBuf>,
    runtime: Option<&'static Runtime>,
}

static LOADED: Mutex<Loaded> = Mutex::new(Loaded { library: None, runtime: None });

impl Runtime {
    /// Loads the library at `path` and makes the process's one environment; later calls with the same path
    /// return the same runtime.
    ///
    /// # Errors
    /// When the file is missing, is no ONNX Runtime, is older than 1.17, or another one is already loaded.
    pub fn load(path: &Path) -> Result<&'static Self, RuntimeError> {
        // An absolute path, because a relative one would be tried beside the executable first.
        let path = path.canonicalize().map_err(|e| RuntimeError::Unusable {
            path: path.to_owned(),
            detail: format!("it cannot be opened ({e})"),
        })?;
        let unusable = |detail: String| RuntimeError::Unusable { path: path.clone(), detail };
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = loaded.library.as_ref().filter(|library| **library != path) {
            return Err(RuntimeError::OtherLoaded { loaded: library.clone(), asked: path });
        }
        if let Some(runtime) = loaded.runtime {
            return Ok(runtime);
        }
        // The binding asserts where a library answers with nonsense; that must not end the process.
        let builder = catch_unwind(AssertUnwindSafe(|| ort::init_from(&path)))
            .map_err(|_| unusable("its interface is not ONNX Runtime's".to_owned()))?
            .map_err(|e| unusable(e.to_string()))?;
        loaded.library = Some(path.clone());
        let environment = catch_unwind(AssertUnwindSafe(|| build_environment(builder)))
            .map_err(|_| unusable("its interface is not ONNX Runtime's".to_owned()))?
            .map_err(|e| unusable(e.to_string()))?;
        division::survive();
        let bounds_memory = match memory::register(&environment) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "what a run may take of memory is not bounded");
                false
            }
        };
        let version = locate::version_of(&path);
        tracing::info!(path = %path.display(), version = version.as_deref().unwrap_or("?"), "ONNX Runtime loaded");
        // Leaked: releasing the environment while the process ends can abort in the library's destructors.
        let runtime: &'static Self = Box::leak(Box::new(Self { path, version, environment, bounds_memory }));
        loaded.runtime = Some(runtime);
        Ok(runtime)
    }

    /// The library that `settings` name, or that is found; fetched where there is none and they allow it.
    ///
    /// # Errors
    /// Those of [`locate`], [`install`] and [`Runtime::load`].
    pub fn open(
        settings: &RuntimeSettings,
        progress: &mut dyn FnMut(InstallProgress),
    ) -> Result<&'static Self, RuntimeError> {
        let configured = (!settings.library.as_os_str().is_empty()).then_some(settings.library.as_path());
        if settings.download { Self::ensure(configured, progress) } else { Self::load(&locate(configured)?) }
    }

    /// Finds a library (or fetches it, when there is none) and loads it.
    ///
    /// # Errors
    /// Those of [`locate`], [`install`] and [`Runtime::load`].
    pub fn ensure(
        configured: Option<&Path>,
        progress: &mut dyn FnMut(InstallProgress),
    ) -> Result<&'static Self, RuntimeError> {
        let path = match locate(configured) {
            Err(RuntimeError::NotFound) => install(progress)?,
            found => found?,
        };
        Self::load(&path)
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The library's version, such as `1.32.0`, where the file tells it.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether sessions can be held to a bound of memory.
    pub(super) fn bounds_memory(&self) -> bool {
        self.bounds_memory
    }

    /// The one environment of this process: for sessions made by hand, beside those of the pool.
    pub fn environment(&self) -> &ort::environment::Environment {
        &self.environment
    }
}

fn build_environment(
    builder: ort::environment::EnvironmentBuilder,
) -> ort::Result<ort::environment::Environment> {
    // What the library logs also comes back as an error: one line in the log at `debug` is enough.
    let logger = |level: ort::logging::LogLevel, _: &str, _: &str, place: &str, text: &str| {
        tracing::debug!(target: "onnxruntime", ?level, place, "{text}");
    };
    let environment =
        builder.with_name("vela").with_telemetry(false).with_logger(Arc::new(logger)).build()?;
    // Below `Error` it would warn, on every batch, of each model whose declared shapes lie.
    environment.set_log_level(ort::logging::LogLevel::Error);
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        std::fs::write(&file, b"not a library").unwrap();
        let error = Runtime::load(&file).unwrap_err();
        // Another test may have loaded the real one into this process by now.
        assert!(matches!(error, RuntimeError::Unusable { .. } | RuntimeError::OtherLoaded { .. }), "{error}");
        let missing = folder.path().join("missing.so");
        let text = Runtime::load(&missing).unwrap_err().to_string();
        assert!(text.contains("missing.so") && text.contains("ORT_DYLIB_PATH"), "{text}");
    }
}
