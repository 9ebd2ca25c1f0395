//! Slow models, and those that hang while they are loaded: each hurts only itself.

use super::put_hanging;
use crate::service_support::eventually;
use crate::support::onnx;
use crate::support::serving::{Fed, Folder, SOON};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use vela::domain::Outcome;

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
