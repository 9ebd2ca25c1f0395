//! The controller: its policy in a seeded simulation against files of offered load, against every fixed setting, and
//! its thread in a real engine.

mod scenario;
mod sim;

use crate::service_support::{MODELS, eventually, market};
use scenario::{Scenario, read_all};
use sim::{Run, Sim, Who};
use std::fmt::Write as _;
use std::path::Path;
use vela::config::{SourceKind, StoreUrl};
use vela::{Engine, Settings};

const STAGES: [&str; 4] = ["ingest", "feature", "predict", "persist"];

fn scenarios() -> Vec<Scenario> {
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/control/scenarios"))
}

/// What of a run is not as its scenario expects it.
fn wrong(scenario: &Scenario, run: &Run) -> String {
    let mut wrong = String::new();
    let mut say = |text: String| writeln!(wrong, "{}: {text}", scenario.name).unwrap();
    let expect = &scenario.expect;
    if run.p99_ms() > expect.p99_ms {
        say(format!("p99 is {:.1} ms, {} are allowed", run.p99_ms(), expect.p99_ms));
    }
    if run.changes.len() > expect.changes {
        say(format!("{} changes, {} are allowed: {:?}", run.changes.len(), expect.changes, run.changes));
    }
    let late = run.changes.iter().filter(|change| change.0 > scenario.seconds / 2.0).count();
    if expect.changes_late.is_some_and(|allowed| late > allowed) {
        say(format!("{late} changes in the second half"));
    }
    for (second, widths) in &run.widths {
        let outside = widths.iter().any(|width| !(1..=scenario.workers_max).contains(width));
        if outside || widths[..3].iter().sum::<usize>() > run.core_budget {
            say(format!("at {second}: {widths:?} are out of bounds (core budget {})", run.core_budget));
        }
        for workers in &expect.workers {
            let stage = STAGES.iter().position(|name| *name == workers.stage).unwrap();
            let [least, most] = workers.allowed;
            if (workers.from..workers.to).contains(second) && !(least..=most).contains(&widths[stage]) {
                say(format!(
                    "at {second}: {} has {} workers, not {least} to {most}",
                    workers.stage, widths[stage]
                ));
            }
        }
    }
    // At most one change of a stage in two intervals; giving way to another stage may come at once.
    for (stage, name) in STAGES.iter().enumerate() {
        let of_stage: Vec<_> = run.changes.iter().filter(|change| change.1 == stage).collect();
        for pair in of_stage.windows(2) {
            if pair[1].0 - pair[0].0 < 0.499 && pair[1].3 > pair[1].2 {
                say(format!("{name} changed twice within a dwell: {pair:?}"));
            }
        }
    }
    for (model, [least, most]) in &expect.batch {
        let rows = run.batch[model.parse::<usize>().unwrap()];
        if !(least..=most).contains(&&rows) {
            say(format!("model {model} has batches of {rows} at the end, not {least} to {most}"));
        }
    }
    wrong
}

#[test]
fn every_scenario_stays_in_its_allowed_ranges() {
    let mut all_wrong = String::new();
    for scenario in scenarios() {
        let run = Sim::run(&scenario, Who::Controller);
        let again = Sim::run(&scenario, Who::Controller);
        assert_eq!(run.latencies, again.latencies, "{}: a seed gives one run", scenario.name);
        println!(
            "{:>14}: p99 {:9.2} ms, {} bars, changes {:?}",
            scenario.name,
            run.p99_ms(),
            run.latencies.len(),
            run.changes
        );
        all_wrong += &wrong(&scenario, &run);
    }
    assert!(all_wrong.is_empty(), "{all_wrong}");
}

/// Fixed settings: the defaults, the same for every stage, and more for the stages that cost most. The whole grid
/// with `VELA_CONTROL_GRID=full`.
fn fixed() -> Vec<Who> {
    let full = std::env::var("VELA_CONTROL_GRID").is_ok_and(|value| value == "full");
    let mut all = Vec::new();
    let rows: &[usize] = if full { &[1, 10, 30, 100] } else { &[10, 100] };
    for rows in rows {
        let each: &[usize] = if full { &[1, 2, 3, 4, 6, 8] } else { &[2, 8] };
        all.extend(each.iter().map(|n| Who::Fixed([*n; 4], *rows)));
        let most: &[[usize; 2]] = if full {
            &[
                [1, 2],
                [1, 3],
                [1, 4],
                [2, 3],
                [2, 4],
                [3, 2],
                [3, 3],
                [3, 4],
                [4, 2],
                [4, 3],
                [1, 6],
                [2, 6],
                [4, 6],
            ]
        } else {
            &[[1, 4], [3, 4]]
        };
        all.extend(most.iter().map(|[feature, predict]| Who::Fixed([1, *feature, *predict, 1], *rows)));
    }
    all
}

/// The whole set, on the 99th percentile: the geometric mean over all scenarios of what each setting needs.
#[test]
fn over_the_whole_set_no_fixed_setting_is_better_by_a_tenth() {
    let (scenarios, fixed) = (scenarios(), fixed());
    let p99_ms = |who: Who| -> Vec<f64> { scenarios.iter().map(|s| Sim::run(s, who).p99_ms()).collect() };
    let mean = |all: &[f64]| (all.iter().map(|ms| ms.ln()).sum::<f64>() / all.len() as f64).exp();
    let controlled = p99_ms(Who::Controller);
    let mut of_fixed: Vec<(Who, Vec<f64>)> = fixed.into_iter().map(|who| (who, p99_ms(who))).collect();
    of_fixed.sort_by(|a, b| mean(&a.1).total_cmp(&mean(&b.1)));
    let mut table = String::from("p99 in ms from due to stored; workers of each stage, rows a batch\n");
    let mut line = |name: &str, all: &[f64]| {
        write!(table, "{name:<24}").unwrap();
        all.iter().for_each(|ms| write!(table, "{ms:>11.2}").unwrap());
        writeln!(table, "{:>11.2}", mean(all)).unwrap();
    };
    line("controller", &controlled);
    for (who, all) in &of_fixed {
        line(&format!("{who:?}"), all);
    }
    let best_each: Vec<f64> = (0..scenarios.len())
        .map(|n| of_fixed.iter().map(|(_, all)| all[n]).fold(f64::MAX, f64::min))
        .collect();
    line("best fixed of each", &best_each);
    let head: String = scenarios.iter().map(|s| format!("{:>11}", s.name)).collect();
    println!("{:<24}{head}  geo. mean\n{table}", "");
    let best = mean(&of_fixed[0].1);
    assert!(mean(&controlled) <= best * 1.1, "{} against {best} of {:?}", mean(&controlled), of_fixed[0].0);
}

/// The thread in a real engine: what is set by hand stays, what is released follows the load, each change is kept with
/// what was seen.
#[test]
fn workers_set_by_hand_stay_until_they_are_released() {
    let mut settings = Settings::default();
    settings.models.path = MODELS.into();
    settings.source.kind = SourceKind::None;
    settings.store.url = StoreUrl::None;
    settings.controller_interval_ms = 10;
    // One for each stage that computes: the others have to go.
    settings.core_budget = 3;
    let engine = Engine::start(settings).unwrap();
    assert_eq!(engine.set_workers("predict", 2), Some(2));
    let workers = |stage: &str| engine.metrics().stages[stage].workers;
    eventually("the budget", || (workers("ingest") == 1 && workers("feature") == 1).then_some(()));
    assert_eq!((workers("predict"), workers("persist")), (2, 2), "by hand, and no reason to change");
    assert_eq!(engine.metrics().controller.pinned, ["predict"]);
    assert!(engine.release_workers("predict") && !engine.release_workers("nosuch"));
    eventually("the budget", || (workers("predict") == 1).then_some(()));
    let bars = market(4, 500);
    bars.iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
    let decisions = engine.decisions();
    for stage in ["ingest", "feature", "predict"] {
        let of_stage = |d: &&vela::control::Decision| d.subject == stage && d.what == "workers";
        let decision = decisions.iter().find(of_stage).unwrap();
        assert_eq!((decision.from, decision.to, decision.why.word()), (2, 1, "core_budget"));
        let json = serde_json::to_value(decision).unwrap();
        assert!(json["seen"]["wait_max_us"].is_number() && json["why"] == "core_budget", "{json}");
    }
    let controller = engine.metrics().controller;
    assert!(controller.enabled && controller.pinned.is_empty() && controller.core_budget == 3);
    assert!(controller.decisions >= 3 && controller.batch_rows.values().all(|rows| *rows >= 1));
    assert!(!controller.batch_rows.is_empty());
    engine.stop().unwrap();
}

#[test]
fn without_the_controller_everything_stays_as_configured() {
    let mut settings = Settings::default();
    settings.models.path = MODELS.into();
    settings.source.kind = SourceKind::None;
    settings.store.url = StoreUrl::None;
    settings.controller = false;
    settings.controller_interval_ms = 10;
    settings.core_budget = 3;
    let engine = Engine::start(settings).unwrap();
    market(4, 300).iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
    assert!(engine.drain(std::time::Duration::from_secs(60)));
    let metrics = engine.metrics();
    assert!(metrics.stages.values().all(|stage| stage.workers == 2));
    assert!(metrics.controller.batch_rows.values().all(|rows| *rows == 100) && !metrics.controller.enabled);
    assert_eq!(engine.decisions(), []);
    engine.stop().unwrap();
}
