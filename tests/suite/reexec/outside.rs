//! A process that replaces itself, as others see it: a client of its HTTP, and a service manager.

use super::{MINUTES_BEFORE, REPLACING, SYMBOLS, faulty, generation, home, under_load};
use crate::service_support::{Service, Table, eventually, market};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Answers of a service to a client that connects anew for every question, until told to stop.
#[derive(Default)]
struct Asked {
    /// Connections that were refused.
    refused: usize,
    /// Connections that ended without an answer.
    closed: usize,
    /// Generation and last cause of each answer.
    answers: Vec<(u64, String)>,
}

/// One question on a connection of its own: the answer's status and body; `None` where the connection ended without one.
fn ask(address: &str, method: &str, target: &str, body: &str) -> std::io::Result<Option<(u16, Value)>> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let type_and_length =
        format!("Content-Type: application/merge-patch+json\r\nContent-Length: {length}\r\n\r\n");
    let mut text = String::new();
    let asked = stream.write_all(format!("{head}{type_and_length}{body}").as_bytes());
    if asked.and_then(|()| stream.read_to_string(&mut text)).is_err() {
        return Ok(None);
    }
    let answer = || {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).ok()?))
    };
    Ok(answer())
}

fn ask_again_and_again(address: &str, stop: &AtomicBool) -> Asked {
    let mut asked = Asked::default();
    while !stop.load(Ordering::Relaxed) {
        match ask(address, "GET", "/api/metrics", "") {
            Ok(Some((200, metrics))) => {
                let system = &metrics["system"];
                let cause = system["last_restart"]["cause"].as_str().unwrap_or_default();
                asked.answers.push((system["generation"].as_u64().unwrap(), cause.to_owned()));
            }
            Ok(_) => asked.closed += 1,
            Err(error) => asked.refused += usize::from(error.kind() == ErrorKind::ConnectionRefused),
        }
    }
    asked
}

/// Has the service listen at another port each time the socket is opened: the same one says that it was not.
fn with_http(command: &mut Command) -> &mut Command {
    command.env("VELA_SERVE__LISTEN", "127.0.0.1:0")
}

#[test]
fn what_is_in_force_stays_in_force_whatever_became_of_the_file() {
    let home = home("");
    Table::create(&home.database());
    let mut service = Service::start(&home, with_http(&mut faulty(&home, &[("LEAK_MB_PER_S", "60".into())])));
    let address = service.address();
    let shown = |name: &str| {
        let config = eventually("an answer", || match ask(&address, "GET", "/api/config", "") {
            Ok(Some((200, config))) => Some(config),
            _ => None,
        });
        let key = config["keys"].as_array().unwrap().iter().find(|key| key["name"] == name).unwrap();
        (key["value"].as_u64().unwrap(), key["at_restart"].as_u64())
    };
    let in_force = |name: &str| shown(name).0;
    eventually("the patch", || {
        let patched = ask(&address, "PATCH", "/api/config", "{\"max_latency_ms\": 1234}");
        matches!(patched, Ok(Some((200, _)))).then_some(())
    });
    home.write("vela.toml", "this is no TOML");
    service.says("alert=config_refused");
    let before = generation(&service);
    eventually("replacements", || (generation(&service) >= before + 2).then_some(()));
    assert_eq!(in_force("max_latency_ms"), 1234);
    assert_eq!(in_force("max_memory_mb"), 250);
    // A change that comes while nobody looks is seen; what needs a restart waits, and being replaced is none.
    home.configure(&format!("{REPLACING}[persist]\nqueue_rows_max = 777\n").replace("= 250", "= 251"));
    eventually("the file", || (in_force("max_memory_mb") == 251).then_some(()));
    assert_eq!(in_force("max_latency_ms"), 5000, "the file says nothing of it");
    let before = generation(&service);
    eventually("replacements", || (generation(&service) >= before + 2).then_some(()));
    assert_eq!(shown("persist.queue_rows_max"), (20_000, Some(777)));
    assert_eq!(in_force("max_memory_mb"), 251);
    service.stop();
}

#[test]
fn a_client_that_connects_again_and_again_is_never_refused() {
    const RESTARTS: usize = 3;
    let home = home("");
    let bars = market(SYMBOLS, MINUTES_BEFORE + 3000);
    let asked = under_load(&home, &bars, |_| {
        let mut command = faulty(&home, &[("LEAK_MB_PER_S", "150".into())]);
        let mut service = Service::start(&home, with_http(&mut command));
        let address = &service.address();
        let stop = AtomicBool::new(false);
        let asked = std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask_again_and_again(address, &stop));
            eventually("replacements", || (generation(&service) >= RESTARTS).then_some(()));
            let served = format!("http://{address} shows what it does");
            eventually("the last serves", || {
                (service.stderr().matches(&served).count() > RESTARTS).then_some(())
            });
            stop.store(true, Ordering::Relaxed);
            asking.join().unwrap()
        });
        (asked, service)
    });
    let Asked { refused, closed, answers } = asked;
    println!("{} answers, {closed} connections closed without one, {refused} refused", answers.len());
    assert_eq!(refused, 0);
    for generation in 0..RESTARTS as u64 {
        let cause = if generation == 0 { "" } else { "memory" };
        assert!(answers.contains(&(generation, cause.to_owned())), "generation {generation} never answered");
    }
}

#[test]
fn a_socket_that_systemd_opened_is_served_before_and_after() {
    let home = home("");
    Table::create(&home.database());
    let mut command = faulty(&home, &[("LEAK_MB_PER_S", "150".into()), ("SOCKET_UNIT", "1".into())]);
    // Nothing of vela's own listens there.
    let mut service = Service::start(&home, command.env("VELA_SERVE__LISTEN", "127.0.0.1:9"));
    let address = service.address();
    assert_ne!(address, "127.0.0.1:9");
    for generation in [0, 2] {
        eventually("an answer of that generation", || match ask(&address, "GET", "/api/metrics", "") {
            Ok(Some((200, metrics))) => {
                (metrics["system"]["generation"].as_u64()? >= generation).then_some(())
            }
            _ => None,
        });
    }
    service.stop();
}

/// What a service manager hears of `service` until it heard `last`, and when.
fn heard(socket: &UnixDatagram, service: &mut Service, last: &str) -> Vec<(Instant, String)> {
    let mut all = Vec::new();
    eventually(last, || {
        let mut bytes = [0; 4096];
        match socket.recv(&mut bytes) {
            Ok(length) => {
                all.push((Instant::now(), String::from_utf8_lossy(&bytes[..length]).into_owned()));
            }
            Err(_) => service.lives(),
        }
        all.last().is_some_and(|(_, message)| message.contains(last)).then_some(())
    });
    all
}

#[test]
fn a_service_manager_hears_of_it() {
    let home = home(
        "stall_restart_s = 3\ndrain_deadline_ms = 300\n[predict]\nload_deadline_ms = 300\ndeadline_ms = 300\n",
    );
    let bars = market(SYMBOLS, MINUTES_BEFORE + 3000);
    let (address, hang) = (home.path("notify"), home.path("hang"));
    let socket = UnixDatagram::bind(&address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let start = |faults_of: &[(&str, OsString)]| {
        let mut command = faulty(&home, faults_of);
        command.env("NOTIFY_SOCKET", &address).env("WATCHDOG_USEC", "200000");
        Service::start(&home, &mut command)
    };
    under_load(&home, &bars, |_| {
        let mut service = start(&[("LEAK_MB_PER_S", "150".into())]);
        heard(&socket, &mut service, "READY=1");
        let working = heard(&socket, &mut service, "RELOADING=1");
        assert!(working.iter().any(|(_, message)| message == "WATCHDOG=1"), "{working:?}");
        let (_, reloading) = working.last().unwrap();
        let words =
            ["\nMONOTONIC_USEC=", "\nSTATUS=replacing itself: ", " MiB of memory in use, 250 allowed"];
        assert!(words.iter().all(|word| reloading.contains(word)), "{reloading}");
        heard(&socket, &mut service, "READY=1");
        service.kill();
        // What it said last is not what the next one says.
        while socket.recv(&mut [0; 4096]).is_ok() {}

        // While a stage stands still it is not said that all is well.
        let mut service = start(&[("HANG_FILE", hang.clone().into())]);
        heard(&socket, &mut service, "READY=1");
        heard(&socket, &mut service, "WATCHDOG=1");
        service.signal("HUP");
        let read = heard(&socket, &mut service, "READY=1");
        assert!(
            read.iter().any(|(_, message)| message.starts_with("RELOADING=1\nMONOTONIC_USEC=")),
            "{read:?}"
        );
        std::fs::write(&hang, "").unwrap();
        let standing = heard(&socket, &mut service, "RELOADING=1");
        std::fs::remove_file(&hang).unwrap();
        let (reloading_at, reloading) = standing.last().unwrap();
        assert!(reloading.contains("the persist stage"), "{reloading}");
        let well = standing.iter().rev().find(|(_, message)| message == "WATCHDOG=1");
        // It stands still for 3 s, and for half of that it is hoped that it gets on.
        let silence = well.map_or(Duration::MAX, |(at, _)| *reloading_at - *at);
        assert!(silence > Duration::from_secs(1), "{silence:?}");
        heard(&socket, &mut service, "READY=1");
        service.signal("TERM");
        heard(&socket, &mut service, "STOPPING=1");
        service.ended();
        ((), home.run())
    });
}
