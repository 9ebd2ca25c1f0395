//! What models cost, and what they do to each other: `cargo bench --bench models`, or the command `perf/models`.
//!
//! - `costs`: for each kind of the zoo the memory and the time of a session, a run of 1, 8 and 32 rows by ONNX Runtime
//!   alone, what a session of vela adds to it (laying rows out, reading values), and what the whole engine adds to one
//!   bar: wake-up, order, features, queues, until its prediction is at the store.
//! - `disturbance`: how late the predictions of other models are while a very slow one runs without a pause, and
//!   while versions are promoted and rolled back all the time, in turn with an undisturbed engine.
//!
//! What is compared is timed in turn, round after round, so that the machine's moods meet all alike. A regression
//! here means that every prediction is later, or that one model's owner pays for another's.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used)]

mod costs;
mod disturbance;
mod fed;
#[path = "../../tests/suite/support/mod.rs"]
mod support;

use vela::predict::Runtime;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [round, case] = words.as_slice()
        && round == "round"
    {
        return disturbance::round_of(case.parse().unwrap());
    }
    if let [hog, graph] = words.as_slice()
        && hog == "hog"
    {
        return costs::run_for_ever(graph.as_ref());
    }
    let wanted = |word: &str| words.is_empty() || words.iter().any(|one| one == word);
    let runtime = Runtime::ensure(None, &mut |_| {}).unwrap();
    println!("ONNX Runtime {}", runtime.version().unwrap_or("?"));
    if wanted("costs") {
        costs::costs(runtime);
    }
    if wanted("disturbance") {
        disturbance::disturbance();
    }
}

/// The value below which `share` of the values lie.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}
