//! The page docs/train-and-serve.md does what it says: its blocks are run as they stand, in their order.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long fetching the packages may take, and everything else.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);
const LIMIT: Duration = Duration::from_secs(180);

/// A fenced block: its language and its text.
struct Block<'a> {
    language: &'a str,
    text: &'a str,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, behind)) = rest.split_once("\n```") {
        let (language, behind) = behind.split_once('\n').unwrap();
        let (text, behind) = behind.split_once("\n```\n").expect("a block ends");
        blocks.push(Block { language, text });
        rest = behind;
        // The newline that a next block begins with was taken as the end of this one.
        if let Some(next) = rest.strip_prefix("```") {
            panic!("two blocks without a line between: {next:.40}");
        }
    }
    blocks
}

/// Runs a script in `folder`, with the program on its PATH; its output, errors among it.
fn run(folder: &Path, script: &str, limit: Duration) -> (Option<ExitStatus>, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_vela")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let said = folder.join(".said");
    let file = File::create(&said).unwrap();
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(folder).env("PATH", path);
    command.env("PIP_RETRIES", "1").env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if (name.starts_with("VELA_") && name != "VELA_CACHE_DIR") || name.starts_with("PYTHON") {
            command.env_remove(&*name);
        }
    }
    // A group of its own: whatever the script leaves running ends with it.
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).process_group(0);
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let group = format!("kill -KILL -- -{} 2>/dev/null", child.id());
    let _ = Command::new("sh").args(["-c", &group]).status();
    let _ = child.wait();
    (status, String::from_utf8_lossy(&std::fs::read(said).unwrap()).into_owned())
}

/// An empty folder, but for the packages of an earlier run, which take a while to fetch.
fn folder() -> PathBuf {
    let target = Path::new(env!("CARGO_BIN_EXE_vela")).ancestors().nth(2).unwrap();
    let folder = target.join("train-and-serve");
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().unwrap() == ".venv" {
            true => {}
            false if path.is_dir() => std::fs::remove_dir_all(path).unwrap(),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
    folder
}

/// `text` with a `#` for every number: a machine may differ in the last digit.
fn numberless(text: &str) -> String {
    let mut shape = String::new();
    let mut number = false;
    for c in text.chars() {
        let digit = c.is_ascii_digit() || (number && ".e-".contains(c));
        if !digit {
            shape.push(c);
        } else if !number {
            shape.push('#');
        }
        number = digit;
    }
    shape
}

#[test]
fn train_and_serve_runs_as_it_stands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/train-and-serve.md")).unwrap();
    let folder = folder();
    std::fs::create_dir(folder.join("docs")).unwrap();
    std::fs::copy(root.join("docs/requirements.txt"), folder.join("docs/requirements.txt")).unwrap();

    let blocks = blocks(&page);
    let count = |language| blocks.iter().filter(|block| block.language == language).count();
    assert!(count("sh") > 6 && count("python") == 3 && count("text") > 4, "all blocks are found");
    assert_eq!(page.matches("\n```").count(), 2 * blocks.len());
    let mut said = String::new();
    let mut scripts: Vec<&str> = Vec::new();
    for Block { language, text } in &blocks {
        match *language {
            "sh" if text.contains("pip install") => {
                let (mut status, mut output) = run(&folder, text, INSTALL_LIMIT);
                if !status.is_some_and(|status| status.success()) {
                    // What an interrupted run, or another Python, left.
                    let _ = std::fs::remove_dir_all(folder.join(".venv"));
                    (status, output) = run(&folder, text, INSTALL_LIMIT);
                }
                if !status.is_some_and(|status| status.success()) {
                    // Past the test runner, which shows nothing of a test that passes.
                    let line = "SKIPPED: docs/train-and-serve.md was not run, its Python packages cannot be installed";
                    writeln!(std::io::stderr(), "\n{line}:\n{output}").unwrap();
                    return;
                }
            }
            "sh" => {
                let (status, output) = run(&folder, text, LIMIT);
                assert!(status.is_some_and(|status| status.success()), "{status:?}\n{text}\n--\n{output}");
                said += &output;
                scripts.retain(|script| !text.contains(script));
            }
            "python" => {
                let name = text.lines().next().unwrap().strip_prefix("# ").expect("a name in its first line");
                std::fs::write(folder.join(name), text).unwrap();
                scripts.push(name);
            }
            "text" => {
                let shape = numberless(&said);
                for line in text.lines() {
                    assert!(shape.contains(&numberless(line)), "nothing says `{line}`:\n{said}");
                }
            }
            other => panic!("a block of an unknown language: {other}"),
        }
    }
    assert!(scripts.is_empty(), "never run: {scripts:?}");
}
