//! The models of one engine: what serves, the sessions for it, and what becomes of a version that fails.

use super::catalogue::{Catalogue, CatalogueModel, FeatureCheck};
use super::check::{self, CheckReport};
use super::failure::Failure;
use super::golden::{self, GoldenError};
use super::manifest::Manifest;
use super::pool::{Loading, Pool, PoolLimits, Slots};
use super::registry::{MANIFEST_FILE, Registry, is_model_name};
use super::runtime::{InstallProgress, Runtime, RuntimeError};
use super::session::{RunError, RunLimits};
use super::version::{Standing, Version};
use crate::alert::{Alerts, Severity};
use crate::config::Settings;
use crate::domain::Reason;
use arc_swap::ArcSwap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The models that serve, with the pool of their sessions.
pub struct Models {
    /// What serves now.
    pub(super) catalogue: ArcSwap<Catalogue>,
    /// Their sessions.
    pub pool: Arc<Pool>,
    /// What a person should know of.
    pub alerts: Arc<Alerts>,
    folder: PathBuf,
    usable: FeatureCheck,
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
    /// allow it; `progress` is told how far that is, `usable` says which features can be computed.
    ///
    /// # Errors
    /// When the folder cannot be read, or ONNX Runtime cannot be found, fetched or loaded.
    pub fn open(
        settings: &Settings,
        usable: FeatureCheck,
        progress: &mut dyn FnMut(InstallProgress),
    ) -> Result<Self, OpenError> {
        let slots = Arc::new(Slots::new(settings.predict.sessions_per_model_max));
        let folder = settings.models.path.clone();
        let catalogue = Catalogue::read(&folder, &slots, usable).map_err(OpenError::Folder)?;
        let runtime = Runtime::open(&settings.runtime, progress)?;
        let pool = Arc::new(Pool::new(runtime, slots, pool_limits(settings)));
        let catalogue = ArcSwap::from_pointee(catalogue);
        Ok(Self { catalogue, pool, alerts: Arc::default(), folder, usable })
    }

    /// Takes up the bounds that `settings` say and that can be changed while it runs.
    pub fn follow(&self, settings: &Settings) {
        let limits = PoolLimits {
            sessions_max: settings.model_pool_size,
            load_deadline: Duration::from_millis(settings.predict.load_deadline_ms),
            ..self.pool.limits()
        };
        self.pool.set_limits(limits);
    }

    /// What serves now.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    /// The models folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tries a version as it would be tried before it serves, in a session of its own; `None` where it has no folder.
    pub fn check_version(&self, model: &str, version: u32) -> Option<CheckReport> {
        let folder = self.folder.join(model).join(version.to_string());
        if !is_model_name(model) || !folder.is_dir() {
            return None;
        }
        let mut report = check::check(self.pool.runtime(), &folder, self.pool.limits());
        if report.passed
            && let Ok(manifest) = Manifest::read(&folder.join(MANIFEST_FILE))
            && let Err(error) = (self.usable)(&manifest.features, manifest.timeframe)
        {
            (report.passed, report.error) = (false, Some(error));
        }
        Some(report)
    }

    /// Looks again at the models that `wanted` names, and makes what it finds the catalogue; one caller at a
    /// time. What it finds wrong is alerted.
    pub(super) fn look_again(&self, wanted: impl Fn(&str) -> bool + Copy) {
        // Gone just now: that says nothing of what serves.
        let Ok(registry) = Registry::look(&self.folder, wanted) else { return };
        let before = self.catalogue.load();
        let next = before.with(registry, wanted, (self.pool.slots(), self.usable));
        // What was told with the look before is not told again with every look.
        for problem in next.problems().iter().filter(|problem| !before.problems().contains(problem)) {
            let subject = problem.path.display().to_string();
            self.alerts.raise(Severity::Warning, "models_folder", &subject, problem.detail.clone());
        }
        self.catalogue.store(Arc::new(next));
    }

    /// Loads a version and has it reproduce its golden rows, where that was not done yet or has failed; one
    /// caller at a time, the others wait for what comes of it.
    ///
    /// # Errors
    /// Why it cannot serve.
    pub fn prepare(&self, model: &CatalogueModel, version: &Version) -> Result<(), Failure> {
        let content = version.content().map_err(Clone::clone)?;
        let before = version.standing();
        let _one = version.trying.lock();
        match version.standing() {
            Standing::Good => return Ok(()),
            // Somebody else just tried.
            after if after != before => {
                return Err(version
                    .failure()
                    .map_or_else(|| Failure::unavailable("it failed"), |f| (*f).clone()));
            }
            _ => {}
        }
        let tolerance = content.manifest.tolerance;
        let check = |golden: &PathBuf| {
            let replay =
                |loaded: &mut super::pool::Loaded| golden::replay(&mut loaded.session, golden, tolerance);
            self.pool.with(content, Loading::Here, replay)
        };
        let tried = match &content.golden {
            Some(golden) => check(golden).and_then(|replayed| match replayed {
                Some(Err(error)) => Err(check_failure(&error)),
                _ => Ok(()),
            }),
            None => self.pool.with(content, Loading::Here, |_| ()).map(drop),
        };
        match tried {
            Ok(()) => {
                version.succeed();
                let detail = format!("version {} is loaded and checked", version.number);
                if before == Standing::Untried {
                    tracing::info!(model = %model.name, version = version.number, "{detail}");
                } else {
                    self.alerts.raise(Severity::Info, "model_recovered", &model.name, detail);
                }
                Ok(())
            }
            Err(failure) => {
                self.pool.discard(&content.slot);
                if before == Standing::Untried {
                    self.fail(model, version, failure.clone());
                } else {
                    version.fail_again(failure.clone());
                }
                Err(failure)
            }
        }
    }

    /// Has a version ready to serve: tried, where it is not good, and its session in memory.
    pub(super) fn ready(&self, model: &CatalogueModel, version: &Version) {
        let Ok(content) = version.content() else { return };
        if version.standing() != Standing::Good {
            // What comes of it is kept with the version.
            let _ = self.prepare(model, version);
        } else if !content.slot.is_loaded()
            && let Err(failure) = self.pool.with(content, Loading::Here, |_| ())
        {
            self.fail(model, version, failure);
        }
    }

    /// Notes that a version failed; the first time since it was good, or new, it is alerted.
    pub(super) fn fail(&self, model: &CatalogueModel, version: &Version, failure: Failure) {
        let detail = failure.detail.clone();
        if !version.fail(failure) {
            return;
        }
        let instead = model.versions.iter().find(|other| {
            let able = matches!(other.standing(), Standing::Good | Standing::Untried);
            able && !std::ptr::eq(&***other, version)
        });
        let number = version.number;
        let (severity, what) = match instead {
            Some(other) if other.number == number => {
                (Severity::Warning, "its content before the change goes on serving".to_owned())
            }
            Some(other) => (Severity::Warning, format!("version {} serves instead", other.number)),
            None => (Severity::Error, "no other version can serve".to_owned()),
        };
        let detail = format!("version {number} fails: {detail}; {what}");
        self.alerts.raise(severity, "model_failed", &model.name, detail);
    }

    /// Prepares a version of every model, so that what is wrong shows and the names of all outputs are known.
    /// Where there are more than the pool holds, the first ones go again.
    pub fn preload_all(&self) {
        self.preload(usize::MAX);
    }

    /// Prepares as many models as the pool holds, so that their first bar does not wait for it.
    pub fn preload_some(&self) {
        self.preload(self.pool.limits().sessions_max);
    }

    fn preload(&self, sessions_max: usize) {
        let mut slots = Vec::new();
        for model in self.catalogue().models() {
            for version in &model.versions {
                let Ok(content) = version.content() else { continue };
                let known = slots.contains(&content.slot.number);
                if !known && slots.len() >= sessions_max {
                    break;
                }
                // What fails stays failed, with its reason for every row; the version before it is tried.
                if self.prepare(model, version).is_ok() {
                    if !known {
                        slots.push(content.slot.number);
                    }
                    break;
                }
            }
        }
    }

    /// The names of the output values of all contents loaded so far, each once, in the models' order.
    pub fn output_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for version in self.catalogue().models().iter().flat_map(|model| model.versions.clone()) {
            let known = version.content().ok().and_then(|content| content.slot.names());
            for name in known.iter().flat_map(|names| names.iter()) {
                if !names.contains(name) {
                    names.push(Arc::clone(name));
                }
            }
        }
        names
    }
}

/// What sessions and their runs may cost, as it is configured.
pub(crate) fn pool_limits(settings: &Settings) -> PoolLimits {
    let run = RunLimits {
        deadline: Duration::from_millis(settings.predict.deadline_ms),
        memory_bytes: settings.predict.run_memory_max_mb << 20,
    };
    PoolLimits {
        sessions_max: settings.model_pool_size,
        batch_max: settings.batch_size_max,
        run,
        load_deadline: Duration::from_millis(settings.predict.load_deadline_ms),
    }
}

/// A failed check as a version's failure.
fn check_failure(error: &GoldenError) -> Failure {
    match error {
        GoldenError::Run { error: RunError::Deadline { .. }, .. } => {
            Failure { reason: Reason::ModelTimeout, detail: error.to_string() }
        }
        error => Failure::unavailable(error.to_string()),
    }
}
