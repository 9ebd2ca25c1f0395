//! Sessions of many models: as many as may be, loaded when they are wanted, and the pool's bound at every moment.

use super::{flat_bar, size};
use crate::service_support::eventually;
use crate::support::serving::{Fed, Folder, SOON};
use crate::support::{Random, onnx};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use vela::Settings;
use vela::domain::{Reason, SeriesKey, Timeframe};
use vela::predict::{Keeper, Loading, Models};

/// Resident memory, in kB.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
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
