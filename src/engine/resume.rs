//! What an engine leaves to the process that replaces this one.

use super::Engine;
use crate::config::Settings;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Which program this is, and the dialect of its feed: what it saves is plain data, which another build may lay out
/// otherwise, and of series that had other bars in another one.
pub(super) fn program(settings: &Settings) -> String {
    format!("{}, {:?}", image(), settings.dialect())
}

fn image() -> String {
    let (version, image) = (env!("CARGO_PKG_VERSION"), std::fs::metadata("/proc/self/exe"));
    match image {
        Ok(image) => format!("{version} {}:{}:{}", image.dev(), image.ino(), image.size()),
        // It is no other's, and not its own either: nothing is taken up.
        Err(error) => format!("{version} {} {error}", std::process::id()),
    }
}

impl Engine {
    /// Writes what is known of each series (the state of its features, its newest bars) into `files`, for
    /// [`Overrides::series`](super::Overrides::series) of the process that replaces this one; of how many series.
    ///
    /// # Errors
    /// When it was not stopped, or left something behind: history must be read then, from where the store stands. Or
    /// what the system says.
    pub fn save_series(&self, files: &[File]) -> io::Result<usize> {
        let whole = |report: &super::StopReport| report.undrained == 0 && report.unsaved == 0;
        if !self.report.lock().as_ref().is_some_and(whole) {
            return Err(io::Error::other("not everything that was taken in has come out"));
        }
        self.topology.save_series(&program(&self.settings.load()), files)
    }
}
