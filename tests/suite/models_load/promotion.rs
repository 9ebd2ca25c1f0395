//! Promotion under load: lists that change all the while lose no prediction and are obeyed at their moment.

use super::{flat_bar, size};
use crate::service_support::eventually;
use crate::support::onnx;
use crate::support::serving::{Fed, Folder, SOON};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use vela::domain::Outcome;
use vela::link::clock::now_ns;

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
