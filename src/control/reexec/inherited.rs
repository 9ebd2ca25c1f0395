//! Descriptors that outlive the process's replacement, by name: listening sockets, above all.
//!
//! Whoever opens a listening socket first asks [`adopt`] whether there is one, and hands it to [`keep`] in either
//! case. The kernel goes on queueing connections on it while the process is replaced, so that none is refused:
//!
//! ```no_run
//! # use std::net::TcpListener;
//! use vela::control::reexec;
//! let listener = match reexec::adopt("http") {
//!     Some(kept) => TcpListener::from(kept),
//!     None => TcpListener::bind("127.0.0.1:8080")?,
//! };
//! reexec::keep("http", &listener)?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Sockets that systemd opened for a `.socket` unit (`LISTEN_FDS`) are found by the same names: its
//! `FileDescriptorName=`, or `http` for the first one where there is none.

use super::{INHERIT_VARIABLE, generation, system};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// The number of the first descriptor that systemd hands over (`sd_listen_fds(3)`).
const SYSTEMD_FIRST: RawFd = 3;
/// What systemd calls a socket to which its unit gives no name.
const SYSTEMD_UNNAMED: [&str; 2] = ["", "unknown"];

/// Handed to this process, and not asked for yet.
static HANDED: OnceLock<Mutex<BTreeMap<String, OwnedFd>>> = OnceLock::new();
/// To be handed to the next one.
static KEPT: Mutex<BTreeMap<String, OwnedFd>> = Mutex::new(BTreeMap::new());

/// The descriptor that this process was handed under `name`; only once.
pub fn adopt(name: &str) -> Option<OwnedFd> {
    HANDED.get_or_init(|| Mutex::new(handed())).lock().remove(name)
}

/// Has the process that replaces this one be handed `socket` under `name`, in place of what had that name before.
/// It is kept open until then, also when its owner closes it.
///
/// # Errors
/// When there are no more descriptors.
pub fn keep(name: &str, socket: &impl AsFd) -> io::Result<()> {
    let copy = socket.as_fd().try_clone_to_owned()?;
    KEPT.lock().insert(name.to_owned(), copy);
    Ok(())
}

/// Has the process that replaces this one be handed `bytes` under `name`. They are written nowhere but into memory.
///
/// # Errors
/// When there are no more descriptors, or no memory.
pub fn keep_bytes(name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = system::memory_file()?;
    file.write_all(bytes)?;
    keep(name, &file)
}

/// Has the process that replaces this one be handed a file in memory under `name`; the file.
///
/// # Errors
/// When there are no more descriptors.
pub fn keep_file(name: &str) -> io::Result<File> {
    let file = system::memory_file()?;
    keep(name, &file)?;
    Ok(file)
}

/// Has the process that replaces this one be handed nothing under `name`.
pub fn forget(name: &str) {
    KEPT.lock().remove(name);
}

/// The bytes that this process was handed under `name`; only once.
pub fn adopt_bytes(name: &str) -> Option<Vec<u8>> {
    let mut file = File::from(adopt(name)?);
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    read.inspect_err(|error| tracing::warn!(name, %error, "what was handed over cannot be read")).ok()?;
    Some(bytes)
}

/// Lets everything that was kept pass into the next image; what its variable must say.
///
/// # Errors
/// What the system says.
pub(super) fn pass_on() -> io::Result<String> {
    let mut text = std::process::id().to_string();
    for (name, socket) in &*KEPT.lock() {
        system::set_close_on_exec(socket, false)?;
        // Writing into a string cannot fail.
        let _ = write!(text, ",{name}:{}", socket.as_raw_fd());
    }
    Ok(text)
}

/// What this process was handed.
fn handed() -> BTreeMap<String, OwnedFd> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let pid = std::process::id();
    let named = if generation().number > 0 {
        own(&variable(INHERIT_VARIABLE), pid)
    } else {
        systemd(&variable("LISTEN_PID"), &variable("LISTEN_FDS"), &variable("LISTEN_FDNAMES"), pid)
    };
    let take = |(name, number): (String, RawFd)| match system::take(number) {
        Ok(socket) => Some((name, socket)),
        Err(error) => {
            tracing::warn!(name, number, %error, "a descriptor that was handed over is not open");
            None
        }
    };
    named.into_iter().filter_map(take).collect()
}

/// Names and numbers that the image before wrote for the process `pid`: `PID,NAME:NUMBER,…`.
fn own(text: &str, pid: u32) -> Vec<(String, RawFd)> {
    let mut parts = text.split(',');
    if parts.next().and_then(|first| first.parse().ok()) != Some(pid) {
        return Vec::new();
    }
    let entry = |part: &str| {
        let (name, number) = part.rsplit_once(':')?;
        Some((name.to_owned(), number.parse().ok().filter(|number| *number > 2)?))
    };
    parts.filter_map(entry).collect()
}

/// Names and numbers that systemd gave to the process `pid`.
fn systemd(listen_pid: &str, fds: &str, names: &str, pid: u32) -> Vec<(String, RawFd)> {
    if listen_pid.parse() != Ok(pid) {
        return Vec::new();
    }
    let count = fds.parse().unwrap_or(0_i32).clamp(0, 1024);
    let mut names = names.split(':');
    let name = |index| match names.next().filter(|name| !SYSTEMD_UNNAMED.contains(name)) {
        Some(name) => name.to_owned(),
        None if index == 0 => "http".to_owned(),
        None => format!("listen_{index}"),
    };
    (0..count).map(name).zip(SYSTEMD_FIRST..).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(named: &[(String, RawFd)]) -> String {
        named.iter().map(|(name, number)| format!("{name}={number} ")).collect()
    }

    #[test]
    fn what_is_written_is_read_by_the_same_process_only() {
        assert_eq!(shown(&own("42,http:7,stop:9", 42)), "http=7 stop=9 ");
        assert_eq!(shown(&own("43,http:7", 42)), "");
        assert_eq!(shown(&own("42", 42)), "");
        assert_eq!(shown(&own("", 42)), "");
        assert_eq!(shown(&own("42,http:1,nonsense,x:y,a:b:5", 42)), "a:b=5 ");
    }

    #[test]
    fn systemd_as_a_table() {
        for (pid, fds, names, expected) in [
            ("42", "1", "", "http=3 "),
            ("42", "1", "unknown", "http=3 "),
            ("42", "2", "http:metrics", "http=3 metrics=4 "),
            ("42", "2", "a", "a=3 listen_1=4 "),
            ("42", "0", "", ""),
            ("42", "-1", "", ""),
            ("42", "x", "", ""),
            ("41", "1", "http", ""),
            ("", "1", "http", ""),
        ] {
            assert_eq!(shown(&systemd(pid, fds, names, 42)), expected, "{pid} {fds} {names}");
        }
    }

    #[test]
    fn what_is_kept_stays_open_and_passes_exec_only_then() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        keep("a test's", &listener).unwrap();
        drop(listener);
        std::net::TcpStream::connect(address).unwrap();
        let flags = |number| system::close_on_exec(number).unwrap();
        let number = KEPT.lock()["a test's"].as_raw_fd();
        assert!(flags(number));
        let text = pass_on().unwrap();
        assert!(text.contains(&format!(",a test's:{number}")), "{text}");
        assert!(!flags(number));
        // As the next image: it is its own now, and closes on exec again.
        let kept = KEPT.lock().remove("a test's").unwrap();
        let taken = system::take(std::os::fd::IntoRawFd::into_raw_fd(kept)).unwrap();
        assert!(flags(taken.as_raw_fd()));
        assert!(system::take(123_456).is_err());
    }
}
