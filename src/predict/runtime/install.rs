//! Fetching ONNX Runtime: the pinned wheel by `pip download`, checked, its one library put into the cache.

use super::child;
use super::locate::{cache_folder, library_in};
use super::{PINNED_VERSION, REMEDY, RuntimeError};
use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long the download may take.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(900);
/// How long to wait for another process that is installing.
const WAIT_LIMIT: Duration = Duration::from_secs(1200);
/// What the unpacked library may weigh at most, in bytes.
const LIBRARY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Temporary folders inside the cache begin with this.
const WORK_PREFIX: &str = ".installing-";

/// The wheel that is fetched for one processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// As in `uname -m`.
    pub arch: &'static str,
    /// The wheel's file name.
    pub wheel: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: &'static str,
}

/// One per architecture; the sums are those that the package index publishes.
const PINS: [Pin; 2] = [
    Pin {
        arch: "x86_64",
        wheel: "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        bytes: 27_780_211,
        sha256: "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
    },
    Pin {
        arch: "aarch64",
        wheel: "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_aarch64.whl",
        bytes: 23_196_724,
        sha256: "e36c187006e7a7c8b8d6d57f1a209dd63f52430dca6c282b177718ad6b841054",
    },
];

/// The wheel for this machine, if there is one.
pub fn pin() -> Option<&'static Pin> {
    let linux = cfg!(target_os = "linux");
    PINS.iter().find(|pin| linux && pin.arch == std::env::consts::ARCH)
}

/// How far an installation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallProgress {
    /// Another process is installing the same; it is waited for.
    Waiting,
    /// The wheel is coming.
    Downloading {
        /// Bytes that have arrived.
        done: u64,
        /// Bytes of the whole wheel.
        total: u64,
    },
    /// The SHA-256 is being checked.
    Checking,
    /// The library is being taken out.
    Unpacking,
    /// It is in its place.
    Done,
}

fn failed(text: impl Into<String>) -> RuntimeError {
    RuntimeError::Install(text.into())
}

/// Puts the pinned library into the cache, unless it is there, and returns its path.
///
/// Safe beside other processes that do the same; an interrupted one leaves nothing that looks complete.
///
/// # Errors
/// No wheel for this machine, no `python3` or `pip`, no network, a wheel with another SHA-256, a full disk.
pub fn install(progress: &mut dyn FnMut(InstallProgress)) -> Result<PathBuf, RuntimeError> {
    let cache = cache_folder().ok_or_else(|| failed("neither VELA_CACHE_DIR nor HOME is set: set one"))?;
    let pin = pin().ok_or_else(|| {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        failed(format!(
            "there is no pinned library for {os} on {arch}: install ONNX Runtime 1.17 or newer by hand \
             and set ORT_DYLIB_PATH"
        ))
    })?;
    install_into(&cache, pin, Path::new("python3"), progress)
}

fn install_into(
    cache: &Path,
    pin: &Pin,
    python: &Path,
    progress: &mut dyn FnMut(InstallProgress),
) -> Result<PathBuf, RuntimeError> {
    let target = cache.join(PINNED_VERSION);
    let disk = |what: &str, e: io::Error| failed(format!("{what} in `{}` failed: {e}", cache.display()));
    fs::create_dir_all(&target).map_err(|e| disk("making the cache folder", e))?;
    // Held while installing; the system releases it however this process ends.
    let _lock = lock(&cache.join(".lock"), progress).map_err(|e| disk("waiting for the lock", e))?;
    if let Some(library) = library_in(&target) {
        progress(InstallProgress::Done);
        return Ok(library);
    }
    remove_leftovers(cache);
    let work = Work::new(cache).map_err(|e| disk("making a temporary folder", e))?;
    let wheel = download(&work.0, pin, python, progress)?;
    progress(InstallProgress::Checking);
    let found = sha256(&wheel).map_err(|e| disk("reading the wheel", e))?;
    if found != pin.sha256 {
        return Err(failed(format!(
            "the wheel {} has SHA-256 {found} instead of {}: it was changed on the way (a mirror or proxy?), \
             nothing was installed; set ORT_DYLIB_PATH to a library that you trust",
            pin.wheel, pin.sha256
        )));
    }
    progress(InstallProgress::Unpacking);
    let library = unpack(&wheel, &work.0, &target).map_err(|e| disk("unpacking the wheel", e))?;
    progress(InstallProgress::Done);
    Ok(library)
}

/// A temporary folder of this process; removed when the work is over, however it ended.
struct Work(PathBuf);

impl Work {
    fn new(cache: &Path) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        let folder = cache.join(format!("{WORK_PREFIX}{}-{now}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lock(path: &Path, progress: &mut dyn FnMut(InstallProgress)) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                progress(InstallProgress::Waiting);
                thread::sleep(Duration::from_millis(200));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds it for too long"));
            }
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
}

/// What killed processes left; the lock says that none of them is alive.
fn remove_leftovers(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(WORK_PREFIX) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn download(
    work: &Path,
    pin: &Pin,
    python: &Path,
    progress: &mut dyn FnMut(InstallProgress),
) -> Result<PathBuf, RuntimeError> {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]);
    // Without its cache pip writes into TMPDIR, where the bytes can be counted as they come.
    command.args(["--no-cache-dir", "--progress-bar", "off"]).env("TMPDIR", work).current_dir(work);
    // Nothing is installed into any Python: a rule for that does not apply.
    command.env("PIP_REQUIRE_VIRTUALENV", "0");
    // The same wheel whatever Python is installed: only the library inside is used.
    command.args([
        "--no-deps",
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        "3.12",
        "--abi",
        "cp312",
    ]);
    for manylinux in ["manylinux_2_28", "manylinux_2_27"] {
        command.arg("--platform").arg(format!("{manylinux}_{}", pin.arch));
    }
    command.arg("--dest").arg(work).arg(format!("onnxruntime=={PINNED_VERSION}"));
    progress(InstallProgress::Downloading { done: 0, total: pin.bytes });
    let answer = child::run(command, DOWNLOAD_LIMIT, || {
        let done = bytes_under(work).min(pin.bytes);
        progress(InstallProgress::Downloading { done, total: pin.bytes });
    });
    let answer = answer.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            failed(format!("there is no python3: install python3 and python3-pip; else {REMEDY}"))
        }
        io::ErrorKind::TimedOut => {
            failed(format!("`pip download` took too long ({e}): check the network; else {REMEDY}"))
        }
        _ => failed(format!("python3 could not be started: {e}")),
    })?;
    if !answer.status.success() {
        return Err(failed(why_pip_failed(&answer.stderr)));
    }
    let wheel = work.join(pin.wheel);
    if !wheel.is_file() {
        return Err(failed(format!("`pip download` brought another file than {}; {REMEDY}", pin.wheel)));
    }
    progress(InstallProgress::Downloading { done: pin.bytes, total: pin.bytes });
    Ok(wheel)
}

fn why_pip_failed(stderr: &str) -> String {
    if stderr.contains("No module named pip") || stderr.contains("No module named 'pip'") {
        return format!("python3 has no pip: install python3-pip; else {REMEDY}");
    }
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("ERROR")).collect();
    let said = if errors.is_empty() {
        stderr.lines().last().unwrap_or("no message").to_owned()
    } else {
        errors.join("; ")
    };
    let said: String = said.chars().take(400).collect();
    format!(
        "`pip download` failed ({said}): check the network and pip's settings (index, proxy); else {REMEDY}"
    )
}

/// Bytes of all files below a folder that is being written.
fn bytes_under(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(m) if m.is_dir() => bytes_under(&entry.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn sha256(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => break,
            n => hasher.update(&block[..n]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Takes the library out of the wheel; it appears under its name only when it is whole and on disk.
fn unpack(wheel: &Path, work: &Path, target: &Path) -> io::Result<PathBuf> {
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).map_err(io::Error::other)?;
    let inside = |name: &str| {
        name.strip_prefix("onnxruntime/capi/")
            .filter(|n| n.starts_with("libonnxruntime.so"))
            .map(str::to_owned)
    };
    let entry =
        archive.file_names().flatten().find_map(|name| Some((name.clone().into_owned(), inside(&name)?)));
    let (entry, name) = entry.ok_or_else(|| io::Error::other("the wheel has no libonnxruntime.so"))?;
    if name.contains('/') {
        return Err(io::Error::other("the wheel has an unexpected layout"));
    }
    let part = work.join("library.part");
    let mut to = File::create(&part)?;
    let mut from = archive.by_name(&entry).map_err(io::Error::other)?.take(LIBRARY_BYTES_MAX);
    io::copy(&mut from, &mut to)?;
    to.sync_all()?;
    let library = target.join(name);
    fs::rename(&part, &library)?;
    File::open(target)?.sync_all()?;
    Ok(library)
}

#[cfg(test)]
mod tests;
