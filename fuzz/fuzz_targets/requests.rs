//! Any bytes as the body of every request that takes one, as a query, and as a message to the stream.
//!
//! A real server over the demo's models is asked, so what is fuzzed is all that stands behind a route. It answers every
//! request with a status, JSON where it says so, and a refusal says something; no answer panics. The first byte chooses the
//! request, the second how it is sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use vela::config::{SourceKind, StoreUrl};
use vela::serve::Server;
use vela::{Engine, Settings};

/// What is asked with a body: all that there is, which `tests/suite/serve_api.rs` holds.
const REQUESTS: [(&str, &str); 14] = [
    ("POST", "/api/predict"),
    ("POST", "/api/predict/batch"),
    ("POST", "/api/models/demo-1m-h1/promote"),
    ("POST", "/api/models/demo-1m-h1/rollback"),
    ("PATCH", "/api/config"),
    ("POST", "/v2/models/demo-1m-h1/infer"),
    ("POST", "/v2/models/demo-1m-h5/versions/1/infer"),
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/demo-1m-h15/load"),
    ("POST", "/v2/repository/models/demo-1m-h15/unload"),
    // The rest is the query.
    ("GET", "/api/predict"),
    ("GET", "/api/predictions"),
    // A message to the stream.
    ("", ""),
    ("POST", "/api/bars"),
];

struct Target {
    address: SocketAddr,
    connection: Option<TcpStream>,
    stream: Option<TcpStream>,
    _engine: Arc<Engine>,
    _server: Server,
}

static TARGET: LazyLock<Mutex<Target>> = LazyLock::new(|| Mutex::new(Target::new()));

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder for models");
    for entry in std::fs::read_dir(from).expect("the demo's models").flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name()))),
        }
    }
}

impl Target {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("vela-fuzz-models-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/models")), &folder);
        let mut settings = Settings::default();
        settings.models.path = folder;
        settings.source.kind = SourceKind::None;
        settings.store.url = StoreUrl::None;
        // A fuzzer that is held for a while finds its connection as it left it.
        settings.serve.idle_s = 3600;
        let engine = Arc::new(Engine::start(settings).expect("the engine starts: vela runtime install?"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Server::start_on(&engine, listener).expect("the server starts");
        Self { address: server.address(), connection: None, stream: None, _engine: engine, _server: server }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) {
        let mut stream = self.connection.take().unwrap_or_else(|| self.connect());
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).expect("the request is sent");
        let (head, body) = answer(&mut stream);
        let status: u16 = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
        let text = String::from_utf8_lossy(&body);
        // As an outcome says it; the word alone may be the request's own.
        assert!(!text.contains(r#""reason":"panicked""#), "{method} {target}: {text}");
        assert!(status != 500, "{method} {target}: {text}");
        let plain = !head.to_ascii_lowercase().contains("content-encoding");
        if status >= 400 || plain && head.contains("application/json") && !body.is_empty() {
            let json: serde_json::Value = serde_json::from_slice(&body).expect("an answer in JSON");
            let said = json.get("error").or_else(|| json.get("detail")).and_then(|text| text.as_str());
            assert!(status < 400 || said.is_some_and(|text| !text.is_empty()), "{text}");
        }
        if !head.to_ascii_lowercase().contains("connection: close") {
            self.connection = Some(stream);
        }
    }

    /// Sends a message to the stream, and a ping behind it: its pong comes behind every answer.
    fn tell(&mut self, message: &[u8]) {
        let mut stream = self.stream.take().unwrap_or_else(|| {
            let mut stream = self.connect();
            let upgrade = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
            stream.write_all(upgrade.as_bytes()).expect("the upgrade is sent");
            let (head, _) = answer(&mut stream);
            assert!(head.starts_with("HTTP/1.1 101"), "{head}");
            stream
        });
        let frame = |opcode: u8, payload: &[u8]| {
            let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
            // Masked by nought.
            let mut frame = vec![0x80 | opcode, 0x80 | 126];
            frame.extend(length.to_be_bytes());
            frame.extend([0; 4]);
            frame.extend(&payload[..usize::from(length)]);
            frame
        };
        let sent = stream.write_all(&[frame(1, message), frame(9, b"!")].concat());
        let mut next = || {
            let mut head = [0; 2];
            stream.read_exact(&mut head)?;
            let length = match head[1] & 0x7f {
                126 => {
                    let mut length = [0; 2];
                    stream.read_exact(&mut length)?;
                    usize::from(u16::from_be_bytes(length))
                }
                127 => {
                    let mut length = [0; 8];
                    stream.read_exact(&mut length)?;
                    u64::from_be_bytes(length) as usize
                }
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload)?;
            std::io::Result::Ok((head[0] & 0x0f, payload))
        };
        // It ends where the message is no text, or too many came.
        while sent.is_ok() {
            match next() {
                Ok((10, _)) => {
                    self.stream = Some(stream);
                    return;
                }
                Ok((1, text)) => drop(serde_json::from_slice::<serde_json::Value>(&text).expect("JSON")),
                Ok((8, _)) => return,
                Ok(_) => {}
                Err(error) => {
                    let timeout =
                        matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                    assert!(!timeout, "no answer to {:?}", String::from_utf8_lossy(message));
                    return;
                }
            }
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes what is written");
    encoder.finish().expect("memory takes what is written")
}

/// The head of an answer and its body.
fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head in ASCII");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).expect("the body of an answer");
    (head, body)
}

fuzz_target!(|data: &[u8]| {
    let [which, how, body @ ..] = data else { return };
    let (method, path) = REQUESTS[usize::from(*which) % REQUESTS.len()];
    let mut target = TARGET.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match method {
        "" => target.tell(body),
        "GET" => {
            let plain = |byte: &u8| char::from(0x21 + byte % 0x5e);
            let query: String = body.iter().take(200).map(plain).filter(|c| !"#".contains(*c)).collect();
            target.ask(method, &format!("{path}?{query}"), "", b"");
        }
        _ => {
            let compressed;
            let (headers, body) = match how {
                // As they are said to be, mostly wrongly; and what an encoder made of them.
                0 => ("Content-Encoding: gzip\r\n".to_owned(), body),
                1 => ("Content-Encoding: deflate\r\n".to_owned(), body),
                2 => {
                    compressed = gzip(body);
                    ("Content-Encoding: gzip\r\nAccept-Encoding: gzip\r\n".to_owned(), &compressed[..])
                }
                3..=127 => (String::new(), body),
                // Raw bytes, then a length of the JSON that may be one.
                128 => ("Inference-Header-Content-Length: 0\r\n".to_owned(), body),
                length => {
                    (format!("Inference-Header-Content-Length: {}\r\n", usize::from(*length) - 100), body)
                }
            };
            target.ask(method, path, &headers, body);
        }
    }
});
