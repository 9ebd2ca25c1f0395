//! A Chromium of a test's own, found on this machine and driven by the DevTools protocol: one page, what it shows, what
//! goes wrong in it.

use super::python::skipped;
use serde_json::{Value, json};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

/// How long anything that must happen may take on a slow machine.
const LIMIT: Duration = Duration::from_secs(90);
/// What it is called, by Debian and others.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
/// Alone: it speaks to nobody but the page's server, and nothing slows its timers down.
const ALONE: [&str; 13] = [
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--disable-component-update",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--no-first-run",
    "--mute-audio",
    "--remote-debugging-port=0",
];

/// A browser with one page; it ends with this.
pub struct Chromium {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: String,
    next: u64,
    events: Vec<Value>,
    /// Nothing may be asked of another one.
    origin: String,
    _profile: TempDir,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.into_iter().find(|program| program.is_file())
}

/// Asks until there is something.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Chromium {
    /// Starts one and opens `http://address/`; says so and returns `None` where there is no Chromium.
    pub fn open(address: &str) -> Option<Self> {
        let Some(program) = program() else {
            skipped(
                "no Chromium on this machine (Debian: apt-get install chromium): the page was not looked at",
            );
            return None;
        };
        let profile = TempDir::with_prefix("vela-chromium-").unwrap();
        let log = std::fs::File::create(profile.path().join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(ALONE).arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        if rustix::process::getuid().is_root() {
            command.arg("--no-sandbox");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        // The port, and the path of the browser's own socket.
        let told = profile.path().join("DevToolsActivePort");
        let url = eventually("Chromium starts", || {
            let text = std::fs::read_to_string(&told).ok()?;
            let (port, path) = text.trim_end().split_once('\n')?;
            Some(format!("ws://127.0.0.1:{port}{path}"))
        });
        let request = url.into_client_request().unwrap();
        let at = request.uri().authority().unwrap().to_string();
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let (socket, _) = tungstenite::client(request, stream).unwrap();
        let origin = format!("http://{address}/");
        let (session, events) = (String::new(), Vec::new());
        let mut chromium = Self { child, socket, session, next: 0, events, origin, _profile: profile };
        let target = chromium.call("Target.createTarget", json!({"url": "about:blank"}))["targetId"].clone();
        let attached = chromium.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        chromium.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            chromium.call(&format!("{domain}.enable"), json!({}));
        }
        // Processor time of the thread: a busy machine does not count.
        chromium.call("Performance.enable", json!({"timeDomain": "threadTicks"}));
        let origin = chromium.origin.clone();
        chromium.call("Page.navigate", json!({"url": origin}));
        Some(chromium)
    }

    /// A method of the protocol; its result.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let mut message: Value = serde_json::from_str(text.as_str()).unwrap();
            if message["id"] == self.next {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// What a JavaScript expression comes to, a promise what it resolves to.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", wanted);
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// The text of an element.
    pub fn text(&mut self, id: &str) -> String {
        self.evaluate(&format!("document.getElementById('{id}').innerText")).as_str().unwrap().to_owned()
    }

    /// Waits until an expression is true.
    pub fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + LIMIT;
        while self.evaluate(&format!("Boolean({expression})")) != true {
            if Instant::now() >= deadline {
                let shown = self.evaluate("document.body.innerText.slice(0, 3000)");
                panic!("not within {LIMIT:?}: {expression}\nproblems: {:#?}\n{shown}", self.problems());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What went wrong since this was asked last: errors and warnings of the console, what was thrown, requests that
    /// failed or were refused, requests of another server.
    pub fn problems(&mut self) -> Vec<String> {
        // Whatever has happened by now is told before this answers.
        self.evaluate("0");
        let origin = self.origin.clone();
        let socket = origin.replace("http:", "ws:");
        let foreign = |url: &Value| {
            let url = url.as_str().unwrap_or_default();
            !(url.starts_with(&origin) || url.starts_with(&socket) || url.starts_with("data:"))
        };
        let problem = |event: Value| {
            let what = &event["params"];
            let wrong = match event["method"].as_str()? {
                "Runtime.exceptionThrown" | "Network.webSocketFrameError" => true,
                "Runtime.consoleAPICalled" => {
                    ["error", "warning", "assert"].contains(&what["type"].as_str()?)
                }
                "Log.entryAdded" => ["error", "warning"].contains(&what["entry"]["level"].as_str()?),
                "Network.loadingFailed" => what["canceled"] != true,
                "Network.responseReceived" => what["response"]["status"].as_u64()? >= 400,
                "Network.requestWillBeSent" => foreign(&what["request"]["url"]),
                "Network.webSocketCreated" => foreign(&what["url"]),
                _ => false,
            };
            wrong.then(|| event.to_string())
        };
        std::mem::take(&mut self.events).into_iter().filter_map(problem).collect()
    }

    /// A theme of the system (`light`, `dark`) and a size of the window.
    pub fn appears(&mut self, theme: &str, width: u32, height: u32) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.call("Emulation.setEmulatedMedia", features);
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Seconds of processor time that the page's main thread has used for tasks so far.
    pub fn task_s(&mut self) -> f64 {
        let all = self.call("Performance.getMetrics", json!({}));
        let mut metrics = all["metrics"].as_array().unwrap().iter();
        metrics.find(|metric| metric["name"] == "TaskDuration").unwrap()["value"].as_f64().unwrap()
    }

    /// Where the variable PAGE_SHOTS names a folder, keeps there what the page looks like.
    pub fn shot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("PAGE_SHOTS") else { return };
        let image = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let mut decode = Command::new("base64");
        let path = Path::new(&folder).join(format!("{name}.png"));
        decode.arg("-d").stdin(Stdio::piped()).stdout(std::fs::File::create(path).unwrap());
        let mut decode = decode.spawn().unwrap();
        std::io::Write::write_all(decode.stdin.as_mut().unwrap(), image["data"].as_str().unwrap().as_bytes())
            .unwrap();
        assert!(decode.wait().unwrap().success());
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It has processes of its own, which end with it when it is asked.
        self.session.clear();
        let message = json!({"id": 0, "method": "Browser.close"});
        let _ = self.socket.send(Message::text(message.to_string()));
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
