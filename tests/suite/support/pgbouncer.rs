//! PgBouncer, where Debian's package `pgbouncer` is installed: it gives a server's connection away after each transaction.

use super::python::skipped;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whom it runs as where the tests run as root, which it refuses: `nobody`.
const UNPRIVILEGED: u32 = 65_534;

/// A running one; it ends with this.
pub struct Pooler {
    child: Child,
    /// TCP port on the loopback address.
    pub port: u16,
    _home: TempDir,
}

impl Pooler {
    /// One with a single connection to the server at `port` of the loopback address. Where it is not installed that is told, and `None`.
    pub fn start(server: u16) -> Option<Self> {
        let home = TempDir::with_prefix("vela-pgbouncer-").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = home.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\npostgres = host=127.0.0.1 port={server} dbname=postgres user=vela\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 1\nserver_login_retry = 1\nignore_startup_parameters = extra_float_digits\n"
        );
        std::fs::write(&file, settings).unwrap();
        let mut command = Command::new("pgbouncer");
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            for path in [home.path(), &file] {
                chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
            }
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        let Ok(child) = command.spawn() else {
            skipped("pgbouncer is not installed (Debian: apt-get install pgbouncer)");
            return None;
        };
        let pooler = Self { child, port, _home: home };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(pooler)
    }

    /// The URL of the database behind it.
    pub fn url(&self) -> String {
        format!("postgres://vela@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
