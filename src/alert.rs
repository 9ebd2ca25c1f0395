//! Alerts: the one place where what a person should know of is raised, logged, counted, kept and passed on.
//!
//! There are two kinds. An *event* happened ([`Alerts::raise`]): a version failed. A *state* holds
//! ([`Alerts::update`]): the store is away; it is raised once, repeated after growing pauses, and cleared. Both are
//! the same to whoever listens: the log, the store, the webhook, [`crate::Engine::alerts`]. An alert is no error of
//! the one who raises it: work goes on, and nobody ever waits for whoever is told.

mod standing;

pub use crate::domain::Severity;
pub use standing::{Condition, Phase, Standing};

use crate::domain::Timestamp;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use standing::{Notice, Table};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many of the newest alerts are kept.
const RECENT_MAX: usize = 256;

/// Of which kind an alert is: the name of an event, or of a rule.
pub type Code = Cow<'static, str>;

/// One alert.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Its number, from 0 on in the order in which they are told.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Whether it is new, still so, or over.
    pub phase: Phase,
    /// How grave.
    pub severity: Severity,
    /// Of which kind; counted by it.
    pub code: Code,
    /// Whom it concerns: a model, a folder, a stage, a series.
    pub subject: String,
    /// What happened, and what is done about it.
    pub detail: String,
    /// How often it was told since it was raised, this time included.
    pub count: u64,
}

/// All alerts of one engine.
#[derive(Default)]
pub struct Alerts {
    inner: Mutex<Inner>,
    missed: AtomicU64,
}

#[derive(Default)]
struct Inner {
    counts: BTreeMap<Code, u64>,
    recent: VecDeque<Alert>,
    next: u64,
    states: Table,
    listeners: Vec<Sender<Alert>>,
}

impl Alerts {
    /// Raises an event: it is logged, counted, kept among the newest and told to all who listen.
    pub fn raise(&self, severity: Severity, code: &'static str, subject: &str, detail: String) {
        let alert = Alert {
            number: 0,
            at: Timestamp::now(),
            phase: Phase::Raised,
            severity,
            code: Cow::Borrowed(code),
            subject: subject.to_owned(),
            detail,
            count: 1,
        };
        self.tell(&mut self.inner.lock(), alert);
    }

    /// Takes what holds at `now`, a time on any clock that only goes forward; what that makes raised, repeated or
    /// cleared is told. A state that stays is repeated after `repeat_after`, then after twice that, and so on.
    pub fn update(&self, conditions: Vec<Condition>, repeat_after: Duration, now: Duration) {
        let mut inner = self.inner.lock();
        let at = Timestamp::now();
        let notices = inner.states.step(conditions, repeat_after, (now, at));
        for Notice { phase, severity, code, subject, detail, count } in notices {
            self.tell(&mut inner, Alert { number: 0, at, phase, severity, code, subject, detail, count });
        }
    }

    fn tell(&self, inner: &mut Inner, mut alert: Alert) {
        alert.number = inner.next;
        inner.next += 1;
        let Alert { phase, severity, ref code, ref subject, ref detail, .. } = alert;
        match (phase, severity) {
            (Phase::Cleared, _) | (_, Severity::Info) => {
                tracing::info!(alert = %code, %phase, subject, "{detail}");
            }
            (_, Severity::Warning) => tracing::warn!(alert = %code, %phase, subject, "{detail}"),
            (_, Severity::Error) => tracing::error!(alert = %code, %phase, subject, "{detail}"),
        }
        if phase == Phase::Raised {
            *inner.counts.entry(code.clone()).or_default() += 1;
        }
        inner.listeners.retain(|listener| match listener.try_send(alert.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
        if inner.recent.len() == RECENT_MAX {
            inner.recent.pop_front();
        }
        inner.recent.push_back(alert);
    }

    /// Every alert from now on. One who leaves `capacity` unread misses the next ones, which is counted.
    pub fn listen(&self, capacity: usize) -> Receiver<Alert> {
        let (sender, receiver) = bounded(capacity);
        self.inner.lock().listeners.push(sender);
        receiver
    }

    /// How many alerts somebody who listens has missed.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// How many were raised of each kind.
    pub fn counts(&self) -> BTreeMap<Code, u64> {
        self.inner.lock().counts.clone()
    }

    /// The newest, oldest of them first.
    pub fn recent(&self) -> Vec<Alert> {
        self.since(0)
    }

    /// Those with `number` and above, as far as they are kept, oldest first.
    pub fn since(&self, number: u64) -> Vec<Alert> {
        self.inner.lock().recent.iter().filter(|alert| alert.number >= number).cloned().collect()
    }

    /// The states that were raised and are not over.
    pub fn standing(&self) -> Vec<Standing> {
        self.inner.lock().states.standing()
    }
}
