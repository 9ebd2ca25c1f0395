//! The models folder: which models there are, which of their versions are promoted, and what is wrong.

use super::manifest::{Manifest, ManifestError};
use super::stamp::Stamp;
use crate::domain::Timeframe;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that lists a model's promoted versions.
pub const PROMOTED: &str = "promoted";
/// A version's graph.
pub const MODEL_FILE: &str = "model.onnx";
/// A version's manifest.
pub const MANIFEST_FILE: &str = "model.toml";
/// Rows that a version must reproduce, where they are given.
pub const GOLDEN_FILE: &str = "golden.csv";
/// The longest model name, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The largest `promoted` file that is read, in bytes.
const PROMOTED_BYTES_MAX: u64 = 64 * 1024;

/// The golden rows of the version in `folder`, where it has them; what is called so need not be a file.
pub(super) fn golden_file(folder: &Path) -> Option<PathBuf> {
    Some(folder.join(GOLDEN_FILE)).filter(|file| file.symlink_metadata().is_ok())
}

/// One model of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelEntry {
    /// Its name: the name of its folder.
    pub name: Arc<str>,
    /// Its promoted versions, newest last; empty where none is.
    pub promoted: Vec<u32>,
    /// Versions that are promoted but cannot be tried as they are, and why.
    pub broken: Vec<(u32, String)>,
    /// Why the list of promoted versions cannot be read, where it is there and cannot.
    pub unreadable: Option<String>,
    /// Of the list, before it was read.
    pub(super) stamp: Stamp,
    /// All versions of the list, broken or not, newest last.
    pub(super) listed: Vec<u32>,
    pub(super) folder: PathBuf,
}

impl ModelEntry {
    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The version that is to serve.
    pub fn newest(&self) -> Option<u32> {
        self.promoted.last().copied()
    }

    /// Whether nothing of it is promoted, and nothing is wrong with that.
    pub fn is_bare(&self) -> bool {
        self.listed.is_empty() && self.unreadable.is_none()
    }

    /// The folder of a version.
    pub fn version_folder(&self, version: u32) -> PathBuf {
        self.folder.join(version.to_string())
    }

    /// The graph of a version.
    pub fn model_file(&self, version: u32) -> PathBuf {
        self.version_folder(version).join(MODEL_FILE)
    }

    /// The golden rows of a version, where it has them; what is called so need not be a file.
    pub fn golden_file(&self, version: u32) -> Option<PathBuf> {
        golden_file(&self.version_folder(version))
    }

    /// Reads the manifest of a version.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn manifest(&self, version: u32) -> Result<Manifest, ManifestError> {
        Manifest::read(&self.version_folder(version).join(MANIFEST_FILE))
    }
}

/// Something in the folder that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder it is about.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.detail)
    }
}

/// What the models folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Every model, by name.
    pub models: Vec<ModelEntry>,
    /// What was passed over.
    pub problems: Vec<Problem>,
    /// Folders that are no models, with the stamps of the lists they may have.
    pub(super) passed_over: Vec<(Arc<str>, Stamp)>,
}

impl Registry {
    /// Looks through `folder`. What is broken becomes a problem; the rest is found all the same.
    pub fn scan(folder: &Path) -> Self {
        Self::look(folder, |_| true).unwrap_or_else(|e| {
            let mut registry = Self::default();
            let detail = format!("the models folder cannot be read ({e}): create it or correct the setting");
            registry.problem(folder, detail);
            registry
        })
    }

    /// Looks through `folder` at the models whose names `wanted` accepts.
    ///
    /// # Errors
    /// When the folder itself cannot be read.
    pub(super) fn look(folder: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Self> {
        let mut registry = Self::default();
        let root = folder.canonicalize()?;
        let entries = fs::read_dir(&root)?;
        for entry in entries {
            match entry {
                Ok(entry) if wanted(&entry.file_name().to_string_lossy()) => {
                    registry.take(&root, &entry.path());
                }
                Ok(_) => {}
                Err(e) => registry.problem(&root, format!("cannot be listed completely: {e}")),
            }
        }
        registry.models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(registry)
    }

    fn problem(&mut self, path: &Path, detail: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), detail: detail.into() });
    }

    fn take(&mut self, root: &Path, path: &Path) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Hidden ones are other programs' business; plain files (a README) are no models.
        if name.starts_with('.') || !path.is_dir() {
            if path.is_symlink() && path.metadata().is_err() {
                self.problem(path, "is a link that leads nowhere: correct it or remove it");
            }
            return;
        }
        let pass_over = |registry: &mut Self| {
            registry.passed_over.push((Arc::from(name.as_str()), Stamp::of(&path.join(PROMOTED))));
        };
        if !is_model_name(&name) {
            pass_over(self);
            return self
                .problem(path, "is no model name: letters, digits, '.', '_' and '-' are allowed; rename it");
        }
        if !is_inside(root, path) {
            pass_over(self);
            return self.problem(path, "is a link out of the models folder: copy the model instead");
        }
        let promoted = path.join(PROMOTED);
        let mut entry = ModelEntry {
            name: Arc::from(name.as_str()),
            promoted: Vec::new(),
            broken: Vec::new(),
            unreadable: None,
            stamp: Stamp::of(&promoted),
            listed: Vec::new(),
            folder: path.to_owned(),
        };
        let read = match promoted.symlink_metadata() {
            Ok(_) => Some(read_promoted(root, &promoted)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // It may be there: whoever may not look into the folder does not know.
            Err(error) => Some(Err(format!("cannot be read: {error}"))),
        };
        match read {
            None => {}
            Some(Ok(text)) => self.take_promoted(root, &mut entry, &text),
            Some(Err(detail)) => {
                self.problem(&promoted, detail.clone());
                entry.unreadable = Some(detail);
            }
        }
        self.models.push(entry);
    }

    fn take_promoted(&mut self, root: &Path, entry: &mut ModelEntry, text: &str) {
        let file = entry.folder.join(PROMOTED);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let version = line.parse::<u32>().ok().filter(|version| version.to_string() == line);
            let Some(version) = version else {
                let shown: String = line.chars().take(40).collect();
                self.problem(
                    &file,
                    format!(
                        "line {}: `{}` is no version: a whole number a line is expected",
                        number + 1,
                        shown.escape_default()
                    ),
                );
                continue;
            };
            // Promoted again: it counts where it stands last.
            entry.promoted.retain(|known| *known != version);
            entry.promoted.push(version);
        }
        entry.listed = std::mem::take(&mut entry.promoted);
        for version in entry.listed.clone() {
            match check_version(root, &entry.version_folder(version)) {
                Ok(()) => entry.promoted.push(version),
                Err((path, detail)) => {
                    entry.broken.push((version, format!("`{}` {detail}", path.display())));
                    self.problem(&path, detail);
                }
            }
        }
    }
}

/// Whether `name` can be a model's: letters, digits, `.`, `_`, `-`, not beginning with `.`.
pub fn is_model_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed)
}

/// Whether `path`, with all links followed, is below `root`.
fn is_inside(root: &Path, path: &Path) -> bool {
    path.canonicalize().is_ok_and(|real| real.starts_with(root) && real != root)
}

fn read_promoted(root: &Path, file: &Path) -> Result<String, String> {
    if !is_inside(root, file) || !file.is_file() {
        return Err("is no file of the models folder: write one version a line into a plain file".to_owned());
    }
    let size = file.metadata().map_err(|e| format!("cannot be read: {e}"))?.len();
    if size > PROMOTED_BYTES_MAX {
        return Err(format!("has {size} bytes: one version a line is expected"));
    }
    fs::read_to_string(file).map_err(|e| format!("cannot be read: {e}"))
}

fn check_version(root: &Path, folder: &Path) -> Result<(), (PathBuf, String)> {
    if !folder.is_dir() {
        return Err((
            folder.to_owned(),
            "is promoted but not there: put the version back or roll back".to_owned(),
        ));
    }
    for file in [MODEL_FILE, MANIFEST_FILE].map(|name| folder.join(name)) {
        if !file.is_file() {
            return Err((file, "is missing in a promoted version: put it back or roll back".to_owned()));
        }
        if !is_inside(root, &file) {
            return Err((file, "is a link out of the models folder: copy the file instead".to_owned()));
        }
    }
    Ok(())
}

/// Which of `manifests` serve `symbol` over `timeframe`, as positions: for each horizon those that name the
/// symbol, and where none does, those for any symbol.
pub fn serving<'a>(
    manifests: impl IntoIterator<Item = &'a Manifest>,
    symbol: &str,
    timeframe: Timeframe,
) -> Vec<usize> {
    let accepted: Vec<(usize, &Manifest)> = manifests
        .into_iter()
        .enumerate()
        .filter(|(_, m)| m.timeframe == timeframe && m.accepts(symbol))
        .collect();
    let own: BTreeSet<u32> =
        accepted.iter().filter(|(_, m)| m.names(symbol)).map(|(_, m)| m.horizon).collect();
    let serves = |m: &Manifest| m.names(symbol) || !own.contains(&m.horizon);
    accepted.into_iter().filter(|(_, m)| serves(m)).map(|(i, _)| i).collect()
}

#[cfg(test)]
mod tests;
