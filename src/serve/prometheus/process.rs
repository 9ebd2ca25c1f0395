//! The process, its replacements, and the control group it is in.

use super::super::service::Service;
use super::text::Exposition;
use crate::observe::process::ProcessReading;

/// The process by its number of replacements, and the control group it is in.
pub(super) fn system(service: &Service, out: &mut Exposition) {
    /// Metrics in JSON count memory in MiB.
    const MIB: f64 = 1_048_576.0;
    let system = service.engine.metrics().system;
    let limit = system.memory_limit_mb as f64 * MIB;
    out.single("vela_memory_limit_bytes", "gauge", "Resident memory beyond which it replaces itself.", limit);
    let name = "vela_process_generation";
    out.single(
        name,
        "gauge",
        "How often the process has replaced itself by a fresh copy.",
        system.generation,
    );
    if let Some(last) = &system.last_restart {
        let name = "vela_last_restart_pause_seconds";
        out.metric(name, "gauge", "How long no bar was taken in when it last replaced itself, by cause.");
        let pause_s = last.pause_ms.map_or(f64::NAN, |ms| ms as f64 / 1000.0);
        out.sample(name, &[("cause", &last.cause)], pause_s);
    }
    let Some(cgroup) = system.cgroup else { return };
    let used = cgroup.memory_usage_mb * MIB;
    out.single(
        "vela_cgroup_memory_bytes",
        "gauge",
        "Memory of the control group, without cached files.",
        used,
    );
    if let Some(max_mb) = cgroup.memory_max_mb {
        let name = "vela_cgroup_memory_max_bytes";
        out.single(name, "gauge", "Memory that the control group may use.", max_mb * MIB);
    }
    let name = "vela_cgroup_cpu_seconds_total";
    out.single(name, "counter", "Processor time of the control group.", cgroup.cpu_s);
    if let Some(cpus) = cgroup.cpus_max {
        out.single("vela_cgroup_cpus_max", "gauge", "Processors that the control group may use.", cpus);
    }
    let name = "vela_cgroup_throttled_total";
    out.single(
        name,
        "counter",
        "Times the control group was held back for its use of processors.",
        cgroup.throttled,
    );
}

pub(super) fn process(out: &mut Exposition) {
    let Some(reading) = ProcessReading::now() else { return };
    let cpu = reading.cpu_s;
    out.single("process_cpu_seconds_total", "counter", "Processor time used.", cpu);
    let resident = reading.resident_bytes;
    out.single("process_resident_memory_bytes", "gauge", "Resident memory.", resident);
    out.single("process_virtual_memory_bytes", "gauge", "Virtual memory.", reading.virtual_bytes);
    out.single("process_threads", "gauge", "Threads.", reading.threads);
    out.single("process_open_fds", "gauge", "Open file descriptors.", reading.open_fds);
    let start = reading.start_unix_s;
    out.single("process_start_time_seconds", "gauge", "When the process started, since 1970.", start);
}
