//! Clients of the stream and the page, and a program that only writes to as many: processes beside the pipeline's.

use super::until_told;
use super::watched::{BARS_PER_S, SERIES, TURN};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static DONE: AtomicBool = AtomicBool::new(false);

/// Who watches in a turn.
#[derive(Clone, Copy, PartialEq)]
pub enum Watching {
    /// Nobody.
    Nobody,
    /// The page, and clients that subscribe to everything.
    All,
    /// The page, and clients that subscribe to three series each.
    Few,
    /// Nobody of vela: as many clients as for all are written as many bytes as often, by a program that does nothing else. What
    /// a machine takes for it that the pipeline shares.
    Floor,
}

/// Programs beside this one, which read and write as long as their standard input is open.
pub struct Watchers(Vec<Child>);

impl Watchers {
    /// They stand for other machines, so they get what is left of this one.
    fn program(arguments: &[&str]) -> (Child, String) {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(std::env::current_exe().unwrap()).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut byte = [0; 1];
        while !said.ends_with('\n') {
            child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
            said.push(char::from(byte[0]));
        }
        (child, said.trim().to_owned())
    }

    pub fn of(address: &str, count: usize, watching: Watching) -> Self {
        let kind = ["all", "few"][usize::from(watching == Watching::Few)];
        Self(vec![Self::program(&["clients", address, &count.to_string(), kind]).0])
    }

    pub fn of_nothing(count: usize) -> Self {
        let count = count.to_string();
        let (feeder, address) = Self::program(&["feeder", &count]);
        Self(vec![feeder, Self::program(&["clients", &address, &count, "floor"]).0])
    }

    pub fn end(self) {
        for mut child in self.0 {
            drop(child.stdin.take());
            let mut said = String::new();
            child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
            print!("{said}");
            child.wait().unwrap();
        }
    }
}

/// Writes to all that connect what the stream would: at every bar's time three frames at once.
pub fn feeder(count: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    end_when_told();
    let mut streams: Vec<TcpStream> = (0..count).map(|_| listener.accept().unwrap().0).collect();
    // What a demo's prediction takes in JSON, and its frame's head.
    let block = vec![b'x'; 3 * 373];
    let begin = Instant::now();
    let every = Duration::from_secs(1) / BARS_PER_S;
    for n in 1.. {
        if DONE.load(Ordering::Relaxed) {
            return;
        }
        for stream in &mut streams {
            if stream.write_all(&block).is_err() {
                return;
            }
        }
        std::thread::sleep((every * n).saturating_sub(begin.elapsed()));
    }
}

fn end_when_told() {
    std::thread::spawn(|| {
        until_told();
        std::thread::sleep(Duration::from_millis(10));
        DONE.store(true, Ordering::Relaxed);
    });
}

pub fn clients(address: &str, count: usize, kind: &str) {
    let upgrade = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let mut poll = mio::Poll::new().unwrap();
    let mut streams = Vec::new();
    for n in 0..count {
        let mut stream = TcpStream::connect(address).unwrap();
        let own: Vec<String> = (0..3).map(|more| format!("\"S{}\"", (n + 33 * more) % SERIES)).collect();
        let text = match kind {
            "few" => format!("{{\"type\":\"subscribe\",\"symbols\":[{}]}}", own.join(",")),
            _ => "{\"type\":\"subscribe\"}".to_owned(),
        };
        if kind != "floor" {
            let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
            frame.extend(text.as_bytes());
            stream.write_all(&[upgrade.as_bytes(), &frame].concat()).unwrap();
        }
        stream.set_nonblocking(true).unwrap();
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, mio::Token(n), mio::Interest::READABLE).unwrap();
        streams.push(stream);
    }
    let page = (kind != "floor").then(|| address.to_owned());
    std::thread::spawn(move || {
        let Some(address) = page else { return };
        // What the page asks for besides its stream.
        let mut stream = TcpStream::connect(&address).unwrap();
        let mut block = vec![0; 1 << 20];
        for path in ["/", "/page/main.js", "/page/page.css"].into_iter().chain(["/api/metrics"; 1000]) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            if stream.write_all(request.as_bytes()).is_err() {
                return;
            }
            let _ = stream.read(&mut block);
            if path == "/api/metrics" {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    });
    end_when_told();
    println!("ready");
    let (mut events, mut block, mut bytes, mut reads) =
        (mio::Events::with_capacity(256), vec![0; 1 << 16], 0_u64, 0_u64);
    while !DONE.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(50))).unwrap();
        for event in &events {
            while let Ok(read @ 1..) = streams[event.token().0].read(&mut block) {
                (bytes, reads) = (bytes + read as u64, reads + 1);
            }
        }
    }
    let spent = processor_s()("") / TURN.as_secs_f64() * 1e3;
    println!("  clients {spent:.1}: {bytes} bytes read in {reads} pieces");
}

/// The processor time that this process's threads took so far, in seconds, by the beginning of their names.
pub fn processor_s() -> impl Fn(&str) -> f64 {
    let mut threads = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread may end in between.
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let ns = read("schedstat").split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
        threads.push((read("comm"), ns / 1e9));
    }
    move |start| threads.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, s)| s).sum()
}

/// The processor time that programs took which are neither this one nor `watchers`, in seconds: by the ticks that the system
/// counts.
pub fn others_s(watchers: Option<&Watchers>) -> f64 {
    const TICKS_PER_S: f64 = 100.0;
    let ticks = |text: &str, fields: &[usize]| -> f64 {
        let all: Vec<&str> = text.split_whitespace().collect();
        fields.iter().map(|field| all[*field].parse::<f64>().unwrap()).sum()
    };
    // All that is not idle; `cpu` is the first field.
    let all = ticks(&std::fs::read_to_string("/proc/stat").unwrap(), &[1, 2, 3, 6, 7, 8]);
    let children = watchers.iter().flat_map(|watchers| &watchers.0).map(Child::id);
    let own = children.chain([std::process::id()]).map(|process| {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        // The name, which may be anything, stands in brackets before.
        ticks(text.rsplit_once(')').unwrap().1, &[11, 12])
    });
    (all - own.sum::<f64>()) / TICKS_PER_S
}
