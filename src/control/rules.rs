//! What rules make of what was seen: a pure function.

use super::health::{Observation, Totals, Usage};
use crate::alert::{Code, Condition};
use crate::config::{Measure, Rules};
use crate::domain::{SeriesKey, Timeframe, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Fewer samples are no share.
const SAMPLES_MIN: u64 = 20;
/// Over a shorter time the use of processors says nothing.
const CPU_MIN: Duration = Duration::from_millis(200);
/// So many subjects of one rule are told each by itself; the others are summed up.
const SUBJECTS_MAX: usize = 16;

/// What the check before saw.
pub(super) struct Before {
    /// What had come out by then: shares are of what came since.
    pub totals: Totals,
    /// When a bar came last.
    pub arrived: Duration,
}

/// One number, of one subject, and what a person needs beside it.
struct Sample {
    value: f64,
    subject: String,
    detail: String,
}

/// The rules that `seen` breaks, the subjects of each in the order of their values.
pub(super) fn examine(seen: &Observation, before: &Before, rules: &Rules) -> Vec<Condition> {
    let mut samples: HashMap<Measure, Vec<Sample>> = HashMap::new();
    let mut conditions = Vec::new();
    for (name, rule) in rules.iter().filter(|(_, rule)| rule.enabled) {
        let measured = samples.entry(rule.measure).or_insert_with(|| measure(rule.measure, seen, before));
        let mut broken: Vec<&Sample> = measured.iter().filter(|sample| sample.value > rule.over).collect();
        broken.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.subject.cmp(&b.subject)));
        let condition = |subject: String, detail: String| Condition {
            code: Code::Owned(name.clone()),
            subject,
            severity: rule.severity,
            detail,
            for_at_least: Duration::from_secs(rule.for_s),
        };
        let (told, rest) = broken.split_at(broken.len().min(SUBJECTS_MAX));
        for sample in told {
            let Sample { value, subject, detail } = sample;
            let (over, unit) = (rule.over, rule.measure.unit());
            let limit = format!("{} {unit}, limit {}", short(*value), short(over));
            conditions.push(condition(subject.clone(), format!("{detail} ({limit})")));
        }
        if !rest.is_empty() {
            conditions.push(condition("others".to_owned(), format!("{} more", rest.len())));
        }
    }
    conditions
}

/// A number without digits that say nothing.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

fn measure(measure: Measure, seen: &Observation, before: &Before) -> Vec<Sample> {
    let since = |count: fn(&Totals) -> u64| count(&seen.totals).saturating_sub(count(&before.totals));
    let one = |value: f64, subject: &str, detail: String| {
        vec![Sample { value, subject: subject.to_owned(), detail }]
    };
    match measure {
        Measure::Latency => share(since(|t| t.late), since(|t| t.live), "predictions", |part, whole| {
            format!("{part} of {whole} predictions took longer than max_latency_ms")
        }),
        Measure::Errors => share(since(|t| t.failures), since(|t| t.outcomes), "outcomes", |part, whole| {
            format!("{part} of {whole} outcomes are failures; the store has their reasons")
        }),
        Measure::Panics => {
            let panics = since(|t| t.panics);
            one(panics as f64, "workers", format!("a worker panicked over {panics} items; the log has why"))
        }
        Measure::Stalled => seen.standstill.map_or_else(Vec::new, |still| {
            let detail = "it has work and gets nothing done; the watchdog replaces the process in the end";
            one(still.since.as_secs_f64(), still.stage, detail.to_owned())
        }),
        Measure::Queue => {
            let stages = seen.stages.iter().filter(|stage| stage.depth_max > 0);
            let sample = |stage: &super::health::StageSeen| Sample {
                value: 100.0 * stage.depth as f64 / stage.depth_max as f64,
                subject: stage.name.to_owned(),
                detail: format!("{} of {} items wait or are in work", stage.depth, stage.depth_max),
            };
            stages.map(sample).collect()
        }
        Measure::FeedQuiet => feed_quiet(seen),
        Measure::Silence => silence(seen, before.arrived).into_iter().collect(),
        Measure::Spike => {
            let sample = |(series, ts, ranges): &(Arc<SeriesKey>, Timestamp, f64)| Sample {
                value: *ranges,
                subject: series.to_string(),
                detail: format!("the bar that opened at {ts} moved far; it was taken as it is"),
            };
            seen.spikes.iter().map(sample).collect()
        }
        Measure::ModelsMissing => {
            let missing = f64::from(u8::from(seen.models.is_empty()));
            one(missing, "models", "no model is promoted: nothing is predicted".to_owned())
        }
        Measure::ModelsRefused => {
            let sample = |(path, detail): &(String, String)| Sample {
                value: 1.0,
                subject: path.clone(),
                detail: detail.clone(),
            };
            seen.models_refused.iter().map(sample).collect()
        }
        Measure::ModelFallback => models(seen, |model| {
            let serves = model.serves?;
            Some((model.failing.len(), format!("version {serves} serves; {}", failures(&model.failing))))
        }),
        Measure::ModelDown => models(seen, |model| {
            let down = model.serves.is_none();
            Some((usize::from(down), format!("no version serves: {}", failures(&model.failing))))
        }),
        Measure::Runtime => {
            let hanging = seen.sessions_hanging;
            one(hanging as f64, "onnxruntime", format!("{hanging} sessions are being created without end"))
        }
        Measure::StoreAway => {
            let away = seen.store_away.map_or(0.0, |away| away.as_secs_f64());
            one(away, "store", "the store takes no rows; they wait, and it is tried again".to_owned())
        }
        Measure::Unsaved => {
            let unsaved = since(|t| t.unsaved);
            one(unsaved as f64, "store", format!("{unsaved} outcomes were not stored; the log has them"))
        }
        Measure::Spool => used(seen.spool.as_ref(), 1.0 / (1 << 20) as f64),
        Measure::Memory => used(&seen.memory, 1.0),
        Measure::Cpu => {
            let passed = seen.totals.at.saturating_sub(before.totals.at);
            let used = seen.totals.cpu.saturating_sub(before.totals.cpu);
            if passed < CPU_MIN || seen.processors <= 0.0 {
                return Vec::new();
            }
            let share = 100.0 * used.as_secs_f64() / passed.as_secs_f64() / seen.processors;
            one(share, "process", format!("of {} processors", short(seen.processors)))
        }
        Measure::Disk => used(&seen.disks, 1.0),
    }
}

fn share(part: u64, whole: u64, subject: &str, detail: impl Fn(u64, u64) -> String) -> Vec<Sample> {
    if whole < SAMPLES_MIN {
        return Vec::new();
    }
    let value = 100.0 * part as f64 / whole as f64;
    vec![Sample { value, subject: subject.to_owned(), detail: detail(part, whole) }]
}

/// Shares of limits; `to_mb` turns the numbers into MiB.
fn used<'a>(usages: impl IntoIterator<Item = &'a Usage>, to_mb: f64) -> Vec<Sample> {
    let sample = |usage: &Usage| {
        let Usage { subject, used, limit } = usage;
        Sample {
            value: 100.0 * used / limit,
            subject: subject.clone(),
            detail: format!("{:.1} of {:.0} MiB are used", used * to_mb, limit * to_mb),
        }
    };
    usages.into_iter().filter(|usage| usage.limit > 0.0).map(sample).collect()
}

/// How many bars each series is behind the newest one of its timeframe.
fn feed_quiet(seen: &Observation) -> Vec<Sample> {
    let mut newest: BTreeMap<Timeframe, (&Arc<SeriesKey>, Timestamp)> = BTreeMap::new();
    for (series, ts) in &seen.series {
        let known = newest.entry(series.timeframe).or_insert((series, *ts));
        if *ts > known.1 {
            *known = (series, *ts);
        }
    }
    let sample = |(series, ts): &(Arc<SeriesKey>, Timestamp)| {
        let (other, front) = newest[&series.timeframe];
        let behind = match front > *ts {
            true => seen.hours.slots(*ts, front, series.timeframe),
            false => 0,
        };
        Sample {
            value: behind as f64,
            subject: series.to_string(),
            detail: format!("its newest bar opened at {ts}, that of {other} at {front}"),
        }
    };
    seen.series.iter().map(sample).collect()
}

/// For how many of the shortest bars that are expected none came at all: told by the clock, as no sibling tells it.
fn silence(seen: &Observation, arrived: Duration) -> Option<Sample> {
    let timeframe = seen.expected?;
    let silent = seen.totals.at.saturating_sub(arrived);
    let since = seen.now.plus_millis(-i64::try_from(silent.as_millis()).ok()?);
    Some(Sample {
        value: seen.hours.slots(since, seen.now, timeframe) as f64,
        subject: "bars".to_owned(),
        detail: format!("no bar came since {since}"),
    })
}

fn models(
    seen: &Observation,
    measured: impl Fn(&super::health::ModelSeen) -> Option<(usize, String)>,
) -> Vec<Sample> {
    let sample = |model: &super::health::ModelSeen| {
        let (value, detail) = measured(model)?;
        Some(Sample { value: value as f64, subject: model.name.clone(), detail })
    };
    seen.models.iter().filter_map(sample).collect()
}

fn failures(failing: &[(u32, String)]) -> String {
    let each: Vec<String> = failing.iter().map(|(n, why)| format!("version {n} fails: {why}")).collect();
    each.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::Standstill;
    use super::super::health::{ModelSeen, StageSeen};
    use super::*;
    use crate::domain::MarketHours;

    /// What `seen` breaks of the default rules, `s` seconds after nothing was seen: (code, subject), one a line.
    fn broken(seen: &Observation, s: u64) -> String {
        let rules = Measure::ALL.iter().map(|m| (m.word().to_owned(), m.rule())).collect();
        broken_of(seen, &Totals::default(), &rules, s)
    }

    fn broken_of(seen: &Observation, totals: &Totals, rules: &Rules, s: u64) -> String {
        let before = Before { totals: *totals, arrived: Duration::ZERO };
        let totals = Totals { at: Duration::from_secs(s), ..seen.totals };
        let conditions = examine(&Observation { totals, ..seen.clone() }, &before, rules);
        let each = conditions.iter().map(|one| format!("{} {}", one.code, one.subject));
        each.collect::<Vec<_>>().join(", ")
    }

    /// Nothing is wrong with it.
    fn well() -> Observation {
        let model = ModelSeen { name: "m".into(), serves: Some(3), failing: Vec::new() };
        Observation { models: vec![model], ..Observation::default() }
    }

    fn stage(name: &'static str, depth: usize) -> StageSeen {
        StageSeen { name, depth, depth_max: 100 }
    }

    fn spike(ranges: f64) -> (Arc<SeriesKey>, Timestamp, f64) {
        let series = SeriesKey::new("A", Timeframe::MINUTE).unwrap();
        (Arc::new(series), Timestamp::default(), ranges)
    }

    fn standstill(s: u64) -> Option<Standstill> {
        Some(Standstill { stage: "persist", since: Duration::from_secs(s) })
    }

    #[test]
    fn each_measure_is_broken_beyond_its_limit_and_not_at_it() {
        let totals = |change: fn(&mut Totals)| {
            let mut seen = well();
            change(&mut seen.totals);
            seen
        };
        let changed = |change: fn(&mut Observation)| {
            let mut seen = well();
            change(&mut seen);
            seen
        };
        let usage = |used: f64| Usage { subject: "u".into(), used, limit: 200.0 };
        let cases: &[(Observation, &str)] = &[
            (well(), ""),
            (totals(|t| (t.live, t.late) = (100, 1)), ""),
            (totals(|t| (t.live, t.late) = (100, 2)), "latency predictions"),
            // Of few, a share says nothing.
            (totals(|t| (t.live, t.late) = (19, 19)), ""),
            (totals(|t| (t.outcomes, t.failures) = (100, 5)), ""),
            (totals(|t| (t.outcomes, t.failures) = (100, 6)), "errors outcomes"),
            (totals(|t| t.panics = 1), "panics workers"),
            (totals(|t| t.unsaved = 1), "unsaved store"),
            (changed(|o| o.stages = vec![stage("feature", 80)]), ""),
            (changed(|o| o.stages = vec![stage("feature", 81)]), "queue feature"),
            (changed(|o| o.standstill = standstill(30)), ""),
            (changed(|o| o.standstill = standstill(31)), "stalled persist"),
            (changed(|o| o.spikes = vec![spike(20.0)]), ""),
            (changed(|o| o.spikes = vec![spike(20.1), spike(1.0)]), "spike A 1m"),
            (changed(|o| o.models.clear()), "models_missing models"),
            (changed(|o| o.models_refused = vec![("p".into(), "bad".into())]), "models_refused p"),
            (changed(|o| o.models[0].failing = vec![(4, "bad".into())]), "model_fallback m"),
            (
                changed(|o| (o.models[0].serves, o.models[0].failing) = (None, vec![(4, "bad".into())])),
                "model_down m",
            ),
            (changed(|o| o.sessions_hanging = 1), "runtime onnxruntime"),
            (changed(|o| o.store_away = Some(Duration::from_millis(900))), ""),
            (changed(|o| o.store_away = Some(Duration::from_millis(1100))), "store_away store"),
            (Observation { spool: Some(usage(20.0)), ..well() }, ""),
            (Observation { spool: Some(usage(21.0)), ..well() }, "spool u"),
            (Observation { memory: vec![usage(180.0), usage(10.0)], ..well() }, ""),
            (Observation { memory: vec![usage(10.0), usage(181.0)], ..well() }, "memory u"),
            (Observation { memory: vec![Usage { limit: 0.0, ..usage(10.0) }], ..well() }, ""),
            (changed(|o| (o.processors, o.totals.cpu) = (2.0, Duration::from_millis(1900))), ""),
            (changed(|o| (o.processors, o.totals.cpu) = (2.0, Duration::from_millis(1920))), "cpu process"),
            (Observation { disks: vec![usage(191.0)], ..well() }, "disk u"),
        ];
        for (seen, expected) in cases {
            assert_eq!(broken(seen, 1), *expected, "{seen:?}");
        }
    }

    #[test]
    fn a_series_is_quiet_when_its_siblings_go_on_in_open_hours() {
        let at = |symbol: &str, timeframe: &str, minute: i64| {
            let series = SeriesKey::new(symbol, timeframe.parse().unwrap()).unwrap();
            // From Friday, 2024-01-05, 20:00.
            (Arc::new(series), Timestamp::from_secs(1_704_484_800 + 60 * minute))
        };
        let seen = |series: Vec<_>, hours: &str| {
            let hours: MarketHours = hours.parse().unwrap();
            broken(&Observation { series, hours, ..well() }, 1)
        };
        let weekend = 48 * 60;
        for (series, hours, expected) in [
            (vec![at("A", "1m", 0)], "always", ""),
            (vec![at("A", "1m", 0), at("B", "1m", 3)], "always", ""),
            (vec![at("A", "1m", 0), at("B", "1m", 4)], "always", "feed_quiet A 1m"),
            // Each timeframe by itself, in its own bars.
            (vec![at("A", "1h", 0), at("B", "1m", 180), at("B", "1h", 180)], "always", ""),
            (vec![at("A", "1h", 0), at("B", "1h", 240)], "always", "feed_quiet A 1h"),
            (vec![at("A", "1m", 118), at("B", "1m", 120 + weekend)], "always", "feed_quiet A 1m"),
            (vec![at("A", "1m", 118), at("B", "1m", 120 + weekend)], "sun 22:00-fri 22:00", ""),
        ] {
            assert_eq!(seen(series, hours), expected, "{hours}");
        }
    }

    #[test]
    fn silence_is_counted_in_the_bars_that_are_expected_and_in_open_hours() {
        // Friday, 2024-01-05, 22:05.
        let now = Timestamp::from_secs(1_704_492_300);
        let seen = |expected: &str, hours: &str, s: u64| {
            let expected = (!expected.is_empty()).then(|| expected.parse().unwrap());
            broken(&Observation { expected, hours: hours.parse().unwrap(), now, ..well() }, s)
        };
        assert_eq!(seen("1m", "always", 600), "");
        assert_eq!(seen("1m", "always", 660), "silence bars");
        assert_eq!(seen("5m", "always", 660), "");
        assert_eq!(seen("", "always", 1_000_000), "", "nobody expects any");
        // Ten minutes of it were open.
        assert_eq!(seen("1m", "sun 22:00-fri 22:00", 900), "");
        assert_eq!(seen("1m", "sun 22:00-fri 22:00", 960), "silence bars");
    }

    #[test]
    fn many_subjects_are_summed_up_and_rules_that_are_off_or_of_another_name_count_so() {
        let model = |n: usize| ModelSeen { name: format!("m{n:03}"), serves: None, failing: Vec::new() };
        let seen = Observation { models: (0..100).map(model).collect(), ..well() };
        let text = broken(&seen, 1);
        assert_eq!(text.split(", ").count(), SUBJECTS_MAX + 1, "{text}");
        assert!(text.ends_with("model_down others"), "{text}");
        let mut rules: Rules = BTreeMap::from([("cpu".to_owned(), Measure::Cpu.rule())]);
        let totals = Totals { cpu: Duration::from_millis(970), ..Totals::default() };
        let hot = Observation { processors: 1.0, totals, ..well() };
        rules.insert("cpu_high".to_owned(), crate::config::Rule { over: 97.5, ..Measure::Cpu.rule() });
        rules.insert("cpu_low".to_owned(), crate::config::Rule { over: 5.0, ..Measure::Cpu.rule() });
        assert_eq!(broken_of(&hot, &Totals::default(), &rules, 1), "cpu process, cpu_low process");
        rules.get_mut("cpu").unwrap().enabled = false;
        assert_eq!(broken_of(&hot, &Totals::default(), &rules, 1), "cpu_low process");
        // Counts are since the last check.
        let totals = Totals { panics: 3, ..Totals::default() };
        assert_eq!(broken_of(&Observation { totals, ..well() }, &totals, &Rules::new(), 1), "");
    }
}
