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
    Some(cache.join("onnxruntime"))
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

fn survey(configured: Option<&Path>, around: &Surroundings, all: bool) -> Status {
    let mut status = Status { places: Vec::new(), chosen: None, error: None };
    let named = [
        (PlaceKind::Configured, "`runtime.library`", configured.map(Path::to_owned)),
        (PlaceKind::Environment, "ORT_DYLIB_PATH", around.variable.clone().map(PathBuf::from)),
    ];
    for (kind, origin, path) in named {
        let place = match &path {
            None => Place { kind, looked_at: "not set".to_owned(), found: None, problem: None },
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
    let places: [(PlaceKind, &dyn Fn() -> Result<Vec<PathBuf>, String>); 4] = [
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
mod tests {
    use super::*;

    fn nowhere() -> Surroundings {
        Surroundings { variable: None, executable_folder: None, cache: None, python: None, system: vec![] }
    }

    fn library(folder: &Path, name: &str) -> PathBuf {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, b"xxVERS_1.24.3\0yy").unwrap();
        path
    }

    #[test]
    fn the_first_place_that_has_one_wins() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let configured = library(&at("c"), "my.so");
        let beside = library(&at("exe"), "libonnxruntime.so");
        let cached = library(&at("cache").join(PINNED_VERSION), "libonnxruntime.so.1.32.0");
        let system = library(&at("system"), "libonnxruntime.so.1.20.1");
        let mut around = Surroundings {
            variable: Some(at("c").join("my.so").into_os_string()),
            executable_folder: Some(at("exe")),
            cache: Some(at("cache")),
            python: None,
            system: vec![at("none"), at("system")],
        };
        let chosen = |around: &Surroundings, path| survey(path, around, false).chosen.unwrap().path;
        assert_eq!(chosen(&around, Some(&system)), system);
        assert_eq!(chosen(&around, None), configured);
        around.variable = None;
        assert_eq!(chosen(&around, None), beside);
        around.executable_folder = None;
        assert_eq!(chosen(&around, None), cached);
        around.cache = None;
        assert_eq!(chosen(&around, None), system);
        let status = survey(None, &around, true);
        assert_eq!(status.places.len(), 6);
        assert_eq!(status.chosen.unwrap().version.as_deref(), Some("1.20.1"));
        assert_eq!(version_of(&beside).as_deref(), Some("1.24.3"));
    }

    #[test]
    fn a_named_path_that_is_wrong_is_an_error_and_no_fall_through() {
        let root = tempfile::tempdir().unwrap();
        let mut around = nowhere();
        around.system = vec![root.path().to_owned()];
        library(root.path(), "libonnxruntime.so");
        let error = survey(Some(Path::new("/no/such.so")), &around, true).error.unwrap().to_string();
        assert!(error.contains("runtime.library") && error.contains("/no/such.so"), "{error}");
        around.variable = Some("/no/such.so".into());
        let status = survey(None, &around, false);
        assert!(status.chosen.is_none());
        assert!(status.error.unwrap().to_string().contains("ORT_DYLIB_PATH"));
    }

    #[test]
    fn one_that_is_too_old_is_passed_over_and_said_so() {
        let root = tempfile::tempdir().unwrap();
        let mut around = nowhere();
        library(&root.path().join("old"), "libonnxruntime.so.1.16.3");
        around.system = vec![root.path().join("old")];
        let status = survey(None, &around, true);
        assert!(matches!(status.error, Some(RuntimeError::NotFound)));
        let place = status.places.last().unwrap();
        assert!(place.problem.as_deref().unwrap().contains("1.16"), "{place:?}");
        let newer = library(&root.path().join("new"), "libonnxruntime.so.1.17.0");
        around.system.push(root.path().join("new"));
        assert_eq!(survey(None, &around, false).chosen.unwrap().path, newer);
    }

    #[test]
    fn the_newest_file_of_a_folder_is_taken_and_providers_are_not() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.20.1",
            "libonnxruntime_providers_shared.so",
            "libonnxruntime.so.bak",
        ] {
            fs::write(root.path().join(name), b"").unwrap();
        }
        assert_eq!(library_in(root.path()), Some(root.path().join("libonnxruntime.so.1.20.1")));
    }

    #[test]
    fn a_python_that_hangs_fails_or_is_missing_is_only_a_note() {
        assert!(ask_python(Some(Path::new("/no/such/python"))).unwrap_err().contains("no python3"));
        assert!(ask_python(Some(Path::new("false"))).unwrap_err().contains("failed"));
    }
}
