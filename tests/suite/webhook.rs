//! The webhook, against a receiver of the test's own: signed, tried again, and never in anybody's way.

use crate::health::settings;
use crate::service_support::{eventually, market};
use crossbeam::channel::{Receiver, Sender, bounded};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vela::Engine;
use vela::config::{Measure, Settings};

/// A request as it came.
pub struct Request {
    head: Vec<String>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let of =
            |line: &'_ str| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).is_some();
        self.head.iter().find(|line| of(line)).map(|line| line.split_once(": ").unwrap().1)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// An HTTP server on a thread of its own that answers with `statuses` in turn, the last one for ever. 0: not at all.
pub struct Receiving {
    pub url: String,
    requests: Receiver<Request>,
}

pub fn receive(statuses: &'static [u16]) -> Receiving {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/hook", listener.local_addr().unwrap().port());
    let (sender, requests) = bounded(1000);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for (stream, at) in listener.incoming().zip(0..) {
            let status = statuses[usize::min(at, statuses.len() - 1)];
            if let Some(stream) = answer(stream.unwrap(), status, &sender) {
                held.push(stream);
            }
        }
    });
    Receiving { url, requests }
}

fn answer(stream: TcpStream, status: u16, sender: &Sender<Request>) -> Option<TcpStream> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let mut request = Request { head, body: String::new() };
    let length = request.header("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).unwrap();
    sender.send(request).ok()?;
    if status == 0 {
        return Some(stream);
    }
    let mut stream = stream;
    let text =
        format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\nlocation: /x\r\n\r\n");
    stream.write_all(text.as_bytes()).ok()?;
    None
}

/// An engine without models: `models_missing` is raised, and cleared by [`put_models`].
fn engine(url: &str, change: impl FnOnce(&mut Settings)) -> (tempfile::TempDir, Engine) {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&[(Measure::ModelsMissing, 0.0)]);
    settings.models.path = folder.path().to_owned();
    settings.alert.webhook_url = url.to_owned();
    settings.alert.webhook_timeout_ms = 2000;
    change(&mut settings);
    (folder, Engine::start(settings).unwrap())
}

pub fn next(receiving: &Receiving) -> Request {
    receiving.requests.recv_timeout(Duration::from_secs(90)).unwrap()
}

#[test]
fn alerts_are_posted_signed_and_tried_again_until_they_are_taken() {
    let receiving = receive(&[500, 429, 200]);
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret\n").unwrap();
    let (models, engine) = engine(&receiving.url, |settings| {
        settings.alert.webhook_key_path = secret.path().to_owned();
    });
    let (first, again, last) = (next(&receiving), next(&receiving), next(&receiving));
    assert_eq!((&first.body, &first.body), (&again.body, &last.body), "the same alert, three times");
    assert_eq!(first.head[0], "POST /hook HTTP/1.1");
    assert_eq!(first.header("content-type"), Some("application/json"));
    let json = last.json();
    assert_eq!((&json["phase"], &json["severity"]), (&"raised".into(), &"error".into()));
    assert_eq!((&json["code"], &json["subject"]), (&"models_missing".into(), &"models".into()));
    assert_eq!(json["pid"], std::process::id());
    let at: vela::domain::Timestamp = json["at"].as_str().unwrap().parse().unwrap();
    assert!((vela::domain::Timestamp::now().as_millis() - at.as_millis()).abs() < 600_000);
    for request in [&first, &last] {
        let signature = request.header("x-vela-signature").unwrap();
        let (t, v1) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let now = vela::domain::Timestamp::now().as_secs();
        assert!((now - t.parse::<i64>().unwrap()).abs() < 600, "{signature}");
        if let Some(expected) = openssl_hmac("s3cret", &format!("{t}.{}", request.body)) {
            assert_eq!(v1, expected);
        }
    }
    let from = std::path::Path::new(crate::service_support::MODELS);
    let model =
        std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).find(|p| p.is_dir()).unwrap();
    let copied = Command::new("cp").arg("-r").arg(&model).arg(models.path()).status();
    assert!(copied.unwrap().success());
    let cleared = next(&receiving).json();
    assert_eq!((&cleared["code"], &cleared["phase"]), (&"models_missing".into(), &"cleared".into()));
    engine.stop().unwrap();
}

/// HMAC-SHA256 by another implementation, where it is there.
fn openssl_hmac(key: &str, text: &str) -> Option<String> {
    let mut command = Command::new("openssl");
    command.args(["dgst", "-sha256", "-hmac", key]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("skipped: openssl is not on this machine");
        return None;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    Some(output.trim().rsplit(' ').next().unwrap().to_owned())
}

#[test]
fn a_receiver_that_refuses_redirects_or_hangs_is_in_nobodys_way() {
    for (status, tries) in [(404, 1), (307, 1), (0, 1)] {
        let receiving: Receiving = match status {
            404 => receive(&[404]),
            307 => receive(&[307]),
            _ => receive(&[0]),
        };
        let (_models, engine) = engine(&receiving.url, |settings| settings.alert.webhook_timeout_ms = 60_000);
        let first = next(&receiving);
        assert!(first.header("x-vela-signature").is_none(), "there is no secret to sign with");
        let begin = Instant::now();
        // Bars go on, and so does health, while the receiver sits on its request.
        market(2, 50).iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
        assert!(engine.drain(Duration::from_secs(60)));
        assert_eq!(engine.health().reasons.len(), 1);
        engine.stop().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(45), "{status}: {:?}", begin.elapsed());
        assert_eq!(receiving.requests.len() + 1, tries, "what is refused for good is sent once: {status}");
    }
}

#[test]
fn a_secret_that_cannot_be_read_stops_the_start_instead_of_sending_unsigned() {
    let mut settings = settings(&[]);
    settings.alert.webhook_url = "https://127.0.0.1:1/".to_owned();
    settings.alert.webhook_key_path = "/no/such/secret".into();
    let error = Engine::start(settings).err().unwrap().to_string();
    assert!(error.contains("alert.webhook_key_path: /no/such/secret: "), "{error}");
}

#[test]
fn a_receiver_that_is_not_there_yet_gets_its_alerts_when_it_is() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_models, engine) = engine(&format!("http://127.0.0.1:{port}/"), |_| {});
    eventually("it is raised", || (!engine.active_alerts().is_empty()).then_some(()));
    std::thread::sleep(Duration::from_millis(100));
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (sender, requests) = bounded(10);
    answer(listener.accept().unwrap().0, 200, &sender);
    let request: Request = requests.recv().unwrap();
    assert_eq!(request.json()["code"], "models_missing");
    engine.stop().unwrap();
}
