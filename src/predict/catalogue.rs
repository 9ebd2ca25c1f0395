//! Which models serve which series: the models folder, read into dense numbers.

use super::manifest::Manifest;
use super::registry::{Problem, Registry, serving};
use super::session::Artefact;
use crate::domain::{Demand, SeriesKey};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many models may serve one series; what is beyond is a problem that is told, not served in silence.
const MODELS_PER_SERIES_MAX: usize = crate::domain::OUTCOMES_PER_BAR_MAX;

/// One model that serves: its newest promoted version.
#[derive(Clone, Debug)]
pub struct CatalogueModel {
    /// Its name.
    pub name: Arc<str>,
    /// The version that serves.
    pub version: u32,
    /// What it says of itself.
    pub manifest: Arc<Manifest>,
    /// The dense number of its artefact: models with the same content share one.
    pub artefact: usize,
}

/// One file to be loaded, however many models it serves.
#[derive(Clone, Debug)]
pub struct CatalogueArtefact {
    /// The name of the first model that it serves.
    pub name: Arc<str>,
    /// The file.
    pub path: PathBuf,
    /// How it is fed and read.
    pub manifest: Arc<Manifest>,
}

/// All models that serve, and the problems with those that do not.
#[derive(Debug, Default)]
pub struct Catalogue {
    models: Vec<CatalogueModel>,
    artefacts: Vec<CatalogueArtefact>,
    problems: Vec<Problem>,
}

impl Catalogue {
    /// Reads the models folder; one broken model is a problem of its own, not of the others.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn read(folder: &Path) -> Result<Self, String> {
        if let Err(error) = std::fs::read_dir(folder) {
            let folder = folder.display();
            return Err(format!(
                "the models folder {folder} cannot be read ({error}): correct --models, or models.path in the configuration"
            ));
        }
        let Registry { models, problems } = Registry::scan(folder);
        let mut catalogue = Self { problems, ..Self::default() };
        // By content, and by how it is fed and read: the same file read two ways is two artefacts.
        let mut known: HashMap<([u8; 32], String), usize> = HashMap::new();
        for entry in models {
            let Some(version) = entry.newest() else { continue };
            let path = entry.model_file(version);
            let mut problem = |path: &Path, detail: String| {
                catalogue.problems.push(Problem { path: path.to_owned(), detail });
            };
            let manifest = match entry.manifest(version) {
                Ok(manifest) => Arc::new(manifest),
                Err(error) => {
                    problem(
                        &entry.version_folder(version),
                        format!("{error}; {} does not serve", entry.name),
                    );
                    continue;
                }
            };
            let content = match Artefact::read(&path) {
                Ok(artefact) => Some((artefact.sha256(), manifest.reading())),
                Err(error) => {
                    // It stays in the catalogue: its bars get the reason, not silence.
                    problem(&path, error.to_string());
                    None
                }
            };
            let next = catalogue.artefacts.len();
            let artefact = match content {
                Some(content) => *known.entry(content).or_insert(next),
                None => next,
            };
            if artefact == next {
                let (name, manifest) = (Arc::clone(&entry.name), Arc::clone(&manifest));
                catalogue.artefacts.push(CatalogueArtefact { name, path, manifest });
            }
            catalogue.models.push(CatalogueModel { name: entry.name, version, manifest, artefact });
        }
        Ok(catalogue)
    }

    /// The models that serve, by name; a model's place is its dense number.
    pub fn models(&self) -> &[CatalogueModel] {
        &self.models
    }

    /// The files they need; an artefact's place is its dense number.
    pub fn artefacts(&self) -> &[CatalogueArtefact] {
        &self.artefacts
    }

    /// What was passed over, and why.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What the promoted models ask of a series, by horizon and then by name. For each horizon the models
    /// that name the symbol serve; where none does, those for any symbol.
    pub fn demands(&self, series: &SeriesKey) -> Vec<Demand> {
        let manifests = self.models.iter().map(|model| &*model.manifest);
        let mut serving = serving(manifests, &series.symbol, series.timeframe);
        serving.sort_by_key(|number| self.models[*number].manifest.horizon);
        let demands = serving.into_iter().map(|number| {
            let CatalogueModel { name, manifest, .. } = &self.models[number];
            Demand {
                horizon: manifest.horizon,
                model: number as u32,
                name: Arc::clone(name),
                features: manifest.features.clone(),
                window: manifest.window,
                unusable: None,
            }
        });
        let mut demands: Vec<Demand> = demands.collect();
        if demands.len() > MODELS_PER_SERIES_MAX {
            tracing::error!(
                %series,
                models = demands.len(),
                models_max = MODELS_PER_SERIES_MAX,
                "too many models serve one series: those beyond the bound are left out"
            );
            demands.truncate(MODELS_PER_SERIES_MAX);
        }
        demands
    }
}
