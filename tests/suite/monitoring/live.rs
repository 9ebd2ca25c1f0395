//! A Prometheus that scrapes a running vela as docs/monitoring.md says: the rules load, and every panel of the dashboard
//! has something to show.

use super::{configuration, dashboard, expressions, file};
use crate::bars::settings;
use crate::serve_support::Served;
use crate::service_support::{LIMIT, eventually, market};
use crate::support::{onnx, python::skipped, serving::Folder};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vela::config::Measure;

/// Killed when it is dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// One with the documented configuration in `folder`, which scrapes `target` each second.
    fn start(folder: &Path, target: SocketAddr) -> Option<Self> {
        let config = configuration(&file("prometheus/alerts.yml"));
        let config = config.replace("127.0.0.1:8080", &target.to_string()).replace("15s", "1s");
        assert!(config.contains(&target.to_string()) && config.contains("scrape_interval: 1s"), "{config}");
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        // Free a moment ago.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut command = Command::new("prometheus");
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let listen = format!("--web.listen-address={address}");
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", &listen]);
        match command.spawn() {
            Ok(child) => Some(Self { child, address }),
            Err(error) => {
                skipped(&format!("prometheus does not start (Debian: apt-get install prometheus): {error}"));
                None
            }
        }
    }

    /// The data of an answer of its interface; an error where it does not answer, or refuses.
    fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let form: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let mut text = String::new();
        let mut ask = || {
            let mut stream = TcpStream::connect(self.address)?;
            let target = format!("/api/v1/{path}?{}", form.join("&"));
            // In HTTP/1.0 an answer comes in one piece, and ends with its connection.
            write!(stream, "GET {target} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address)?;
            stream.read_to_string(&mut text)
        };
        ask().map_err(|error| error.to_string())?;
        let (_, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
        let answer: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
        match answer["status"] == "success" {
            true => Ok(answer["data"].clone()),
            false => Err(answer["error"].to_string()),
        }
    }

    /// Whether `expression` had a number at any time since `begin`, asked as Grafana asks it.
    fn shows(&self, expression: &str, begin: u64) -> bool {
        let end = seconds().to_string();
        let parameters = [("query", expression), ("start", &begin.to_string()), ("end", &end), ("step", "1")];
        let data = self.ask("query_range", &parameters);
        let data = data.unwrap_or_else(|error| panic!("{expression}: {error}"));
        let series = data["result"].as_array().unwrap().iter();
        let mut values = series.flat_map(|series| series["values"].as_array().unwrap());
        values.any(|value| value[1].as_str().unwrap().parse::<f64>().unwrap().is_finite())
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => out.push(byte.into()),
            false => out += &format!("%{byte:02X}"),
        }
    }
    out
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn every_panel_of_the_dashboard_shows_what_a_running_vela_says() {
    let folder = Folder::new();
    // Of two models one has no answer to most bars: there is something to show of what is refused.
    folder.version("line", 1, onnx::linear(1, 2.0, 1.0), "").promote("line", &[1]);
    folder.version("log", 1, onnx::nan_when_negative(1), "").promote("log", &[1]);
    let mut settings = settings();
    settings.models.path = folder.path("");
    settings.health_check_interval = 1;
    let rule = settings.alert.rules.get_mut(Measure::Memory.word()).unwrap();
    (rule.over, rule.for_s) = (0.0, 0);
    let served = Served::with(settings);
    let home = tempfile::tempdir().unwrap();
    let begin = seconds();
    let Some(prometheus) = Prometheus::start(home.path(), served.address()) else { return };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // However slow the machine is: one bar more each few milliseconds for as long as anything may take.
            for bars in market(2, 20_000).chunks(2) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                served.feed(bars);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let missing = shown(&prometheus, begin);
        over.store(true, Ordering::Relaxed);
        assert!(missing.is_empty(), "nothing within {LIMIT:?} for {missing:#?}");
    });
    let rules = prometheus.ask("rules", &[]).unwrap();
    let rules: Vec<&Value> = rules["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(rules.len() >= 15);
    for rule in rules {
        assert!(rule["lastError"].is_null() && rule["health"] != "err", "{rule}");
    }
}

/// Waits until each expression of the dashboard has had a number; those that never had one.
fn shown(prometheus: &Prometheus, begin: u64) -> BTreeSet<String> {
    eventually("Prometheus answers", || prometheus.ask("query", &[("query", "1")]).ok());
    let dashboard = dashboard();
    let mut missing: BTreeSet<String> = expressions(&dashboard)
        .into_iter()
        .map(|(_, expression)| {
            // As Grafana writes it: four scrapes, and all of what can be chosen. Nothing was replaced here: that a
            // change could be seen is enough.
            let expression = expression.replace("$__rate_interval", "4s");
            let expression = expression.replace("$job", ".*").replace("$instance", ".*");
            match expression.strip_prefix("changes(").is_some() {
                true => expression.trim_end_matches(" > 0").to_owned(),
                false => expression,
            }
        })
        .collect();
    assert!(missing.len() > 40, "{}", missing.len());
    let deadline = std::time::Instant::now() + LIMIT;
    while !missing.is_empty() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        missing.retain(|expression| !prometheus.shows(expression, begin));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        // label_values(SELECTOR, LABEL)
        let (selector, label) = query.trim_end_matches(')').rsplit_once(", ").unwrap();
        let selector = selector.strip_prefix("label_values(").unwrap().replace("$job", ".*");
        let values = prometheus.ask(&format!("label/{label}/values"), &[("match[]", &selector)]).unwrap();
        assert!(!values.as_array().unwrap().is_empty(), "{query}");
    }
    missing
}
