//! One promoted version of a model: what it is, and how it stands.

use super::failure::Failure;
use super::manifest::Manifest;
use super::pool::{Content, Slots};
use super::registry::{GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, ModelEntry};
use super::session::Artefact;
use super::stamp::Stamp;
use crate::domain::{FeatureVector, Reason, Task};
use crate::link::clock;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How long a version that failed is left alone: at first, and at most (doubling), in ns.
const PAUSE_FIRST_NS: u64 = 1_000_000_000;
const PAUSE_LONGEST_NS: u64 = 300_000_000_000;

/// How a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Loaded and checked at least once: it may serve.
    Good,
    /// Not tried yet.
    Untried,
    /// A run failed: rows come to it only where no other version answers, until it was tried again.
    Unsteady,
    /// It cannot be loaded, fails its check, or is too slow: no row comes to it until it was tried again.
    Failed,
}

impl Standing {
    const ALL: [Self; 4] = [Self::Good, Self::Untried, Self::Unsteady, Self::Failed];

    /// The word that people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Untried => "untried",
            Self::Unsteady => "unsteady",
            Self::Failed => "failed",
        }
    }
}

/// The stamps of a version's files: graph, manifest, golden rows, and the weights that are not in the graph's own.
pub type VersionStamp = Vec<Stamp>;

/// One version of a model, as its files were when they were looked at.
#[derive(Debug)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// What it says of itself, where that could be read.
    pub manifest: Option<Arc<Manifest>>,
    content: Result<Content, Failure>,
    /// The files with weights that its graph names, whether they are there or not.
    weights: Vec<PathBuf>,
    /// Of its files when they were read.
    pub(super) stamp: VersionStamp,
    standing: AtomicU8,
    trouble: Mutex<Trouble>,
    /// Held by the one that tries it.
    pub(super) trying: Mutex<()>,
}

#[derive(Debug, Default)]
struct Trouble {
    failure: Option<Arc<Failure>>,
    pause_ns: u64,
    retry_at_ns: u64,
    good_since_ns: u64,
}

impl Version {
    /// Reads version `number` of `entry`. `usable` says whether its features can be computed.
    pub(super) fn read(
        entry: &ModelEntry,
        number: u32,
        slots: &Slots,
        usable: impl Fn(&Manifest) -> Result<(), String>,
    ) -> Self {
        // Before anything is read: what changes meanwhile is seen later.
        let mut stamp = Self::stamp_of(entry, number, &[]);
        let mut weights = Vec::new();
        let manifest = match entry.broken.iter().find(|(version, _)| *version == number) {
            Some((_, detail)) => Err(Failure::unavailable(detail.clone())),
            None => entry.manifest(number).map_err(|error| Failure::unavailable(error.to_string())),
        };
        let manifest = manifest.map(Arc::new);
        let content = manifest.clone().and_then(|manifest| {
            let failed = |error: String| Failure::unavailable(error);
            usable(&manifest).map_err(failed)?;
            let path = entry.model_file(number);
            let artefact =
                Artefact::read_with(&path, &mut weights).map_err(|error| failed(error.to_string()))?;
            let slot = slots.get(&entry.name, &artefact, &manifest);
            Ok(Content { manifest, path, golden: entry.golden_file(number), slot })
        });
        // Which weights it has shows when it is read. One that changed meanwhile has another hash when it is loaded.
        stamp.extend(weights.iter().map(|file| Stamp::of(file)));
        let standing = if content.is_ok() { Standing::Untried } else { Standing::Failed };
        let trouble =
            Trouble { failure: content.as_ref().err().cloned().map(Arc::new), ..Trouble::default() };
        Self {
            number,
            manifest: manifest.ok(),
            content,
            weights,
            stamp,
            standing: AtomicU8::new(standing as u8),
            trouble: Mutex::new(trouble),
            trying: Mutex::new(()),
        }
    }

    /// The stamps of a version's files, and of `weights`, as they are now.
    pub(super) fn stamp_of(entry: &ModelEntry, number: u32, weights: &[PathBuf]) -> VersionStamp {
        let folder = entry.version_folder(number);
        let own = [MODEL_FILE, MANIFEST_FILE, GOLDEN_FILE].map(|file| Stamp::of(&folder.join(file)));
        own.into_iter().chain(weights.iter().map(|file| Stamp::of(file))).collect()
    }

    /// The stamps of its files as they are now in the folder of `entry`.
    pub(super) fn stamp_now(&self, entry: &ModelEntry) -> VersionStamp {
        Self::stamp_of(entry, self.number, &self.weights)
    }

    /// What it is run from.
    ///
    /// # Errors
    /// Why it cannot be tried at all, as its files are.
    pub fn content(&self) -> Result<&Content, &Failure> {
        self.content.as_ref()
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        Standing::ALL[usize::from(self.standing.load(Ordering::Acquire)) & 3]
    }

    /// Why it failed last, where it has not been good since.
    pub fn failure(&self) -> Option<Arc<Failure>> {
        self.trouble.lock().failure.clone()
    }

    /// It was tried and is good.
    pub(super) fn succeed(&self) {
        let mut trouble = self.trouble.lock();
        trouble.failure = None;
        trouble.good_since_ns = clock::now_ns();
        self.standing.store(Standing::Good as u8, Ordering::Release);
    }

    /// It failed. True where it had stood better than it does now: it is news.
    pub(super) fn fail(&self, failure: Failure) -> bool {
        let now_ns = clock::now_ns();
        let mut trouble = self.trouble.lock();
        let before = self.standing();
        let after = match failure.reason {
            Reason::ModelFailed | Reason::OutputNotFinite => before.max(Standing::Unsteady),
            _ => Standing::Failed,
        };
        trouble.failure = Some(Arc::new(failure));
        if before == after {
            return false;
        }
        // What was good for longer than it was left alone last starts afresh.
        let steady = before == Standing::Good && now_ns - trouble.good_since_ns > 2 * trouble.pause_ns;
        let longer = (2 * trouble.pause_ns).clamp(PAUSE_FIRST_NS, PAUSE_LONGEST_NS);
        trouble.pause_ns = if steady { PAUSE_FIRST_NS } else { longer };
        trouble.retry_at_ns = now_ns + trouble.pause_ns;
        self.standing.store(after as u8, Ordering::Release);
        true
    }

    /// It was tried again and failed again: it is left alone for longer.
    pub(super) fn fail_again(&self, failure: Failure) {
        let mut trouble = self.trouble.lock();
        trouble.failure = Some(Arc::new(failure));
        trouble.pause_ns = (2 * trouble.pause_ns).clamp(PAUSE_FIRST_NS, PAUSE_LONGEST_NS);
        trouble.retry_at_ns = clock::now_ns() + trouble.pause_ns;
        self.standing.store(Standing::Failed as u8, Ordering::Release);
    }

    /// Whether it failed, could be tried again, and was left alone for long enough.
    pub(super) fn retry_is_due(&self, now_ns: u64) -> bool {
        let failed = matches!(self.standing(), Standing::Failed | Standing::Unsteady);
        failed && self.content.is_ok() && self.trouble.lock().retry_at_ns <= now_ns
    }

    /// The vector of `task` that holds what this version reads, if it has one.
    pub(super) fn vector<'a>(&self, task: &'a Task) -> Option<&'a Arc<FeatureVector>> {
        let manifest = self.manifest.as_ref()?;
        let fits = |v: &&Arc<FeatureVector>| {
            v.set == manifest.features.hash() && v.values.len() == manifest.row_len()
        };
        std::iter::once(&task.vector).chain(task.others.iter()).find(fits)
    }
}
