//! A model's file, read once: what is hashed is what is loaded.

use super::ModelError;
use crate::predict::graph::{self, GraphFacts};
use crate::predict::signature::shown;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

/// The largest model file that is read, in bytes; protobuf itself ends at 2 GiB.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
/// The most weights beside it that are read, in bytes.
const WEIGHTS_BYTES_MAX: u64 = 16 * 1024 * 1024 * 1024;

/// The most operators that a graph may have: the largest language models have a tenth of them, and nothing bounds the
/// memory that the library takes for more.
const OPERATORS_MAX: usize = 250_000;

/// The content of a model's file, and its hash. Two with the same hash predict the same.
pub struct Artefact {
    path: PathBuf,
    bytes: Vec<u8>,
    sha256: [u8; 32],
    operators: usize,
    weights_folder: Option<String>,
    weights_bytes: u64,
}

impl Artefact {
    /// Reads the ONNX file at `path` and looks at the files with weights that it names.
    ///
    /// # Errors
    /// When it cannot be read or is empty, or when a file with weights is missing or outside the model's
    /// folder.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        Self::read_with(path, &mut Vec::new())
    }

    /// [`Artefact::read`], which puts the files with weights that it names into `weights`, missing ones as well:
    /// what goes wrong with them is put right there.
    pub(in crate::predict) fn read_with(path: &Path, weights: &mut Vec<PathBuf>) -> Result<Self, ModelError> {
        let unread = |source| ModelError::Read { path: path.to_owned(), source };
        let wrong = |detail: String| ModelError::File { path: path.to_owned(), detail };
        let mut bytes = Vec::new();
        // A pipe would keep who opens it until somebody writes.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unread)?;
        let found = file.metadata().map_err(unread)?;
        if !found.is_file() {
            return Err(wrong("is not a file".to_owned()));
        }
        let too_large = || wrong(format!("has more than {FILE_BYTES_MAX} bytes"));
        if found.len() > FILE_BYTES_MAX {
            return Err(too_large());
        }
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
        if bytes.is_empty() {
            return Err(wrong("is empty: copy the model again".to_owned()));
        }
        // It may have grown meanwhile.
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(too_large());
        }
        let mut hasher = Sha256::new();
        hasher.update(&bytes);
        let GraphFacts { locations, operators } = graph::look(&bytes);
        if operators > OPERATORS_MAX {
            return Err(wrong(format!(
                "has {operators} operators once its functions are put in their places, at most {OPERATORS_MAX} are taken"
            )));
        }
        let (mut weights_folder, mut weights_bytes) = (None, 0);
        if !locations.is_empty() {
            let folder = path.parent().unwrap_or(Path::new(".")).canonicalize().map_err(unread)?;
            weights.extend(locations.iter().filter(|location| is_plain(location)).map(|l| folder.join(l)));
            for location in &locations {
                let file = inside(&folder, location).map_err(&wrong)?;
                let unread = |source| ModelError::Read { path: file.clone(), source };
                weights_bytes += file.metadata().map_err(unread)?.len();
                if weights_bytes > WEIGHTS_BYTES_MAX {
                    return Err(wrong(format!("takes more than {WEIGHTS_BYTES_MAX} bytes of weights")));
                }
                // The same graph with other weights is another model.
                hash_file(&file, &mut hasher).map_err(unread)?;
            }
            let text = folder
                .to_str()
                .ok_or_else(|| wrong("lies in a folder whose name is not UTF-8".to_owned()))?;
            weights_folder = Some(text.to_owned());
        }
        let sha256 = hasher.finalize().into();
        Ok(Self { path: path.to_owned(), bytes, sha256, operators, weights_folder, weights_bytes })
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 over the file, and over the files with weights that it names.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// The size of the file, in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The size of the file and of those with its weights, in bytes.
    pub(super) fn all_bytes(&self) -> usize {
        usize::try_from(self.weights_bytes).unwrap_or(usize::MAX / 8).saturating_add(self.bytes.len())
    }

    /// How many operators its graph has.
    pub(super) fn operators(&self) -> usize {
        self.operators
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The folder of its weights, where they are not in the file itself.
    pub(super) fn weights_folder(&self) -> Option<&str> {
        self.weights_folder.as_deref()
    }
}

/// The file that `location` names, when it is there and inside `folder`.
fn inside(folder: &Path, location: &str) -> Result<PathBuf, String> {
    let name = shown(location);
    let outside =
        || format!("takes weights from `{name}`, outside its folder: only files beside the model are read");
    if !is_plain(location) {
        return Err(outside());
    }
    let missing =
        |_| format!("takes weights from `{name}`, which is missing: copy that file beside the model");
    let real = folder.join(location).canonicalize().map_err(missing)?;
    if !real.starts_with(folder) {
        return Err(outside());
    }
    // A pipe would keep its reader for ever.
    if real.is_file() { Ok(real) } else { Err(format!("takes weights from `{name}`, which is no file")) }
}

/// Whether `location` is a path that leads down from where it starts.
fn is_plain(location: &str) -> bool {
    let down = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    !location.is_empty() && Path::new(location).components().all(down)
}

fn hash_file(path: &Path, hasher: &mut Sha256) -> io::Result<()> {
    let mut file = fs::File::open(path)?;
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            n => hasher.update(&block[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn weights_are_taken_from_the_models_folder_only() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("m");
        fs::create_dir_all(folder.join("sub")).unwrap();
        let folder = folder.canonicalize().unwrap();
        fs::write(root.path().join("secret"), b"x").unwrap();
        fs::write(folder.join("sub/w.bin"), b"x").unwrap();
        std::os::unix::fs::symlink(root.path().join("secret"), folder.join("link")).unwrap();
        assert_eq!(inside(&folder, "sub/w.bin").unwrap(), folder.join("sub/w.bin"));
        for (location, expected) in [
            ("../secret", "outside"),
            ("/etc/passwd", "outside"),
            ("link", "outside"),
            ("", "outside"),
            ("w.bin", "missing"),
            ("sub", "no file"),
        ] {
            let error = inside(&folder, location).unwrap_err();
            assert!(error.contains(expected), "{location}: {error}");
        }
    }

    #[test]
    fn a_file_that_is_no_model_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        let empty = root.path().join("model.onnx");
        fs::write(&empty, b"").unwrap();
        let pipe = root.path().join("pipe.onnx");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // A graph of empty nodes, two bytes each.
        let bomb = root.path().join("bomb.onnx");
        let nodes = [1 << 3 | 2, 0].repeat(OPERATORS_MAX + 1);
        let len = [nodes.len() as u8 | 0x80, (nodes.len() >> 7) as u8 | 0x80, (nodes.len() >> 14) as u8];
        fs::write(&bomb, [&[7 << 3 | 2][..], &len, &nodes].concat()).unwrap();
        for (path, expected) in [
            (empty.as_path(), "empty"),
            (root.path(), "not a file"),
            (Path::new("/no/model.onnx"), "/no/model.onnx"),
            (pipe.as_path(), "not a file"),
            (bomb.as_path(), "operators"),
        ] {
            let error = Artefact::read(path).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
