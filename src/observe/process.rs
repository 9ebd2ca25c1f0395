//! What the process uses: memory and processor time.

use crate::domain::Process;
use parking_lot::Mutex;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// This process, as rows name it.
pub fn this_process() -> Process {
    let host = System::host_name().unwrap_or_default();
    Process { host: host.into(), pid: std::process::id() }
}

/// Looks at this process, and at nothing else: refreshing everything can take minutes on a busy host.
pub struct ProcessProbe {
    system: Mutex<Option<System>>,
    pid: Option<Pid>,
}

impl Default for ProcessProbe {
    fn default() -> Self {
        Self { system: Mutex::new(System::new().ok()), pid: sysinfo::get_current_pid().ok() }
    }
}

impl ProcessProbe {
    /// (resident memory in MiB, processor use in percent of one core since the last look).
    pub fn look(&self) -> (f64, f64) {
        let Some(pid) = self.pid else { return (0.0, 0.0) };
        let mut system = self.system.lock();
        let Some(system) = system.as_mut() else { return (0.0, 0.0) };
        let kind = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
        system.process(pid).map_or((0.0, 0.0), |process| {
            (process.memory() as f64 / (1024.0 * 1024.0), f64::from(process.cpu_usage()))
        })
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
