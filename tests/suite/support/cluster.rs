//! A PostgreSQL server of a test's own: found on this machine, started on a free port, gone with the test.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whom a server runs as where the tests run as root, which PostgreSQL refuses: `nobody`.
const UNPRIVILEGED: u32 = 65_534;

/// A running server; it is stopped and its files are removed when this goes.
pub struct Cluster {
    programs: PathBuf,
    home: TempDir,
    /// TCP port on the loopback address.
    pub port: u16,
    user: Option<u32>,
}

/// Where `initdb`, `postgres` and `pg_ctl` are.
fn programs() -> Option<PathBuf> {
    let has_all =
        |folder: &Path| ["initdb", "postgres", "pg_ctl"].iter().all(|name| folder.join(name).exists());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    // Debian keeps them by version, the newest last.
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
        versions.sort();
        folders.extend(versions.into_iter().rev());
    }
    // What PATH leads to may be a wrapper; the programs look for their like beside themselves.
    folders
        .into_iter()
        .filter(|folder| has_all(folder))
        .find_map(|folder| folder.join("initdb").canonicalize().ok()?.parent().map(Path::to_owned))
}

impl Cluster {
    /// Starts one, with further `settings` (`name=value`); says so and returns `None` where PostgreSQL is not there.
    pub fn start(settings: &[&str]) -> Option<Self> {
        Self::start_with(settings, &[])
    }

    /// Starts one that has files (name, text) of its own, which nobody else may read, in the folder of its data.
    pub fn start_with(settings: &[&str], files: &[(&str, &str)]) -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("skipped: PostgreSQL's programs (initdb, postgres, pg_ctl) are not on this machine");
            return None;
        };
        let home = TempDir::with_prefix("vela-postgres-").unwrap();
        let is_root =
            std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let user = is_root.then_some(UNPRIVILEGED);
        if let Some(user) = user {
            chown(home.path(), Some(user), Some(user)).unwrap();
        }
        let cluster = Self { programs, home, port: free_port(), user };
        let data = cluster.data();
        cluster
            .must("initdb", ["--no-sync", "--auth=trust", "--username=vela", "--encoding=UTF8", "-D", &data]);
        let mut conf = format!("listen_addresses = '127.0.0.1'\nport = {}\n", cluster.port);
        conf += &format!("unix_socket_directories = '{}'\n", cluster.home.path().display());
        settings.iter().for_each(|setting| conf += &format!("{setting}\n"));
        let file = Path::new(&data).join("postgresql.auto.conf");
        std::fs::write(file, conf).unwrap();
        for (name, text) in files {
            let path = Path::new(&data).join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            chown(&path, user, user).unwrap();
        }
        cluster.ctl(&["start", "-w", "-l", &cluster.log()]);
        Some(cluster)
    }

    fn data(&self) -> String {
        self.home.path().join("data").display().to_string()
    }

    /// The server's log.
    pub fn log(&self) -> String {
        self.home.path().join("server.log").display().to_string()
    }

    /// The URL of its database, with no password.
    pub fn url(&self) -> String {
        format!("postgres://vela@127.0.0.1:{}/postgres", self.port)
    }

    /// `pg_ctl` with `arguments`.
    pub fn ctl(&self, arguments: &[&str]) {
        let data = self.data();
        self.must("pg_ctl", ["-s", "-D", &data].iter().chain(arguments));
    }

    /// Kills the server with SIGKILL, as a power cut would, and waits until nothing of it is left.
    pub fn kill(&self) {
        let file = Path::new(&self.data()).join("postmaster.pid");
        let text = std::fs::read_to_string(&file).unwrap();
        let pid: u32 = text.lines().next().unwrap().trim().parse().unwrap();
        let children: Vec<u32> = children_of(pid);
        for pid in std::iter::once(pid).chain(children.iter().copied()) {
            let script = format!("kill -KILL {pid}");
            // A child may have ended by itself.
            let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::iter::once(&pid).chain(&children).any(|pid| is_alive(*pid)) {
            assert!(Instant::now() < deadline, "the server's processes do not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Where nobody asks for processes that ended, its number is still taken, and the next server would take that
        // for a running one.
        let socket = self.home.path().join(format!(".s.PGSQL.{}.lock", self.port));
        for lock in [&file, &socket] {
            std::fs::remove_file(lock).unwrap();
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.home.path()).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    fn must<A: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = A>) {
        // Into a file: the server would hold a pipe open, and whoever reads it would wait for the server's end.
        let said = self.home.path().join("said");
        let out = std::fs::File::create(&said).unwrap();
        let status = self
            .command(program)
            .args(arguments)
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status()
            .unwrap();
        let log = || std::fs::read_to_string(self.log()).unwrap_or_default();
        assert!(
            status.success(),
            "{program}: {status}\n{}\n{}",
            std::fs::read_to_string(&said).unwrap(),
            log()
        );
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.data();
        let mut stop = self.command("pg_ctl");
        // Nothing can be done about a server that does not stop, and the test's own failure must not be hidden.
        let _ =
            stop.args(["-s", "-w", "-m", "immediate", "-D", &data, "stop"]).stdout(Stdio::null()).status();
    }
}

/// The processes whose parent is `pid`.
fn children_of(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let all = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    all.filter(|child| stat_of(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// Whether a process runs; one that has ended and was not asked for does not.
fn is_alive(pid: u32) -> bool {
    stat_of(pid).is_some_and(|(state, _)| state != 'Z')
}

/// The state and the parent of a process.
fn stat_of(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may have anything in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
