//! Installing with a `python3` that is a script: what pip may do, without a network.

use super::*;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

const WHEEL: &str = "onnxruntime-1.32.0-cp312-cp312-manylinux_2_28_x86_64.whl";

/// A wheel that holds a "library"; returns its pin.
fn wheel(path: &Path) -> Pin {
    let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (name, text) in [
        ("onnxruntime/__init__.py", "x"),
        ("onnxruntime/capi/libonnxruntime_providers_shared.so", "y"),
        ("onnxruntime/capi/libonnxruntime.so.1.32.0", "the library"),
    ] {
        zip.start_file(name, options).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    let sha256 = Box::leak(sha256(path).unwrap().into_boxed_str());
    Pin { arch: "x86_64", wheel: WHEEL, bytes: fs::metadata(path).unwrap().len(), sha256 }
}

fn python(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("python3");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Every file in the cache but the lock.
fn left(cache: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(cache).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name == PINNED_VERSION {
            names.extend(
                fs::read_dir(entry.path()).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()),
            );
        } else if name != ".lock" {
            names.push(name);
        }
    }
    names
}

#[test]
fn the_library_alone_arrives_and_a_second_call_asks_nobody() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source.whl");
    let pin = wheel(&source);
    let cache = root.path().join("cache");
    let good = python(root.path(), &format!("cp {} {WHEEL}", source.display()));
    // Somebody was killed here.
    fs::create_dir_all(cache.join(".installing-1-2/x")).unwrap();
    let mut seen = Vec::new();
    let path = install_into(&cache, &pin, &good, &mut |p| seen.push(p)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "the library");
    assert_eq!(left(&cache), ["libonnxruntime.so.1.32.0"]);
    assert_eq!(seen.last(), Some(&InstallProgress::Done));
    assert!(seen.contains(&InstallProgress::Downloading { done: pin.bytes, total: pin.bytes }));
    assert_eq!(install_into(&cache, &pin, Path::new("/no/python"), &mut |_| ()).unwrap(), path);
}

#[test]
fn a_failure_says_what_to_do_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source.whl");
    let pin = wheel(&source);
    let cases = [
        ("echo '/usr/bin/python3: No module named pip' >&2; exit 1", "python3-pip"),
        ("echo 'ERROR: No matching distribution found' >&2; exit 1", "network"),
        (&*format!("printf changed > {WHEEL}"), "SHA-256"),
        ("touch other.whl", "another file"),
    ];
    for (script, expected) in cases {
        let cache = root.path().join("cache");
        let error =
            install_into(&cache, &pin, &python(root.path(), script), &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("ORT_DYLIB_PATH"), "{script}: {error}");
        assert!(left(&cache).is_empty(), "{script}: {:?}", left(&cache));
    }
    let cache = root.path().join("cache");
    let error = install_into(&cache, &pin, Path::new("/no/python"), &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("there is no python3"), "{error}");
}

#[test]
fn two_at_once_install_one() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source.whl");
    let pin = wheel(&source);
    let cache = root.path().join("cache");
    let slow = python(
        root.path(),
        &format!("echo x >> {}/runs; sleep 0.3; cp {} {WHEEL}", root.path().display(), source.display()),
    );
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| install_into(&cache, &pin, &slow, &mut |_| ()).unwrap());
        }
    });
    assert_eq!(fs::read_to_string(root.path().join("runs")).unwrap(), "x\n");
    assert_eq!(left(&cache), ["libonnxruntime.so.1.32.0"]);
}

#[test]
fn this_machine_has_a_pin() {
    assert!(PINS.iter().all(|pin| pin.sha256.len() == 64 && pin.wheel.contains(PINNED_VERSION)));
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        assert_eq!(pin().unwrap().wheel, WHEEL);
    }
}
