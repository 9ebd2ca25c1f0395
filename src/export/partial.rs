//! A file that has its name only when it is whole.

use super::{ExportError, unwritable};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A file under the name `OUT.partial`; it is removed unless it is [committed](Partial::commit).
#[derive(Debug)]
pub(super) struct Partial {
    out: PathBuf,
    partial: PathBuf,
    file: File,
    kept: bool,
}

/// `path` with `suffix` behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

impl Partial {
    /// Makes the file, and the folder that it lies in.
    pub(super) fn create(out: &Path) -> Result<Self, ExportError> {
        if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(unwritable(out))?;
        }
        let partial = beside(out, ".partial");
        let file = File::create(&partial).map_err(unwritable(&partial))?;
        Ok(Self { out: out.to_owned(), partial, file, kept: false })
    }

    /// The name that it will have.
    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// A handle to write with.
    pub(super) fn handle(&self) -> Result<File, ExportError> {
        self.file.try_clone().map_err(unwritable(&self.partial))
    }

    /// On the disk, and under its own name in place of what had it before.
    pub(super) fn commit(mut self) -> Result<(), ExportError> {
        self.file.sync_all().map_err(unwritable(&self.partial))?;
        std::fs::rename(&self.partial, &self.out).map_err(unwritable(&self.out))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to tell; its name says what it is.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}
