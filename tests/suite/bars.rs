//! Bars as they really come: late, changed, forming, twice, empty, odd. One test a case, through a whole engine.

use crate::service_support::{MODELS, OUTCOMES_PER_BAR, market};
use std::collections::BTreeMap;
use std::time::Duration;
use vela::config::{SourceKind, StoreUrl};
use vela::domain::{Bar, Origin, Outcome, Reason, Stability, Timeframe, Timestamp};
use vela::store::MemoryStore;
use vela::{Engine, Overrides, Settings};

const SOON: Duration = Duration::from_secs(60);

/// The settings of an engine with the repository's models: bars come from the test, nothing is stored.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.models.path = MODELS.into();
    settings.source.kind = SourceKind::None;
    settings.store.url = StoreUrl::None;
    // Predictions after an hour of bars: how long features take to settle is another matter.
    settings.feature.warm_up = Stability::Defined;
    settings
}

pub fn bars(count: usize) -> Vec<Bar> {
    market(1, count).into_iter().map(|(_, bar)| bar).collect()
}

/// What an engine makes of `bars`.
pub fn outcomes_of(settings: Settings, bars: &[Bar]) -> Vec<Outcome> {
    outcomes_for("BTCUSD", settings, bars)
}

/// The same for another symbol.
pub fn outcomes_for(symbol: &str, settings: Settings, bars: &[Bar]) -> Vec<Outcome> {
    let engine = Engine::start(settings).unwrap();
    let pushed = engine.subscribe(100_000);
    bars.iter().for_each(|bar| engine.ingest(symbol, Timeframe::MINUTE, *bar).unwrap());
    assert!(engine.drain(SOON));
    pushed.receiver().try_iter().collect()
}

/// The last outcomes of each horizon for the newest bar, by horizon.
pub fn values_of(outcomes: &[Outcome], ts: Timestamp, revision: u32) -> Vec<(u32, f64)> {
    let of = |outcome: &&Outcome| outcome.ts == ts && outcome.revision == revision && outcome.result.is_ok();
    let value = |outcome: &Outcome| (outcome.horizon, outcome.result.as_ref().unwrap().value);
    let mut values: Vec<_> = outcomes.iter().filter(of).map(value).collect();
    values.sort_by(|a, b| a.partial_cmp(b).unwrap());
    values
}

/// What an engine says of the last of `bars`, which come in order.
pub fn undisturbed(bars: &[Bar]) -> Vec<(u32, f64)> {
    values_of(&outcomes_of(settings(), bars), bars[bars.len() - 1].ts, 0)
}

pub fn reasons(outcomes: &[Outcome]) -> Vec<Reason> {
    outcomes
        .iter()
        .filter_map(|outcome| outcome.result.as_ref().err())
        .map(|refusal| refusal.reason)
        .collect()
}

#[test]
fn a_correction_of_the_newest_bar_is_answered_as_if_it_had_come_so() {
    let bars = bars(150);
    let engine = Engine::start(settings()).unwrap();
    let pushed = engine.subscribe(100_000);
    let last = bars[149];
    let wrong = Bar { close: last.low, ..last };
    let give = |bar: &Bar| engine.ingest("BTCUSD", Timeframe::MINUTE, *bar).unwrap();
    bars[..149].iter().chain([&wrong, &last]).for_each(give);
    assert!(engine.drain(SOON));
    let outcomes: Vec<Outcome> = pushed.receiver().try_iter().collect();
    let expected = undisturbed(&bars);
    assert_eq!(values_of(&outcomes, last.ts, 1), expected);
    assert_ne!(values_of(&outcomes, last.ts, 0), expected, "the first answer was about another bar");
    assert_eq!(outcomes.len(), 151 * OUTCOMES_PER_BAR);
    // Asked again, the engine gives what stands now, and not what it remembers of the first.
    let now = engine.predict("BTCUSD", Timeframe::MINUTE, expected[0].0).wait(SOON).unwrap();
    assert_eq!((now.revision, now.result.unwrap().value), (1, expected[0].1));
}

#[test]
fn a_late_bar_has_its_first_answer_and_those_behind_it_are_answered_anew() {
    let bars = bars(150);
    let outcomes = outcomes_of(settings(), &late(&bars, 145, 4));
    let replayed = outcomes_of(settings(), &bars);
    for (at, revision) in [(144, 0), (145, 0), (146, 1), (147, 1), (148, 1), (149, 1)] {
        let expected = values_of(&replayed, bars[at].ts, 0);
        assert_eq!(values_of(&outcomes, bars[at].ts, revision), expected, "{at}");
        assert!(values_of(&outcomes, bars[at].ts, revision + 1).is_empty(), "{at}");
    }
    assert_eq!(outcomes.len(), (150 + 4) * OUTCOMES_PER_BAR);
    // The newest was live; the others go after it.
    let caught_up = |outcome: &&Outcome| outcome.origin == Origin::CatchUp;
    assert_eq!(outcomes.iter().filter(caught_up).count(), 4 * OUTCOMES_PER_BAR);
}

/// `bars`, of which the one at `at` comes `behind` bars late.
fn late(bars: &[Bar], at: usize, behind: usize) -> Vec<Bar> {
    let mut order = bars.to_vec();
    order[at..=at + behind].rotate_left(1);
    order
}

/// `bars` with wrong ones that are corrected up to six bars later, and late ones; all as it should be in the end.
fn disturbed(bars: &[Bar], seed: u64) -> Vec<Bar> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    // When each bar comes, in sixteenths of a bar: one that comes between two others comes late.
    let mut arrivals: Vec<(u64, Bar)> = Vec::new();
    for (at, bar) in bars.iter().enumerate() {
        let due = at as u64 * 16;
        let later = due + 16 * random(6) + 1 + random(15);
        match random(8) {
            0 if at > 0 => arrivals.push((later, *bar)),
            1 => arrivals.extend([(due, Bar { close: bar.low, ..*bar }), (later, *bar)]),
            2 => {
                let wrong = Bar { volume: bar.volume * 2.0, ..*bar };
                let later_still = later + 1 + random(14);
                arrivals.extend([(due, *bar), (later, wrong), (later_still, *bar)]);
            }
            _ => arrivals.push((due, *bar)),
        }
    }
    arrivals.sort_by_key(|(when, _)| *when);
    arrivals.into_iter().map(|(_, bar)| bar).collect()
}

#[test]
fn the_highest_revision_of_every_bar_is_what_a_replay_of_the_final_bars_gives() {
    is_what_a_replay_gives(&settings(), &bars(100), 1000);
}

/// Whatever the order in which `bars` came, in the end each has the answer that it has where they come in order: of so many
/// series, whose symbols are COIN0 and so on.
pub fn is_what_a_replay_gives(settings: &Settings, bars: &[Bar], series_max: u64) {
    // Models for any symbol: the one that names BTCUSD does not serve these.
    let expected = answers(&outcomes_for("COIN0", settings.clone(), bars));
    let store = MemoryStore::new();
    let stored = store.outcomes();
    let overrides = Overrides { store: Some(Box::new(store)), ..Overrides::default() };
    let engine = Engine::start_with(settings.clone(), overrides).unwrap();
    let (mut given, mut changed) = (0, 0);
    for seed in 0..series_max {
        for bar in disturbed(bars, seed) {
            engine.ingest(&format!("COIN{seed}"), Timeframe::MINUTE, bar).unwrap();
            given += 1;
        }
    }
    assert!(engine.drain(SOON));
    let stored = stored.lock();
    let mut series: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
    for outcome in stored.iter() {
        series.entry(&outcome.series.symbol).or_default().push(outcome.clone());
    }
    assert_eq!(series.len(), series_max as usize);
    for (symbol, outcomes) in series {
        let mut keys: Vec<_> =
            outcomes.iter().filter(|o| o.horizon > 0).map(|o| (o.ts, o.horizon, o.revision)).collect();
        keys.sort();
        let before = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), before, "{symbol}: each answer has a key of its own");
        assert_eq!(answers(&outcomes), expected, "{symbol}");
        changed += outcomes.iter().filter(|outcome| outcome.revision > 0).count();
    }
    assert!(
        given > 100 * series_max && changed > 100 * series_max as usize,
        "{given} bars, {changed} answers anew"
    );
}

/// What stands in the end for every bar and horizon: who answered what, or why nobody did.
fn answers(outcomes: &[Outcome]) -> BTreeMap<(Timestamp, u32), String> {
    let mut newest: BTreeMap<(Timestamp, u32), &Outcome> = BTreeMap::new();
    // Horizon 0: bars that were refused, such as a wrong one that was no other.
    for outcome in outcomes.iter().filter(|outcome| outcome.horizon > 0) {
        let known = newest.entry((outcome.ts, outcome.horizon)).or_insert(outcome);
        if outcome.revision > known.revision {
            *known = outcome;
        }
    }
    let say = |outcome: &Outcome| match &outcome.result {
        Ok(said) => format!("{} {} {:x}", said.model, said.version, said.value.to_bits()),
        Err(refusal) => format!("{} {}", refusal.reason, refusal.detail),
    };
    newest.into_iter().map(|(key, outcome)| (key, say(outcome))).collect()
}

#[test]
fn a_provisional_bar_is_answered_changes_nothing_and_is_not_stored() {
    let bars = bars(150);
    let store = MemoryStore::new();
    let stored = store.outcomes();
    let overrides = Overrides { store: Some(Box::new(store)), ..Overrides::default() };
    let engine = Engine::start_with(settings(), overrides).unwrap();
    let (last, before) = bars.split_last().unwrap();
    before.iter().for_each(|bar| engine.ingest("BTCUSD", Timeframe::MINUTE, *bar).unwrap());
    let peek = |horizon, bar| engine.peek("BTCUSD", Timeframe::MINUTE, horizon, bar).wait(SOON).unwrap();
    let expected = undisturbed(&bars);
    for (horizon, value) in &expected {
        let other = peek(*horizon, Bar { close: last.low, ..*last });
        assert!(other.result.is_ok());
        let answer = peek(*horizon, *last);
        assert_eq!((answer.ts, answer.result.unwrap().value), (last.ts, *value));
    }
    let reason = |bar| peek(expected[0].0, bar).result.unwrap_err().reason;
    assert_eq!(reason(Bar { close: f64::NAN, ..*last }), Reason::NotFinite);
    assert_eq!(reason(before[148]), Reason::Late, "that one has closed");
    assert!(engine.drain(SOON));
    assert_eq!(stored.lock().len(), 149 * OUTCOMES_PER_BAR);
    // What comes in the end is answered as if nobody had peeked.
    engine.ingest("BTCUSD", Timeframe::MINUTE, *last).unwrap();
    assert!(engine.drain(SOON));
    assert_eq!(values_of(&stored.lock(), last.ts, 0), expected);
}

#[test]
fn an_exact_duplicate_is_counted_and_leads_to_no_second_prediction() {
    let mut bars = bars(100);
    bars.insert(90, bars[89]);
    bars.insert(95, bars[80]);
    let outcomes = outcomes_of(settings(), &bars);
    assert_eq!(reasons(&outcomes).iter().filter(|reason| **reason == Reason::Duplicate).count(), 2);
    assert_eq!(outcomes.len(), 100 * OUTCOMES_PER_BAR + 2);
}

#[test]
fn a_bar_older_than_what_can_change_is_counted_and_touches_nothing() {
    let bars = bars(150);
    let mut order: Vec<Bar> = bars.iter().filter(|bar| bar.ts != bars[120].ts).copied().collect();
    let expected = undisturbed(&order);
    order.insert(140, bars[120]);
    let outcomes = outcomes_of(settings(), &order);
    assert_eq!(reasons(&outcomes).iter().filter(|reason| **reason == Reason::Late).count(), 1);
    assert_eq!(values_of(&outcomes, bars[149].ts, 0), expected);
}

#[test]
fn bars_with_impossible_numbers_change_nothing() {
    let good = bars(150);
    let expected = undisturbed(&good);
    let next = |change: fn(&mut Bar)| {
        let mut bar = good[149];
        change(&mut bar);
        bar
    };
    for (bar, reason) in [
        (next(|bar| bar.close = f64::NAN), Reason::NotFinite),
        (next(|bar| bar.volume = f64::INFINITY), Reason::NotFinite),
        (next(|bar| bar.low = 0.0), Reason::PriceNotPositive),
        (next(|bar| bar.open = -3.0), Reason::PriceNotPositive),
        (next(|bar| bar.volume = -0.5), Reason::NegativeVolume),
        (next(|bar| bar.high = bar.low / 2.0), Reason::HighBelowLow),
        (next(|bar| bar.close = bar.high * 1.01), Reason::OutsideRange),
        (next(|bar| bar.ts = bar.ts.plus_millis(1000)), Reason::Unaligned),
    ] {
        let mut order = good.clone();
        order.insert(149, bar);
        let outcomes = outcomes_of(settings(), &order);
        assert!(reasons(&outcomes).contains(&reason), "{reason}");
        assert_eq!(values_of(&outcomes, good[149].ts, 0), expected, "{reason}");
    }
}

#[test]
fn an_ohlc_violation_is_clamped_where_that_is_configured() {
    let mut bars = bars(150);
    let last = &mut bars[149];
    last.close = last.high * 1.001;
    let mut clamping = settings();
    clamping.ingest.clamp_ohlc = true;
    let clamped = outcomes_of(clamping, &bars);
    assert!(reasons(&outcomes_of(settings(), &bars)).contains(&Reason::OutsideRange));
    bars[149].high = bars[149].close;
    assert_eq!(values_of(&clamped, bars[149].ts, 0), undisturbed(&bars));
}

#[test]
fn zero_volume_and_flat_prices_are_legal() {
    let mut bars = bars(150);
    for bar in &mut bars[100..] {
        *bar = Bar { open: 5.0, high: 5.0, low: 5.0, close: 5.0, volume: 0.0, ..*bar };
    }
    // Every bar has its outcome: a prediction, or that a ratio of nothing is undefined; nothing is infinite.
    let outcomes = outcomes_of(settings(), &bars);
    assert_eq!(outcomes.len(), 150 * OUTCOMES_PER_BAR);
    let known = [Reason::WarmingUp, Reason::UndefinedFeature];
    assert!(reasons(&outcomes).iter().all(|reason| known.contains(reason)));
}

#[test]
fn tiny_and_huge_prices_are_answered_like_any_other() {
    // The models read features that do not depend on the price level.
    let bars = bars(150);
    for scale in [1e-8, 2_f64.powi(60)] {
        let scaled: Vec<Bar> = bars
            .iter()
            .map(|bar| Bar {
                open: bar.open * scale,
                high: bar.high * scale,
                low: bar.low * scale,
                close: bar.close * scale,
                ..*bar
            })
            .collect();
        let answered =
            |bars: &[Bar]| outcomes_of(settings(), bars).iter().filter(|o| o.result.is_ok()).count();
        assert_eq!(answered(&scaled), answered(&bars), "{scale}");
    }
}

#[test]
fn a_bad_tick_and_an_open_away_from_the_last_close_are_taken_as_they_are() {
    let mut bars = bars(150);
    // A jump of the price by ten is legal; whether it is true is not for vela to say.
    bars[140].high *= 10.0;
    bars[141].open = bars[141].low;
    let outcomes = outcomes_of(settings(), &bars);
    assert_eq!(outcomes.len(), 150 * OUTCOMES_PER_BAR);
    assert!(reasons(&outcomes).iter().all(|reason| *reason == Reason::WarmingUp));
}

#[test]
fn a_gap_beyond_the_longest_begins_the_series_anew() {
    let mut bars = bars(300);
    for bar in &mut bars[200..] {
        bar.ts = bar.ts.plus_millis(60_000 * 100);
    }
    let mut resetting = settings();
    resetting.feature.gap_bars_max = 99;
    let outcomes = outcomes_of(resetting, &bars);
    let warming = |outcomes: &[Outcome], from: Timestamp| {
        let late = outcomes.iter().filter(|outcome| outcome.ts >= from);
        late.filter(|o| o.result.as_ref().is_err_and(|refusal| refusal.reason == Reason::WarmingUp)).count()
    };
    assert_eq!(warming(&outcomes, bars[200].ts), warming(&outcomes, bars[0].ts) / 2);
    assert!(warming(&outcomes, bars[200].ts) > 0);
    assert_eq!(warming(&outcomes_of(settings(), &bars), bars[200].ts), 0, "by default a gap is skipped");
}

#[test]
fn a_burst_at_a_round_time_is_answered_whole() {
    let engine = Engine::start(settings()).unwrap();
    let pushed = engine.subscribe(1_000_000);
    let bars = bars(60);
    let symbols: Vec<String> = (0..500).map(|n| format!("COIN{n}")).collect();
    for bar in &bars {
        symbols.iter().for_each(|symbol| engine.ingest(symbol, Timeframe::MINUTE, *bar).unwrap());
    }
    assert!(engine.drain(SOON));
    let last = pushed.receiver().try_iter().filter(|outcome| outcome.ts == bars[59].ts);
    let mut seen: Vec<String> = last.map(|o| format!("{} {}", o.series.symbol, o.horizon)).collect();
    let outcomes = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), outcomes), (outcomes, outcomes), "each once");
    assert!(outcomes >= 500, "{outcomes}");
}

#[test]
fn features_that_are_not_stable_yet_are_not_predicted_from_and_the_reason_says_how_long() {
    use vela::domain::Stability;
    let mut before = 0;
    for stability in [Stability::Defined, Stability::Digits4, Stability::Digits8] {
        let mut settings = settings();
        settings.feature.warm_up = stability;
        let outcomes = outcomes_of(settings, &bars(400));
        let warming: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| outcome.result.as_ref().err())
            .filter(|refusal| refusal.reason == Reason::WarmingUp)
            .collect();
        assert!(warming.len() >= before.max(1), "{stability:?}");
        before = warming.len();
        assert!(warming.iter().all(|refusal| refusal.detail.contains("bars until it")), "{:?}", warming[0]);
    }
}
