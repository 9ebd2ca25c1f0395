//! A process that replaces itself, as others see it: a client of its HTTP, and a service manager.

use super::{MINUTES_BEFORE, SYMBOLS, faulty, generation, home, under_load};
use crate::service_support::{Service, eventually, market};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
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

fn ask_again_and_again(address: &str, stop: &AtomicBool) -> Asked {
    let mut asked = Asked::default();
    while !stop.load(Ordering::Relaxed) {
        let mut stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) => {
                asked.refused += usize::from(error.kind() == ErrorKind::ConnectionRefused);
                continue;
            }
        };
        let mut text = String::new();
        let question = format!("GET /api/metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let read = stream.write_all(question.as_bytes()).and_then(|()| stream.read_to_string(&mut text));
        let body = text.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 200 "));
        let metrics = read.ok().and(body).and_then(|(_, body)| serde_json::from_str::<Value>(body).ok());
        let Some(metrics) = metrics else {
            asked.closed += 1;
            continue;
        };
        let system = &metrics["system"];
        let cause = system["last_restart"]["cause"].as_str().unwrap_or_default();
        asked.answers.push((system["generation"].as_u64().unwrap(), cause.to_owned()));
    }
    asked
}

#[test]
fn a_client_that_connects_again_and_again_is_never_refused() {
    const RESTARTS: usize = 3;
    let home = home("");
    let bars = market(SYMBOLS, MINUTES_BEFORE + 3000);
    let asked = under_load(&home, &bars, |_| {
        let mut command = faulty(&home, &[("LEAK_MB_PER_S", "150".into())]);
        // Another port each time it is opened: the same one says that it was not.
        let mut service = Service::start(&home, command.env("VELA_SERVE__LISTEN", "127.0.0.1:0"));
        service.says("shows what it does");
        let stderr = service.stderr();
        let address = stderr.split_once("http://").unwrap().1.split(' ').next().unwrap();
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

/// What a service manager hears until it heard `last`, and when.
fn heard(socket: &UnixDatagram, last: &str) -> Vec<(Instant, String)> {
    let mut all = Vec::new();
    eventually(last, || {
        let mut bytes = [0; 4096];
        if let Ok(length) = socket.recv(&mut bytes) {
            all.push((Instant::now(), String::from_utf8_lossy(&bytes[..length]).into_owned()));
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
        let service = start(&[("LEAK_MB_PER_S", "150".into())]);
        heard(&socket, "READY=1");
        let working = heard(&socket, "RELOADING=1");
        assert!(working.iter().any(|(_, message)| message == "WATCHDOG=1"), "{working:?}");
        let (_, reloading) = working.last().unwrap();
        let words = ["\nMONOTONIC_USEC=", "\nSTATUS=replacing itself: 2"];
        assert!(words.iter().all(|word| reloading.contains(word)), "{reloading}");
        heard(&socket, "READY=1");
        service.kill();

        // While a stage stands still it is not said that all is well.
        let service = start(&[("HANG_FILE", hang.clone().into())]);
        heard(&socket, "READY=1");
        heard(&socket, "WATCHDOG=1");
        std::fs::write(&hang, "").unwrap();
        let standing = heard(&socket, "RELOADING=1");
        std::fs::remove_file(&hang).unwrap();
        let (reloading_at, reloading) = standing.last().unwrap();
        assert!(reloading.contains("the persist stage"), "{reloading}");
        let well = standing.iter().rev().find(|(_, message)| message == "WATCHDOG=1");
        // It stands still for 3 s, and for half of that it is hoped that it gets on.
        let silence = well.map_or(Duration::MAX, |(at, _)| *reloading_at - *at);
        assert!(silence > Duration::from_secs(1), "{silence:?}");
        heard(&socket, "READY=1");
        service.signal("TERM");
        heard(&socket, "STOPPING=1");
        service.ended();
        ((), home.run())
    });
}
