//! One client of the stream: what it wants, what waits for it, how far behind it is.

use super::super::recent::{Event, Recent};
use super::filter::{Filter, Wanted};
use super::pace::Pace;
use super::pending::Pending;
use super::priority;
use super::wire::{Gone, Wire};
use crate::domain::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many messages a client may send between two heartbeats.
const MESSAGES_MAX: u32 = 1000;
/// How many heartbeats a client may leave unanswered, or unread.
const SILENCE_MAX: u32 = 3;
/// A message of several events takes no further one when it is this long.
const BATCH_BYTES: usize = 64 * 1024;

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Subscribe(Box<Subscribe>),
    Unsubscribe,
    Ping,
}

/// A subscription; it takes the place of the one before.
#[derive(Debug, Deserialize)]
struct Subscribe {
    #[serde(flatten)]
    wanted: Wanted,
    #[serde(flatten)]
    pace: Pace,
    /// Whether the latest event of every key comes first.
    #[serde(default = "yes")]
    snapshot: bool,
    resume: Option<Resume>,
    /// Anything else: most likely one of these misspelt, which would be missed.
    #[serde(flatten)]
    unknown: BTreeMap<String, IgnoredAny>,
}

/// Where a client that was there before goes on: behind these numbers.
#[derive(Debug, Deserialize)]
struct Resume {
    epoch: String,
    #[serde(default, alias = "after")]
    seq: HashMap<String, u64>,
}

fn yes() -> bool {
    true
}

/// How a client begins that says nothing itself: Server-Sent Events.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// What it wants.
    pub wanted: Wanted,
    /// How often, and how much in one message.
    pub pace: Pace,
    /// Whether the latest event of every key comes first.
    pub snapshot: bool,
    /// The last event it had: its epoch and its number.
    pub last: Option<(String, u64)>,
}

/// A client.
pub struct Client {
    wire: Wire,
    filter: Option<Filter>,
    pace: Pace,
    /// Before this no round begins.
    round_at: Instant,
    pending: Pending,
    keys_max: usize,
    /// Events that a newer one replaced while it was behind.
    conflated_behind: u64,
    /// Since when it has not taken what waits.
    blocked: Option<Instant>,
    messages: u32,
    seen: Instant,
}

impl Client {
    /// A client that has not said what it wants.
    pub fn new(wire: Wire, keys_max: usize) -> Self {
        let (now, pending, pace) = (Instant::now(), Pending::default(), Pace::default());
        Self {
            wire,
            filter: None,
            pace,
            round_at: now,
            pending,
            keys_max,
            conflated_behind: 0,
            blocked: None,
            messages: 0,
            seen: now,
        }
    }

    /// Events it missed so far because it is behind, (conflated, left out); what it chose to miss is none of them.
    pub fn missed(&self) -> (u64, u64) {
        (self.conflated_behind, self.pending.dropped)
    }

    /// Begins with what the request said.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(&mut self, opening: Opening, recent: &Recent) -> Result<(), Gone> {
        let Opening { wanted, pace, snapshot, last } = opening;
        let wanted = wanted.meant(|name| recent.symbol_of(name).to_owned());
        let last = last.filter(|(epoch, _)| epoch == recent.epoch());
        let backlog = match &last {
            Some((_, id)) => recent.since(|key| wanted.takes(key), |event| event.id > *id),
            None if snapshot => recent.latest(|key| wanted.takes(key)),
            None => Vec::new(),
        };
        self.begin(wanted, pace, backlog, last.is_some(), recent)
    }

    fn begin(
        &mut self,
        wanted: Wanted,
        pace: Pace,
        backlog: Vec<Arc<Event>>,
        resumed: bool,
        recent: &Recent,
    ) -> Result<(), Gone> {
        self.filter = Some(Filter::new(wanted));
        (self.pace, self.round_at) = (pace, Instant::now());
        let text = json!({"type": "subscribed", "epoch": recent.epoch(), "resumed": resumed, "events": backlog.len()});
        self.pending.begin(backlog);
        self.say("subscribed", &text)?;
        self.flush(recent)
    }

    /// Reads what it says.
    ///
    /// # Errors
    /// When it is gone, or says too much.
    pub fn hear(&mut self, recent: &Recent) -> Result<(), Gone> {
        while let Some(text) = self.wire.read()? {
            self.seen = Instant::now();
            self.messages += 1;
            if self.messages > MESSAGES_MAX {
                return Err(Gone);
            }
            if !text.is_empty() {
                self.answer(&text, recent)?;
            }
        }
        // Answers to pings wait in the wire.
        self.flush(recent)
    }

    fn answer(&mut self, text: &str, recent: &Recent) -> Result<(), Gone> {
        let subscribe = match serde_json::from_str(text) {
            Ok(Said::Subscribe(subscribe)) => subscribe,
            Ok(Said::Unsubscribe) => {
                self.filter = None;
                self.pending.begin(Vec::new());
                return self.say("unsubscribed", &json!({"type": "unsubscribed"}));
            }
            Ok(Said::Ping) => return self.say("pong", &json!({"type": "pong"})),
            Err(error) => {
                return self
                    .complain(&format!("not understood: {error}; send {{\"type\":\"subscribe\", …}}"));
            }
        };
        let Subscribe { wanted, pace, snapshot, resume, unknown } = *subscribe;
        if let Some(name) = unknown.keys().next() {
            return self.complain(&format!(
                "there is no member `{name}`: symbols, timeframes, horizons, models, refusals, snapshot, interval_ms, batch, \
                 resume are known"
            ));
        }
        if let Err(detail) = wanted.check().and_then(|()| pace.check()) {
            return self.complain(&detail);
        }
        let wanted = wanted.meant(|name| recent.symbol_of(name).to_owned());
        let resume = resume.filter(|resume| resume.epoch == recent.epoch());
        let mut backlog = match snapshot {
            true => recent.latest(|key| wanted.takes(key)),
            false => Vec::new(),
        };
        if let Some(resume) = &resume {
            // Of keys it knows, what it missed; of others, the latest.
            backlog.retain(|event| !resume.seq.contains_key(&*event.key_text));
            let missed = |event: &Event| resume.seq.get(&*event.key_text).is_some_and(|seq| event.seq > *seq);
            backlog.extend(recent.since(|key| wanted.takes(key), missed));
            backlog.sort_unstable_by_key(|event| event.id);
        }
        self.begin(wanted, pace, backlog, resume.is_some(), recent)
    }

    fn complain(&mut self, detail: &str) -> Result<(), Gone> {
        self.say("error", &json!({"type": "error", "detail": detail}))
    }

    fn say(&mut self, event: &str, text: &serde_json::Value) -> Result<(), Gone> {
        let blocked = self.wire.send(event, None, &text.to_string().into())?;
        self.note(blocked);
        Ok(())
    }

    fn note(&mut self, blocked: bool) {
        self.blocked = blocked.then(|| self.blocked.unwrap_or_else(Instant::now));
    }

    /// Events happened: those it wants are written, together, as far as it wants and takes them now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn offer(&mut self, events: &[Arc<Event>], recent: &Recent) -> Result<(), Gone> {
        let mut any = false;
        for event in events {
            if !self.filter.as_mut().is_some_and(|filter| filter.takes(event.line, &event.key)) {
                continue;
            }
            any = true;
            if self.blocked.is_some() || self.pace.interval_ms > 0 {
                let replaces = self.pending.put(event, self.keys_max);
                self.conflated_behind += u64::from(replaces && self.blocked.is_some());
            } else if self.pace.batch {
                self.pending.follow(event);
            } else {
                self.pass(&[Arc::clone(event)], recent)?;
            }
        }
        // Where what waits could not be written, it is said when it can.
        if any && self.blocked.is_none() { self.flush(recent) } else { Ok(()) }
    }

    /// When the next round is due; `None` where nothing waits for it, or what was written before is not taken yet.
    pub fn due(&self) -> Option<Instant> {
        (self.pending.has_next() && self.blocked.is_none()).then_some(self.round_at)
    }

    /// Writes events: more than one where they make one message.
    fn pass(&mut self, events: &[Arc<Event>], recent: &Recent) -> Result<(), Gone> {
        let Some(last) = events.last() else { return Ok(()) };
        let id = match self.wire {
            Wire::Events { .. } => Some(format!("{}-{}", recent.epoch(), last.id)),
            Wire::Socket(_) => None,
        };
        let blocked = if self.pace.batch {
            let mut text = String::from("{\"type\":\"batch\",\"events\":[");
            for (at, event) in events.iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                text.push_str(event.json());
            }
            text.push_str("]}");
            self.wire.send("batch", id.as_deref(), &text.into())?
        } else {
            let kind = if last.key.predictions { "prediction" } else { "refusal" };
            self.wire.send(kind, id.as_deref(), last.json())?
        };
        self.note(blocked);
        Ok(())
    }

    /// Whether something is to be sent now. A round begins where the one before has been sent and it is due.
    fn ready(&mut self) -> bool {
        if !self.pending.has_now() && self.pending.has_next() {
            let now = Instant::now();
            if now >= self.round_at {
                self.round_at = now + self.pace.interval();
                self.pending.turn_over();
            }
        }
        self.pending.has_now()
    }

    fn drain(&mut self, recent: &Recent) -> Result<(), Gone> {
        let mut message = Vec::new();
        while self.blocked.is_none() && self.pending.has_now() {
            let mut bytes = 0;
            while let Some(event) = self.pending.take() {
                bytes += event.json().len();
                message.push(event);
                if !self.pace.batch || bytes >= BATCH_BYTES {
                    break;
                }
            }
            self.pass(&message, recent)?;
            message.clear();
            priority::let_others(false);
        }
        Ok(())
    }

    /// Writes what waits, as far as it is due and taken.
    ///
    /// # Errors
    /// When it is gone.
    pub fn flush(&mut self, recent: &Recent) -> Result<(), Gone> {
        loop {
            let blocked = self.wire.flush()?;
            self.note(blocked);
            priority::let_others(false);
            if blocked || !self.ready() {
                return Ok(());
            }
            self.drain(recent)?;
        }
    }

    /// Says that the stream is alive, and how much was missed.
    ///
    /// # Errors
    /// When it is gone, or has not answered or read for too long.
    pub fn beat(&mut self, interval: Duration, recent: &Recent) -> Result<(), Gone> {
        self.messages = 0;
        let patience = interval * SILENCE_MAX;
        let silent = matches!(self.wire, Wire::Socket(_)) && self.seen.elapsed() > patience;
        if silent || self.blocked.is_some_and(|since| since.elapsed() > patience) {
            return Err(Gone);
        }
        if self.blocked.is_some() {
            // It hears of it once it reads again.
            return Ok(());
        }
        let Pending { conflated, dropped, .. } = self.pending;
        let at = Timestamp::now().to_string();
        let text = json!({
            "type": "heartbeat", "at": at, "epoch": recent.epoch(), "conflated": conflated, "dropped": dropped
        });
        self.say("heartbeat", &text)?;
        let blocked = self.wire.ping()?;
        self.note(blocked || self.blocked.is_some());
        self.flush(recent)
    }
}
