//! Splits, dividends and rolls, as `feature.adjustments` tells them or does not: through a whole engine.

use crate::bars::{bars, is_what_a_replay_gives, outcomes_of, reasons, settings, values_of};
use crate::bars_told::scaled;
use crate::serve_support::Served;
use crate::service_support::{HEADER, Home, OUTCOMES_PER_BAR, Table, eventually, line, market};
use serde_json::{Value, json};
use std::time::Duration;
use vela::domain::{Bar, Outcome, Reason, Timeframe};
use vela::{Engine, Settings};

#[test]
fn a_split_is_a_jump_to_features_until_history_is_adjusted() {
    let before = bars(200);
    // Two for one, from the bar 180 on.
    let split = |bar: &Bar| scaled(bar, 0.5, 2.0);
    let (old, new) = before.split_at(180);
    let new: Vec<Bar> = new.iter().map(split).collect();
    let told: Vec<Bar> = old.iter().chain(&new).copied().collect();
    let adjusted: Vec<Bar> = old.iter().map(split).chain(new).collect();
    // As it comes: no bar is refused and nothing is infinite, but what is predicted saw a fall by half.
    let (with_jump, expected) = (outcomes_of(settings(), &told), outcomes_of(settings(), &before));
    assert_eq!(with_jump.len(), 200 * OUTCOMES_PER_BAR);
    assert!(reasons(&with_jump).iter().all(|reason| *reason == Reason::WarmingUp));
    let at_split = before[180].ts;
    assert_ne!(values_of(&with_jump, at_split, 0), values_of(&expected, at_split, 0));
    // With the history in the new unit, as it is read at a start: as if there had been none.
    let whole = outcomes_of(settings(), &adjusted);
    for bar in &before[180..] {
        let expected = values_of(&expected, bar.ts, 0);
        assert_eq!(expected.len(), OUTCOMES_PER_BAR);
        assert_eq!(values_of(&whole, bar.ts, 0), expected, "{}", bar.ts);
    }
}

#[test]
fn a_split_that_is_told_is_as_if_history_had_been_adjusted_by_hand() {
    let before = bars(200);
    // Three for one, from the bar 180 on; one bar before it comes late, behind the split.
    let (price, volume) = (1.0 / 3.0, 3.0);
    let (old, new) = before.split_at(180);
    let new: Vec<Bar> = new.iter().map(|bar| scaled(bar, price, volume)).collect();
    let adjusted: Vec<Bar> = old.iter().map(|bar| scaled(bar, price, volume)).chain(new.clone()).collect();
    let by_hand = outcomes_of(settings(), &adjusted);
    let as_it_was = outcomes_of(settings(), &before);
    let mut told = settings();
    told.feature.adjustments =
        format!("BTCUSD {} {price} {volume}, ETHUSD {} 2 1", before[180].ts, before[90].ts).parse().unwrap();
    let mut in_order: Vec<Bar> = old.iter().chain(&new).copied().collect();
    let outcomes = outcomes_of(told.clone(), &in_order);
    assert_eq!(outcomes.len(), 200 * OUTCOMES_PER_BAR);
    for (nth, bar) in before.iter().enumerate().skip(150) {
        let expected = values_of(if nth < 180 { &as_it_was } else { &by_hand }, bar.ts, 0);
        assert_eq!(expected.len(), OUTCOMES_PER_BAR);
        assert_eq!(values_of(&outcomes, bar.ts, 0), expected, "bar {nth}");
    }
    let late = in_order.remove(178);
    in_order.insert(182, late);
    let outcomes = outcomes_of(told, &in_order);
    // What stands before the late bar was answered as it stood; what stands behind it is answered anew.
    for (nth, revision) in [(180, 1), (182, 1), (183, 0), (199, 0)] {
        let (ts, expected) = (before[nth].ts, values_of(&by_hand, before[nth].ts, 0));
        assert_eq!(values_of(&outcomes, ts, revision), expected, "bar {nth}, revision {revision}");
    }
}

/// Three for one from the bar 180 on, of 200; and what an engine makes of them that knows it from the start.
fn split_at_180() -> (String, Vec<Bar>, Vec<Outcome>) {
    let mut bars = bars(200);
    bars[180..].iter_mut().for_each(|bar| *bar = scaled(bar, 1.0 / 3.0, 3.0));
    let told = format!("BTCUSD {} {} 3", bars[180].ts, 1.0 / 3.0);
    let expected = outcomes_of(adjusted_by(&told), &bars);
    (told, bars, expected)
}

fn adjusted_by(adjustments: &str) -> Settings {
    let mut settings = settings();
    settings.feature.adjustments = adjustments.parse().unwrap();
    settings
}

#[test]
fn a_split_that_is_told_while_it_runs_is_in_force_with_its_bar_or_where_that_is_past_at_once() {
    let (told, bars, expected) = split_at_180();
    for told_before in [150, 180, 190] {
        let engine = Engine::start(settings()).unwrap();
        let pushed = engine.subscribe(100_000);
        for (at, bar) in bars.iter().enumerate() {
            if at == told_before {
                assert!(engine.drain(Duration::from_secs(60)));
                let change = [("feature.adjustments".to_owned(), told.clone())];
                assert_eq!(engine.reconfigure_keys(&change).unwrap().live, ["feature.adjustments"]);
            }
            engine.ingest("BTCUSD", Timeframe::MINUTE, *bar).unwrap();
        }
        assert!(engine.drain(Duration::from_secs(60)));
        let outcomes: Vec<Outcome> = pushed.receiver().try_iter().collect();
        for (at, bar) in bars.iter().enumerate().skip(150) {
            let [found, wanted] = [&outcomes, &expected].map(|outcomes| values_of(outcomes, bar.ts, 0));
            assert_eq!(wanted.len(), OUTCOMES_PER_BAR);
            // What was answered before it was told saw a jump, and stands.
            assert_eq!(
                found == wanted,
                !(180..told_before).contains(&at),
                "bar {at}, told before {told_before}"
            );
        }
        let alerts = engine.alerts();
        let adjusted: Vec<_> = alerts.iter().filter(|alert| alert.code == "adjusted").collect();
        let said = if told_before > 180 {
            "190 bars were taken anew, what was"
        } else {
            "; 180 bars were taken anew"
        };
        assert!(adjusted.len() == 1 && adjusted[0].subject == "BTCUSD 1m", "{adjusted:?}");
        assert!(adjusted[0].detail.contains(said), "{}", adjusted[0].detail);
    }
}

#[test]
fn a_split_that_is_told_over_http_changes_what_is_served() {
    let (told, bars, expected) = split_at_180();
    let served = Served::with(settings());
    let feed = |bars: &[Bar]| {
        bars.iter().for_each(|bar| served.engine.ingest("BTCUSD", Timeframe::MINUTE, *bar).unwrap());
        assert!(served.engine.drain(Duration::from_secs(60)));
    };
    // What is served of a bar, by horizon, once all of it is.
    let answers = |bar: &Bar| {
        eventually("an answer of every model", || {
            let all = served.get("/api/predictions?symbol=BTCUSD&limit=1000").json();
            let all = all["predictions"].as_array().unwrap().iter();
            let of_bar = all.filter(|answer| answer["ts"] == bar.ts.to_string().as_str());
            let pair = |answer: &Value| {
                (answer["horizon"].as_u64().unwrap() as u32, answer["value"].as_f64().unwrap())
            };
            let mut values: Vec<(u32, f64)> = of_bar.map(pair).collect();
            values.sort_by(|a, b| a.partial_cmp(b).unwrap());
            (values.len() == OUTCOMES_PER_BAR).then_some(values)
        })
    };
    let patch = |adjustments: &str| {
        let body = json!({ "feature": {"adjustments": adjustments} }).to_string();
        served.ask("PATCH", "/api/config", "", body.as_bytes())
    };
    feed(&bars[..182]);
    // Nobody told it of the split: a jump.
    assert_ne!(answers(&bars[181]), values_of(&expected, bars[181].ts, 0));
    let refused = patch(&told.replace(" 3", " 0"));
    assert_eq!((refused.status, &refused.json()["reason"]), (422, &json!("not_allowed")));
    feed(&bars[182..183]);
    assert_ne!(answers(&bars[182]), values_of(&expected, bars[182].ts, 0));
    let taken = patch(&told);
    assert_eq!((taken.status, &taken.json()["changed"]), (200, &json!(["feature.adjustments"])));
    feed(&bars[183..185]);
    for bar in &bars[183..185] {
        assert_eq!(answers(bar), values_of(&expected, bar.ts, 0), "{}", bar.ts);
    }
    // Taken back, it is a jump again.
    assert_eq!(patch("").status, 200);
    feed(&bars[185..186]);
    assert_ne!(answers(&bars[185]), values_of(&expected, bars[185].ts, 0));
}

#[test]
fn around_adjustments_the_highest_revision_of_every_bar_is_what_a_replay_of_the_final_bars_gives() {
    let bars = bars(100);
    let events = |coin: u64| {
        let [a, b, c] = [70, 82, 83].map(|at: usize| bars[at].ts);
        format!("COIN{coin} {a} +{} 1, COIN{coin} {b} 0.3 3, COIN{coin} {c} 1.01 1", bars[70].close / 7.0)
    };
    let events: Vec<String> = (0..300).map(events).collect();
    is_what_a_replay_gives(&adjusted_by(&events.join(",")), &bars, 300);
}

#[test]
fn prices_that_an_adjustment_takes_below_zero_are_undefined_where_they_have_no_meaning_and_no_longer() {
    let bars = bars(200);
    let told = adjusted_by(&format!("BTCUSD {} -{} 1", bars[100].ts, bars[100].close * 1.0001));
    let outcomes = outcomes_of(told, &bars);
    assert_eq!(outcomes.len(), 200 * OUTCOMES_PER_BAR);
    let is_finite = |outcome: &Outcome| outcome.result.as_ref().is_ok_and(|said| said.value.is_finite());
    let refused = |outcome: &Outcome| outcome.result.as_ref().err().map(|refusal| refusal.reason);
    assert!(
        outcomes.iter().all(|o| is_finite(o)
            || [Some(Reason::UndefinedFeature), Some(Reason::WarmingUp)].contains(&refused(o)))
    );
    assert!(bars[190..].iter().all(|bar| values_of(&outcomes, bar.ts, 0).len() == OUTCOMES_PER_BAR));
}

#[test]
fn a_restart_across_a_split_changes_no_answer() {
    let bars: Vec<_> = market(1, 200);
    let (series, first) = &bars[0];
    let split = bars[180].1.ts;
    let run = |stops: &[usize]| {
        let home = Home::new();
        home.configure(&format!(
            "feature.adjustments = \"{} {split} 0.3 3, {} {} +{} 1\"\n[source]\npath = \"vela.db\"\n",
            series.symbol,
            series.symbol,
            bars[120].1.ts,
            first.close / 9.0
        ));
        let mut table = Table::create(&home.database());
        let mut fed = 0;
        for stop in stops.iter().copied().chain([bars.len()]) {
            table.feed(&bars[fed..stop]);
            fed = stop;
            let service = home.run();
            table.reaches(fed * OUTCOMES_PER_BAR);
            service.stop();
        }
        (table.predictions(), table.refusals())
    };
    // Before the bar of the split, right behind it, and where bars from before it can still change.
    assert_eq!(run(&[119, 121, 180, 181, 185]), run(&[]));
}

#[test]
fn a_table_says_which_adjustments_came_in_force_among_its_bars() {
    let home = Home::new();
    let bars = bars(100);
    let lines: String = bars.iter().map(line).collect();
    home.write("bars/AAPL_1m.csv", format!("{HEADER}{lines}"));
    home.write("bars/MSFT_1m.csv", format!("{HEADER}{lines}"));
    let table = |adjustments: &str| {
        let set = format!("feature.adjustments={adjustments}");
        let arguments = ["--bars", "bars", "--features", "ret_1", "--out", "f.csv", "--set", &set];
        let said = home.finish(&[&["features"][..], &arguments].concat()).done();
        let text = std::fs::read_to_string(home.path("f.csv.meta.json")).unwrap();
        (said, serde_json::from_str::<serde_json::Value>(&text).unwrap())
    };
    let (split, before) = (bars[50].ts, bars[0].ts.plus_millis(-1));
    // One from before its first bar did nothing to it, and one of later is yet to come.
    let (said, about) = table(&format!(
        "AAPL {before} 0.5 2, AAPL {split} 0.25 4, AAPL {} +1 1, MSFT {before} 2 1",
        bars[99].ts.plus_millis(1)
    ));
    assert_eq!(about["series"][0]["adjustments"], serde_json::json!([format!("{split} 0.25 4")]));
    assert_eq!(about["series"][1]["adjustments"], serde_json::json!([]));
    assert!(said.contains(&format!("came in force in AAPL 1m: {split} 0.25 4\n")), "{said}");
    assert_eq!(about["feature_set_hash"], table("").1["feature_set_hash"]);
}
