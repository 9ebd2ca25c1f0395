//! An engine over a models folder that a test writes: which version answers, bar by bar.

use super::onnx;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vela::config::{SourceKind, StoreUrl};
use vela::domain::{Bar, Outcome, Reason, SeriesKey, Timeframe, Timestamp};
use vela::{Engine, Settings};

/// Longer than anything takes that is to come.
pub const SOON: Duration = Duration::from_secs(30);
/// Long ago: millions of one-minute bars fit in before they would be of the future.
pub const START: i64 = 60_000_000;

/// A models folder that a test writes.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A path in it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// A version of `model` for every symbol, one minute, that reads one feature.
    pub fn version(&self, model: &str, version: u32, graph: Vec<u8>, more: &str) -> &Self {
        let toml = format!(
            "symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"ret_1\"]\nbatching = \"off\"\n{more}"
        );
        self.write(&format!("{model}/{version}/model.onnx"), graph)
            .write(&format!("{model}/{version}/model.toml"), toml)
    }

    /// A version that answers with its own number.
    pub fn says_itself(&self, model: &str, version: u32) -> &Self {
        self.version(model, version, onnx::linear(1, 0.0, version as f32), "")
    }

    /// By atomic rename, as a person should.
    pub fn promote(&self, model: &str, versions: &[u32]) -> &Self {
        let text: String = versions.iter().map(|version| format!("{version}\n")).collect();
        self.write(&format!("{model}/.promoted.new"), text);
        std::fs::rename(
            self.path(&format!("{model}/.promoted.new")),
            self.path(&format!("{model}/promoted")),
        )
        .unwrap();
        self
    }
}

/// An engine over a folder, fed one bar at a time.
pub struct Fed {
    pub engine: Engine,
    pub outcomes: vela::persist::Subscription,
    pub series: Arc<SeriesKey>,
    /// The bars so far.
    pub next: i64,
    close: f64,
}

impl Fed {
    /// With the usual settings.
    pub fn start(folder: &Folder) -> Self {
        Self::with(folder, |_| {})
    }

    /// With settings that `change` makes of the usual ones.
    pub fn with(folder: &Folder, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Self::settings(folder);
        change(&mut settings);
        Self::over(Engine::start(settings).unwrap())
    }

    /// The usual settings.
    pub fn settings(folder: &Folder) -> Settings {
        let mut settings = Settings::default();
        settings.models.path = folder.path("");
        settings.models.look_interval_ms = 50;
        settings.source.kind = SourceKind::None;
        settings.store.url = StoreUrl::None;
        settings
    }

    /// Over an engine that was just started.
    pub fn over(engine: Engine) -> Self {
        let outcomes = engine.subscribe(1 << 20);
        let series = Arc::new(SeriesKey::new("BTCUSDT", Timeframe::MINUTE).unwrap());
        let mut fed = Self { engine, outcomes, series, next: 0, close: 100.0 };
        // One bar, so that every later one has a return.
        fed.put(100.0);
        let of = fed.come(1)[0].place.of;
        fed.come(of as usize - 1);
        fed
    }

    /// Puts a bar in.
    pub fn put(&mut self, close: f64) {
        let ts = Timestamp::from_secs(START + 60 * self.next);
        self.next += 1;
        let bar = Bar { ts, open: close, high: close, low: close, close, volume: 1.0 };
        self.engine.ingest_series(&self.series, bar).unwrap();
    }

    /// The next `count` outcomes.
    pub fn come(&self, count: usize) -> Vec<Outcome> {
        (0..count).map(|_| self.outcomes.receiver().recv_timeout(SOON).unwrap()).collect()
    }

    /// Puts a bar in that rises (the first feature is positive) or falls, and gives its one outcome.
    pub fn bar(&mut self, rises: bool) -> Outcome {
        self.close *= if rises { 1.01 } else { 0.99 };
        self.put(self.close);
        self.come(1).remove(0)
    }

    /// The version that answers a bar now; its own number is what it says.
    pub fn version(&mut self) -> Option<u32> {
        let prediction = self.bar(self.next % 2 == 0).result.ok()?;
        assert_eq!(prediction.value, f64::from(prediction.version), "a version says its own number");
        Some(prediction.version)
    }

    /// Puts bars in until `version` answers.
    pub fn until(&mut self, version: Option<u32>) {
        let begin = Instant::now();
        while self.version() != version {
            assert!(begin.elapsed() < SOON, "{version:?} does not come; alerts: {:#?}", self.engine.alerts());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether there was an alert of `code` whose text has `part`.
    pub fn alerted(&self, code: &str, part: &str) -> bool {
        self.engine.alerts().iter().any(|alert| alert.code == code && alert.detail.contains(part))
    }
}

/// Why there is no prediction.
pub fn reason(outcome: &Outcome) -> (Reason, String) {
    let refusal = outcome.result.as_ref().unwrap_err();
    (refusal.reason, refusal.detail.to_string())
}
