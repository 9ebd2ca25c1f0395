//! Models under load: slow ones, hanging ones, hungry ones, many of them, and promotion all the while.

use crate::service_support::eventually;
use crate::support::serving::{Fed, Folder, SOON, START};
use crate::support::zoo::{broken_models, good_models};
use crate::support::{Random, onnx, put_model};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use vela::Settings;
use vela::domain::{Bar, Outcome, Reason, SeriesKey, Timeframe, Timestamp};
use vela::link::clock::now_ns;
use vela::predict::{Keeper, Loading, Models};

/// A number that the environment gives for the full size of a test.
fn size(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Resident memory, in kB.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn flat_bar(minute: i64, close: f64) -> Bar {
    let ts = Timestamp::from_secs(START + 60 * minute);
    Bar { ts, open: close, high: close, low: close, close, volume: 1.0 }
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

/// Goal: slow models take cores, never workers. Method: three of them, each run some 200 ms, and one worker a stage;
/// what the good one says comes before anything of theirs, of several bars.
#[test]
fn slow_models_leave_the_others_a_worker() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    for (n, model) in ["a_slow", "b_slow", "c_slow"].into_iter().enumerate() {
        let graph = onnx::slow_by(1, 2.5e6 + n as f32 * 1e5);
        folder.version(model, 1, graph, "").promote(model, &[1]);
    }
    let mut fed = Fed::with(&folder, |settings| {
        (settings.controller, settings.workers_initial, settings.workers_min) = (false, 1, 1);
        settings.predict.deadline_ms = 60_000;
    });
    let mut close = 100.0;
    let mut fall = |fed: &mut Fed| {
        close *= 0.99;
        fed.put(close);
    };
    // Once each, which shows how long they take.
    fall(&mut fed);
    fed.come(4);
    for round in 0..3 {
        (0..3).for_each(|_| fall(&mut fed));
        let model = |outcome: Outcome| outcome.result.map(|prediction| prediction.model.to_string());
        let models: Vec<_> = fed.come(12).into_iter().map(model).collect();
        assert!(models[..3].iter().all(|model| model.as_deref() == Ok("good")), "{round}: {models:?}");
    }
    fed.engine.stop().unwrap();
}

#[test]
fn a_model_that_is_slower_than_its_bars_come_answers_the_newest_and_holds_up_nobody() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    // A falling bar costs it some 40 ms, one that rises nothing.
    folder.version("slow", 1, onnx::slow_by(1, 5e5), "").promote("slow", &[1]);
    let mut fed = Fed::with(&folder, |settings| {
        settings.predict.overdue_ms = 2_000;
        settings.predict.deadline_ms = 30_000;
        // What the slow one would leave waiting fills it, and everything would stand still for a minute.
        settings.predict.queue_rows_max = 1_500;
    });
    let bars = 2_000;
    let begin = Instant::now();
    for n in 0..bars {
        fed.put(100.0 * 0.99_f64.powi(n));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(fed.engine.drain(SOON));
    println!("{bars} bars in {:?}", begin.elapsed());
    let mut counts = BTreeMap::new();
    for outcome in fed.come(2 * bars as usize) {
        let what = match outcome.result {
            Ok(prediction) => prediction.model.to_string(),
            Err(refusal) => {
                assert_eq!(refusal.model.as_deref(), Some("slow"), "{refusal}");
                assert!(refusal.detail.contains("predict.overdue_ms"), "{refusal}");
                refusal.reason.to_string()
            }
        };
        *counts.entry(what).or_insert(0) += 1;
    }
    assert_eq!(counts["good"], bars, "{counts:?}");
    assert!(counts["overdue"] > 0 && counts["slow"] > 0, "{counts:?}");
    assert_eq!(counts["overdue"] + counts["slow"], bars, "{counts:?}");
    // It is told once in a while, not of every bar; and what comes in time is run.
    assert_eq!(fed.engine.metrics().alerts["model_behind"], 1);
    fed.put(1e3);
    assert!(fed.come(2).iter().all(|outcome| outcome.result.is_ok()));
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
fn a_model_that_wants_too_much_memory_fails_alone_and_before_it_has_it() {
    let folder = Folder::new();
    folder.says_itself("good", 1).promote("good", &[1]);
    // Tensors that no machine has: whoever made them would be ended, and this test with it.
    for (model, graph) in [
        ("answers", onnx::grows(1, 1 << 40, false)),
        ("inside", onnx::grows(1, 1 << 40, true)),
        ("loading", onnx::folds(1, 1 << 40)),
        // 1.6 GB, which there may well be: it is not folded while it is loaded, and refused when it is run.
        ("folded", onnx::folds(1, 400_000_000)),
    ] {
        folder.version(model, 1, graph, "").promote(model, &[1]);
    }
    let mut fed = Fed::start(&folder);
    for n in 0..20 {
        fed.put(100.0 + f64::from(n));
        for outcome in fed.come(5) {
            match outcome.result {
                Ok(prediction) => assert_eq!(&*prediction.model, "good"),
                Err(refusal) => {
                    assert_eq!(refusal.reason, Reason::ModelUnavailable, "{refusal}");
                    assert!(refusal.detail.contains("predict.run_memory_max_mb"), "{refusal}");
                }
            }
        }
    }
    assert_eq!(fed.engine.metrics().model_pool.models["good"].predictions_count, 20);
    fed.engine.stop().unwrap();
}

#[test]
fn every_broken_model_of_the_zoo_fails_alone_and_says_why() {
    let broken = broken_models();
    let Some(good) = good_models().into_iter().find(|model| model.name == "torch_mlp_a") else { return };
    let folder = Folder::new();
    good.put(&folder.path(""), "*", "1m");
    let features = &good.meta["features"];
    for model in &broken {
        let toml = format!("symbol = \"*\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = {features}\n");
        put_model(&folder.path(""), &model.name, &model.folder, &["model.onnx"], &toml);
    }
    let expected: BTreeMap<&str, (Reason, &str)> = BTreeMap::from([
        ("broken_empty_output", (Reason::ModelUnavailable, "holds no value")),
        ("broken_external_missing", (Reason::ModelUnavailable, "`weights.bin`, which is missing")),
        ("broken_f64_invalid_export", (Reason::ModelUnavailable, "TreeEnsembleRegressor")),
        ("broken_huge_output", (Reason::ModelUnavailable, "more than 4096 values a row")),
        ("broken_nan_output", (Reason::OutputNotFinite, "answered NaN")),
        ("broken_opset_too_new", (Reason::ModelUnavailable, "Opset 99")),
        ("broken_random_bytes", (Reason::ModelUnavailable, "protobuf")),
        ("broken_string_input", (Reason::ModelUnavailable, "string")),
        ("broken_truncated", (Reason::ModelUnavailable, "protobuf")),
        ("broken_unknown_op", (Reason::ModelUnavailable, "MagicSignal")),
        ("broken_very_slow", (Reason::ModelTimeout, "longer than 200 ms")),
        ("broken_wrong_declared_shape", (Reason::ModelUnavailable, "column = 0 to 2")),
        ("broken_wrong_width", (Reason::ModelUnavailable, "it takes 26")),
        ("broken_zero_bytes", (Reason::ModelUnavailable, "is empty")),
    ]);
    let Fed { engine, outcomes, series, next, .. } =
        Fed::with(&folder, |settings| settings.predict.deadline_ms = 200);
    let (mut random, mut close) = (Random(3), 100.0);
    let mut bar = |minute: i64| {
        let open = close;
        let mut step = |most: f64| (random.next() % 1000) as f64 / 1000.0 * most;
        close *= 0.99 + step(0.02);
        let (high, low) = (open.max(close) + step(0.5), open.min(close) - step(0.5));
        let ts = Timestamp::from_secs(START + 60 * minute);
        Bar { ts, open, high, low, close, volume: 1.0 + step(10.0) }
    };
    let bars = 600;
    for minute in next..next + bars {
        engine.ingest_series(&series, bar(minute)).unwrap();
    }
    assert!(engine.drain(SOON));
    let mut seen: BTreeMap<String, Vec<Outcome>> = BTreeMap::new();
    for outcome in outcomes.receiver().try_iter() {
        let model = match &outcome.result {
            Ok(prediction) => &prediction.model,
            Err(refusal) if refusal.reason == Reason::WarmingUp => continue,
            Err(refusal) => refusal.model.as_ref().unwrap_or_else(|| panic!("{refusal}")),
        };
        seen.entry(model.to_string()).or_default().push(outcome);
    }
    let answered = seen["torch_mlp_a"].len();
    assert!(answered > 100, "{answered}");
    assert!(seen["torch_mlp_a"].iter().all(|outcome| outcome.result.is_ok()));
    for model in &broken {
        let outcomes = &seen[&model.name];
        assert_eq!(outcomes.len(), answered, "{}: each bar has its prediction or its reason", model.name);
        for outcome in outcomes {
            match (expected.get(model.meta["kind"].as_str().unwrap()), &outcome.result) {
                (Some((reason, part)), Err(refusal)) => {
                    assert_eq!(refusal.reason, *reason, "{refusal}");
                    assert!(refusal.detail.contains(part), "{refusal}");
                }
                // It works one row at a time, and is run so.
                (None, Ok(_)) => assert_eq!(model.meta["kind"], "broken_reshape_fixed"),
                (_, result) => panic!("{}: {result:?}", model.name),
            }
        }
    }
    // Who is batched and why shows in the metrics.
    let models = engine.metrics().model_pool.models;
    assert_eq!(models["torch_mlp_a"].batch_rows_max, Some(100), "{:?}", models["torch_mlp_a"]);
    let fixed = models.iter().find(|(name, _)| name.starts_with("broken_reshape_fixed")).unwrap().1;
    assert_eq!(fixed.batch_rows_max, Some(1));
    assert!(fixed.batching.as_ref().unwrap().contains("a batch of 2 fails"), "{fixed:?}");
    assert_eq!((fixed.version, fixed.standing, fixed.loaded), (Some(1), Some("good"), Some(true)));
    let empty = models.iter().find(|(name, _)| name.starts_with("broken_zero_bytes")).unwrap().1;
    assert!(empty.failure.as_ref().unwrap().contains("is empty"), "{empty:?}");
    engine.stop().unwrap();
}

#[test]
fn a_run_gets_the_memory_that_is_configured_and_no_more() {
    let folder = Folder::new();
    // 40 MB at a time, a row.
    folder.version("m", 1, onnx::grows(1, 10_000_000, true), "").promote("m", &[1]);
    for (run_memory_max_mb, enough) in [(64, true), (32, false)] {
        let mut fed = Fed::with(&folder, |settings| {
            settings.predict.run_memory_max_mb = run_memory_max_mb;
            settings.predict.deadline_ms = 30_000;
        });
        for _ in 0..3 {
            assert_eq!(
                fed.bar(true).result.is_ok(),
                enough,
                "{run_memory_max_mb}: {:?}",
                fed.engine.alerts()
            );
        }
        fed.engine.stop().unwrap();
    }
}

#[test]
fn a_hot_model_is_run_by_as_many_workers_as_it_may_have_sessions() {
    for sessions_per_model_max in [1, 2] {
        let folder = Folder::new();
        // A falling bar costs it some 20 ms.
        folder.version("m", 1, onnx::slow_by(1, 1e5), "").promote("m", &[1]);
        let fed = Fed::with(&folder, |settings| {
            settings.predict.sessions_per_model_max = sessions_per_model_max;
            settings.predict.deadline_ms = 30_000;
            settings.workers_initial = 2;
            // A turn takes so many: the next worker comes for what is beyond.
            (settings.batch_size_initial, settings.batch_size_max) = (4, 4);
        });
        let all: Vec<Arc<SeriesKey>> =
            (0..8).map(|n| Arc::new(SeriesKey::new(&format!("S{n}"), Timeframe::MINUTE).unwrap())).collect();
        for minute in 0..8 {
            for series in &all {
                fed.engine
                    .ingest_series(series, flat_bar(minute, 100.0 * 0.99_f64.powi(minute as i32)))
                    .unwrap();
            }
        }
        assert!(fed.engine.drain(SOON));
        let metrics = fed.engine.metrics();
        assert_eq!(metrics.model_pool.loaded, sessions_per_model_max, "{:?}", metrics.model_pool);
        assert_eq!(metrics.model_pool.models["m"].predictions_count, 7 * 8, "{:?}", metrics.reasons);
        fed.engine.stop().unwrap();
    }
}

#[test]
fn a_session_is_loaded_again_before_a_long_bar_closes_and_a_pinned_one_at_once() {
    let folder = Folder::new();
    let toml = |timeframe: &str, more: &str| {
        format!("symbol = \"*\"\ntimeframe = {timeframe:?}\nhorizon = 1\nfeatures = [\"ret_1\"]\n{more}")
    };
    let put = |model: &str, constant: f32, toml: String| {
        folder.write(&format!("{model}/1/model.onnx"), onnx::linear(1, 0.0, constant));
        folder.write(&format!("{model}/1/model.toml"), toml).promote(model, &[1]);
    };
    put("hours", 1.0, toml("1h", ""));
    put("minutes", 2.0, toml("1m", ""));
    put("pinned", 3.0, toml("1m", "pinned = true\n"));
    let mut settings = Settings::default();
    settings.models.path = folder.path("");
    let models = Arc::new(Models::open(&settings, vela::feature::check, &mut |_| {}).unwrap());
    let close_ms = 1_700_002_800_000;
    let now_ms = Arc::new(AtomicI64::new(close_ms - 10_000));
    let clock = Arc::clone(&now_ms);
    let keeper = Keeper::start(
        Arc::clone(&models),
        Duration::from_millis(10),
        move || clock.load(Ordering::Relaxed),
        || {},
    );
    let loaded = |name: &str| {
        let catalogue = models.catalogue();
        let model = catalogue.models().iter().find(|model| &*model.name == name).unwrap();
        model.version().content().unwrap().slot.is_loaded()
    };
    // It has looked at all of them by then.
    eventually("the pinned one is loaded", || loaded("pinned").then_some(()));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!loaded("hours") && !loaded("minutes"), "nothing asks for them");
    now_ms.store(close_ms - 1_500, Ordering::Relaxed);
    eventually("the hour closes soon", || loaded("hours").then_some(()));
    assert!(!loaded("minutes"));
    // It is where its bar finds it without loading.
    let catalogue = models.catalogue();
    let content = catalogue.models()[0].version().content().unwrap();
    assert!(models.pool.with(content, Loading::Elsewhere, |_| ()).unwrap().is_some());
    drop(keeper);
}

/// What one model's list said, and between when, on the clock of an outcome's stamps.
struct InForce {
    version: u32,
    /// The list was about to be renamed into its place.
    from_ns: u64,
    /// The one after it was seen to serve.
    until_ns: u64,
}

/// The versions that may have answered between two moments.
fn allowed(log: &[InForce], from_ns: u64, until_ns: u64) -> Vec<u32> {
    let first = log.partition_point(|list| list.until_ns < from_ns);
    let overlapping = log[first..].iter().take_while(|list| list.from_ns <= until_ns);
    overlapping.map(|list| list.version).collect()
}

fn quantiles_ms(mut latencies_ns: Vec<u64>) -> [f64; 3] {
    latencies_ns.sort_unstable();
    let at = |share: f64| latencies_ns[((latencies_ns.len() - 1) as f64 * share) as usize] as f64 / 1e6;
    [at(0.5), at(0.99), at(1.0)]
}

#[test]
fn flips_under_load_lose_no_prediction_are_obeyed_at_their_moment_and_leak_no_session() {
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
    let flips = size("VELA_FLIPS", 60);
    let Fed { engine, outcomes, series, next, .. } = Fed::with(&folder, |settings| {
        settings.models.look_interval_ms = 20;
        settings.model_pool_size = 6;
        // Short enough that a pause would show, long enough for a machine with other work.
        settings.max_latency_ms = 2_000;
    });
    let (engine, done, drained) =
        (Arc::new(engine), Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    // As much load as leaves no queue: what waits for its turn anyway would hide a pause.
    let feeder = {
        let (engine, done, series) = (Arc::clone(&engine), Arc::clone(&done), Arc::clone(&series));
        std::thread::spawn(move || {
            let mut bars = 0;
            while !done.load(Ordering::Relaxed) {
                engine.ingest_series(&series, flat_bar(next + bars, 100.0 + (bars % 7) as f64)).unwrap();
                bars += 1;
                if bars % 10 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            bars
        })
    };
    let reader = {
        let drained = Arc::clone(&drained);
        std::thread::spawn(move || {
            // Version, when it could have been run, and how late it was.
            let mut answers: BTreeMap<String, Vec<(u32, u64, u64, u64)>> = BTreeMap::new();
            loop {
                match outcomes.receiver().recv_timeout(Duration::from_millis(200)) {
                    Ok(Outcome { result, stamps, .. }) => {
                        let prediction = result.unwrap_or_else(|refusal| panic!("{refusal}"));
                        let own = 10.0 * f64::from(prediction.model.as_bytes()[0] - b'a');
                        let own = own + f64::from(prediction.version);
                        assert_eq!(prediction.value, own, "who says it is who it says");
                        let latency_ns = stamps.predicted_ns - stamps.arrived_ns;
                        let answer =
                            (prediction.version, stamps.featured_ns, stamps.predicted_ns, latency_ns);
                        answers.entry(prediction.model.to_string()).or_default().push(answer);
                    }
                    Err(_) if drained.load(Ordering::Relaxed) => return (answers, outcomes.missed()),
                    Err(_) => {}
                }
            }
        })
    };
    let served = |model: &str| -> u32 {
        let catalogue = engine.catalogue();
        catalogue.models().iter().find(|m| &*m.name == model).unwrap().version().number
    };
    // Without a flip at first, for the latencies to compare with.
    let quiet_until = {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(10 * flips as u64) {
            std::thread::sleep(Duration::from_millis(5));
        }
        now_ns()
    };
    // The log is this test's own: what it wrote, and when it saw it in force.
    let mut log: BTreeMap<&str, Vec<InForce>> = BTreeMap::new();
    for model in models {
        log.insert(model, vec![InForce { version: 1, from_ns: 0, until_ns: u64::MAX }]);
    }
    for flip in 0..flips {
        let model = models[flip % models.len()];
        let versions: &[u32] = [&[1, 2][..], &[1, 2, 3], &[1, 2], &[1]][flip / models.len() % 4];
        let version = *versions.last().unwrap();
        let from_ns = now_ns();
        folder.promote(model, versions);
        let begin = Instant::now();
        while served(model) != version {
            assert!(begin.elapsed() < SOON, "{model} {versions:?}: {:#?}", engine.alerts());
            std::thread::sleep(Duration::from_millis(1));
        }
        let log = log.get_mut(model).unwrap();
        log.last_mut().unwrap().until_ns = now_ns();
        log.push(InForce { version, from_ns, until_ns: u64::MAX });
    }
    done.store(true, Ordering::Relaxed);
    let bars = feeder.join().unwrap();
    assert!(engine.drain(SOON));
    drained.store(true, Ordering::Relaxed);
    assert_eq!(engine.outcomes() as i64, (bars + next) * models.len() as i64);
    let (answers, missed) = reader.join().unwrap();
    assert_eq!(missed, 0);
    let (mut sure, mut quiet, mut flipping) = (0, Vec::new(), Vec::new());
    for model in models {
        let answers = &answers[model];
        assert_eq!(answers.len() as i64, bars, "{model}: one for each bar");
        for &(version, from_ns, until_ns, latency_ns) in answers {
            let may = allowed(&log[model], from_ns, until_ns);
            assert!(may.contains(&version), "{model}: version {version} answered when {may:?} was promoted");
            sure += usize::from(may.iter().all(|one| *one == version));
            if until_ns < quiet_until { &mut quiet } else { &mut flipping }.push(latency_ns);
        }
    }
    let all = quiet.len() + flipping.len();
    let metrics = engine.metrics();
    println!(
        "{flips} flips, {bars} bars, {all} predictions, {sure} of them while one version alone could answer; \
         arrived to predicted, ms p50, p99, max: {:.3?} before the flips, {:.3?} during them; {} loads, peak {}",
        quantiles_ms(quiet),
        quantiles_ms(flipping),
        metrics.model_pool.loads,
        metrics.model_pool.loaded_peak
    );
    assert!(sure * 2 > all, "{sure} of {all}: the log says too little");
    assert_eq!(metrics.performance.late_predictions, 0, "{:?}", metrics.performance);
    assert!(!metrics.alerts.contains_key("model_failed"), "{:?}", engine.alerts());
    let pool = &metrics.model_pool;
    assert!(pool.loaded_peak <= 6 && pool.loaded <= 6, "{pool:?}");
    // What is no longer promoted is no longer in memory, and each session that was ever loaded is gone or counted.
    for model in models {
        folder.promote(model, &[1]);
    }
    eventually("sessions of withdrawn versions are gone", || {
        let pool = engine.metrics().model_pool;
        (pool.loaded <= models.len() && pool.loads - pool.releases == pool.loaded as u64).then_some(())
    });
    engine.stop().unwrap();
}

#[test]
fn the_pools_bound_holds_at_every_moment_of_a_soak_over_many_models() {
    let folder = Folder::new();
    let (models, predictions) = (size("VELA_SOAK_MODELS", 200), size("VELA_SOAK", 20_000));
    for model in 0..models {
        let name = format!("m{model}");
        folder.version(&name, 1, onnx::linear(1, 0.0, model as f32), "");
        let toml =
            format!("symbol = \"S{model}\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"ret_1\"]\n");
        folder.write(&format!("{name}/1/model.toml"), toml).promote(&name, &[1]);
    }
    let sessions_max = models / 20;
    let Fed { engine, outcomes, .. } = Fed::with(&folder, |settings| settings.model_pool_size = sessions_max);
    let all: Vec<Arc<SeriesKey>> =
        (0..models).map(|m| Arc::new(SeriesKey::new(&format!("S{m}"), Timeframe::MINUTE).unwrap())).collect();
    // The first bar of each has no return, and so no prediction.
    for series in &all {
        engine.ingest_series(series, flat_bar(0, 1.0)).unwrap();
        assert_eq!(
            outcomes.receiver().recv_timeout(SOON).unwrap().result.unwrap_err().reason,
            Reason::WarmingUp
        );
    }
    let mut bars = vec![1_i64; models];
    let mut random = Random(7);
    let (mut put, mut came, mut first) = (0, 0, None);
    let begin = Instant::now();
    while came < predictions {
        while put < predictions && put < came + 100 {
            let model = random.between(0, models - 1);
            engine.ingest_series(&all[model], flat_bar(bars[model], 1.0)).unwrap();
            bars[model] += 1;
            put += 1;
        }
        let outcome = outcomes.receiver().recv_timeout(SOON).unwrap();
        let prediction = outcome.result.unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(&*outcome.series.symbol, &format!("S{}", prediction.value));
        came += 1;
        if came % 100 == 0 {
            let pool = engine.metrics().model_pool;
            assert!(pool.loaded <= sessions_max, "{pool:?}");
            if first.is_none() && pool.loads >= models as u64 {
                first = Some((pool.loads, resident_kb()));
            }
        }
    }
    let pool = engine.metrics().model_pool;
    let ((first_loads, before), after) = (first.unwrap(), resident_kb());
    println!(
        "{came} predictions over {models} models in {:.0?}, pool {sessions_max}: {} loads, {} evictions, peak {}; \
         {before} kB after {first_loads} loads, {after} kB at the end ({:+.1} %)",
        begin.elapsed(),
        pool.loads,
        pool.evictions,
        pool.loaded_peak,
        (after as f64 / before as f64 - 1.0) * 100.0
    );
    // Other tests share the process: only a run by hand, of this one alone, says something of memory.
    if std::env::var_os("VELA_SOAK").is_some() {
        assert!(after * 10 <= before * 11, "memory grew by more than a tenth: {before} kB, then {after} kB");
    }
    assert!(pool.loaded_peak <= sessions_max && pool.loads > models as u64, "{pool:?}");
    assert_eq!(pool.loads - pool.releases, pool.loaded as u64, "{pool:?}");
    engine.stop().unwrap();
}
