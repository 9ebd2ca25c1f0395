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
/// So many subjects of one rule are told each by itself; the others are summed up.
const SUBJECTS_MAX: usize = 16;

/// What a standstill and a share are counted from.
pub(super) struct Before<'a> {
    /// Counts some time ago.
    pub totals: Totals,
    /// When each stage last got on.
    pub progress: &'a HashMap<&'static str, Progress>,
}

/// When a stage last got on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// What it had handled then.
    pub items: u64,
    /// When that was.
    pub at: Duration,
}

/// One number, of one subject, and what a person needs beside it.
struct Sample {
    value: f64,
    subject: String,
    detail: String,
}

/// The rules that `seen` breaks, the subjects of each in the order of their values.
pub(super) fn examine(seen: &Observation, before: &Before<'_>, rules: &Rules, now: Duration) -> Vec<Condition> {
    let mut samples: HashMap<Measure, Vec<Sample>> = HashMap::new();
    let mut conditions = Vec::new();
    for (name, rule) in rules.iter().filter(|(_, rule)| rule.enabled) {
        let measured =
            samples.entry(rule.measure).or_insert_with(|| measure(rule.measure, seen, before, now));
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

fn measure(measure: Measure, seen: &Observation, before: &Before<'_>, now: Duration) -> Vec<Sample> {
    let since = |count: fn(&Totals) -> u64| count(&seen.totals).saturating_sub(count(&before.totals));
    let one = |value: f64, subject: &str, detail: String| {
        vec![Sample { value, subject: subject.to_owned(), detail }]
    };
    match measure {
        Measure::Latency => share(since(|t| t.late), since(|t| t.live), "predictions", |part, whole| {
            format!("{part} of {whole} predictions took longer than max_latency_ms")
        }),
        Measure::Errors => {
            share(since(|t| t.failures), since(|t| t.outcomes), "outcomes", |part, whole| {
                format!("{part} of {whole} outcomes are failures; the store has their reasons")
            })
        }
        Measure::Panics => {
            let panics = since(|t| t.panics);
            one(panics as f64, "workers", format!("a worker panicked over {panics} items; the log has why"))
        }
        Measure::Stalled => stalled(seen, before, now),
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
        Measure::Cpu => one(seen.cpu_percent, "process", "processors are busy with this process".to_owned()),
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

/// The last stage, as data flows, that has work and gets nothing done: those before it only wait for it. A store that
/// is away has a rule of its own.
fn stalled(seen: &Observation, before: &Before<'_>, now: Duration) -> Vec<Sample> {
    if seen.store_away.is_some() {
        return Vec::new();
    }
    let stands = |stage: &super::health::StageSeen| {
        let progress = before.progress.get(stage.name)?;
        let still = (stage.depth > 0 && progress.items == stage.items).then(|| now.saturating_sub(progress.at))?;
        (!still.is_zero()).then(|| Sample {
            value: still.as_secs_f64(),
            subject: stage.name.to_owned(),
            detail: format!("{} items wait or are in work, and none was finished", stage.depth),
        })
    };
    seen.stages.iter().rev().find_map(stands).into_iter().collect()
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
