//! The webhook: alerts as signed HTTP POSTs, on a thread of its own, tried again while they are refused.
//!
//! Nobody ever waits for it: alerts come through a bounded queue, and what does not fit is counted by
//! [`Alerts::missed`]. A stop gives what waits one try each, for a moment.

use crate::alert::{Alert, Alerts};
use crate::config::{AlertSettings, WEBHOOK_KEY, masked};
use crate::domain::{Process, Timestamp, pause_ms};
use arc_swap::ArcSwapOption;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use rustls::crypto::ring;
use sha2::Sha256;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Alerts that may wait to be sent.
const WAITING_MAX: usize = 256;
/// For how long an alert is tried again.
const TRIED_FOR: Duration = Duration::from_secs(600);
/// For how long a stop waits for what is left.
const STOP_MAX: Duration = Duration::from_secs(2);
/// The longest secret, in bytes; a longer file is no secret.
const SECRET_BYTES_MAX: usize = 4096;

/// Sends alerts to where the settings say.
pub struct Webhook {
    alerts: Arc<Alerts>,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

struct Shared {
    target: ArcSwapOption<Target>,
    /// For whoever gets alerts of several.
    process: Process,
    sent: AtomicU64,
    given_up: AtomicU64,
}

/// Where alerts go.
struct Target {
    url: String,
    secret: Option<Vec<u8>>,
    agent: ureq::Agent,
}

/// What became of one try.
enum Tried {
    Sent,
    /// It may go better later.
    Again(String),
    /// It will not: a mistake of whoever configured it.
    Never(String),
}

impl Webhook {
    /// A webhook for `alerts` that goes nowhere yet.
    pub fn new(alerts: Arc<Alerts>, process: Process) -> Self {
        let shared = Shared {
            target: ArcSwapOption::empty(),
            process,
            sent: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        };
        Self { alerts, shared: Arc::new(shared), running: Mutex::new(None) }
    }

    /// Sends what comes from now on where `settings` say, signed as they say.
    ///
    /// # Errors
    /// When the secret cannot be read, or the system gives no thread: nothing has changed then.
    pub fn follow(&self, settings: &AlertSettings) -> Result<(), String> {
        if settings.webhook_url.is_empty() {
            self.shared.target.store(None);
            return Ok(());
        }
        let target = Target::new(settings)?;
        let mut running = self.running.lock();
        if running.is_none() {
            let (stop, stopped) = bounded(0);
            let (waiting, shared) = (self.alerts.listen(WAITING_MAX), Arc::clone(&self.shared));
            let thread = std::thread::Builder::new().name("vela-webhook".into());
            let thread = thread
                .spawn(move || shared.run(&waiting, &stopped))
                .map_err(|error| format!("no thread for the webhook: {error}"))?;
            *running = Some(Running { stop, thread });
        }
        self.shared.target.store(Some(Arc::new(target)));
        Ok(())
    }

    /// (alerts delivered, alerts that were given up).
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.sent.load(Ordering::Relaxed), self.shared.given_up.load(Ordering::Relaxed))
    }

    /// Ends it, once what waits was tried; not later than after a moment.
    pub fn stop(&self) {
        let Some(Running { stop, thread }) = self.running.lock().take() else { return };
        drop(stop);
        let deadline = Instant::now() + STOP_MAX + Duration::from_millis(500);
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How a client of `url` speaks TLS: it trusts whom this system trusts.
pub fn trusting_the_system(url: &str) -> TlsConfig {
    let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
    if url.starts_with("https:") {
        let found = rustls_native_certs::load_native_certs();
        let certs = found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned());
        tls = tls.root_certs(RootCerts::Specific(Arc::new(certs.collect())));
    }
    tls.build()
}

impl Target {
    fn new(settings: &AlertSettings) -> Result<Self, String> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_millis(settings.webhook_timeout_ms)))
            // What is signed for one place is for no other.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("vela/", env!("CARGO_PKG_VERSION")))
            .tls_config(trusting_the_system(&settings.webhook_url))
            .build();
        Ok(Self {
            url: settings.webhook_url.clone(),
            secret: secret(&settings.webhook_key_path)?,
            agent: config.into(),
        })
    }

    /// Sends `body` once.
    fn send(&self, body: &str) -> Tried {
        let mut request = self.agent.post(&self.url).content_type("application/json");
        if let Some(secret) = &self.secret {
            request = request.header("X-Vela-Signature", signature(secret, Timestamp::now().as_secs(), body));
        }
        match request.send(body) {
            Ok(response) => match response.status().as_u16() {
                200..=299 => Tried::Sent,
                status @ (408 | 429 | 500..) => Tried::Again(format!("status {status}")),
                status => Tried::Never(format!("status {status}")),
            },
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => Tried::Never(error.to_string()),
            Err(error) => Tried::Again(error.to_string()),
        }
    }
}

impl Shared {
    fn run(&self, waiting: &Receiver<Alert>, stop: &Receiver<()>) {
        loop {
            crossbeam::channel::select_biased! {
                recv(stop) -> _ => break,
                recv(waiting) -> alert => match alert {
                    Ok(alert) => if !self.deliver(&alert, stop) { break },
                    Err(_) => return,
                },
            }
        }
        let deadline = Instant::now() + STOP_MAX;
        for alert in waiting.try_iter().take_while(|_| Instant::now() < deadline) {
            if let Some(target) = self.target.load_full() {
                self.count(&target, &target.send(&self.body(&alert)));
            }
        }
    }

    /// Sends one alert, however often it takes; false when it is time to end.
    fn deliver(&self, alert: &Alert, stop: &Receiver<()>) -> bool {
        let (body, begin) = (self.body(alert), Instant::now());
        for attempt in 1.. {
            // It may have been changed meanwhile.
            let Some(target) = self.target.load_full() else { return true };
            let mut tried = target.send(&body);
            if let Tried::Again(problem) = &tried
                && begin.elapsed() >= TRIED_FOR
            {
                tried = Tried::Never(problem.clone());
            }
            self.count(&target, &tried);
            let Tried::Again(problem) = tried else { return true };
            if attempt == 1 {
                let url = masked(&target.url);
                tracing::warn!(%url, problem, "an alert was not delivered; it will be tried again");
            }
            let pause = Duration::from_millis(pause_ms(attempt, begin.elapsed().as_nanos() as u64));
            if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                self.count(&target, &Tried::Never("vela stops".to_owned()));
                return false;
            }
        }
        true
    }

    fn count(&self, target: &Target, tried: &Tried) {
        match tried {
            Tried::Sent => drop(self.sent.fetch_add(1, Ordering::Relaxed)),
            Tried::Again(_) => {}
            Tried::Never(problem) => {
                self.given_up.fetch_add(1, Ordering::Relaxed);
                let url = masked(&target.url);
                tracing::error!(%url, problem, "an alert is given up: the log and the store have it");
            }
        }
    }

    fn body(&self, alert: &Alert) -> String {
        serde_json::json!({
            "at": alert.at.to_string(),
            "phase": alert.phase.word(),
            "severity": alert.severity.word(),
            "code": alert.code,
            "subject": alert.subject,
            "detail": alert.detail,
            "count": alert.count,
            "host": &*self.process.host,
            "pid": self.process.pid,
        })
        .to_string()
    }
}

/// The secret: of the environment, or the first line of the file.
fn secret(path: &Path) -> Result<Option<Vec<u8>>, String> {
    if let Some(secret) = std::env::var_os(WEBHOOK_KEY).filter(|secret| !secret.is_empty()) {
        return Ok(Some(secret.into_encoded_bytes()));
    }
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let refused = |problem: &str| {
        format!("alert.webhook_key_path: {}: {problem}; nothing is sent unsigned instead", path.display())
    };
    let text = std::fs::read(path).map_err(|error| refused(&error.to_string()))?;
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    match line.len() {
        0 => Err(refused("its first line is empty")),
        1..=SECRET_BYTES_MAX => Ok(Some(line.to_owned())),
        _ => Err(refused("its first line is longer than a secret")),
    }
}

/// `t=SECONDS,v1=HEX`: the HMAC-SHA256 (RFC 2104) of `SECONDS.BODY`, so that an old request cannot be sent again
/// as a new one.
fn signature(secret: &[u8], seconds: i64, body: &str) -> String {
    let mut text = format!("t={seconds},v1=");
    // A key may have any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { unreachable!("HMAC takes every key") };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    for byte in mac.finalize().into_bytes() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_another_implementation() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let expected = "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
        assert_eq!(signature(b"key", 1_700_000_000, "{\"a\":1}"), expected);
    }

    #[test]
    fn a_secret_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert_eq!(secret(Path::new("")), Ok(None));
        assert!(secret(&path).unwrap_err().contains("nothing is sent unsigned"));
        for (text, expected) in [("s3cret", "s3cret"), ("  a b \r\nrest\n", "a b")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(secret(&path), Ok(Some(expected.as_bytes().to_owned())));
        }
        for text in ["", "\nabc", &"x".repeat(5000)] {
            std::fs::write(&path, text).unwrap();
            assert!(secret(&path).is_err(), "{text}");
        }
    }
}
