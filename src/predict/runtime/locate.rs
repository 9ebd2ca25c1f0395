//! Where ONNX Runtime's shared library may be, in the order in which it is looked for.

use super::child;
use super::{MINOR_MIN, PINNED_VERSION, RuntimeError};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The library's name; a version may follow.
const LIBRARY: &str = "libonnxruntime.so";
/// How long `python3` may take to say where its package is.
const PYTHON_LIMIT: Duration = Duration::from_secs(5);
/// Prints the folder of the installed package without importing it.
const PYTHON_QUESTION: &str = "import importlib.util as u; s = u.find_spec('onnxruntime'); \
                               print(s.submodule_search_locations[0] if s else '')";

/// A kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKind {
    /// `runtime.library` in the configuration.
    Configured,
    /// The variable `ORT_DYLIB_PATH`.
    Environment,
    /// The folder of the executable.
    BesideExecutable,
    /// The cache that `vela runtime install` fills.
    Cache,
    /// The package `onnxruntime` of `python3`.
    Python,
    /// The system's library folders.
    System,
}

impl PlaceKind {
    /// A short name for people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Configured => "configured (runtime.library)",
            Self::Environment => "ORT_DYLIB_PATH",
            Self::BesideExecutable => "beside the executable",
            Self::Cache => "cache",
            Self::Python => "python3 package",
            Self::System => "system",
        }
    }
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// Its version, such as `1.32.0`, where the file tells it.
    pub version: Option<String>,
}

/// One place, and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What kind of place.
    pub kind: PlaceKind,
    /// Where exactly it was looked: paths, or why it was not.
    pub looked_at: String,
    /// The library there.
    pub found: Option<Found>,
    /// Why the library there is not used, or why the place could not be looked at.
    pub problem: Option<String>,
}

/// Every place, in order, and which library would be used.
#[derive(Debug)]
pub struct Status {
    /// The places.
    pub places: Vec<Place>,
    /// The library that is used.
    pub chosen: Option<Found>,
    /// Why none is.
    pub error: Option<RuntimeError>,
}

/// Finds the library that is to be used. `configured` is the path in the configuration, if there is one.
///
/// # Errors
/// When a path that was named by hand does not exist, or nothing was found anywhere.
pub fn locate(configured: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    let status = survey(configured, &Surroundings::of_process(), false);
    match (status.chosen, status.error) {
        (Some(found), _) => Ok(found.path),
        (None, error) => Err(error.unwrap_or(RuntimeError::NotFound)),
    }
}

/// Looks at every place, also behind the one that is chosen.
pub fn status(configured: Option<&Path>) -> Status {
    survey(configured, &Surroundings::of_process(), true)
}

/// What the search depends on; given by hand in tests.
pub(super) struct Surroundings {
    variable: Option<OsString>,
    executable_folder: Option<PathBuf>,
    cache: Option<PathBuf>,
    python: Option<PathBuf>,
    system: Vec<PathBuf>,
}

impl Surroundings {
    fn of_process() -> Self {
        Self {
            variable: std::env::var_os("ORT_DYLIB_PATH").filter(|v| !v.is_empty()),
            executable_folder: std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned())),
            cache: cache_folder(),
            python: Some(PathBuf::from("python3")),
            system: system_folders(),
        }
    }
}

/// `onnxruntime` in vela's cache: `$VELA_CACHE_DIR`, else `$XDG_CACHE_HOME/vela`, else `~/.cache/vela`.
pub(super) fn cache_folder() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = variable("VELA_CACHE_DIR")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("vela")))
        .or_else(|| Some(variable("HOME")?.join(".cache/vela")))?;
    // Absolute, because programs are asked from other folders.
    std::path::absolute(cache.join("onnxruntime")).ok()
}

fn system_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("LD_LIBRARY_PATH")
        .map(|paths| std::env::split_paths(&paths).filter(|p| p.is_absolute()).collect())
        .unwrap_or_default();
    let arch = format!("{}-linux-gnu", std::env::consts::ARCH);
    for lib in
        ["/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64", "/lib", "/opt/onnxruntime/lib"]
    {
        folders.push(PathBuf::from(lib));
        folders.push(Path::new(lib).join(&arch));
    }
    let configured = fs::read_dir("/etc/ld.so.conf.d").into_iter().flatten().flatten();
    for text in configured.filter_map(|entry| fs::read_to_string(entry.path()).ok()) {
        folders.extend(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(PathBuf::from));
    }
    let mut seen = std::collections::HashSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

/// Gives the folders of a place, or why it has none; asked only when the search comes to it.
type Folders<'a> = &'a dyn Fn() -> Result<Vec<PathBuf>, String>;

fn survey(configured: Option<&Path>, around: &Surroundings, all: bool) -> Status {
    let mut status = Status { places: Vec::new(), chosen: None, error: None };
    let named = [
        (PlaceKind::Configured, "`runtime.library`", configured.map(Path::to_owned)),
        (PlaceKind::Environment, "ORT_DYLIB_PATH", around.variable.clone().map(PathBuf::from)),
    ];
    for (kind, origin, path) in named {
        let place = match &path {
            None => Place { kind, looked_at: String::new(), found: None, problem: None },
            Some(path) => look_at_named(kind, path),
        };
        // A path that somebody named is meant: where it is wrong, another library must not serve silently.
        if let (Some(path), Some(problem)) = (path, &place.problem)
            && status.chosen.is_none()
            && status.error.is_none()
        {
            status.error = Some(RuntimeError::BadPath { origin, path, problem: problem.clone() });
        }
        take(&mut status, place);
        if !all && (status.chosen.is_some() || status.error.is_some()) {
            return status;
        }
    }
    let places: [(PlaceKind, Folders<'_>); 4] = [
        (PlaceKind::BesideExecutable, &|| {
            let folder = around.executable_folder.clone().ok_or("the executable's path is not known")?;
            Ok(vec![folder.join("lib"), folder])
        }),
        (PlaceKind::Cache, &|| {
            let cache = around.cache.as_ref();
            cache.map(|c| vec![c.join(PINNED_VERSION)]).ok_or_else(|| "HOME is not set".to_owned())
        }),
        (PlaceKind::Python, &|| ask_python(around.python.as_deref())),
        (PlaceKind::System, &|| Ok(around.system.clone())),
    ];
    for (kind, folders) in places {
        let place = match folders() {
            Ok(folders) => look_into(kind, &folders),
            Err(problem) => Place { kind, looked_at: "-".to_owned(), found: None, problem: Some(problem) },
        };
        take(&mut status, place);
        if !all && status.chosen.is_some() {
            return status;
        }
    }
    if status.chosen.is_none() && status.error.is_none() {
        status.error = Some(RuntimeError::NotFound);
    }
    status
}

fn take(status: &mut Status, place: Place) {
    if status.chosen.is_none() && status.error.is_none() && place.problem.is_none() {
        status.chosen.clone_from(&place.found);
    }
    status.places.push(place);
}

fn look_at_named(kind: PlaceKind, path: &Path) -> Place {
    let looked_at = path.display().to_string();
    if path.is_dir() {
        let mut place = look_into(kind, &[path.to_owned()]);
        if place.found.is_none() {
            place.problem = Some(format!("is a folder without a {LIBRARY}"));
        }
        return place;
    }
    if !path.is_file() {
        return Place { kind, looked_at, found: None, problem: Some("does not exist".to_owned()) };
    }
    let version = version_of(path);
    let problem = too_old(version.as_deref());
    Place { kind, looked_at, found: Some(Found { path: path.to_owned(), version }), problem }
}

fn look_into(kind: PlaceKind, folders: &[PathBuf]) -> Place {
    let looked_at = match folders {
        [one] => one.display().to_string(),
        [] => "-".to_owned(),
        [first, rest @ ..] => format!("{} and {} more", first.display(), rest.len()),
    };
    let mut place = Place { kind, looked_at, found: None, problem: None };
    for path in folders.iter().filter_map(|folder| library_in(folder)) {
        let version = version_of(&path);
        let problem = too_old(version.as_deref());
        let usable = problem.is_none();
        if usable || place.found.is_none() {
            place.found = Some(Found { path, version });
            place.problem = problem;
        }
        if usable {
            break;
        }
    }
    place
}

fn too_old(version: Option<&str>) -> Option<String> {
    let (major, minor) = numbers(version?)?;
    ((major, minor) < (1, MINOR_MIN))
        .then(|| format!("is ONNX Runtime {major}.{minor}, older than 1.{MINOR_MIN}"))
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The newest `libonnxruntime.so[.version]` of a folder.
pub(super) fn library_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let candidates = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix(LIBRARY)?;
        let valid = version.is_empty()
            || version.starts_with('.') && version[1..].starts_with(|c: char| c.is_ascii_digit());
        let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
        (valid && entry.path().is_file()).then(|| (parts, entry.path()))
    });
    candidates.max().map(|(_, path)| path)
}

/// The version: from the file's own name or the one it links to, else from the symbol version inside.
pub(super) fn version_of(path: &Path) -> Option<String> {
    let real = path.canonicalize().ok()?;
    for name in [path, &real].into_iter().filter_map(|p| p.file_name()?.to_str()) {
        if let Some(version) = name.strip_prefix(LIBRARY).and_then(|v| v.strip_prefix('.'))
            && numbers(version).is_some()
        {
            return Some(version.to_owned());
        }
    }
    let bytes = fs::read(&real).ok()?;
    let mark = b"VERS_1.";
    let at = bytes.windows(mark.len()).position(|window| window == mark)? + b"VERS_".len();
    let version: String = bytes[at..]
        .iter()
        .take(16)
        .map(|b| char::from(*b))
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    numbers(&version).map(|_| version)
}

fn ask_python(python: Option<&Path>) -> Result<Vec<PathBuf>, String> {
    let python = python.ok_or("python3 is not asked")?;
    let mut command = Command::new(python);
    // From the root, because a folder of the same name in the current one would be taken for the package.
    command.args(["-c", PYTHON_QUESTION]).current_dir("/");
    match child::run(command, PYTHON_LIMIT, || ()) {
        Ok(answer) if answer.status.success() => {
            let folder = answer.stdout.trim();
            if folder.is_empty() {
                return Err("python3 has no package onnxruntime".to_owned());
            }
            Ok(vec![Path::new(folder).join("capi")])
        }
        Ok(answer) => {
            Err(format!("python3 failed: {}", answer.stderr.lines().last().unwrap_or("no message")))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err("there is no python3".to_owned()),
        Err(e) => Err(format!("python3 could not be asked: {e}")),
    }
}

#[cfg(test)]
mod tests;
