//! What the process's cgroup uses and may use: both versions, as far as the kernel tells.

use std::path::{Path, PathBuf};

/// A cgroup's use of memory and processors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CgroupUsage {
    /// Memory in use by all its processes, without the cache of files, in MiB.
    pub memory_mb: f64,
    /// The most it may use, its ancestors' limits included, in MiB; `None` without a limit.
    pub memory_max_mb: Option<f64>,
    /// Processor time used so far, in seconds.
    pub cpu_s: f64,
    /// Processors it may use, such as 1.5; `None` without a limit.
    pub cpus_max: Option<f64>,
    /// How often it was held back since it used more.
    pub throttled: u64,
}

/// The files of one cgroup.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cgroup {
    /// One hierarchy for everything: the mount, and the cgroup in it.
    V2(PathBuf, PathBuf),
    /// One hierarchy a controller.
    V1 { root: PathBuf, memory: Option<PathBuf>, cpu: Option<PathBuf> },
}

/// A limit beyond this is none: version 1 says "unlimited" as the largest multiple of a page.
const NO_LIMIT: u64 = 1 << 60;
const MIB: f64 = 1024.0 * 1024.0;

impl Cgroup {
    /// The cgroup that `text` (of `/proc/self/cgroup`) names beneath `mount` (`/sys/fs/cgroup`).
    pub(super) fn find(text: &str, mount: &Path) -> Option<Self> {
        // Lines are `number:controllers:path`.
        let path_of = |wanted: &str| {
            text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                controllers.split(',').any(|name| name == wanted).then(|| path.trim_start_matches('/'))
            })
        };
        // Within a container the path may be the host's, of which only the container's own part is mounted.
        let below = |root: PathBuf, path: &str| Some(root.join(path)).filter(|p| p.is_dir()).unwrap_or(root);
        let version_1 = |name: &str| {
            let root = mount.join(name);
            path_of(name).filter(|_| root.is_dir()).map(|path| below(root.clone(), path))
        };
        let (memory, cpu) = (version_1("memory"), version_1("cpu"));
        if memory.is_some() || cpu.is_some() {
            return Some(Self::V1 { root: mount.to_owned(), memory, cpu });
        }
        let path = path_of("")?;
        mount
            .join("cgroup.controllers")
            .exists()
            .then(|| Self::V2(mount.to_owned(), below(mount.to_owned(), path)))
    }

    /// What it uses now.
    pub(super) fn read(&self) -> CgroupUsage {
        match self {
            Self::V2(root, folder) => {
                let quota = text_of(&folder.join("cpu.max"));
                let quota = quota.as_deref().and_then(|text| text.split_once(' '));
                CgroupUsage {
                    memory_mb: entry(&folder.join("memory.stat"), "anon").map_or(0.0, |n| n as f64 / MIB),
                    memory_max_mb: smallest(folder, root, "memory.max"),
                    cpu_s: entry(&folder.join("cpu.stat"), "usage_usec").map_or(0.0, |n| n as f64 / 1e6),
                    cpus_max: quota.and_then(|(quota, period)| share(quota, period)),
                    throttled: entry(&folder.join("cpu.stat"), "nr_throttled").unwrap_or(0),
                }
            }
            Self::V1 { root, memory, cpu } => {
                let mut usage = CgroupUsage::default();
                if let Some(folder) = memory {
                    let used = entry(&folder.join("memory.stat"), "total_rss");
                    usage.memory_mb = used.map_or(0.0, |n| n as f64 / MIB);
                    usage.memory_max_mb = smallest(folder, &root.join("memory"), "memory.limit_in_bytes");
                }
                if let Some(folder) = cpu {
                    let number = |name: &str| text_of(&folder.join(name));
                    let used = number("cpuacct.usage").and_then(|text| text.parse::<u64>().ok());
                    usage.cpu_s = used.map_or(0.0, |ns| ns as f64 / 1e9);
                    usage.throttled = entry(&folder.join("cpu.stat"), "nr_throttled").unwrap_or(0);
                    let quota = number("cpu.cfs_quota_us").zip(number("cpu.cfs_period_us"));
                    usage.cpus_max = quota.and_then(|(quota, period)| share(&quota, &period));
                }
                usage
            }
        }
    }
}

fn text_of(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The number behind `name` in a file of lines `name number`.
fn entry(path: &Path, name: &str) -> Option<u64> {
    let text = text_of(path)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// The smallest limit that `file` has in `folder` and those above it up to `root`, in MiB.
fn smallest(folder: &Path, root: &Path, file: &str) -> Option<f64> {
    let limits = folder.ancestors().take_while(|folder| folder.starts_with(root));
    let limits = limits.filter_map(|folder| text_of(&folder.join(file))?.parse::<u64>().ok());
    limits.filter(|limit| *limit < NO_LIMIT).min().map(|limit| limit as f64 / MIB)
}

/// Processors from a quota and its period in µs; `None` where the quota is `max` or -1.
fn share(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse::<u64>().ok()?);
    (period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn version_2_with_a_limit_above() {
        let files = [
            ("cgroup.controllers", "cpu memory\n"),
            ("system.slice/memory.max", "536870912\n"),
            ("system.slice/vela.service/memory.max", "max\n"),
            ("system.slice/vela.service/memory.stat", "anon 104857600\nfile 9\nanon_thp 1\n"),
            ("system.slice/vela.service/cpu.max", "150000 100000\n"),
            ("system.slice/vela.service/cpu.stat", "usage_usec 2500000\nnr_throttled 7\n"),
        ];
        let folder = tree(&files);
        let cgroup = Cgroup::find("0::/system.slice/vela.service\n", folder.path()).unwrap();
        let expected = CgroupUsage {
            memory_mb: 100.0,
            memory_max_mb: Some(512.0),
            cpu_s: 2.5,
            cpus_max: Some(1.5),
            throttled: 7,
        };
        assert_eq!(cgroup.read(), expected);
        // In a container that sees the host's path, what is mounted is its own.
        let seen = Cgroup::find("0::/kubepods/pod1/abc\n", &folder.path().join("system.slice"));
        assert_eq!(seen, None, "no cgroup is mounted there");
        assert_eq!(
            Cgroup::find("0::/kubepods/pod1/abc\n", folder.path()),
            Some(Cgroup::V2(folder.path().to_owned(), folder.path().to_owned()))
        );
    }

    #[test]
    fn version_1_with_and_without_limits() {
        let files = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/job/memory.limit_in_bytes", "1073741824\n"),
            ("memory/job/memory.stat", "rss 1\ntotal_rss 52428800\n"),
            ("cpu/cpuacct.usage", "3000000000\n"),
            ("cpu/cpu.cfs_quota_us", "-1\n"),
            ("cpu/cpu.cfs_period_us", "100000\n"),
            ("cpu/cpu.stat", "nr_periods 0\nnr_throttled 0\n"),
        ];
        let folder = tree(&files);
        let text = "4:memory:/job\n2:cpu,cpuacct:/\n0::/\n";
        let usage = Cgroup::find(text, folder.path()).unwrap().read();
        let expected = CgroupUsage {
            memory_mb: 50.0,
            memory_max_mb: Some(1024.0),
            cpu_s: 3.0,
            ..CgroupUsage::default()
        };
        assert_eq!(usage, expected);
        let unlimited = Cgroup::find("4:memory:/\n", folder.path()).unwrap().read();
        assert_eq!(unlimited.memory_max_mb, None);
    }

    #[test]
    fn what_is_not_there_is_none() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Cgroup::find("0::/\n", empty.path()), None);
        assert_eq!(Cgroup::find("", empty.path()), None);
        assert_eq!(Cgroup::find("nonsense", empty.path()), None);
    }
}
