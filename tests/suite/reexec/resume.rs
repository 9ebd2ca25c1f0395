//! What is known of the series passes on: engines that go on with it give what one engine gives, and doubt costs no more
//! than the history.

use crate::bars::settings;
use crate::service_support::{Fed, market};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::sync::Arc;
use vela::domain::{GapPolicy, Outcome, Reason};
use vela::store::MemoryStore;
use vela::{Engine, Overrides, Settings};

const SYMBOLS: usize = 6;

/// What an engine makes of `bars` that goes on with `series`; and what it leaves in `left`.
fn engine(settings: Settings, series: Vec<File>, bars: &[Fed], left: &[File]) -> Vec<Outcome> {
    let store = MemoryStore::new();
    let stored = store.outcomes();
    let overrides = Overrides { store: Some(Box::new(store)), series, ..Overrides::default() };
    let engine = Engine::start_with(settings, overrides).unwrap();
    bars.iter().for_each(|(series, bar)| engine.ingest_series(series, *bar).unwrap());
    assert!(engine.save_series(left).is_err(), "it runs: bars may be on their way");
    engine.stop().unwrap();
    engine.save_series(left).unwrap();
    drop(engine);
    Arc::try_unwrap(stored).map_or_else(|stored| stored.lock().clone(), parking_lot::Mutex::into_inner)
}

/// Values by their bits, in an order that does not depend on threads.
fn told(outcomes: &[Outcome]) -> Vec<String> {
    let one = |outcome: &Outcome| {
        let result = outcome.result.as_ref().map(|prediction| prediction.value.to_bits());
        let result = result.map_err(|refusal| refusal.reason);
        format!("{} {} h{} r{} {result:?}", outcome.series, outcome.ts, outcome.horizon, outcome.revision)
    };
    let mut told: Vec<String> = outcomes.iter().map(one).collect();
    told.sort_unstable();
    told
}

fn files() -> Vec<File> {
    (0..2).map(|_| tempfile::tempfile().unwrap()).collect()
}

fn copies(files: &[File]) -> Vec<File> {
    files.iter().map(|file| file.try_clone().unwrap()).collect()
}

#[test]
fn engines_that_go_on_give_what_one_gives() {
    go_on_as_one(&settings());
}

#[test]
fn engines_that_go_on_around_splits_give_what_one_gives() {
    // In force before, with, and behind the first bar that the next one takes, while older bars still change.
    let bars = market(SYMBOLS, 200);
    let entry = |(nth, (at, price)): (usize, (usize, &str))| {
        let (series, bar) = &bars[SYMBOLS * at + nth];
        format!("{} {} {price} 3", series.symbol, bar.ts)
    };
    let events = [(59, "0.3"), (60, "+1.5"), (61, "0.7"), (119, "0.3"), (120, "3"), (121, "-0.001")];
    let mut settings = settings();
    settings.feature.adjustments =
        events.into_iter().enumerate().map(entry).collect::<Vec<_>>().join(",").parse().unwrap();
    go_on_as_one(&settings);
}

fn go_on_as_one(settings: &Settings) {
    let mut bars = market(SYMBOLS, 200);
    // Bars that change right behind a replacement, and the very same again.
    for at in [120, 60] {
        for nth in 0..SYMBOLS {
            let (series, mut changed) = bars[SYMBOLS * (at - 1) + nth].clone();
            changed.volume += 1.0;
            bars.insert(SYMBOLS * at, (Arc::clone(&series), changed));
            bars.insert(SYMBOLS * at, (series, changed));
        }
    }
    let expected = told(&engine(settings.clone(), Vec::new(), &bars, &files()));
    assert!(
        expected.iter().any(|outcome| outcome.contains("Duplicate"))
            && expected.iter().any(|o| o.contains(" r1 "))
    );
    let (mut outcomes, mut left) = (Vec::new(), Vec::new());
    let mut rest = &bars[..];
    for length in [SYMBOLS * 60, SYMBOLS * 62, usize::MAX] {
        let (some, more) = rest.split_at(length.min(rest.len()));
        let next = files();
        outcomes.extend(engine(settings.clone(), left, some, &next));
        (left, rest) = (next, more);
    }
    assert_eq!(told(&outcomes), expected);
}

#[test]
fn whatever_is_in_doubt_is_not_used_and_does_no_harm() {
    let bars = market(SYMBOLS, 81);
    let (before, behind) = bars.split_at(SYMBOLS * 80);
    let left = files();
    engine(settings(), Vec::new(), before, &left);
    // How many series of the next bar are warm.
    let warm = |settings: Settings, series: Vec<File>| {
        let outcomes = engine(settings, series, behind, &files());
        let is_cold =
            |o: &&Outcome| o.result.as_ref().is_err_and(|refusal| refusal.reason == Reason::WarmingUp);
        let cold = outcomes.iter().filter(is_cold).count();
        assert_eq!(outcomes.len(), SYMBOLS * 3);
        SYMBOLS - cold.div_ceil(3)
    };
    assert_eq!(warm(settings(), copies(&left)), SYMBOLS);
    assert_eq!(warm(settings(), copies(&left[..1])), SYMBOLS / 2);
    let mut other = settings();
    other.feature.gaps = GapPolicy::Reset;
    assert_eq!(warm(other, copies(&left)), 0, "features follow other rules");
    // One bit anywhere, and an end anywhere.
    let mut file = left[0].try_clone().unwrap();
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let written = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        vec![file]
    };
    for step in 0..12 {
        let at = bytes.len() * step / 12;
        let mut changed = bytes.clone();
        changed[at + 5] ^= 1 << (step % 8);
        assert!(warm(settings(), written(&changed)) < SYMBOLS / 2, "a changed bit at {at}");
        assert!(warm(settings(), written(&bytes[..at])) < SYMBOLS / 2, "cut at {at}");
    }
}
