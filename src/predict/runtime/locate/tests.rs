//! The order of the places, and what a wrong one leads to.

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
