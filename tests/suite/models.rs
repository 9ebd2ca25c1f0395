//! Versions, who stands in for them, and promotion while bars come: seen through a running engine.

use crate::service_support::eventually;
use crate::support::onnx;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vela::config::{SourceKind, StoreUrl};
use vela::domain::{Bar, Outcome, Reason, SeriesKey, Timeframe, Timestamp};
use vela::predict::Catalogue;
use vela::{Engine, Settings};

const SOON: Duration = Duration::from_secs(30);
/// Long ago: millions of one-minute bars fit in before they would be of the future.
const START: i64 = 60_000_000;

/// A models folder that a test writes.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

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
struct Fed {
    engine: Engine,
    outcomes: vela::persist::Subscription,
    series: Arc<SeriesKey>,
    next: i64,
    close: f64,
}

impl Fed {
    fn start(folder: &Folder) -> Self {
        Self::with(folder, |_| {})
    }

    fn with(folder: &Folder, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.models.path = folder.path("");
        settings.models.look_interval_ms = 50;
        settings.source.kind = SourceKind::None;
        settings.store.url = StoreUrl::None;
        change(&mut settings);
        let engine = Engine::start(settings).unwrap();
        let outcomes = engine.subscribe(1 << 20);
        let series = Arc::new(SeriesKey::new("BTCUSDT", Timeframe::MINUTE).unwrap());
        let mut fed = Self { engine, outcomes, series, next: 0, close: 100.0 };
        // One bar, so that every later one has a return.
        fed.put(100.0);
        let of = fed.come(1)[0].place.of;
        fed.come(of as usize - 1);
        fed
    }

    fn put(&mut self, close: f64) {
        let ts = Timestamp::from_secs(START + 60 * self.next);
        self.next += 1;
        let bar = Bar { ts, open: close, high: close, low: close, close, volume: 1.0 };
        self.engine.ingest_series(&self.series, bar).unwrap();
    }

    /// The next `count` outcomes.
    fn come(&self, count: usize) -> Vec<Outcome> {
        (0..count).map(|_| self.outcomes.receiver().recv_timeout(SOON).unwrap()).collect()
    }

    /// Puts a bar in that rises (the first feature is positive) or falls, and gives its one outcome.
    fn bar(&mut self, rises: bool) -> Outcome {
        self.close *= if rises { 1.01 } else { 0.99 };
        self.put(self.close);
        self.come(1).remove(0)
    }

    /// The version that answers a bar now; its own number is what it says.
    fn version(&mut self) -> Option<u32> {
        let prediction = self.bar(self.next % 2 == 0).result.ok()?;
        assert_eq!(prediction.value, f64::from(prediction.version), "a version says its own number");
        Some(prediction.version)
    }

    fn until(&mut self, version: Option<u32>) {
        let begin = Instant::now();
        while self.version() != version {
            assert!(begin.elapsed() < SOON, "{version:?} does not come; alerts: {:#?}", self.engine.alerts());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn alerted(&self, code: &str, part: &str) -> bool {
        self.engine.alerts().iter().any(|alert| alert.code == code && alert.detail.contains(part))
    }
}

fn reason(outcome: &Outcome) -> (Reason, String) {
    let refusal = outcome.result.as_ref().unwrap_err();
    (refusal.reason, refusal.detail.to_string())
}

#[test]
fn the_version_before_serves_at_once_where_the_newest_cannot_be_loaded_or_fails_its_check() {
    let golden = "x_0,y\n0.5,3\n";
    let whole = onnx::linear(1, 0.0, 3.0);
    let half = whole[..whole.len() / 2].to_vec();
    for (case, graph, manifest, golden, told) in [
        ("half copied", half, None, None, "protobuf"),
        ("wrong golden", onnx::linear(1, 1.0, 3.0), None, Some(golden), "is expected"),
        ("wrong width", onnx::linear(2, 0.0, 3.0), None, None, "it takes 2"),
        ("no manifest", whole.clone(), Some("nonsense"), None, "expected `=`"),
        (
            "unknown feature",
            whole.clone(),
            Some("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"soothsayer_7\"]\n"),
            None,
            "soothsayer_7",
        ),
    ] {
        let folder = Folder::new();
        folder.says_itself("m", 1).says_itself("m", 2).version("m", 3, graph, "").promote("m", &[1, 2, 3]);
        if let Some(manifest) = manifest {
            folder.write("m/3/model.toml", manifest);
        }
        if let Some(golden) = golden {
            folder.write("m/3/golden.csv", golden);
        }
        // At a cold start already.
        let mut fed = Fed::start(&folder);
        assert_eq!(fed.version(), Some(2), "{case}");
        let problems = format!("{:?} {:?}", fed.engine.alerts(), fed.engine.catalogue().problems());
        assert!(problems.contains(told), "{case}: {problems}");
        // Put right, it serves without anybody asking.
        folder.says_itself("m", 3);
        if let Some(golden) = golden {
            folder.write("m/3/golden.csv", golden);
        }
        fed.until(Some(3));
        fed.engine.stop().unwrap();
    }
}

#[test]
fn the_same_rows_are_answered_by_the_version_before_when_a_run_fails() {
    for (case, graph, told) in [
        ("NaN", onnx::nan_when_negative(1), "answered NaN"),
        ("slow", onnx::slow_when_negative(1), "longer than 150 ms"),
    ] {
        let folder = Folder::new();
        folder.says_itself("m", 1).version("m", 2, graph, "").promote("m", &[1, 2]);
        let mut fed = Fed::with(&folder, |settings| settings.predict.deadline_ms = 150);
        assert_eq!(fed.bar(true).result.unwrap().version, 2, "{case}");
        // It fails over this very bar, which gets its prediction all the same.
        let prediction = fed.bar(false).result.unwrap();
        assert_eq!((prediction.version, prediction.value), (1, 1.0), "{case}");
        assert!(fed.alerted("model_failed", told), "{case}: {:?}", fed.engine.alerts());
        assert!(fed.alerted("model_failed", "version 1 serves instead"), "{case}");
        // What failed is left alone; then it is tried again, and serves again.
        assert_eq!(fed.bar(true).result.unwrap().version, 1, "{case}");
        eventually("the version is good again", || fed.alerted("model_recovered", "version 2").then_some(()));
        assert_eq!(fed.bar(true).result.unwrap().version, 2, "{case}");
        fed.engine.stop().unwrap();
    }
}

#[test]
fn a_bar_that_no_version_can_answer_says_what_each_of_them_did() {
    let folder = Folder::new();
    folder
        .version("m", 1, b"no graph".to_vec(), "")
        .version("m", 2, onnx::slow_when_negative(1), "")
        .version("m", 3, onnx::nan_when_negative(1), "")
        .promote("m", &[1, 2, 3]);
    let mut fed = Fed::with(&folder, |settings| {
        settings.predict.deadline_ms = 150;
        settings.models.look_interval_ms = 0;
    });
    assert_eq!(fed.bar(true).result.unwrap().version, 3);
    let (reason_given, detail) = reason(&fed.bar(false));
    assert_eq!(reason_given, Reason::OutputNotFinite);
    for part in ["version 3: the model answered NaN", "version 2: the run took longer", "version 1: "] {
        assert!(detail.contains(part), "{part} in {detail}");
    }
    // Alone, a model that is too slow has its own reason, at once from the second bar on.
    let folder = Folder::new();
    folder.version("m", 1, onnx::slow_when_negative(1), "").promote("m", &[1]);
    let mut fed = Fed::with(&folder, |settings| {
        settings.predict.deadline_ms = 150;
        settings.models.look_interval_ms = 0;
    });
    for _ in 0..2 {
        assert_eq!(reason(&fed.bar(false)).0, Reason::ModelTimeout);
    }
    let begin = Instant::now();
    assert_eq!(reason(&fed.bar(true)).0, Reason::ModelTimeout);
    assert!(begin.elapsed() < Duration::from_millis(100), "it is left alone: {:?}", begin.elapsed());
}

#[test]
fn promotion_rollback_new_models_and_withdrawn_ones_are_noticed_within_a_second() {
    let folder = Folder::new();
    folder.says_itself("m", 1).promote("m", &[1]);
    let mut fed = Fed::with(&folder, |settings| settings.models.look_interval_ms = 400);
    assert_eq!(fed.version(), Some(1));
    for (versions, expected) in
        [(&[1, 2][..], Some(2)), (&[1], Some(1)), (&[1, 2, 7], Some(7)), (&[], None), (&[2], Some(2))]
    {
        for version in versions {
            folder.says_itself("m", *version);
        }
        let begin = Instant::now();
        folder.promote("m", versions);
        fed.until(expected);
        let took = begin.elapsed();
        println!("{versions:?} after {took:?}");
        // A second is the promise; a machine that builds beside it gets three.
        assert!(took < Duration::from_secs(3), "{versions:?}: {took:?}");
    }
    // A model for the same series appears: its bars are demanded, and the series' history is there.
    folder.version("n", 1, onnx::linear(1, 1.0, 0.0), "").promote("n", &[1]);
    eventually("the new model", || (fed.engine.catalogue().models().len() == 2).then_some(()));
    let mut both = || {
        fed.put(100.0);
        let first = fed.come(1).remove(0);
        (0..first.place.of - 1).for_each(|_| drop(fed.come(1)));
        (first.place.of == 2).then_some(())
    };
    eventually("two outcomes a bar", &mut both);
    std::fs::remove_dir_all(folder.path("n")).unwrap();
    eventually("one model is left", || (fed.engine.catalogue().models().len() == 1).then_some(()));
    eventually("one outcome a bar", || {
        fed.put(100.0);
        let of = fed.come(1)[0].place.of;
        (0..of - 1).for_each(|_| drop(fed.come(1)));
        (of == 1).then_some(())
    });
    fed.engine.stop().unwrap();
}

#[test]
fn a_version_that_reads_other_features_takes_over_when_they_are_defined() {
    let folder = Folder::new();
    folder.says_itself("m", 1).promote("m", &[1]);
    let mut fed = Fed::start(&folder);
    (0..20).for_each(|_| drop(fed.bar(true)));
    let toml = |features: &str, window: usize| {
        format!("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = {features}\nwindow = {window}\n")
    };
    // The bars that were kept are enough for it at once.
    folder
        .version("m", 2, onnx::linear(2, 0.0, 2.0), "")
        .write("m/2/model.toml", toml("[\"ret_1\", \"rsi_14\"]", 1));
    folder.promote("m", &[1, 2]);
    fed.until(Some(2));
    let good = fed.engine.outcomes();
    // This one needs more bars than there are: until then the version before serves, and no bar goes without.
    folder.version("m", 3, onnx::linear(1, 0.0, 3.0), "").write("m/3/model.toml", toml("[\"ret_200\"]", 1));
    folder.promote("m", &[1, 2, 3]);
    eventually("version 3 is known", || {
        let known = fed.engine.catalogue().models()[0].versions.iter().any(|version| version.number == 3);
        known.then_some(())
    });
    let mut seen = Vec::new();
    while seen.last() != Some(&3) {
        assert!(fed.next < 400, "{seen:?}");
        seen.push(fed.version().unwrap());
    }
    assert!(seen.len() > 10 && seen.is_sorted(), "{seen:?}");
    assert!(fed.next > 200, "ret_200 before there were 200 bars");
    assert!(fed.engine.outcomes() > good);
    assert!(fed.engine.metrics().reasons.len() <= 1, "{:?}", fed.engine.metrics().reasons);
    fed.engine.stop().unwrap();
}

#[test]
fn ugly_changes_of_the_folder_cost_no_prediction() {
    let folder = Folder::new();
    folder.says_itself("m", 1).says_itself("m", 2).promote("m", &[1, 2]);
    let mut fed = Fed::start(&folder);
    fed.until(Some(2));
    let mut step = |what: &str, change: &dyn Fn(), expected: u32| {
        change();
        // For longer than it takes to be noticed.
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(500) {
            assert_eq!(fed.version(), Some(expected), "{what}");
        }
    };
    let half = onnx::linear(1, 0.0, 9.0);
    step(
        "a copy over the served file that stops half way",
        &|| _ = folder.write("m/2/model.onnx", &half[..40]),
        2,
    );
    step("the file is whole again", &|| _ = folder.says_itself("m", 2), 2);
    step(
        "the served version's folder is removed",
        &|| std::fs::remove_dir_all(folder.path("m/2")).unwrap(),
        2,
    );
    step("it is put back", &|| _ = folder.says_itself("m", 2), 2);
    step(
        "the list becomes a folder",
        &|| {
            std::fs::remove_file(folder.path("m/promoted")).unwrap();
            std::fs::create_dir(folder.path("m/promoted")).unwrap();
        },
        2,
    );
    step(
        "the list is back",
        &|| {
            std::fs::remove_dir(folder.path("m/promoted")).unwrap();
            folder.promote("m", &[1, 2]);
        },
        2,
    );
    step(
        "the list loops",
        &|| {
            std::fs::remove_file(folder.path("m/promoted")).unwrap();
            std::os::unix::fs::symlink("promoted", folder.path("m/promoted")).unwrap();
        },
        2,
    );
    step(
        "the list has nonsense among its lines",
        &|| {
            std::fs::remove_file(folder.path("m/promoted")).unwrap();
            folder.write("m/promoted", "1\nv2\n\u{fffd}\n2\n");
        },
        2,
    );
    step(
        "a link loop beside the model",
        &|| {
            std::os::unix::fs::symlink("loop", folder.path("loop")).unwrap();
        },
        2,
    );
    step("a folder whose name is none", &|| std::fs::create_dir(folder.path("no name")).unwrap(), 2);
    step(
        "the whole models folder is gone",
        &|| {
            std::fs::rename(folder.path("m"), folder.path("../m-aside-of-vela")).ok();
            std::fs::rename(folder.path("../m-aside-of-vela"), folder.path("m")).unwrap();
        },
        2,
    );
    // An empty list is written on purpose, by the last rollback: the model is withdrawn.
    folder.write("m/promoted", "");
    fed.until(None);
    assert_eq!(reason(&fed.bar(true)).0, Reason::NoModel);
    folder.promote("m", &[1]);
    fed.until(Some(1));
    let alerts = fed.engine.metrics().alerts;
    assert!(alerts["models_folder"] < 20, "told once each, not at every look: {:#?}", fed.engine.alerts());
    fed.engine.stop().unwrap();
}

#[test]
fn a_list_that_is_emptied_and_written_in_place_is_never_seen_empty() {
    let folder = Folder::new();
    folder.says_itself("m", 1).promote("m", &[1]);
    let mut fed = Fed::with(&folder, |settings| settings.models.look_interval_ms = 1);
    for _ in 0..10 {
        // What an editor does: empty, a moment later written.
        folder.write("m/promoted", "");
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(30) {
            assert_eq!(fed.version(), Some(1));
        }
        folder.write("m/promoted", "1\n");
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(30) {
            assert_eq!(fed.version(), Some(1));
        }
    }
    fed.engine.stop().unwrap();
}

#[test]
fn a_slow_model_hurts_only_itself() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    folder.version("slow", 1, onnx::slow_when_negative(1), "").promote("slow", &[1]);
    let mut fed = Fed::with(&folder, |settings| {
        settings.predict.deadline_ms = 2_000;
        settings.workers_initial = 2;
    });
    let mut worst = Duration::ZERO;
    fed.put(100.0);
    fed.come(2);
    // Falling bars: the slow model takes its two seconds over the first, and is left alone then.
    for n in 0..200 {
        fed.put(99.0 - f64::from(n) / 10.0);
        let begin = Instant::now();
        loop {
            let outcome = fed.come(1).remove(0);
            if outcome.result.is_ok_and(|prediction| &*prediction.model == "good") {
                worst = worst.max(begin.elapsed());
                break;
            }
        }
    }
    println!("the good model's worst: {worst:?}");
    assert!(worst < Duration::from_millis(1_000), "{worst:?}: it waited for the slow one");
    assert!(fed.engine.drain(SOON));
    assert!(fed.engine.metrics().reasons["model_timeout"] >= 190, "{:?}", fed.engine.metrics().reasons);
    fed.engine.stop().unwrap();
}

/// A pinned model whose session takes seconds to create.
pub fn put_hanging(folder: &Folder, model: &str, salt: f32, symbol: &str) {
    let toml = format!(
        "symbol = \"{symbol}\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"ret_1\"]\npinned = true\n"
    );
    folder.write(&format!("{model}/1/model.onnx"), onnx::hangs_when_loaded(1, 8, salt));
    folder.write(&format!("{model}/1/model.toml"), toml).promote(model, &[1]);
}

#[test]
fn models_that_hang_while_they_are_loaded_are_given_up_and_others_are_followed_meanwhile() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    let mut fed = Fed::with(&folder, |settings| settings.predict.load_deadline_ms = 300);
    // More than there are threads that try versions.
    for (number, model) in ["h0", "h1", "h2"].into_iter().enumerate() {
        put_hanging(&folder, model, number as f32, "ELSEWHERE");
    }
    eventually("each is given up", || {
        let alerts = fed.engine.alerts();
        let given_up = |model: &str| {
            let of = |a: &&vela::alert::Alert| a.code == "model_failed" && a.subject == model;
            alerts.iter().filter(of).any(|alert| alert.detail.contains("was given up"))
        };
        ["h0", "h1", "h2"].into_iter().all(given_up).then_some(())
    });
    assert_eq!(fed.version(), Some(1));
    folder.says_itself("good", 2).promote("good", &[1, 2]);
    fed.until(Some(2));
    let hanging = fed.engine.metrics().model_pool.hanging;
    assert!(hanging > 0, "they ended before the promotion was followed: the test has shown nothing");
    eventually("they end after all", || (fed.engine.metrics().model_pool.hanging == 0).then_some(()));
    let pool = fed.engine.metrics().model_pool;
    assert_eq!(pool.loads - pool.releases, pool.loaded as u64, "{pool:?}");
    fed.engine.stop().unwrap();
}

#[test]
fn a_stop_does_not_wait_for_a_model_that_hangs_while_it_is_loaded() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    let fed = Fed::with(&folder, |settings| settings.predict.load_deadline_ms = 600_000);
    put_hanging(&folder, "h", 0.0, "ELSEWHERE");
    eventually("it is being loaded", || (fed.engine.metrics().model_pool.loaded == 2).then_some(()));
    fed.engine.stop().unwrap();
    // Its place is still taken: the stop came back before the load ended.
    let pool = fed.engine.metrics().model_pool;
    assert_eq!((pool.loaded, pool.loads), (2, 1), "{pool:?}");
    eventually("it ends after all", || (fed.engine.metrics().model_pool.loads == 2).then_some(()));
}

#[test]
fn flips_under_load_lose_no_prediction_and_leak_no_session() {
    let folder = Folder::new();
    let models = ["a", "b", "c", "d"];
    for model in models {
        for version in 1..=3 {
            // A content of its own for each.
            let graph = onnx::linear(1, 0.0, version as f32 + 10.0 * (model.as_bytes()[0] - b'a') as f32);
            folder.version(model, version, graph, "");
        }
        folder.promote(model, &[1]);
    }
    let flips = std::env::var("VELA_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(60_usize);
    let fed = Fed::with(&folder, |settings| {
        settings.models.look_interval_ms = 20;
        settings.model_pool_size = 6;
    });
    let Fed { engine, outcomes, series, next, .. } = fed;
    let (engine, done) = (Arc::new(engine), Arc::new(AtomicBool::new(false)));
    // Full load: bars as fast as the engine takes them.
    let feeder = {
        let (engine, done, series) = (Arc::clone(&engine), Arc::clone(&done), Arc::clone(&series));
        std::thread::spawn(move || {
            let mut bars = 0;
            while !done.load(Ordering::Relaxed) {
                let ts = Timestamp::from_secs(START + 60 * (next + bars));
                let close = 100.0 + (bars % 7) as f64;
                let bar = Bar { ts, open: close, high: close, low: close, close, volume: 1.0 };
                engine.ingest_series(&series, bar).unwrap();
                bars += 1;
                if bars % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            bars
        })
    };
    let drained = Arc::new(AtomicBool::new(false));
    let reader = {
        let done = Arc::clone(&drained);
        std::thread::spawn(move || {
            let mut all = 0_i64;
            loop {
                match outcomes.receiver().recv_timeout(Duration::from_millis(200)) {
                    Ok(outcome) => {
                        let prediction = outcome.result.unwrap_or_else(|refusal| panic!("{refusal}"));
                        let own = 10.0 * f64::from(prediction.model.as_bytes()[0] - b'a');
                        let own = own + f64::from(prediction.version);
                        assert_eq!(prediction.value, own, "who says it is who it says");
                        all += 1;
                    }
                    Err(_) if done.load(Ordering::Relaxed) => return (all, outcomes.missed()),
                    Err(_) => {}
                }
            }
        })
    };
    let served = |model: &str| -> u32 {
        let catalogue: Arc<Catalogue> = engine.catalogue();
        catalogue.models().iter().find(|m| &*m.name == model).unwrap().version().number
    };
    for flip in 0..flips {
        let model = models[flip % models.len()];
        let versions: &[u32] = [&[1, 2][..], &[1, 2, 3], &[1, 2], &[1]][flip / models.len() % 4];
        folder.promote(model, versions);
        let expected = *versions.last().unwrap();
        let begin = Instant::now();
        while served(model) != expected {
            assert!(begin.elapsed() < SOON, "{model} {versions:?}: {:#?}", engine.alerts());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    done.store(true, Ordering::Relaxed);
    let bars = feeder.join().unwrap();
    assert!(engine.drain(SOON));
    drained.store(true, Ordering::Relaxed);
    assert_eq!(engine.outcomes() as i64, (bars + next) * models.len() as i64);
    let (all, missed) = reader.join().unwrap();
    assert_eq!((all, missed), (bars * models.len() as i64, 0), "one for each bar and model");
    let pool = engine.metrics().model_pool;
    println!("{flips} flips, {bars} bars, {} loads, peak {}", pool.loads, pool.loaded_peak);
    assert!(pool.loaded_peak <= 6 && pool.loaded <= 6, "{pool:?}");
    // What is no longer promoted is no longer in memory.
    for model in models {
        folder.promote(model, &[1]);
    }
    eventually("sessions of withdrawn versions are gone", || {
        (engine.metrics().model_pool.loaded <= 4).then_some(())
    });
    engine.stop().unwrap();
}

#[test]
fn the_pools_bound_holds_at_every_moment_of_a_soak_over_many_models() {
    let folder = Folder::new();
    let number =
        |name: &str, default: usize| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let models = number("VELA_SOAK_MODELS", 200);
    let predictions = number("VELA_SOAK", 20_000);
    for model in 0..models {
        let symbol = format!("S{model}");
        let name = format!("m{model}");
        folder.version(&name, 1, onnx::linear(1, 0.0, model as f32), "");
        let toml =
            format!("symbol = \"{symbol}\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"ret_1\"]\n");
        folder.write(&format!("{name}/1/model.toml"), toml).promote(&name, &[1]);
    }
    let sessions_max = models / 20;
    let Fed { engine, outcomes, .. } = Fed::with(&folder, |settings| settings.model_pool_size = sessions_max);
    let all: Vec<Arc<SeriesKey>> =
        (0..models).map(|m| Arc::new(SeriesKey::new(&format!("S{m}"), Timeframe::MINUTE).unwrap())).collect();
    let mut bars = vec![0_i64; models];
    let mut random = crate::support::Random(7);
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let (mut came, mut first) = (0, None);
    let mut put = 0;
    while came < predictions {
        while put < came + 100 {
            let model = random.between(0, models - 1);
            let ts = Timestamp::from_secs(START + 60 * bars[model]);
            bars[model] += 1;
            let bar = Bar { ts, open: 1.0, high: 1.0, low: 1.0, close: 1.0, volume: 1.0 };
            engine.ingest_series(&all[model], bar).unwrap();
            put += 1;
        }
        let outcome = outcomes.receiver().recv_timeout(SOON).unwrap();
        came += 1;
        match outcome.result {
            Ok(prediction) => {
                assert_eq!(&*outcome.series.symbol, &format!("S{}", prediction.value));
            }
            Err(refusal) => assert_eq!(refusal.reason, Reason::WarmingUp, "{refusal}"),
        }
        if came == 5 * models.min(predictions / 5) {
            first = Some(resident());
        }
    }
    let pool = engine.metrics().model_pool;
    let (before, after) = (first.unwrap(), resident());
    println!(
        "{predictions} outcomes over {models} models, pool {sessions_max}: {} loads, peak {}; {before} kB, then {after} kB",
        pool.loads, pool.loaded_peak
    );
    // Other tests share the process: only a run by hand, of this one alone, says something of memory.
    if std::env::var_os("VELA_SOAK").is_some() {
        assert!(after * 10 <= before * 11, "memory grew by more than a tenth: {before} kB, then {after} kB");
    }
    assert!(pool.loaded_peak <= sessions_max && pool.loads > models as u64, "{pool:?}");
    engine.stop().unwrap();
}

#[test]
fn the_folder_may_be_read_by_name() {
    let error =
        Catalogue::read(Path::new("/no/such"), &vela::predict::Slots::default(), vela::feature::check);
    assert!(error.unwrap_err().contains("/no/such"));
}
