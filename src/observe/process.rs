//! What the process and its cgroup use: memory, processor time, threads, descriptors.

use super::cgroup::{Cgroup, CgroupUsage};
use crate::domain::Process;
use parking_lot::Mutex;
use std::path::Path;
use std::time::{Duration, Instant};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// This process, as rows name it.
pub fn this_process() -> Process {
    let host = System::host_name().unwrap_or_default();
    Process { host: host.into(), pid: std::process::id() }
}

/// Looks closer together than this see the same: processor use over a shorter time says nothing.
const FRESH: Duration = Duration::from_millis(200);

/// The process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Resident memory, in MiB.
    pub memory_mb: f64,
    /// Processor use since the look before, in percent of one core.
    pub cpu_percent: f64,
    /// Threads; 0 where the system does not tell.
    pub threads: usize,
    /// Open descriptors; 0 where the system does not tell.
    pub descriptors: usize,
    /// Its cgroup, where it is in one.
    pub cgroup: Option<CgroupUsage>,
}

/// Looks at this process, and at nothing else: refreshing everything can take minutes on a busy host.
pub struct ProcessProbe {
    inner: Mutex<Inner>,
    pid: Option<Pid>,
}

struct Inner {
    system: Option<System>,
    cgroup: Option<Cgroup>,
    last: Option<(Instant, ProcessUsage)>,
}

impl Default for ProcessProbe {
    fn default() -> Self {
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").ok();
        let cgroup = cgroup.and_then(|text| Cgroup::find(&text, Path::new("/sys/fs/cgroup")));
        let inner = Inner { system: System::new().ok(), cgroup, last: None };
        Self { inner: Mutex::new(inner), pid: sysinfo::get_current_pid().ok() }
    }
}

impl ProcessProbe {
    /// The process now, or as it was a moment ago.
    pub fn look(&self) -> ProcessUsage {
        let mut inner = self.inner.lock();
        match inner.last {
            Some((at, usage)) if at.elapsed() < FRESH => usage,
            _ => self.refresh(&mut inner),
        }
    }

    /// The process now.
    pub fn look_now(&self) -> ProcessUsage {
        self.refresh(&mut self.inner.lock())
    }

    fn refresh(&self, inner: &mut Inner) -> ProcessUsage {
        let Some((pid, system)) = self.pid.zip(inner.system.as_mut()) else { return ProcessUsage::default() };
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
        let (memory, cpu) =
            system.process(pid).map_or((0, 0.0), |process| (process.memory(), process.cpu_usage()));
        let entries = |path: &str| std::fs::read_dir(path).map_or(0, Iterator::count);
        let usage = ProcessUsage {
            memory_mb: memory as f64 / (1024.0 * 1024.0),
            cpu_percent: f64::from(cpu),
            threads: entries("/proc/self/task"),
            // Without the one that reads them.
            descriptors: entries("/proc/self/fd").saturating_sub(1),
            cgroup: inner.cgroup.as_ref().map(Cgroup::read),
        };
        inner.last = Some((Instant::now(), usage));
        usage
    }
}

/// The process's own account, as the system keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessReading {
    /// Processor time used, in user and system mode, in s.
    pub cpu_s: f64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Virtual memory, in bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// When it started, in s since 1970.
    pub start_unix_s: f64,
}

impl ProcessReading {
    /// At this moment; `None` where the system has no `/proc`.
    pub fn now() -> Option<Self> {
        /// The unit of times in `/proc`: fixed by the kernel's interface for programs (`USER_HZ`).
        const TICKS_PER_S: f64 = 100.0;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let machine = std::fs::read_to_string("/proc/stat").ok()?;
        // The name, in parentheses, may hold anything; fields are counted from behind it, the third of proc(5).
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let boot_s: f64 =
            machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()
        };
        Some(Self {
            cpu_s: (field(14)? + field(15)?) as f64 / TICKS_PER_S,
            resident_bytes: kib("VmRSS:")? * 1024,
            virtual_bytes: field(23)?,
            threads: field(20)?,
            open_fds: std::fs::read_dir("/proc/self/fd").ok()?.count() as u64,
            start_unix_s: boot_s + field(22)? as f64 / TICKS_PER_S,
        })
    }
}
