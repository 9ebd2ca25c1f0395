//! Which models serve which series: the models folder at one moment, as dense numbers. Never changed: what
//! changes in the folder makes a new catalogue, which shares what stayed the same.

use super::manifest::{Manifest, Symbols};
use super::pool::Slots;
use super::registry::{ModelEntry, Problem, Registry, serving};
use super::stamp::Stamp;
use super::version::{Standing, Version};
use crate::domain::{Aliases, Demand, FeatureSet, SeriesKey, Task, Timestamp, spelled_alike};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// How many models may serve one series; what is beyond is a problem that is told, not served in silence.
const MODELS_PER_SERIES_MAX: usize = crate::domain::OUTCOMES_PER_BAR_MAX;
/// How many of a model's promoted versions, the newest first, may have to serve.
pub const VERSIONS_MAX: usize = 8;

/// Says whether a list of features can be computed; the error says which cannot.
pub type FeatureCheck = fn(&FeatureSet, crate::domain::Timeframe) -> Result<(), String>;

/// One model that serves.
#[derive(Debug)]
pub struct CatalogueModel {
    /// Its dense number, never used for another model within a run.
    pub number: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Its newest promoted versions, the newest first; at least one.
    pub versions: Vec<Arc<Version>>,
    /// What the newest version with a readable manifest says: whom and how far the model predicts.
    pub manifest: Arc<Manifest>,
    pub(super) entry: ModelEntry,
}

impl CatalogueModel {
    /// The version that serves now, where one does; else the newest.
    pub fn version(&self) -> &Arc<Version> {
        self.best(|_| true).unwrap_or(&self.versions[0])
    }

    /// The version that is to answer `task`; `None` where none may be tried that can read it.
    pub(super) fn choose(&self, task: &Task) -> Option<&Arc<Version>> {
        self.best(|version| version.vector(task).is_some_and(|vector| vector.undefined.is_none()))
    }

    /// The best standing, newest version of those that `fit`.
    fn best(&self, fit: impl Fn(&Version) -> bool) -> Option<&Arc<Version>> {
        let mut best: Option<(Standing, &Arc<Version>)> = None;
        for version in &self.versions {
            let standing = version.standing();
            let better = best.is_none_or(|(known, _)| standing < known);
            if standing != Standing::Failed && better && fit(version) {
                if standing == Standing::Good {
                    return Some(version);
                }
                best = Some((standing, version));
            }
        }
        best.map(|(_, version)| version)
    }

    /// All versions in the order in which they are to be asked.
    pub(super) fn in_turn(&self) -> Vec<&Arc<Version>> {
        let mut versions: Vec<&Arc<Version>> = self.versions.iter().collect();
        versions.sort_by_key(|version| version.standing());
        versions
    }

    /// What its versions read: each feature set with its window, once, the newest version's first.
    fn readings(&self) -> Vec<(FeatureSet, usize)> {
        let mut readings: Vec<(FeatureSet, usize)> = Vec::new();
        for version in self.versions.iter().filter(|version| version.content().is_ok()) {
            if let Some(manifest) = &version.manifest {
                let reading = (manifest.features.clone(), manifest.window);
                if !readings.contains(&reading) {
                    readings.push(reading);
                }
            }
        }
        if readings.is_empty() {
            readings.push((self.manifest.features.clone(), self.manifest.window));
        }
        readings
    }
}

/// All models that serve, and the problems with those that do not.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// By name.
    models: Vec<Arc<CatalogueModel>>,
    /// By dense number; what is gone stays empty.
    numbered: Vec<Option<Arc<CatalogueModel>>>,
    numbers: HashMap<Arc<str>, u32>,
    /// Of the lists of promoted versions, of every model of the folder.
    pub(super) lists: HashMap<Arc<str>, Stamp>,
    problems: Vec<Problem>,
}

impl Catalogue {
    /// Reads the models folder; one broken model is a problem of its own, not of the others.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub fn read(folder: &Path, slots: &Slots, usable: FeatureCheck) -> Result<Self, String> {
        if let Err(error) = std::fs::read_dir(folder) {
            let folder = folder.display();
            return Err(format!(
                "the models folder {folder} cannot be read ({error}): name another by models.path in the \
                 configuration, --set models.path=FOLDER, or --models where the command has it"
            ));
        }
        Ok(Self::default().with(Registry::scan(folder), |_| true, (slots, usable)))
    }

    /// The catalogue after a look at the models that `looked_at` names; the others stay as they are.
    pub(super) fn with(
        &self,
        registry: Registry,
        looked_at: impl Fn(&str) -> bool,
        (slots, usable): (&Slots, FeatureCheck),
    ) -> Self {
        let mut next = Self { numbers: self.numbers.clone(), lists: self.lists.clone(), ..Self::default() };
        next.lists.retain(|name, _| !looked_at(name));
        next.lists.extend(registry.passed_over);
        // What was wrong with the others is still wrong.
        let concerned =
            |problem: &&Problem| problem.path.iter().any(|part| looked_at(&part.to_string_lossy()));
        next.problems = self.problems.iter().filter(|problem| !concerned(problem)).cloned().collect();
        next.problems.extend(registry.problems);
        let mut models: Vec<Arc<CatalogueModel>> =
            self.models.iter().filter(|model| !looked_at(&model.name)).cloned().collect();
        for entry in registry.models {
            next.lists.insert(Arc::clone(&entry.name), entry.stamp);
            let before = self.models.binary_search_by(|model| model.name.cmp(&entry.name)).ok();
            let before = before.map(|at| &self.models[at]);
            if let (Some(detail), Some(before)) = (&entry.unreadable, before) {
                // A list that cannot be read just now says nothing of the versions that serve.
                let detail = format!("{detail}; what it said last goes on serving");
                next.problems.push(Problem { path: entry.folder().to_owned(), detail });
                models.push(Arc::clone(before));
                continue;
            }
            models.extend(next.read_model(entry, before, (slots, usable)));
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        next.numbered = vec![None; next.numbers.len()];
        for model in &models {
            next.numbered[model.number as usize] = Some(Arc::clone(model));
        }
        next.models = models;
        next
    }

    /// One model as `entry` has it, with what stayed the same since `before`.
    fn read_model(
        &mut self,
        entry: ModelEntry,
        before: Option<&Arc<CatalogueModel>>,
        (slots, usable): (&Slots, FeatureCheck),
    ) -> Option<Arc<CatalogueModel>> {
        let mut versions: Vec<Arc<Version>> = Vec::new();
        for number in entry.listed.iter().rev().take(VERSIONS_MAX) {
            let known = before.iter().flat_map(|model| &model.versions).filter(|v| v.number == *number);
            let known: Vec<&Arc<Version>> = known.collect();
            if let Some(current) = known.iter().find(|version| version.stamp == version.stamp_now(&entry)) {
                versions.push(Arc::clone(current));
                if current.standing() != Standing::Good {
                    let others = known.iter().filter(|version| !Arc::ptr_eq(version, current));
                    versions.extend(others.map(|version| Arc::clone(version)));
                }
                continue;
            }
            let version = Version::read(&entry, *number, slots, |m| usable(&m.features, m.timeframe));
            if let Err(failure) = version.content() {
                let path = entry.version_folder(*number);
                let told = entry.broken.iter().any(|(broken, _)| broken == number);
                if !told {
                    let detail = format!("{failure}; version {number} of {} does not serve", entry.name);
                    self.problems.push(Problem { path, detail });
                }
            }
            versions.push(Arc::new(version));
            // What served from these files before goes on until the new content has been found good.
            versions.extend(known.into_iter().filter(|v| v.standing() == Standing::Good).take(1).cloned());
        }
        let Some(manifest) = versions.iter().find_map(|version| version.manifest.clone()) else {
            if !entry.listed.is_empty() {
                let detail =
                    format!("none of its promoted versions can be read: {} does not serve", entry.name);
                self.problems.push(Problem { path: entry.folder().to_owned(), detail });
            }
            return None;
        };
        versions.retain(|version| {
            let same = |other: &Arc<Manifest>| {
                other.timeframe == manifest.timeframe && other.horizon == manifest.horizon
            };
            let stands_in = version.manifest.as_ref().is_none_or(same);
            if !stands_in {
                let detail = format!(
                    "predicts another timeframe or horizon than the newest version of {}: it cannot stand in for it",
                    entry.name
                );
                self.problems.push(Problem { path: entry.version_folder(version.number), detail });
            }
            stands_in
        });
        if manifest.pinned {
            versions.iter().take(1).filter_map(|v| v.content().ok()).for_each(|content| content.slot.pin());
        }
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(Arc::clone(&entry.name)).or_insert(next);
        Some(Arc::new(CatalogueModel { number, name: Arc::clone(&entry.name), versions, manifest, entry }))
    }

    /// Why perhaps no model serves a series: one is for another name of its symbol, as `aliases` have it, or for a symbol that
    /// is spelled alike.
    pub fn spelled_otherwise(&self, series: &SeriesKey, aliases: &Aliases) -> Option<String> {
        let (symbol, now) = (&series.symbol, Timestamp::now());
        let is_alias = |name: &str| aliases.symbol(name, now) == Some(symbol);
        let mut named = self.models.iter().filter_map(|model| match &model.manifest.symbols {
            Symbols::Listed(symbols) if model.manifest.timeframe == series.timeframe => {
                let otherwise = |name: &&String| is_alias(name) || spelled_alike(name, symbol);
                Some((&model.name, symbols.iter().find(otherwise)?))
            }
            _ => None,
        });
        named.next().map(|(model, name)| {
            let why = format!("no model serves {series}; {model} is for {name}");
            if is_alias(name) {
                return format!("{why}, an alias of it (ingest.symbol_aliases): name {symbol} in its manifest");
            }
            format!(
                "{why}: if that is the same, write ingest.symbol_aliases = \"{symbol} {name}\", and its bars are those of {name}; or, for \
                 a series of its own, name it in the manifest as well, symbol = [\"{name}\", \"{symbol}\"]"
            )
        })
    }

    /// The models that serve, by name.
    pub fn models(&self) -> &[Arc<CatalogueModel>] {
        &self.models
    }

    /// The model of a dense number, while it serves.
    pub fn model(&self, number: u32) -> Option<&Arc<CatalogueModel>> {
        self.numbered.get(number as usize)?.as_ref()
    }

    /// How many dense numbers were given so far.
    pub fn numbers(&self) -> usize {
        self.numbered.len()
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
        serving.sort_by_key(|at| self.models[*at].manifest.horizon);
        if serving.len() > MODELS_PER_SERIES_MAX {
            tracing::error!(
                %series,
                models = serving.len(),
                models_max = MODELS_PER_SERIES_MAX,
                "too many models serve one series: those beyond the bound are left out"
            );
            serving.truncate(MODELS_PER_SERIES_MAX);
        }
        let demand = |at: usize| {
            let model = &self.models[at];
            let mut readings = model.readings();
            let (features, window) = readings.remove(0);
            Demand {
                horizon: model.manifest.horizon,
                model: model.number,
                name: Arc::clone(&model.name),
                features,
                window,
                others: readings,
                unusable: None,
            }
        };
        serving.into_iter().map(demand).collect()
    }
}
