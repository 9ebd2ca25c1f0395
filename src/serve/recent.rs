//! The newest outcomes in memory: what `/api/predictions` shows, and what a client of the stream that comes back is
//! sent again.
//!
//! Every key (symbol, timeframe, horizon, model; predictions and refusals apart) numbers its events from 1, so that
//! a reader sees what it missed. Numbers begin anew with the process: the epoch says which one it was.

use super::outcome::OutcomeJson;
use crate::domain::{Aliases, Outcome, SeriesKey, Timestamp};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tungstenite::Utf8Bytes;

/// What has a numbering of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventKey {
    /// Whose bars.
    pub series: Arc<SeriesKey>,
    /// How many bars ahead; 0 for a refusal of the bar itself.
    pub horizon: u32,
    /// The model; empty for a refusal that concerns none.
    pub model: Arc<str>,
    /// Whether it is the predictions, or the refusals.
    pub predictions: bool,
}

impl EventKey {
    fn of(outcome: &Outcome) -> Self {
        let model = match &outcome.result {
            Ok(prediction) => Arc::clone(&prediction.model),
            Err(refusal) => refusal.model.clone().unwrap_or_default(),
        };
        let predictions = outcome.result.is_ok();
        Self { series: Arc::clone(&outcome.series), horizon: outcome.horizon, model, predictions }
    }

    fn text(&self) -> String {
        let Self { series, horizon, model, predictions } = self;
        let kind = if *predictions { "" } else { "|refusal" };
        format!("{}|{}|{horizon}|{model}{kind}", series.symbol, series.timeframe)
    }
}

/// One outcome, numbered.
#[derive(Debug)]
pub struct Event {
    /// Its number in the order of storing, over all keys.
    pub id: u64,
    /// The dense number of its key.
    pub line: u32,
    /// Its key.
    pub key: Arc<EventKey>,
    /// Its key as text.
    pub key_text: Arc<str>,
    /// Its number within its key.
    pub seq: u64,
    /// What it says.
    pub outcome: Outcome,
    /// When it was stored, on the clock of its stamps.
    pub stored_ns: u64,
    json: OnceLock<Utf8Bytes>,
}

impl Event {
    /// It as JSON, made once however many read it and kept once however many are sent it.
    pub fn json(&self) -> &Utf8Bytes {
        self.json.get_or_init(|| {
            let place = Some((&*self.key_text, self.seq));
            let json = OutcomeJson { outcome: &self.outcome, stored_ns: self.stored_ns, place };
            // Every key of it is text, and an outcome's numbers are finite where they were stored.
            serde_json::to_string(&json).unwrap_or_default().into()
        })
    }
}

struct Line {
    key: Arc<EventKey>,
    text: Arc<str>,
    seq: u64,
    latest: Option<Arc<Event>>,
    kept: VecDeque<Arc<Event>>,
}

#[derive(Default)]
struct Inner {
    numbers: HashMap<EventKey, u32>,
    lines: Vec<Line>,
    /// The lines of all kept events, the oldest first.
    order: VecDeque<u32>,
    next_id: u64,
}

/// The newest outcomes.
pub struct Recent {
    epoch: String,
    max: usize,
    /// Under which other names symbols are asked for.
    aliases: Aliases,
    inner: Mutex<Inner>,
}

impl Recent {
    /// Keeps the newest `max`, of symbols with these aliases.
    pub fn new(max: usize, aliases: Aliases) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch = format!("{:x}", since.as_nanos());
        Self { epoch, max: max.max(1), aliases, inner: Mutex::default() }
    }

    /// The symbol that `name` stands for now, or itself.
    pub fn symbol_of<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.symbol(name, Timestamp::now()).map_or(name, |symbol| symbol)
    }

    /// What tells the numbers of this process from those of another.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Takes an outcome in.
    pub fn push(&self, outcome: Outcome, stored_ns: u64) -> Arc<Event> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let key = EventKey::of(&outcome);
        let next = inner.lines.len() as u32;
        let number = match inner.numbers.get(&key) {
            Some(number) => *number,
            None => {
                let text: Arc<str> = key.text().into();
                inner.numbers.insert(key.clone(), next);
                inner.lines.push(Line {
                    key: Arc::new(key),
                    text,
                    seq: 0,
                    latest: None,
                    kept: VecDeque::new(),
                });
                next
            }
        };
        let line = &mut inner.lines[number as usize];
        line.seq += 1;
        inner.next_id += 1;
        let event = Arc::new(Event {
            id: inner.next_id,
            line: number,
            key: Arc::clone(&line.key),
            key_text: Arc::clone(&line.text),
            seq: line.seq,
            outcome,
            stored_ns,
            json: OnceLock::new(),
        });
        line.latest = Some(Arc::clone(&event));
        line.kept.push_back(Arc::clone(&event));
        inner.order.push_back(number);
        if inner.order.len() > self.max
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.lines[oldest as usize].kept.pop_front();
        }
        event
    }

    /// The newest events that `wanted` takes, at most `limit`, the newest first.
    pub fn newest(&self, wanted: impl Fn(&EventKey) -> bool, limit: usize) -> Vec<Arc<Event>> {
        let inner = self.inner.lock();
        let lines = inner.lines.iter().filter(|line| wanted(&line.key));
        let mut events: Vec<Arc<Event>> = Vec::new();
        for line in lines {
            events.extend(line.kept.iter().rev().take(limit).cloned());
        }
        events.sort_unstable_by_key(|event| std::cmp::Reverse(event.id));
        events.truncate(limit);
        events
    }

    /// The latest event of every key that `wanted` takes, in the order of storing.
    pub fn latest(&self, wanted: impl Fn(&EventKey) -> bool) -> Vec<Arc<Event>> {
        let inner = self.inner.lock();
        let lines = inner.lines.iter().filter(|line| wanted(&line.key));
        let mut events: Vec<Arc<Event>> = lines.filter_map(|line| line.latest.clone()).collect();
        events.sort_unstable_by_key(|event| event.id);
        events
    }

    /// The kept events that `wanted` takes, in the order of storing; `after` says behind which number a key's are
    /// wanted.
    pub fn since(
        &self,
        wanted: impl Fn(&EventKey) -> bool,
        after: impl Fn(&Event) -> bool,
    ) -> Vec<Arc<Event>> {
        let inner = self.inner.lock();
        let lines = inner.lines.iter().filter(|line| wanted(&line.key));
        let kept = lines.flat_map(|line| &line.kept).filter(|event| after(event));
        let mut events: Vec<Arc<Event>> = kept.cloned().collect();
        events.sort_unstable_by_key(|event| event.id);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Origin, Place, Prediction, Reason, Refusal, Stamps, Timeframe, Timestamp};

    fn outcome(symbol: &str, ts: i64, value: Option<f64>) -> Outcome {
        let model: Arc<str> = Arc::from("m");
        let prediction = |value| Prediction {
            model: Arc::clone(&model),
            version: 1,
            value,
            outputs: Arc::default(),
            names: Arc::from([]),
        };
        let refusal = || Refusal::of_model(&model, Reason::WarmingUp, "rsi_14");
        Outcome {
            series: Arc::new(SeriesKey::new(symbol, Timeframe::MINUTE).unwrap()),
            horizon: 5,
            ts: Timestamp::from_secs(ts),
            close: 1.5,
            revision: 0,
            place: Place::default(),
            origin: Origin::Live,
            stamps: Stamps { arrived_ns: 1000, ..Stamps::default() },
            result: value.map(prediction).ok_or_else(refusal),
            reply: None,
        }
    }

    #[test]
    fn keys_number_their_events_and_the_oldest_go() {
        let recent = Recent::new(4, Aliases::NONE);
        for n in 0..4 {
            recent.push(outcome("A", n, Some(0.5)), 3000);
        }
        recent.push(outcome("B", 9, None), 3000);
        let all = recent.newest(|_| true, 10);
        let numbered: Vec<_> = all.iter().map(|event| (&*event.key_text, event.seq)).collect();
        assert_eq!(numbered, [("B|1m|5|m|refusal", 1), ("A|1m|5|m", 4), ("A|1m|5|m", 3), ("A|1m|5|m", 2)]);
        assert_eq!(recent.newest(|key| key.predictions, 1)[0].seq, 4);
        assert_eq!(recent.since(|_| true, |event| event.seq > 2).len(), 2);
        for n in 0..4 {
            recent.push(outcome("C", n, Some(0.5)), 3000);
        }
        assert_eq!(recent.latest(|key| &*key.series.symbol == "A")[0].seq, 4, "the latest of a key stays");
        let json: serde_json::Value = serde_json::from_str(all[1].json()).unwrap();
        assert_eq!((json["type"].as_str(), json["seq"].as_u64()), (Some("prediction"), Some(4)));
        assert_eq!(
            (json["ts"].as_str(), json["latency_us"].as_f64()),
            (Some("1970-01-01T00:00:03Z"), Some(2.0))
        );
    }
}
