//! An open loop around the real engine: a bar's latency counts from when it was due, whether or not the engine was
//! ready to take it, so that a stall is seen by all bars that were due in it.
//!
//! `perf/load steps DIR` measures what the engine can keep up with, then offers 10 %, 90 % and 10 % of it, 20 s each.
//! `perf/load overload DIR` offers three times what it takes for 60 s (`VELA_OVERLOAD_S`), with volumes
//! spread by a power law, then a tenth. Further words, in this order: `light`, so that the models are those of the demo,
//! where the way of a bar costs as much as its predictions (otherwise there is one whose rows take a fifth of a
//! millisecond each, as larger models do); and what becomes of stale bars: `supersede` (without a word), `predict`, or
//! `drop`: only what waited no longer than four fifths of the budget is predicted (`predict.overdue_ms`). Both write a
//! CSV with a line for every quarter of a second and an SVG plot of it into DIR, and print a summary. A bar counts where
//! it was due.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../tests/suite/support/onnx.rs"]
#[allow(dead_code)]
mod onnx;
mod plot;
mod rig;
mod stages;
mod watch;

use hdrhistogram::Histogram;
use rig::{BUDGET_MS, OVERDUE_MS, Phase, Rig, SERIES, TOP};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use vela::config::Stale;
use watch::{Line, watch};

fn run(mode: &str, folder: &Path, light: bool, stale: &str) {
    // What is superseded is not answered: what can be is measured where nothing is.
    let mut rig = Rig::new(Stale::Predict, 0, light);
    let (taken, generator) = rig.capacity();
    // Bars that come one by one cost more than bars of which always some wait: what is taken is not what can be kept up with.
    let capacity = if mode == "steps" { rig.kept_up(taken) } else { taken };
    if mode == "overload" {
        rig.engine.stop().unwrap();
        rig = match stale {
            "predict" => Rig::new(Stale::Predict, 0, light),
            "drop" => Rig::new(Stale::Predict, OVERDUE_MS, light),
            _ => Rig::new(Stale::Supersede, 0, light),
        };
    }
    println!(
        "capacity: {capacity:.0} bars/s of {SERIES} series, {taken:.0} where always some wait, budget {BUDGET_MS} ms; putting \
         them in took {:.0} % of a core",
        generator * 100.0
    );
    let overload_s = std::env::var("VELA_OVERLOAD_S").map_or(60, |seconds| seconds.parse().unwrap());
    let shares: &[(f64, u64)] = match mode {
        "steps" => &[(0.1, 20), (0.9, 20), (0.1, 20)],
        _ => &[(0.1, 5), (3.0, overload_s), (0.1, 15)],
    };
    let mut from_ns = rig.due.now_ns() + 1_000_000_000;
    let phases: Vec<Phase> = shares
        .iter()
        .map(|(share, seconds)| {
            let phase = Phase {
                share: *share,
                per_s: capacity * share,
                from_ns,
                to_ns: from_ns + seconds * 1_000_000_000,
            };
            from_ns = phase.to_ns;
            phase
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(&rig, phases.clone(), Arc::clone(&stop));
    let offered: Vec<(u64, f64)> = phases.iter().map(|phase| rig.offer(phase)).collect();
    assert!(rig.engine.drain(Duration::from_secs(60)));
    stop.store(true, Ordering::Relaxed);
    let report = watching.join().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let words = ["load", mode, if light { "light" } else { "" }, stale];
    let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
    plot::csv(&folder.join(format!("{name}.csv")), &report.lines);
    plot::svg(&folder.join(format!("{name}.svg")), &report.lines, &name);
    println!(
        "{:>6}{:>12}{:>12}{:>12}{:>12}{:>14}{:>14}{:>10}{:>12}{:>10}{:>12}",
        "share",
        "predictions",
        "p50 ms",
        "p99 ms",
        "worst ms",
        "top p99 ms",
        "p99 from 5 s",
        "back in s",
        "shed",
        "deepest",
        "memory MiB"
    );
    let begin_ns = phases[0].from_ns;
    for (phase, latencies) in phases.iter().zip(&report.phases) {
        let at = |ns: u64| (ns - begin_ns) as f64 / 1e9;
        let within = |line: &&Line| (at(phase.from_ns)..at(phase.to_ns)).contains(&line.second);
        let worst = |of: fn(&Line) -> f64| report.lines.iter().filter(within).map(of).fold(0.0, f64::max);
        let late = report.lines.iter().filter(within).rfind(|line| line.p99_ms > BUDGET_MS as f64);
        let ms = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        println!(
            "{:>6}{:>12}{:>12.2}{:>12.2}{:>12.2}{:>14.2}{:>14.2}{:>10.2}{:>12}{:>10.0}{:>12.0}",
            phase.share,
            latencies.all.len(),
            ms(&latencies.all, 0.5),
            ms(&latencies.all, 0.99),
            ms(&latencies.all, 1.0),
            ms(&latencies.top, 0.99),
            ms(&latencies.settled, 0.99),
            late.map_or(0.0, |line| line.second - at(phase.from_ns)),
            report.lines.iter().filter(within).map(|line| line.shed).sum::<u64>(),
            worst(|line| line.depth as f64),
            worst(|line| line.memory_mb),
        );
    }
    println!("where the time went, p50 / p99 in ms:");
    for (phase, latencies) in phases.iter().zip(&report.phases) {
        let [top, others] = &latencies.parts;
        println!("{:>6} top tenth: {}\n{:>6}    others: {}", phase.share, top.line(), "", others.line());
    }
    println!(
        "back in: how long after the step a quarter of a second had its 99th percentile above the budget last"
    );
    for (phase, (behind_ns, generator)) in phases.iter().zip(&offered) {
        println!(
            "{:>6}: the last bar went in {:.0} ms behind its time; putting them in took {:.0} % of a core",
            phase.share,
            *behind_ns as f64 / 1e6,
            generator * 100.0
        );
    }
    let longest = |of: &[u64]| of.iter().max().copied().unwrap_or(0) as f64 / 1e9;
    println!(
        "the longest that a symbol had no prediction: {:.2} s, of the top tenth {:.2} s",
        longest(&report.longest_ns),
        longest(&report.longest_ns[..TOP])
    );
    println!("changes by the controller: {}", rig.engine.metrics().controller.decisions);
    for decision in rig.engine.decisions().iter().filter(|decision| decision.what == "batch_rows") {
        println!("  batch limit {} -> {}: {}", decision.from, decision.to, decision.seen);
    }
    rig.engine.stop().unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [mode @ ("steps" | "overload"), folder, rest @ ..] => {
            let light = rest.first() == Some(&"light");
            let stale = rest.last().copied().filter(|word| *word != "light").unwrap_or_default();
            assert!(["", "supersede", "predict", "drop"].contains(&stale), "{stale}");
            run(mode, &PathBuf::from(folder), light, stale);
        }
        _ => println!("load: `perf/load steps|overload DIR [light] [supersede|predict|drop]`"),
    }
}
