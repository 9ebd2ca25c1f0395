//! Nothing drifts: after very many bars, windowed features are what a fresh start over the last window gives.

use super::Plan;
use super::catalogue::{FAMILIES, Family, Memory, Unit};
use super::name::parse;
use super::tests_support::{Market, agree};
use crate::domain::{Bar, Stability, Timeframe};
use std::collections::VecDeque;
use std::time::Instant;

/// Every family that depends on a window alone, with its usual parameters and with others.
fn windowed() -> Vec<String> {
    let families = FAMILIES.iter().filter(|family| matches!(family.memory, Memory::Window));
    let with = |family: &Family, n: usize| {
        let periods = family.parameters.iter().enumerate().map(|(i, parameter)| match parameter.whole {
            true => (n + i).to_string(),
            false => parameter.default.to_string(),
        });
        [family.name.to_owned()].into_iter().chain(periods).collect::<Vec<_>>().join("_")
    };
    families.flat_map(|family| [family.example(), with(family, 7), with(family, 50)]).collect()
}

fn drift(bars: usize) {
    for level in [1e-8, 1e9, 0.0] {
        let names = windowed();
        let plan = Plan::new(&names, Timeframe::MINUTE).unwrap();
        let back = plan.warm_up_bars_max(Stability::Defined) as usize;
        let mut state = plan.state();
        let mut recent: VecDeque<Bar> = VecDeque::new();
        for (i, bar) in Market::new(21, level).take(bars).enumerate() {
            state.update(&bar);
            recent.push_back(bar);
            if recent.len() > back {
                recent.pop_front();
            }
            // At any phase of every window's block, and more often towards the end.
            if i < back || (i % 9973 != 0 && i + 500 < bars) {
                continue;
            }
            let mut fresh = plan.state();
            recent.iter().for_each(|bar| fresh.update(bar));
            for ((name, old), new) in names.iter().zip(state.values()).zip(fresh.values()) {
                let scale = match parse(name).unwrap().0.unit {
                    // A band is a difference: its scale is that of what is subtracted.
                    Unit::Price | Unit::Volume => recent.iter().map(|b| b.close).fold(0.0, f64::max),
                    Unit::Ratio | Unit::Percent => new.abs().max(1.0),
                };
                assert!(agree(*old, *new, scale), "level {level}, bar {i}, {name}: {old:e}, fresh {new:e}");
            }
        }
    }
}

#[test]
fn nothing_drifts_over_two_hundred_thousand_bars() {
    drift(200_000);
}

#[test]
#[ignore = "takes a minute"]
fn nothing_drifts_over_five_million_bars() {
    drift(5_000_000);
}

#[test]
#[ignore = "a measurement; meaningful in a release build when nothing else runs"]
fn what_the_named_sets_cost() {
    let bars: Vec<Bar> = Market::new(1, 100.0).take(200_000).collect();
    for (set, names) in super::catalogue::SETS {
        let mut state = Plan::new(names, Timeframe::MINUTE).unwrap().state();
        let mut out = vec![0.0; names.len()];
        for round in 0..3 {
            let start = Instant::now();
            for bar in &bars {
                state.update(bar);
                state.write(&mut out);
            }
            let update = start.elapsed().as_nanos() / bars.len() as u128;
            let start = Instant::now();
            for bar in &bars {
                state.peek(bar, &mut out);
            }
            let peek = start.elapsed().as_nanos() / bars.len() as u128;
            let mut copy = state.clone();
            let start = Instant::now();
            for _ in 0..10_000 {
                copy.clone_from(std::hint::black_box(&state));
            }
            let snapshot = start.elapsed().as_nanos() / 10_000;
            println!("{set}, round {round}: update {update} ns, peek {peek} ns, snapshot {snapshot} ns");
        }
        for name in names {
            let mut state = Plan::new(&[name], Timeframe::MINUTE).unwrap().state();
            let start = Instant::now();
            bars.iter().for_each(|bar| state.update(bar));
            print!("{name} {} ns; ", start.elapsed().as_nanos() / bars.len() as u128);
        }
        println!();
    }
}
