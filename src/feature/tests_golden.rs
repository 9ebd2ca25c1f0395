//! Every reference column over real bars against the values that TA-Lib and numpy gave.

use super::catalogue::{DEFAULT, Unit};
use super::tests_support::{agree, read_bars, reference};
use super::{Plan, name};
use crate::domain::{Stability, Timeframe};

fn unit(name: &str) -> Unit {
    name::parse(name).unwrap().0.unit
}

#[test]
fn golden_values_are_met_on_every_row_and_column() {
    let Some(folder) = reference("golden") else { return };
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(series) = path.file_name().and_then(|n| n.to_str()?.strip_suffix(".features.csv")) else {
            continue;
        };
        let Some(data) = reference(&format!("data/{series}.csv")) else { continue };
        files += 1;
        compare(series, &std::fs::read_to_string(&path).unwrap(), &data);
    }
    println!("{files} series compared");
}

fn compare(series: &str, golden: &str, data: &std::path::Path) {
    let bars = read_bars(data);
    let mut rows = golden.lines();
    let names: Vec<&str> = rows.next().unwrap().split(',').skip(1).collect();
    assert_eq!(names, DEFAULT);
    let rows: Vec<&str> = rows.collect();
    let mut state = Plan::new(&names, Timeframe::MINUTE).unwrap().state();
    let from = bars.len() - rows.len();
    let mut worst = vec![(0.0, 0, 0.0, 0.0); names.len()];
    let mut wrong = Vec::new();
    for (i, bar) in bars.iter().enumerate() {
        state.update(bar);
        let Some(row) = i.checked_sub(from).map(|row| rows[row]) else { continue };
        let (ts, expected) = row.split_once(',').unwrap();
        assert_eq!(ts.parse(), Ok(bar.ts));
        for (c, text) in expected.split(',').enumerate() {
            let (ours, theirs): (f64, f64) = (state.values()[c], text.parse().unwrap());
            let scale = if unit(names[c]) == Unit::Price { bar.close } else { theirs.abs().max(1.0) };
            if !agree(ours, theirs, scale) {
                wrong.push(format!("{series} bar {i} {}: {ours:e}, golden {theirs:e}", names[c]));
            }
            let error = (ours - theirs).abs() / scale;
            if error > worst[c].0 {
                worst[c] = (error, i, ours, theirs);
            }
        }
    }
    let mut ranked: Vec<_> = names.iter().zip(&worst).collect();
    ranked.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    println!("{series}, worst: {:?}", &ranked[..3]);
    assert!(wrong.is_empty(), "{} values differ: {:#?}", wrong.len(), &wrong[..wrong.len().min(30)]);
}

#[test]
fn warm_up_is_as_long_as_the_reference_says() {
    let Some(path) = reference("golden/features.json") else { return };
    let table: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let expected: Vec<(String, usize)> = table
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["name"].as_str().unwrap().to_owned(), f["first_index"].as_u64().unwrap() as usize))
        .collect();
    let plan = Plan::new(&DEFAULT, Timeframe::MINUTE).unwrap();
    let ours = plan
        .names()
        .iter()
        .map(|n| n.to_string())
        .zip((0..plan.len()).map(|c| plan.warm_up_bars(c, Stability::Defined) as usize - 1));
    assert_eq!(ours.collect::<Vec<_>>(), expected);
    assert_eq!(plan.warm_up_bars_max(Stability::Defined), 50);
}
