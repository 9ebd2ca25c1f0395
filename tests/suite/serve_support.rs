//! A server of the tests, and a client that sends exactly the bytes it is told to.

pub use crate::bars::settings;
use crate::service_support::{Fed, MODELS, market};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vela::serve::Server;
use vela::{Engine, Settings};

/// How long anything that must happen may take on a slow machine.
pub const SOON: Duration = Duration::from_secs(60);

/// An engine that is served on a free port of this machine.
pub struct Served {
    pub engine: Arc<Engine>,
    pub server: Server,
}

impl Served {
    /// With `settings`.
    pub fn with(settings: Settings) -> Self {
        let engine = Arc::new(Engine::start(settings).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::start_on(&engine, listener).unwrap();
        Self { engine, server }
    }

    /// With the repository's models, and so many minutes of so many symbols taken.
    pub fn fed(symbols: usize, minutes: usize) -> (Self, Vec<Fed>) {
        let served = Self::with(settings());
        let bars = market(symbols, minutes);
        served.feed(&bars);
        (served, bars)
    }

    /// Takes bars in and waits until everything came out.
    pub fn feed(&self, bars: &[Fed]) {
        bars.iter().for_each(|(series, bar)| self.engine.ingest_series(series, *bar).unwrap());
        assert!(self.engine.drain(SOON));
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        self.connect().ask(method, target, headers, body)
    }

    pub fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, "", b"")
    }

    pub fn post(&self, target: &str, body: &serde_json::Value) -> Reply {
        self.ask("POST", target, "Content-Type: application/json\r\n", body.to_string().as_bytes())
    }
}

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    address: SocketAddr,
    read: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// The first line and the headers, as they came.
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self
            .head
            .lines()
            .find(|line| line.split_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name)))?;
        line.split_once(':').map(|(_, value)| value.trim())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.head, self.text()))
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, address, read: Vec::new() }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        let host = if headers.to_ascii_lowercase().contains("host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let length =
            if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("{method} {target} HTTP/1.1\r\n{host}{headers}{length}\r\n");
        self.send(&[head.as_bytes(), body].concat());
        self.reply(method == "HEAD").unwrap()
    }

    /// The next answer; `None` where the connection ended instead.
    pub fn reply(&mut self, head_only: bool) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
        if !head_only && status != 100 {
            while self.read.len() < length {
                assert!(self.more(), "the answer ends early: {}", reply.head);
            }
            reply.body = self.read.drain(..length).collect();
        }
        Some(reply)
    }

    /// What comes without a length, until it is as wanted.
    pub fn text_until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.read).into_owned();
            if wanted(&text) {
                return text;
            }
            assert!(self.more(), "the stream ends: {text}");
        }
    }

    /// Whether the server ends the connection.
    pub fn ends(&mut self) -> bool {
        while self.more() {}
        true
    }

    fn more(&mut self) -> bool {
        let mut block = [0; 16 * 1024];
        match self.stream.read(&mut block) {
            Ok(0) => false,
            Ok(read) => {
                self.read.extend_from_slice(&block[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A folder `models` in `root` with the repository's models, to be changed.
pub fn own_models(root: &Path) -> std::path::PathBuf {
    let models = root.join("models");
    crate::service_support::copy(Path::new(MODELS), &models);
    models
}
