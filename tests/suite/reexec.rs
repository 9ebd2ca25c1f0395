//! `vela run` replaces itself while bars come in: out of memory by a leak on purpose, or since a stage stands still. In
//! the end every prediction is there once. The faults are preloaded into the program as it is shipped
//! (`support/faults.c`): it has no hook for them.

mod history;
mod limits;
mod outside;
mod resume;

pub use limits::SEEN;

use crate::service_support::{Fed, Home, OUTCOMES_PER_BAR, Service, Table, assert_same, eventually, market};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SYMBOLS: usize = 6;
/// What is there before the first start.
const MINUTES_BEFORE: usize = 100;
/// Between two bars: 100 bars a second.
const BAR_EVERY: Duration = Duration::from_millis(10);

/// The faults as a library, made once: beside where it stays, so that another run of the tests never sees half of it.
fn faults() -> &'static Path {
    static LIBRARY: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/support/faults.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.so");
        let fresh = library.with_extension(std::process::id().to_string());
        let arguments = ["-shared", "-fPIC", "-O1", "-pthread", "-o"];
        let built = Command::new("gcc").args(arguments).arg(&fresh).args([source, "-ldl"]).status();
        assert!(built.expect("gcc is needed").success());
        std::fs::rename(&fresh, &library).unwrap();
        library
    })
}

/// A configuration with which `vela run` replaces itself at once and as often as it must.
const REPLACING: &str = "source.path = \"vela.db\"\nmax_memory_mb = 250\nhealth_check_interval = 1\n[watchdog]\n\
                         interval_ms = 20\nrestarts_max = 1000\nrestart_pause_ms = 0\n";

/// A folder with that configuration, and `more` of it.
fn home(more: &str) -> Home {
    let home = Home::new();
    home.configure(&format!("{REPLACING}{more}"));
    home
}

/// `vela run`, with faults.
pub fn faulty(home: &Home, faults_of: &[(&str, OsString)]) -> Command {
    let mut command = home.vela(&["run", "--config", "vela.toml"]);
    command.env("LD_PRELOAD", faults());
    for (name, value) in faults_of {
        command.env(name, value);
    }
    command
}

/// Gives a command the folder and the environment of another one.
fn in_place_of(other: &Command, command: &mut Command) {
    command.current_dir(other.get_current_dir().unwrap());
    for (name, value) in other.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
}

fn leaking(home: &Home, mb_per_s: u32) -> Service {
    Service::start(home, &mut faulty(home, &[("LEAK_MB_PER_S", mb_per_s.to_string().into())]))
}

/// Generations so far, as standard error tells them.
pub fn generation(service: &Service) -> usize {
    service.stderr().matches("vela has replaced itself").count()
}

/// Descriptors and threads of a process, without the threads that come and go: those that create sessions and try versions.
fn holds(pid: u32) -> (usize, usize) {
    let entries =
        |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).into_iter().flatten().flatten();
    let passing = |path: PathBuf| {
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        ["", "vela-session", "vela-try"].contains(&name.trim())
    };
    (entries("fd").count(), entries("task").filter(|task| !passing(task.path())).count())
}

/// Feeds bars one by one, as a live market does, until told to stop; how many it fed counts up.
fn feed(mut table: Table, bars: &[Fed], stop: &AtomicBool, fed: &AtomicUsize) {
    let begin = Instant::now();
    for (number, bar) in bars.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // By the clock, whatever the machine does meanwhile: an open loop.
        std::thread::sleep((BAR_EVERY * number as u32).saturating_sub(begin.elapsed()));
        table.feed(std::slice::from_ref(bar));
        fed.fetch_add(1, Ordering::Relaxed);
    }
}

/// The rows that an undisturbed run makes of `bars`.
fn undisturbed(bars: &[Fed]) -> [Vec<String>; 3] {
    let home = Home::new();
    let mut table = Table::create(&home.database());
    table.feed(bars);
    let service = home.run();
    table.reaches(bars.len() * OUTCOMES_PER_BAR);
    service.stop();
    rows(&table)
}

fn rows(table: &Table) -> [Vec<String>; 3] {
    [table.predictions(), table.refusals(), table.watermarks()]
}

fn assert_rows(found: &[Vec<String>; 3], expected: &[Vec<String>; 3]) {
    for (what, (found, expected)) in
        ["agentpreds", "inference_errors", "inference_state"].iter().zip(found.iter().zip(expected))
    {
        assert_same(what, found, expected);
    }
}

/// Runs `act` beside a live market of `bars` and a table to look at; then all that was fed must be stored, once, as an
/// undisturbed run stores it.
fn under_load<T>(home: &Home, bars: &[Fed], act: impl FnOnce(&Table) -> (T, Service)) -> T {
    let mut table = Table::create(&home.database());
    let (before, live) = bars.split_at(MINUTES_BEFORE * SYMBOLS);
    table.feed(before);
    let watched = Table::watch(&home.database());
    let (stop, fed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (result, service) = std::thread::scope(|scope| {
        scope.spawn(|| feed(table, live, &stop, &fed));
        let result = act(&watched);
        stop.store(true, Ordering::Relaxed);
        result
    });
    let all = &bars[..before.len() + fed.load(Ordering::Relaxed)];
    assert!(all.len() < bars.len(), "the market was over before the test");
    watched.reaches(all.len() * OUTCOMES_PER_BAR);
    drop(service);
    println!("{} bars fed, {:?} rows", all.len(), watched.counts());
    assert_rows(&rows(&watched), &undisturbed(all));
    result
}

/// The pauses that the log tells, in ms: from the last bar taken in to the next one.
pub fn pauses(home: &Home) -> Vec<u64> {
    let log = std::fs::read_to_string(home.path("logs/infer_realtime.log")).unwrap();
    let lines = log.lines().filter(|line| line.contains("bars are taken in again"));
    lines
        .map(|line| line.split("pause_ms=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// The longest times between two stored outcomes, in ms: what a reader of the table sees of a pause.
fn gaps(table: &Table, count: usize) -> Vec<f64> {
    let sql = "SELECT (julianday(created_at) - 2440587.5) * 86400000.0 FROM agentpreds ORDER BY 1";
    let mut statement = table.0.prepare(sql).unwrap();
    let times: Vec<f64> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(|a, b| b.total_cmp(a));
    gaps.truncate(count);
    gaps
}

#[test]
fn a_leak_drives_replacements_that_lose_nothing() {
    // REEXECS=50 is the full size, for a quiet machine.
    let full_size = std::env::var("REEXECS").ok();
    let restarts = full_size.as_ref().map_or(4, |count| count.parse().unwrap());
    let full_size = full_size.is_some();
    let home = home("");
    let bars = market(SYMBOLS, MINUTES_BEFORE + restarts * 100 + 1000);
    let held = under_load(&home, &bars, |watched| {
        let mut service = leaking(&home, 150);
        service.says("vela runs with");
        let pid = service.id();
        // For each generation the most and the least it was seen to hold, once it serves.
        let mut held: Vec<((usize, usize), (usize, usize))> = Vec::new();
        eventually("replacements", || {
            let (now, outcomes) = (generation(&service), watched.outcomes());
            eventually("an outcome", || (watched.outcomes() > outcomes).then_some(()));
            let (fds, tasks) = holds(pid);
            assert!(fds > 0, "another process: {}", service.stderr());
            if generation(&service) == now {
                held.resize(held.len().max(now + 1), ((0, 0), (usize::MAX, usize::MAX)));
                let (most, least) = &mut held[now];
                *most = (most.0.max(fds), most.1.max(tasks));
                *least = (least.0.min(fds), least.1.min(tasks));
            }
            (now >= restarts).then_some(())
        });
        assert_eq!(service.id(), pid);
        (held, service)
    });
    let (mut pauses, gaps) = (pauses(&home), gaps(&Table::watch(&home.database()), restarts));
    println!("pauses, ms: {pauses:?}\nlongest times between two stored outcomes, ms: {gaps:.0?}");
    println!("descriptors and threads, most and least by generation: {held:?}");
    assert!(pauses.len() >= restarts, "{pauses:?}");
    let log = std::fs::read_to_string(home.path("logs/infer_realtime.log")).unwrap();
    assert!(log.contains("alert=memory_soft_limit"), "what can be given back is, first");
    let (first, seen) = (held[1].0, |held: &&((usize, usize), (usize, usize))| held.0.0 > 0);
    for (_, least) in held[1..].iter().filter(seen) {
        assert!(least.0 <= first.0 && least.1 <= first.1, "more than after the first: {least:?}, {first:?}");
    }
    pauses.sort_unstable();
    // At full size the machine is this test's alone. Otherwise it does other things as well, and the shortest pause tells
    // what the program does.
    let (longest, limit) = if full_size { (pauses[pauses.len() - 1], 500) } else { (pauses[0], 2500) };
    assert!(longest < limit, "{pauses:?}");
}

#[test]
fn a_stage_that_stands_still_is_told_and_replaced() {
    let home = home(
        "stall_restart_s = 6\ndrain_deadline_ms = 300\n[alert.rules]\nstalled = { over = 1 }\n\
         [predict]\nload_deadline_ms = 300\ndeadline_ms = 300\n",
    );
    let bars = market(SYMBOLS, MINUTES_BEFORE + 3000);
    let hang = home.path("hang");
    under_load(&home, &bars, |watched| {
        let mut service = Service::start(&home, &mut faulty(&home, &[("HANG_FILE", hang.clone().into())]));
        service.says("vela runs with");
        let before = watched.outcomes();
        eventually("live outcomes", || (watched.outcomes() > before).then_some(()));
        std::fs::write(&hang, "").unwrap();
        service.says("alert=stalled phase=raised subject=\"persist\"");
        service.says("the persist stage got nothing done");
        service.says("the drain is not waited for any longer");
        std::fs::remove_file(&hang).unwrap();
        service.says("vela has replaced itself");
        assert_eq!(generation(&service), 1, "{}", service.stderr());
        ((), service)
    });
}

#[test]
fn a_stop_that_comes_while_the_process_replaces_itself_is_a_stop() {
    let home = home("");
    let bars = market(SYMBOLS, MINUTES_BEFORE + 4000);
    under_load(&home, &bars, |_| {
        for after_ms in [0, 5, 20, 40, 80, 160] {
            let mut service = leaking(&home, 300);
            service.says("alert=restart_wanted");
            std::thread::sleep(Duration::from_millis(after_ms));
            service.signal("TERM");
            let ended = service.ended();
            // Between two images the signal ends the process as it ends one that has only begun.
            let stopped = ended.code == Some(0) && ended.stderr.contains("stopped: ");
            let code = ended.code;
            println!("after {after_ms} ms: {code:?}");
            assert!(stopped || code.is_none() || code == Some(130), "after {after_ms} ms: {ended:?}");
        }
        ((), home.run())
    });
}

#[test]
fn the_program_that_runs_goes_on_also_when_its_file_is_another() {
    let home = home("");
    let program = home.path("vela-installed");
    std::fs::copy(env!("CARGO_BIN_EXE_vela"), &program).unwrap();
    for replaced in [false, true] {
        let mut command = Command::new(&program);
        let arguments = faulty(&home, &[("LEAK_MB_PER_S", "300".into())]);
        command.args(arguments.get_args());
        in_place_of(&arguments, &mut command);
        let mut service = Service::start(&home, &mut command);
        service.says("vela runs with");
        if replaced {
            std::fs::remove_file(&program).unwrap();
            std::fs::write(&program, "half of a new version").unwrap();
        }
        eventually("replacements", || (generation(&service) >= 2).then_some(()));
        service.says("generation 2");
        assert_eq!(service.stderr().contains("file was replaced"), replaced, "{}", service.stderr());
        let name = std::fs::read_to_string(format!("/proc/{}/comm", service.id())).unwrap();
        assert_eq!(name.trim(), "vela-installed");
        service.signal("TERM");
        service.ended();
    }
}

#[test]
fn replacements_are_paused_and_end_with_a_code_of_their_own() {
    let home = Home::new();
    home.configure(
        "max_memory_mb = 64\n[watchdog]\ninterval_ms = 20\nrestarts_max = 2\nrestart_pause_ms = 700\n",
    );
    let begin = Instant::now();
    let ended =
        Service::start(&home, &mut home.vela(&["run", "--config", "vela.toml", "--set", "max_memory_mb=16"]))
            .ended();
    ended.refused(75, &["replaced itself 2 times", "watchdog.restarts_max = 2", "raise max_memory_mb"]);
    assert_eq!(ended.stderr.matches("vela has replaced itself").count(), 2, "{ended:?}");
    assert!(begin.elapsed() >= Duration::from_millis(700), "the second one is paused");
}
