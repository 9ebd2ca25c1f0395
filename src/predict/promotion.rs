//! Promoting and rolling back: the list of promoted versions changes by one atomic rename, under a lock, and a
//! line in the history says who did it.
//!
//! `promote` puts a version at the end of the list, wherever it stood. `rollback` takes the last line away, so
//! that the version promoted before it serves; what was rolled back stays in the history, and in its folder.

use super::registry::{MANIFEST_FILE, MODEL_FILE, PROMOTED, is_model_name};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file of all promotions and rollbacks, one JSON object a line, the newest last.
pub const HISTORY: &str = "history.jsonl";
/// The file whose lock lets one change the list at a time.
const LOCK: &str = ".promote.lock";
/// How long another that changes the list is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Who changes a list, and why.
#[derive(Clone, Debug, Default)]
pub struct Author {
    /// The user's name.
    pub user: String,
    /// The machine.
    pub host: String,
    /// Why, in a person's words; may be empty.
    pub reason: String,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A version was put at the end of the list.
    Promote,
    /// The last version was taken from the list.
    Rollback,
}

/// One line of a model's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, RFC 3339, UTC.
    pub time: String,
    /// What was done.
    pub action: Action,
    /// The version that was promoted or taken away.
    pub version: u32,
    /// The version that serves since.
    pub serves: u32,
    /// Who.
    pub user: String,
    /// On which machine.
    pub host: String,
    /// Why.
    pub reason: String,
}

/// Why a list cannot be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum PromotionError {
    /// There is no such model.
    #[error("`{}` is no model: it has no folder of that name", .0.display())]
    NoModel(PathBuf),
    /// The version cannot be promoted as it lies there.
    #[error("version {version} of {model} cannot be promoted: `{}` is missing", missing.display())]
    NoVersion {
        /// The model.
        model: String,
        /// The version.
        version: u32,
        /// What is not there.
        missing: PathBuf,
    },
    /// There is no version to go back to.
    #[error("{model} cannot be rolled back: {have}; a version has to be promoted before another can be left")]
    NothingBefore {
        /// The model.
        model: String,
        /// What is promoted.
        have: String,
    },
    /// The list has a line that is no version.
    #[error("`{}` line {line}: `{text}` is no version; correct it first", file.display())]
    List {
        /// The list.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// Another changes the list and does not end.
    #[error("`{}` is locked for {LOCK_PATIENCE:?}: another vela changes this model; try again", .0.display())]
    Locked(PathBuf),
    /// The system refuses.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Makes `version` the one that serves; the versions promoted before follow behind it.
///
/// # Errors
/// As [`PromotionError`] lists; the list is unchanged then.
pub fn promote(root: &Path, model: &str, version: u32, author: &Author) -> Result<Entry, PromotionError> {
    let folder = folder_of(root, model)?;
    for file in [MODEL_FILE, MANIFEST_FILE] {
        let missing = folder.join(version.to_string()).join(file);
        if !missing.is_file() {
            return Err(PromotionError::NoVersion { model: model.to_owned(), version, missing });
        }
    }
    let _lock = lock(&folder)?;
    let mut versions = read_list(&folder)?;
    versions.retain(|known| *known != version);
    versions.push(version);
    change(&folder, &versions, (Action::Promote, version, version), author)
}

/// Takes the newest promoted version away; the one before it serves.
///
/// # Errors
/// As [`PromotionError`] lists; the list is unchanged then.
pub fn rollback(root: &Path, model: &str, author: &Author) -> Result<Entry, PromotionError> {
    let folder = folder_of(root, model)?;
    let _lock = lock(&folder)?;
    let mut versions = read_list(&folder)?;
    match (versions.pop(), versions.last().copied()) {
        (Some(version), Some(serves)) => {
            change(&folder, &versions, (Action::Rollback, version, serves), author)
        }
        (only, _) => {
            let have =
                only.map_or("no version is promoted".to_owned(), |v| format!("only version {v} is promoted"));
            Err(PromotionError::NothingBefore { model: model.to_owned(), have })
        }
    }
}

/// What was done to a model so far, the oldest first; lines that cannot be read are passed over.
///
/// # Errors
/// When there is no such model, or its history cannot be read.
pub fn history(root: &Path, model: &str) -> Result<Vec<Entry>, PromotionError> {
    let file = folder_of(root, model)?.join(HISTORY);
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(PromotionError::Io { path: file, source }),
    }
}

fn folder_of(root: &Path, model: &str) -> Result<PathBuf, PromotionError> {
    let folder = root.join(model);
    if is_model_name(model) && folder.is_dir() { Ok(folder) } else { Err(PromotionError::NoModel(folder)) }
}

/// Holds the model's lock until it is dropped; the system gives it back when the process dies.
fn lock(folder: &Path) -> Result<File, PromotionError> {
    let path = folder.join(LOCK);
    let io = |source| PromotionError::Io { path: path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if begin.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(fs::TryLockError::WouldBlock) => return Err(PromotionError::Locked(path)),
            Err(fs::TryLockError::Error(source)) => return Err(io(source)),
        }
    }
}

fn read_list(folder: &Path) -> Result<Vec<u32>, PromotionError> {
    let file = folder.join(PROMOTED);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(PromotionError::Io { path: file, source }),
    };
    let mut versions: Vec<u32> = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let version = line.trim().parse().map_err(|_| PromotionError::List {
            file: file.clone(),
            line: at + 1,
            text: line.chars().take(40).collect::<String>().escape_default().to_string(),
        })?;
        versions.retain(|known| *known != version);
        versions.push(version);
    }
    Ok(versions)
}

/// Replaces the list, then writes the history; the lock is held.
fn change(
    folder: &Path,
    versions: &[u32],
    (action, version, serves): (Action, u32, u32),
    author: &Author,
) -> Result<Entry, PromotionError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| PromotionError::Io { path, source }
    };
    let (fresh, list) = (folder.join(".promoted.new"), folder.join(PROMOTED));
    let text: String = versions.iter().map(|version| format!("{version}\n")).collect();
    let mut file = File::create(&fresh).map_err(at(&fresh))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at(&fresh))?;
    fs::rename(&fresh, &list).map_err(at(&list))?;
    // The rename itself must survive a power cut.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))?;
    let Author { user, host, reason } = author.clone();
    let time = crate::domain::Timestamp::now().to_string();
    let entry = Entry { time, action, version, serves, user, host, reason };
    let history = folder.join(HISTORY);
    let mut file = OpenOptions::new().create(true).append(true).open(&history).map_err(at(&history))?;
    // One write a line: a reader sees whole lines.
    let mut line = serde_json::to_string(&entry).map_err(io::Error::other).map_err(at(&history))?;
    line.push('\n');
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(at(&history))?;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for version in 1..=3 {
            let folder = root.path().join(format!("m/{version}"));
            fs::create_dir_all(&folder).unwrap();
            for file in [MODEL_FILE, MANIFEST_FILE] {
                fs::write(folder.join(file), "x").unwrap();
            }
        }
        root
    }

    fn list(root: &Path) -> String {
        fs::read_to_string(root.join("m/promoted")).unwrap().replace('\n', " ")
    }

    #[test]
    fn promoting_appends_rolling_back_takes_away_and_the_history_tells() {
        let root = folder();
        let root = root.path();
        let author = Author { user: "ann".into(), host: "box".into(), reason: "better".into() };
        for version in [1, 2, 3, 2] {
            promote(root, "m", version, &author).unwrap();
        }
        assert_eq!(list(root), "1 3 2 ");
        let entry = rollback(root, "m", &author).unwrap();
        assert_eq!((entry.version, entry.serves, list(root)), (2, 3, "1 3 ".to_owned()));
        rollback(root, "m", &author).unwrap();
        let error = rollback(root, "m", &author).unwrap_err().to_string();
        assert!(error.contains("only version 1 is promoted"), "{error}");
        assert_eq!(list(root), "1 ");
        let told: Vec<(Action, u32, u32)> =
            history(root, "m").unwrap().iter().map(|e| (e.action, e.version, e.serves)).collect();
        use Action::{Promote, Rollback};
        let expected = [
            (Promote, 1, 1),
            (Promote, 2, 2),
            (Promote, 3, 3),
            (Promote, 2, 2),
            (Rollback, 2, 3),
            (Rollback, 3, 1),
        ];
        assert_eq!(told, expected);
        assert_eq!(history(root, "m").unwrap()[0].reason, "better");
    }

    #[test]
    fn what_cannot_be_promoted_leaves_the_list_as_it_is() {
        let root = folder();
        let root = root.path();
        let author = Author::default();
        promote(root, "m", 1, &author).unwrap();
        fs::remove_file(root.join("m/3/model.toml")).unwrap();
        for (model, version, part) in [
            ("m", 9, "9"),
            ("m", 3, "model.toml` is missing"),
            ("n", 1, "is no model"),
            ("../m", 1, "is no model"),
        ] {
            let error = promote(root, model, version, &author).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(list(root), "1 ");
        fs::write(root.join("m/promoted"), "1\nv2\n").unwrap();
        let error = promote(root, "m", 2, &author).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("v2"), "{error}");
        assert_eq!(history(root, "m").unwrap().len(), 1);
    }

    #[test]
    fn many_at_once_lose_no_change() {
        let root = folder();
        let root = root.path();
        std::thread::scope(|scope| {
            for version in 1..=3 {
                scope.spawn(move || {
                    for _ in 0..20 {
                        promote(root, "m", version, &Author::default()).unwrap();
                    }
                });
            }
        });
        let entries = history(root, "m").unwrap();
        assert_eq!(entries.len(), 60);
        // The list is what the history leads to.
        let mut expected: Vec<u32> = Vec::new();
        for entry in entries {
            expected.retain(|version| *version != entry.version);
            expected.push(entry.version);
        }
        assert_eq!(read_list(&root.join("m")).unwrap(), expected);
    }
}
