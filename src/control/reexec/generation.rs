//! Which copy of itself a process is, and why: read from the environment, once.

use super::{GENERATION_VARIABLE, system};
use crate::control::Cause;
use crate::domain::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use std::time::Duration;

/// One replacement, as the copy is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// One word: `memory`, `stalled`.
    pub cause: String,
    /// What was seen, in words.
    pub detail: String,
    /// When, in ms since 1970.
    pub at_ms: u64,
    /// When the last bar may have been taken in, in µs of the system's monotonic clock.
    pub ingest_ended_us: u64,
    /// What was left: items on their way, outcomes not stored. Their bars are predicted again.
    pub left: u64,
    /// What to wait before beginning to work, in ms.
    pub pause_ms: u64,
}

impl Restart {
    /// One for `cause`, now.
    pub fn now(cause: &Cause, pause: Duration) -> Self {
        Self {
            cause: cause.word().to_owned(),
            detail: cause.to_string(),
            at_ms: u64::try_from(Timestamp::now().as_millis()).unwrap_or(0),
            ingest_ended_us: system::monotonic_us(),
            left: 0,
            pause_ms: pause.as_millis() as u64,
        }
    }
}

/// Which copy of itself a process is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Generation {
    /// The process that is meant.
    pid: u32,
    /// 0 for one that somebody started.
    pub number: u32,
    /// Why the copy before it went.
    pub last: Option<Restart>,
    /// When copies before it went, in ms since 1970, as far as the budget looks back.
    pub past_ms: Vec<u64>,
    /// How long no bar was taken in; known with the first one.
    #[serde(skip)]
    pause_ms: OnceLock<u64>,
}

/// This process's generation.
pub fn generation() -> &'static Generation {
    static GENERATION: OnceLock<Generation> = OnceLock::new();
    GENERATION.get_or_init(|| {
        let text = std::env::var(GENERATION_VARIABLE).unwrap_or_default();
        Generation::read(&text, std::process::id())
    })
}

impl Generation {
    /// What `text` says to the process `pid`; what is not meant for it, or is nonsense, says nothing.
    fn read(text: &str, pid: u32) -> Self {
        let generation: Self = serde_json::from_str(text).unwrap_or_default();
        if generation.pid == pid { generation } else { Self { pid, ..Self::default() } }
    }

    /// What the copy after this one is told; `past_ms` are the replacements before, as far as they count.
    pub(super) fn next(&self, restart: Restart, past_ms: impl Iterator<Item = u64>) -> String {
        let past_ms = past_ms.chain([restart.at_ms]).collect();
        let next = Self {
            pid: self.pid,
            number: self.number.saturating_add(1),
            last: Some(restart),
            past_ms,
            pause_ms: OnceLock::new(),
        };
        serde_json::to_string(&next).unwrap_or_default()
    }

    /// Notes that bars are taken in again. Only the first time counts.
    pub fn takes_bars(&self) {
        let Some(last) = &self.last else { return };
        let pause_ms = system::monotonic_us().saturating_sub(last.ingest_ended_us) / 1000;
        if self.pause_ms.set(pause_ms).is_ok() {
            tracing::info!(generation = self.number, pause_ms, cause = last.cause, "bars are taken in again");
        }
    }

    /// How long no bar was taken in, in ms: from the moment the copy before stopped until this one began.
    pub fn pause_ms(&self) -> Option<u64> {
        self.pause_ms.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_handed_on_to_the_same_process_only() {
        let restart = Restart { cause: "memory".into(), at_ms: 7000, ..Restart::default() };
        let first = Generation::read("", 42);
        assert_eq!((first.number, &first.last, first.past_ms.len()), (0, &None, 0));
        let text = first.next(restart.clone(), [1000, 2000].into_iter());
        let second = Generation::read(&text, 42);
        assert_eq!((second.number, &second.last), (1, &Some(restart)));
        assert_eq!(second.past_ms, [1000, 2000, 7000]);
        assert_eq!(Generation::read(&text, 43).number, 0, "a child that inherited the variable");
        for nonsense in ["1", "{}", "{\"pid\":42}", "\u{0}", &text[1..]] {
            assert_eq!(Generation::read(nonsense, 42).number, 0, "{nonsense}");
        }
    }

    #[test]
    fn the_pause_is_counted_once_and_only_after_a_restart() {
        let none = Generation::default();
        none.takes_bars();
        assert_eq!(none.pause_ms(), None);
        let ingest_ended_us = system::monotonic_us().saturating_sub(250_000);
        let last = Some(Restart { ingest_ended_us, ..Restart::default() });
        let generation = Generation { last, ..Generation::default() };
        generation.takes_bars();
        let pause_ms = generation.pause_ms().unwrap();
        assert!((250..60_000).contains(&pause_ms), "{pause_ms}");
        generation.takes_bars();
        assert_eq!(generation.pause_ms(), Some(pause_ms));
    }
}
