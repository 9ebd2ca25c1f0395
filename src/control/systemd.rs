//! Telling the service manager how the service is (`sd_notify(3)`): one datagram a message, where there is a
//! `NOTIFY_SOCKET`.

use super::reexec::monotonic_us;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager, where there is one; silent where there is none.
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that all is well.
    patience: Option<Duration>,
}

impl Manager {
    /// The manager that the environment names.
    pub fn of_environment() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let socket = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        let socket = socket.and_then(|path| {
            let opened = address(&path).and_then(|address| Ok((UnixDatagram::unbound()?, address)));
            opened.inspect_err(|error| tracing::warn!(?path, %error, "NOTIFY_SOCKET cannot be used")).ok()
        });
        let patience = patience(&variable("WATCHDOG_USEC"), &variable("WATCHDOG_PID"), std::process::id());
        Self { patience: patience.filter(|_| socket.is_some()), socket }
    }

    /// How often it wants to hear that all is well ([`Manager::alive`]); `None` where it does not.
    pub fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// It serves.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// All is well.
    pub fn alive(&self) {
        if self.patience.is_some() {
            self.tell("WATCHDOG=1");
        }
    }

    /// What it does, for whoever asks `systemctl status`.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", one_line(status)));
    }

    /// It reads its configuration again, or is about to replace itself; [`Manager::ready`] ends that.
    pub fn reloading(&self, status: &str) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS={}", monotonic_us(), one_line(status)));
    }

    /// It takes longer: `longer` more, from now.
    pub fn extend(&self, longer: Duration) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}", longer.as_micros()));
        self.alive();
    }

    /// It ends.
    pub fn stopping(&self, status: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    fn tell(&self, text: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::debug!(%error, text, "the service manager does not listen");
        }
    }
}

/// The address that `NOTIFY_SOCKET` says: a path, or a name without one behind an `@`.
fn address(text: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = text.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt as _;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(text)
}

/// How often the manager wants to hear from the process `pid`: `WATCHDOG_USEC`, where `WATCHDOG_PID` means it.
fn patience(usec: &str, meant: &str, pid: u32) -> Option<Duration> {
    let for_me = meant.is_empty() || meant.parse() == Ok(pid);
    usec.parse().ok().filter(|usec| for_me && *usec > 0).map(Duration::from_micros)
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(manager: &Manager, socket: &UnixDatagram) -> String {
        manager.ready("3 models,\n2 series");
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn messages_arrive_on_both_kinds_of_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("@vela-test-{}", std::process::id());
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&address(abstract_name.as_ref()).unwrap()).unwrap(),
                abstract_name.into(),
            ),
        ];
        for (socket, name) in sockets {
            let socket_and_address = (UnixDatagram::unbound().unwrap(), address(&name).unwrap());
            let manager = Manager { socket: Some(socket_and_address), patience: None };
            assert_eq!(told(&manager, &socket), "READY=1\nSTATUS=3 models, 2 series");
        }
        // Nobody there: nothing happens.
        Manager { socket: None, patience: None }.ready("");
    }

    #[test]
    fn the_watchdog_is_asked_for_by_this_process_only() {
        let second = Some(Duration::from_secs(1));
        for (usec, meant, expected) in [
            ("1000000", "", second),
            ("1000000", "42", second),
            ("1000000", "41", None),
            ("1000000", "x", None),
            ("0", "", None),
            ("", "", None),
            ("-1", "42", None),
        ] {
            assert_eq!(patience(usec, meant, 42), expected, "{usec} {meant}");
        }
    }
}
