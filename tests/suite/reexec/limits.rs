//! What a process may use before it replaces itself: its configuration changes while it runs, and its control group may
//! allow less.

use super::{REPLACING, faulty, home, in_place_of};
use crate::service_support::{LIMIT, Service, Table, eventually, market};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vela::config::Measure;
use vela::domain::Outcome;
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides};

#[test]
fn limits_and_budget_change_while_it_runs() {
    let home = home("");
    Table::create(&home.database());
    let start = || {
        home.configure(&REPLACING.replace("= 250", "= 4096"));
        home.run()
    };
    let service = start();
    let tight = "= 16\n[watchdog]\nrestarts_max = 0\nrestarts_window_s = 500\ninterval_ms = 20\n";
    home.configure(&format!("source.path = \"vela.db\"\nmax_memory_mb {tight}"));
    service.ended().refused(75, &["replaced itself 0 times within 500 s", "watchdog.restarts_max = 0"]);

    // Each copy goes on with what was in force; the pauses are those that came from the file while the first one ran.
    let mut service = start();
    let pauses = "= 16\n[watchdog]\nrestarts_max = 1000\nrestart_pause_ms = 300\ndrain_deadline_ms = 0\ninterval_ms = 20\n";
    home.configure(&format!("source.path = \"vela.db\"\nmax_memory_mb {pauses}"));
    service.says("the drain is not waited for any longer");
    service.says("pause_ms=300");
    service.says("pause_ms=600");
    drop(service);

    // Within an engine: the soft limit, and how long a stage may stand still.
    let engine = Engine::start(crate::health::settings(&[])).unwrap();
    let set = |key: &str, value: &str| {
        let report = engine.reconfigure_keys(&[(key.to_owned(), value.to_owned())]).unwrap();
        assert_eq!((report.live.as_slice(), report.at_restart.len()), ([key].as_slice(), 0));
    };
    let soft = || engine.alerts().iter().any(|alert| alert.code == "memory_soft_limit");
    let used_mb = engine.metrics().system.memory_usage_mb;
    set("max_memory_mb", &(used_mb as u64 * 4).to_string());
    assert!(!soft());
    set("watchdog.soft_share", "0.1");
    eventually("memory is given back", || soft().then_some(()));
    assert!(engine.restart_wanted().try_recv().is_err());
    engine.stop().unwrap();

    let (entered, release) = (bounded::<()>(1), bounded::<()>(0));
    let overrides = Overrides { store: Some(Box::new(Stuck(entered.0, release.1))), ..Overrides::default() };
    let mut settings = crate::health::settings(&[]);
    settings.watchdog.interval_ms = 20;
    (settings.predict.load_deadline_ms, settings.predict.deadline_ms) = (500, 500);
    let engine = Engine::start_with(settings, overrides).unwrap();
    market(1, 1).iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
    entered.1.recv_timeout(LIMIT).unwrap();
    let wanted = engine.restart_wanted();
    assert!(wanted.try_recv().is_err());
    engine.reconfigure_keys(&[("watchdog.stall_restart_s".to_owned(), "1".to_owned())]).unwrap();
    let cause = wanted.recv_timeout(LIMIT).unwrap();
    assert!(cause.to_string().starts_with("the persist stage got nothing done"), "{cause}");
    drop(release.0);
    engine.stop().unwrap();
}

/// A store that says that it was given rows, and takes them once it is let.
struct Stuck(Sender<()>, Receiver<()>);

impl Store for Stuck {
    fn write(&mut self, _: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        let _ = self.0.try_send(());
        let _ = self.1.recv();
        Ok(())
    }
}

/// A store that is away for so many attempts.
struct Away(Arc<AtomicUsize>);

impl Store for Away {
    fn write(&mut self, _: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        if self.0.fetch_add(1, Ordering::Relaxed) >= 10 {
            return Ok(());
        }
        Err(StoreError { store: "test".into(), problem: "it is away".into(), retryable: true })
    }
}

#[test]
fn a_store_that_is_away_is_no_standstill() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let overrides = Overrides { store: Some(Box::new(Away(Arc::clone(&attempts)))), ..Overrides::default() };
    let mut settings = crate::health::settings(&[(Measure::Stalled, 0.0)]);
    (settings.watchdog.interval_ms, settings.watchdog.stall_restart_s) = (20, 1);
    (settings.predict.load_deadline_ms, settings.predict.deadline_ms) = (500, 500);
    let engine = Engine::start_with(settings, overrides).unwrap();
    let outcomes = engine.outcomes();
    market(1, 1).iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
    // The last pauses are longer than a stage may stand still.
    eventually("it is stored", || (engine.outcomes() > outcomes).then_some(()));
    assert_eq!(attempts.load(Ordering::Relaxed), 11);
    assert!(engine.restart_wanted().try_recv().is_err());
    engine.stop().unwrap();
}

/// The keys whose effect on a running process is seen here.
pub const SEEN: &[&str] = &[
    "max_memory_mb",
    "watchdog.soft_share",
    "watchdog.stall_restart_s",
    "watchdog.drain_deadline_ms",
    "watchdog.restarts_max",
    "watchdog.restarts_window_s",
    "watchdog.restart_pause_ms",
];

/// A control group of the tests, with a limit; removed in the end.
struct Group(PathBuf);

impl Group {
    /// One below that of the tests; `None` where they may make none.
    fn new(limit_mb: u64) -> Option<Self> {
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = |controller: &str| {
            let line = own.lines().find(|line| line.split(':').nth(1) == Some(controller))?;
            line.splitn(3, ':').nth(2).map(|path| path.trim_start_matches('/').to_owned())
        };
        let version_1 = Path::new("/sys/fs/cgroup/memory");
        let (root, path, limit) = match version_1.is_dir() {
            true => (version_1, path("memory")?, "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), path("")?, "memory.max"),
        };
        let parent =
            Some(root.join(path)).filter(|parent| parent.is_dir()).unwrap_or_else(|| root.to_owned());
        let group = Self(parent.join(format!("vela-test-{}", std::process::id())));
        std::fs::create_dir(&group.0).ok()?;
        // Not made where it is not there: the kernel offers it, or not.
        let mut file = std::fs::File::options().write(true).open(group.0.join(limit)).ok()?;
        file.write_all((limit_mb << 20).to_string().as_bytes()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes may be about to end.
        eventually("the group is removed", || {
            (std::fs::remove_dir(&self.0).is_ok() || !self.0.exists()).then_some(())
        });
    }
}

#[test]
fn a_control_group_that_allows_less_is_heeded_before_the_kernel_ends_it() {
    let Some(group) = Group::new(300) else {
        let _ =
            writeln!(std::io::stderr(), "\nSKIPPED: no control group with a memory limit can be made here");
        return;
    };
    let home = home("[alert.rules]\nmemory = { over = 1, for_s = 0 }\n");
    Table::create(&home.database());
    let inner = faulty(&home, &[("LEAK_MB_PER_S", "100".into()), ("VELA_MAX_MEMORY_MB", "4096".into())]);
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&group.0);
    command.arg(inner.get_program()).args(inner.get_args());
    in_place_of(&inner, &mut command);
    let mut service = Service::start(&home, &mut command);
    service.says("alert=memory phase=raised subject=\"control group\"");
    service.says("270 allowed (max_memory_mb, or the cgroup's)");
    service.says("vela has replaced itself, generation 2");
    service.stop();
    drop(group);
}
