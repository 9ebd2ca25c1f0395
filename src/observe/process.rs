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
