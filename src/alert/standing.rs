//! The life of a state: pending, raised, repeated, cleared. A pure table: what holds and the time go in, what is to be
//! told comes out.

use super::Code;
use crate::domain::{Severity, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The longest pause between two repetitions.
const PAUSE_MAX: Duration = Duration::from_secs(86_400);
/// States that are kept at most: what is beyond is not looked at before others are over.
const STATES_MAX: usize = 1024;

/// What an alert says of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is new; an event has no other phase.
    Raised,
    /// It still is so.
    Repeated,
    /// It is over.
    Cleared,
}

impl Phase {
    /// The word for it in messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Repeated => "repeated",
            Self::Cleared => "cleared",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Something that holds at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// By which rule.
    pub code: Code,
    /// Of what.
    pub subject: String,
    /// How grave it is.
    pub severity: Severity,
    /// What was measured, and its limit.
    pub detail: String,
    /// How long it must hold before it counts, and not hold before it is over.
    pub for_at_least: Duration,
}

/// A state that was raised and is not over.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// By which rule.
    pub code: Code,
    /// Of what.
    pub subject: String,
    /// How grave it is.
    pub severity: Severity,
    /// What was measured last, and its limit.
    pub detail: String,
    /// Since when it holds.
    pub since: Timestamp,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Notice {
    pub phase: Phase,
    pub code: Code,
    pub subject: String,
    pub severity: Severity,
    pub detail: String,
    /// How often this was told, this time included.
    pub count: u64,
}

/// All states, by code and subject.
#[derive(Default)]
pub(super) struct Table {
    states: BTreeMap<(Code, String), State>,
}

struct State {
    severity: Severity,
    detail: String,
    for_at_least: Duration,
    /// When it began, by both clocks.
    since: (Duration, Timestamp),
    /// When it is to be told, and the pause after that; the first time is when it is raised.
    next: Duration,
    pause: Option<Duration>,
    told: u64,
    /// Since when it does not hold any more.
    over_since: Option<Duration>,
}

impl Table {
    /// Takes what holds now.
    pub(super) fn step(
        &mut self,
        conditions: Vec<Condition>,
        repeat_after: Duration,
        (now, at): (Duration, Timestamp),
    ) -> Vec<Notice> {
        let mut held = BTreeMap::new();
        for condition in conditions {
            held.insert((condition.code.clone(), condition.subject.clone()), condition);
        }
        let mut notices = Vec::new();
        self.states.retain(|key, state| match held.remove(key) {
            Some(condition) => {
                state.goes_on(condition);
                notices.extend(state.due(key, repeat_after, now));
                true
            }
            None => {
                let cleared = state.ends(key, now);
                let stays = state.pause.is_some() && cleared.is_none();
                notices.extend(cleared);
                stays
            }
        });
        for (key, condition) in held {
            if self.states.len() >= STATES_MAX {
                break;
            }
            let mut state = State {
                severity: condition.severity,
                detail: condition.detail,
                for_at_least: condition.for_at_least,
                since: (now, at),
                next: now + condition.for_at_least,
                pause: None,
                told: 0,
                over_since: None,
            };
            notices.extend(state.due(&key, repeat_after, now));
            self.states.insert(key, state);
        }
        notices
    }

    pub(super) fn standing(&self) -> Vec<Standing> {
        let raised = self.states.iter().filter(|(_, state)| state.pause.is_some());
        let standing = raised.map(|((code, subject), state)| Standing {
            code: code.clone(),
            subject: subject.clone(),
            severity: state.severity,
            detail: state.detail.clone(),
            since: state.since.1,
        });
        standing.collect()
    }
}

impl State {
    fn goes_on(&mut self, condition: Condition) {
        if self.pause.is_none() {
            // The rule may have been changed meanwhile.
            self.next = self.since.0 + condition.for_at_least;
        }
        self.severity = condition.severity;
        self.detail = condition.detail;
        self.for_at_least = condition.for_at_least;
        self.over_since = None;
    }

    /// What is to be told of a state that holds.
    fn due(&mut self, key: &(Code, String), repeat_after: Duration, now: Duration) -> Option<Notice> {
        if now < self.next {
            return None;
        }
        let (phase, pause) = match self.pause {
            None => (Phase::Raised, repeat_after),
            Some(pause) => (Phase::Repeated, (2 * pause).min(PAUSE_MAX)),
        };
        self.pause = Some(pause);
        self.next = now + pause;
        let lasted = match phase {
            Phase::Repeated => format!("; so for {} s", (now - self.since.0).as_secs()),
            _ => String::new(),
        };
        Some(self.notice(key, phase, format!("{}{lasted}", self.detail)))
    }

    /// What is to be told of a state that does not hold now.
    fn ends(&mut self, key: &(Code, String), now: Duration) -> Option<Notice> {
        let over_since = *self.over_since.get_or_insert(now);
        let is_over = self.pause.is_some() && now - over_since >= self.for_at_least;
        is_over.then(|| {
            let lasted = (over_since - self.since.0).as_secs();
            self.notice(key, Phase::Cleared, format!("over after {lasted} s; it was: {}", self.detail))
        })
    }

    fn notice(&mut self, (code, subject): &(Code, String), phase: Phase, detail: String) -> Notice {
        self.told += 1;
        let (code, subject) = (code.clone(), subject.clone());
        Notice { phase, code, subject, severity: self.severity, detail, count: self.told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `holds` (a character a second, `x` where the condition holds) and gives what is told in each second: `R`, `r`,
    /// `C`, or `.` for nothing.
    fn told(for_s: u64, repeat_s: u64, holds: &str) -> String {
        let mut table = Table::default();
        let second = |(second, holds): (usize, char)| {
            let condition = Condition {
                code: Code::Borrowed("store_away"),
                subject: "store".into(),
                severity: Severity::Warning,
                detail: "away".into(),
                for_at_least: Duration::from_secs(for_s),
            };
            let conditions = if holds == 'x' { vec![condition] } else { Vec::new() };
            let now = Duration::from_secs(second as u64);
            let at = Timestamp::from_secs(second as i64);
            let notices = table.step(conditions, Duration::from_secs(repeat_s), (now, at));
            assert!(notices.len() <= 1, "{notices:?}");
            match notices.first().map(|notice| notice.phase) {
                None => '.',
                Some(Phase::Raised) => 'R',
                Some(Phase::Repeated) => 'r',
                Some(Phase::Cleared) => 'C',
            }
        };
        holds.chars().enumerate().map(second).collect()
    }

    #[test]
    fn a_state_is_raised_once_repeated_after_doubling_pauses_and_cleared() {
        for (for_s, repeat_s, holds, expected) in [
            (0, 2, "-x-", ".RC"),
            (0, 2, "xxxxxxxxxxxxxxxxxx-", "R.r...r.......r...C"),
            // Long enough before it counts, long enough before it is over.
            (2, 9, "xx-xxx-x--------", ".....R....C....."),
            // What comes and goes is one state.
            (2, 9, "xxx-x-x-x-x---", "..R..........C"),
            (3, 9, "xx-xx-xx-xx", "..........."),
            (0, 1, "x-x-x-", "RCRCRC"),
        ] {
            assert_eq!(told(for_s, repeat_s, holds), expected, "for {for_s} s, {holds}");
        }
    }

    #[test]
    fn pauses_grow_up_to_a_day() {
        let mut table = Table::default();
        let mut told = Vec::new();
        for hour in 0..24 * 30_u64 {
            let condition = Condition {
                code: Code::Borrowed("disk"),
                subject: "log".into(),
                severity: Severity::Warning,
                detail: "full".into(),
                for_at_least: Duration::ZERO,
            };
            let now = Duration::from_secs(hour * 3600);
            let notices = table.step(vec![condition], Duration::from_secs(3600), (now, Timestamp::default()));
            if !notices.is_empty() {
                told.push(hour);
            }
        }
        assert_eq!(told[..6], [0, 1, 3, 7, 15, 31]);
        assert_eq!(told[6] - told[5], 24, "at most a day apart");
        assert_eq!(told[7] - told[6], 24);
    }

    #[test]
    fn what_stands_is_what_was_raised_and_is_not_over_and_the_table_is_bounded() {
        let mut table = Table::default();
        let condition = |subject: usize, for_s| Condition {
            code: Code::Borrowed("feed_quiet"),
            subject: subject.to_string(),
            severity: Severity::Warning,
            detail: "quiet".into(),
            for_at_least: Duration::from_secs(for_s),
        };
        let at = |second| (Duration::from_secs(second), Timestamp::from_secs(second as i64));
        let pause = Duration::from_secs(60);
        assert_eq!(table.step(vec![condition(1, 0), condition(2, 5)], pause, at(10)).len(), 1);
        let standing = table.standing();
        assert_eq!(standing.len(), 1);
        assert_eq!((&*standing[0].subject, standing[0].since), ("1", Timestamp::from_secs(10)));
        let many = (0..5000).map(|subject| condition(subject, 0)).collect();
        assert!(table.step(many, pause, at(11)).len() <= STATES_MAX);
        assert_eq!(table.standing().len(), STATES_MAX);
        let cleared = table.step(Vec::new(), pause, at(12));
        assert!(cleared.iter().all(|notice| notice.phase == Phase::Cleared));
        assert!(table.states.len() <= 1, "the one that waits for its five seconds");
        assert!(table.standing().len() <= 1);
    }
}
