//! Asks a running vela over HTTP.

use crate::control::webhook::trusting_the_system;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// What `/api/metrics` says, as far as it is shown. What an older or newer vela does not say is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metrics {
    pub(super) version: String,
    pub(super) bucket_bounds_us: Vec<f64>,
    pub(super) performance: Performance,
    pub(super) system: System,
    pub(super) model_pool: Pool,
    pub(super) feature_cache: Cache,
    pub(super) stages: BTreeMap<String, Stage>,
    pub(super) stage_order: Vec<String>,
    pub(super) reasons: BTreeMap<String, u64>,
    pub(super) alerts: BTreeMap<String, u64>,
    pub(super) symbols: BTreeMap<String, Tally>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Performance {
    pub(super) total_predictions: u64,
    pub(super) total_bars: u64,
    pub(super) latency_buckets: Vec<u64>,
    pub(super) budget_ms: u64,
    pub(super) late_predictions: u64,
    pub(super) unsaved: u64,
    pub(super) uptime_s: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct System {
    pub(super) memory_usage_mb: f64,
    pub(super) memory_limit_mb: u64,
    pub(super) cpu_usage_percent: f64,
    pub(super) cores: usize,
    pub(super) generation: u32,
    pub(super) last_restart: Option<LastRestart>,
}

/// When the process last replaced itself by a fresh copy, and why.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LastRestart {
    pub(super) cause: String,
    pub(super) detail: String,
    pub(super) at: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pool {
    pub(super) loaded: usize,
    pub(super) max_size: usize,
    pub(super) models: BTreeMap<String, Tally>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cache {
    pub(super) hit_rate_percent: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stage {
    pub(super) queue_wait_buckets: Vec<u64>,
    pub(super) service_buckets: Vec<u64>,
    pub(super) workers: usize,
    pub(super) workers_max: usize,
    pub(super) depth: usize,
    pub(super) items_max: usize,
    pub(super) items: u64,
    pub(super) panics: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tally {
    pub(super) predictions_count: u64,
    pub(super) errors_count: u64,
    pub(super) avg_latency_ms: f64,
    pub(super) max_latency_ms: f64,
}

/// What `/api/health` says, as far as it is shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    pub(super) status: String,
    pub(super) reasons: Vec<Reason>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reason {
    pub(super) code: String,
    pub(super) subject: String,
    pub(super) severity: String,
    pub(super) detail: String,
}

/// One look.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    pub(super) metrics: Metrics,
    pub(super) health: Health,
}

/// A running vela.
pub(super) struct Server {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

impl Server {
    /// The one at `url`; the token is the environment's, or the file's first line.
    pub(super) fn new(url: &str, token_file: Option<&Path>) -> Result<Self, String> {
        let url = url.trim_end_matches('/');
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(format!(
                "--url {url}: it begins with http:// or https://, such as http://127.0.0.1:8080"
            ));
        }
        let variable = std::env::var("VELA_TOKEN").ok().filter(|token| !token.is_empty());
        let token = match (variable, token_file) {
            (Some(token), _) => Some(token),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("--token-file {}: {error}", path.display()))?;
                Some(text.lines().next().unwrap_or_default().trim().to_owned())
            }
            (None, None) => None,
        };
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .tls_config(trusting_the_system(url));
        Ok(Self { agent: config.build().new_agent(), url: url.to_owned(), token })
    }

    /// Where it is.
    pub(super) fn name(&self) -> &str {
        &self.url
    }

    /// Metrics and health at this moment.
    pub(super) fn look(&self) -> Result<Look, String> {
        Ok(Look { metrics: self.get("/api/metrics")?, health: self.get("/api/health").unwrap_or_default() })
    }

    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let url = format!("{}{path}", self.url);
        let mut request = self.agent.get(&url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call().map_err(|error| match error {
            ureq::Error::Timeout(_) => format!("{url}: no answer within {} s", TIMEOUT.as_secs()),
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) | ureq::Error::Io(_)
                if url.starts_with("https://") =>
            {
                format!(
                    "{url}: {error}; https:// is spoken by a proxy before vela, which itself speaks http://"
                )
            }
            error => format!("{url}: {error}; is vela running there, and is serve.listen that address?"),
        })?;
        match answer.status().as_u16() {
            // Health answers 503 with its report where something is wrong.
            200 | 503 => {}
            401 if self.token.is_some() => {
                return Err(format!(
                    "{url} refuses this token (VELA_TOKEN goes before --token-file): it is in the file that \
                     serve.token_file names there"
                ));
            }
            401 => {
                return Err(format!(
                    "{url} asks for a token: set VELA_TOKEN, or name its file with --token-file"
                ));
            }
            status => return Err(format!("{url} answers {status}: is that a vela?")),
        }
        let text = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_string();
        let text = text.map_err(|error| format!("{url}: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("{url} answers what is no vela's: {error}"))
    }
}
