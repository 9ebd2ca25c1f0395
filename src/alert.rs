//! Alerts: the one place where what a person should know of is raised, counted and logged.
//!
//! Rooms raise them, [`crate::engine`] shows them. An alert is no error of the one who raises it: work goes on.

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

/// How many of the newest alerts are kept.
const RECENT_MAX: usize = 256;

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something is over again.
    Info,
    /// Something failed, and something else stands in for it.
    Warning,
    /// Something failed, and nothing stands in.
    Error,
}

impl Severity {
    /// The word for it in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One alert.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Its number, from 0 on in the order in which they are raised.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// How grave.
    pub severity: Severity,
    /// Of which kind; counted by it.
    pub code: &'static str,
    /// Whom it concerns: a model, a folder.
    pub subject: String,
    /// What happened, and what is done about it.
    pub detail: String,
}

/// All alerts of one engine.
#[derive(Default)]
pub struct Alerts {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    counts: BTreeMap<&'static str, u64>,
    next: u64,
    recent: VecDeque<Alert>,
}

impl Alerts {
    /// Raises one: it is logged, counted and kept among the newest.
    pub fn raise(&self, severity: Severity, code: &'static str, subject: &str, detail: String) {
        match severity {
            Severity::Info => tracing::info!(alert = code, subject, "{detail}"),
            Severity::Warning => tracing::warn!(alert = code, subject, "{detail}"),
            Severity::Error => tracing::error!(alert = code, subject, "{detail}"),
        }
        let (at, subject) = (SystemTime::now(), subject.to_owned());
        let mut inner = self.inner.lock();
        let alert = Alert { number: inner.next, at, severity, code, subject, detail };
        inner.next += 1;
        *inner.counts.entry(code).or_default() += 1;
        if inner.recent.len() == RECENT_MAX {
            inner.recent.pop_front();
        }
        inner.recent.push_back(alert);
    }

    /// How many there were of each kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
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
}
