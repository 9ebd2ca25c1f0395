//! Files that somebody made to do harm, or that something spoilt: each is refused with a text that can be read, in time.

use crate::service_support::Home;
use crate::support::onnx;
use crate::support::serving::{Fed, Folder};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use vela::predict::{Artefact, Manifest, RunLimits, Runtime, Session};

/// More than any of them takes on a busy machine; loading is given up after 10 s.
const IN_TIME: Duration = Duration::from_secs(60);

/// A home with a version `odd@1` of that graph; where its files lie.
fn odd(graph: &[u8]) -> (Home, PathBuf) {
    let home = Home::new();
    home.write("models/odd/1/model.onnx", graph);
    let toml = "symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"ret_1\"]\n";
    home.write("models/odd/1/model.toml", toml);
    let folder = home.path("models/odd/1");
    (home, folder)
}

const INSPECT: [&str; 3] = ["models", "inspect", "models/odd/1/model.onnx"];

#[test]
fn a_division_that_has_no_quotient_ends_no_process() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    folder.version("odd", 1, onnx::divides_the_smallest(1), "").promote("odd", &[1]);
    let mut fed = Fed::start(&folder);
    for n in 0..20 {
        fed.put(100.0 + f64::from(n));
        assert!(fed.come(2).iter().all(|outcome| outcome.result.is_ok()));
    }
    fed.engine.stop().unwrap();
}

#[test]
fn a_graph_cut_off_anywhere_or_with_bits_turned_is_refused_or_runs() {
    let runtime = Runtime::ensure(None, &mut |_| {}).unwrap();
    let (home, folder) = odd(&[]);
    let file = folder.join("model.onnx");
    let manifest = Manifest::read(&folder.join("model.toml")).unwrap();
    let limits = RunLimits { deadline: Duration::from_secs(30), memory_bytes: 64 << 20 };
    let load = |graph: &[u8]| {
        std::fs::write(&file, graph).unwrap();
        let artefact = Artefact::read(&file)?;
        Session::load(runtime, &artefact, &manifest, limits)
    };
    let graph = onnx::linear(1, 2.0, 1.0);
    assert!(load(&graph).is_ok());
    for cut in 0..graph.len() {
        let Err(error) = load(&graph[..cut]) else { continue };
        let text = error.to_string();
        assert!(
            text.len() < 1_000 && !text.contains(|c: char| c.is_control() && c != '\n'),
            "{cut}: {text:?}"
        );
    }
    for bit in 0..graph.len() * 8 {
        let mut turned = graph.clone();
        turned[bit / 8] ^= 1 << (bit % 8);
        let _ = load(&turned);
    }
    drop(home);
}

#[test]
fn names_that_nobody_can_write_are_refused_and_shown_in_short() {
    for name in ["n".repeat(2_000_000), "a\u{1b}[2Jb\nc".to_owned()] {
        let (home, _) = odd(&onnx::named(&name, 0));
        home.finish(&INSPECT).refused(1, &["an input or output is called", "at most 1024 bytes"]);
        home.finish(&["models", "check", "odd@1"]).refused(1, &["an input or output is called"]);
    }
}

#[test]
fn thousands_of_notes_of_an_exporter_take_no_time() {
    let (home, _) = odd(&onnx::named("x", 20_000));
    let begin = Instant::now();
    let text = home.finish(&INSPECT).done();
    assert!(begin.elapsed() < IN_TIME && text.len() < 10_000, "{:?}: {} bytes", begin.elapsed(), text.len());
}

#[test]
fn a_file_larger_than_any_graph_is_not_read() {
    let (home, folder) = odd(b"");
    std::fs::File::create(folder.join("model.onnx")).unwrap().set_len(100 << 30).unwrap();
    home.finish(&INSPECT).refused(1, &["has more than 2147483648 bytes"]);
    home.finish(&["models", "check", "odd@1"]).refused(1, &["has more than 2147483648 bytes"]);
}

#[test]
fn golden_rows_that_are_no_file_are_not_passed_over() {
    let (home, folder) = odd(&onnx::linear(1, 1.0, 0.0));
    let golden = folder.join("golden.csv");
    let check = ["models", "check", "odd@1"];
    std::fs::create_dir(&golden).unwrap();
    home.finish(&check).refused(1, &["golden.csv: is not a file"]);
    std::fs::remove_dir(&golden).unwrap();
    for target in ["/dev/zero", "nowhere"] {
        std::os::unix::fs::symlink(target, &golden).unwrap();
        home.finish(&check).refused(1, &["golden.csv: "]);
        std::fs::remove_file(&golden).unwrap();
    }
    // With the mark that some programs begin a text with, and the line ends of others.
    std::fs::write(&golden, "\u{feff}x_0,y\r\n0.5,0.5\r\n").unwrap();
    assert!(home.finish(&check).done().contains("1 rows"));
}

#[test]
fn weights_from_elsewhere_are_named_as_they_can_be_read() {
    for place in ["../w.bin", "/etc/hostname", "a\u{1b}[2Jb", "", ".", "w\0.bin", &"w".repeat(100_000)] {
        let (home, _) = odd(&onnx::weighs_from(1, place));
        let said = home.finish(&["models", "check", "odd@1"]);
        said.refused(1, &["takes weights from `"]);
        assert!(said.stderr.len() < 1_000 && !said.stderr.contains('\u{1b}'), "{}", said.stderr);
    }
}
