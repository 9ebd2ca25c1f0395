//! What the watchdog makes of what it saw: a pure function of samples, limits and time.

use std::fmt;
use std::time::Duration;

/// The share of a cgroup's memory that counts as the limit, where that is less than `max_memory_mb`: beyond it
/// the kernel ends the process without asking.
const CGROUP_SHARE: f64 = 0.9;
/// What a shrinking must free, as a share of what was there, to count as one that helps.
const HELPS: f64 = 0.02;
/// The longest pause between shrinkings that do not help, in pauses of those that do.
const PAUSES_MAX: u32 = 64;

/// What holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Resident memory beyond which the process is replaced, in MiB.
    pub memory_max_mb: f64,
    /// The share of that beyond which caches are shrunk, 0 to 1.
    pub soft_share: f64,
    /// How long a stage with work may stand still until the process is replaced for it.
    pub stall_restart: Duration,
    /// How long after a shrinking the next one may follow.
    pub shrink_pause: Duration,
}

/// One stage, as far as the watchdog looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageProgress {
    /// Its name.
    pub name: &'static str,
    /// Items waiting or in work.
    pub depth: usize,
    /// Grows whenever it gets something done, or tries again what is not its fault.
    pub beats: u64,
    /// Whether it is about to try that again.
    pub waits: bool,
}

/// What was seen at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Resident memory of this process, in MiB.
    pub resident_mb: f64,
    /// What its cgroup may use at most, in MiB; `None` where it is in none, or in one without a limit.
    pub cgroup_max_mb: Option<f64>,
    /// The stages in flow order.
    pub stages: &'a [StageProgress],
}

/// A stage that has work and gets nothing done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standstill {
    /// Which one.
    pub stage: &'static str,
    /// For how long.
    pub since: Duration,
}

/// Why a process is replaced.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// It uses too much memory.
    Memory {
        /// How much, in MiB.
        resident_mb: f64,
        /// How much it may, in MiB.
        limit_mb: f64,
    },
    /// A stage gets nothing done.
    Stalled(Standstill),
}

impl Cause {
    /// One word for metrics and alerts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "memory",
            Self::Stalled(_) => "stalled",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { resident_mb, limit_mb } => {
                write!(
                    f,
                    "{resident_mb:.0} MiB of memory in use, {limit_mb:.0} allowed (max_memory_mb, or the cgroup's)"
                )
            }
            Self::Stalled(Standstill { stage, since }) => {
                write!(
                    f,
                    "the {stage} stage got nothing done for {:.1} s although work waits",
                    since.as_secs_f64()
                )
            }
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// Give memory back.
    Shrink {
        /// In use, in MiB.
        resident_mb: f64,
        /// The soft limit, in MiB.
        soft_mb: f64,
    },
    /// Replace the process.
    Restart(Cause),
}

/// What is remembered from one sample to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// For each stage: its beats, and since when it has been the last one with work without getting on.
    stages: Vec<(u64, Option<Duration>)>,
    standstill: Option<Standstill>,
    /// When memory was last given back, and how many pauses to leave until the next time.
    shrunk: Option<(Duration, u32)>,
}

impl Watch {
    /// Judges one sample taken at `now`, counted from any fixed moment.
    pub fn judge(&mut self, sample: &Sample<'_>, limits: &Limits, now: Duration) -> Verdict {
        self.note(sample.stages, now);
        let resident_mb = sample.resident_mb;
        let cgroup_mb = sample.cgroup_max_mb.map_or(f64::INFINITY, |max_mb| max_mb * CGROUP_SHARE);
        let limit_mb = limits.memory_max_mb.min(cgroup_mb);
        let soft_mb = limit_mb * limits.soft_share;
        let due = |(at, pauses): (Duration, u32)| now.saturating_sub(at) >= limits.shrink_pause * pauses;
        // Also where the hard limit is passed: what can be given back need not be lost.
        if resident_mb > soft_mb && self.shrunk.is_none_or(due) {
            return Verdict::Shrink { resident_mb, soft_mb };
        }
        if resident_mb > limit_mb {
            return Verdict::Restart(Cause::Memory { resident_mb, limit_mb });
        }
        match self.standstill {
            Some(still) if still.since >= limits.stall_restart => Verdict::Restart(Cause::Stalled(still)),
            _ => Verdict::Fine,
        }
    }

    /// The stage that stood still when it was last judged, and for how long by then.
    pub fn standstill(&self) -> Option<Standstill> {
        self.standstill
    }

    /// Notes what a shrinking at `now` did: one that does not help is not tried again so soon.
    pub fn shrunk(&mut self, now: Duration, before_mb: f64, after_mb: f64) {
        let helped = before_mb - after_mb >= before_mb * HELPS;
        let pauses = self.shrunk.map_or(1, |(_, pauses)| (pauses * 2).min(PAUSES_MAX));
        self.shrunk = Some((now, if helped { 1 } else { pauses }));
    }

    /// Only the last stage that has work can be at fault: those before it may be waiting for it.
    fn note(&mut self, stages: &[StageProgress], now: Duration) {
        let last = stages.iter().rposition(|stage| stage.depth > 0);
        self.stages.resize(stages.len(), (0, None));
        for (index, (seen, stage)) in self.stages.iter_mut().zip(stages).enumerate() {
            let got_on = stage.waits || stage.beats != seen.0;
            // From the look that found it so: one that was idle until now, however long, has stood for no time.
            let since = seen.1.filter(|_| !got_on).unwrap_or(now);
            *seen = (stage.beats, (Some(index) == last).then_some(since));
        }
        self.standstill = last.and_then(|last| {
            let since = now.saturating_sub(self.stages[last].1?);
            (!since.is_zero()).then_some(Standstill { stage: stages[last].name, since })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory_max_mb: 1000.0,
        soft_share: 0.8,
        stall_restart: Duration::from_secs(30),
        shrink_pause: Duration::from_secs(60),
    };

    /// What a verdict says, in one word.
    fn word(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Fine => "fine".into(),
            Verdict::Shrink { soft_mb, .. } => format!("shrink>{soft_mb}"),
            Verdict::Restart(Cause::Memory { limit_mb, .. }) => format!("restart>{limit_mb}"),
            Verdict::Restart(Cause::Stalled(Standstill { stage, since })) => {
                format!("restart {stage} {}", since.as_secs())
            }
        }
    }

    #[test]
    fn memory_as_a_table() {
        // Seconds, resident MiB, the cgroup's limit, what a shrinking leaves, the verdict.
        let steps = [
            (0, 100.0, None, 0.0, "fine"),
            (1, 800.0, None, 0.0, "fine"),
            (2, 801.0, None, 500.0, "shrink>800"),
            (3, 900.0, None, 0.0, "fine"),
            (61, 900.0, None, 0.0, "fine"),
            // It helped, so one pause later it may again; this time it does not help.
            (62, 900.0, None, 899.0, "shrink>800"),
            (122, 900.0, None, 0.0, "fine"),
            (182, 900.0, None, 899.0, "shrink>800"),
            // Four pauses now.
            (300, 999.0, None, 0.0, "fine"),
            (301, 1001.0, None, 0.0, "restart>1000"),
            (302, 999.0, None, 0.0, "fine"),
            // What can be given back is, before the process goes for it.
            (422, 1500.0, None, 400.0, "shrink>800"),
            (423, 1500.0, None, 0.0, "restart>1000"),
            // A cgroup that allows less counts, one that allows more does not.
            (424, 451.0, Some(500.0), 0.0, "restart>450"),
            (425, 449.0, Some(500.0), 0.0, "fine"),
            (426, 999.0, Some(5000.0), 0.0, "fine"),
            (427, 0.0, Some(0.0), 0.0, "fine"),
        ];
        let mut watch = Watch::default();
        for (at, resident_mb, cgroup_max_mb, left_mb, expected) in steps {
            let now = Duration::from_secs(at);
            let verdict = watch.judge(&Sample { resident_mb, cgroup_max_mb, stages: &[] }, &LIMITS, now);
            assert_eq!(word(&verdict), expected, "at {at} s");
            if matches!(verdict, Verdict::Shrink { .. }) {
                watch.shrunk(now, resident_mb, left_mb);
            }
        }
    }

    #[test]
    fn stalls_as_a_table() {
        // Seconds, (depth, beats) of three stages in flow order, who stands still and for how long.
        let steps = [
            (0, [(5, 0), (0, 0), (0, 0)], ""),
            (10, [(5, 0), (0, 0), (0, 0)], "a 10"),
            (29, [(9, 0), (0, 0), (0, 0)], "a 29"),
            (30, [(9, 0), (0, 0), (0, 0)], "a 30, restart a 30"),
            // It moves: all is well.
            (31, [(9, 1), (0, 0), (0, 0)], ""),
            // Nothing waits: standing still is right.
            (99, [(0, 1), (0, 0), (0, 0)], ""),
            (200, [(1, 1), (0, 0), (0, 0)], ""),
            // The first waits for the last, which gets on: nobody is at fault, however long the first stands.
            (215, [(9, 1), (9, 0), (1, 1)], ""),
            (224, [(9, 1), (9, 0), (1, 2)], ""),
            (240, [(9, 1), (9, 0), (1, 3)], ""),
            // The last stands still, and it is not said of those that wait for it.
            (250, [(9, 1), (9, 0), (1, 3)], "c 10"),
            // It is done with its own: now it is seen whether the one before it only waited.
            (251, [(9, 1), (9, 0), (0, 4)], ""),
            (261, [(9, 1), (9, 0), (0, 4)], "b 10"),
            (262, [(9, 1), (9, 1), (0, 4)], ""),
        ];
        let mut watch = Watch::default();
        for (at, stages, expected) in steps {
            let stages: Vec<StageProgress> = ["a", "b", "c"]
                .into_iter()
                .zip(stages)
                .map(|(name, (depth, beats))| StageProgress { name, depth, beats, waits: false })
                .collect();
            let sample = Sample { resident_mb: 1.0, cgroup_max_mb: None, stages: &stages };
            let verdict = watch.judge(&sample, &LIMITS, Duration::from_secs(at));
            let still = watch.standstill().map(|still| format!("{} {}", still.stage, still.since.as_secs()));
            let restart = (verdict != Verdict::Fine).then(|| word(&verdict));
            let seen: Vec<String> = still.into_iter().chain(restart).collect();
            assert_eq!(seen.join(", "), expected, "at {at} s");
        }
    }

    #[test]
    fn a_stage_that_is_about_to_try_again_does_not_stand_still() {
        let mut watch = Watch::default();
        let mut at = |s, waits| {
            let stages = [StageProgress { name: "a", depth: 1, beats: 0, waits }];
            let sample = Sample { resident_mb: 1.0, cgroup_max_mb: None, stages: &stages };
            let verdict = watch.judge(&sample, &LIMITS, Duration::from_secs(s));
            (word(&verdict), watch.standstill().map(|still| still.since.as_secs()))
        };
        assert_eq!(at(0, false), ("fine".into(), None));
        assert_eq!(at(29, false), ("fine".into(), Some(29)));
        assert_eq!(at(30, true), ("fine".into(), None));
        assert_eq!(at(90, true), ("fine".into(), None));
        assert_eq!(at(119, false), ("fine".into(), Some(29)));
        assert_eq!(at(120, false), ("restart a 30".into(), Some(30)));
    }

    #[test]
    fn memory_goes_before_a_stall_and_shrinking_hides_none() {
        let stages = [StageProgress { name: "a", depth: 1, beats: 0, waits: false }];
        let sample = |resident_mb| Sample { resident_mb, cgroup_max_mb: None, stages: &stages };
        let mut watch = Watch::default();
        let mut at = |resident_mb, s| {
            let now = Duration::from_secs(s);
            let verdict = watch.judge(&sample(resident_mb), &LIMITS, now);
            if matches!(verdict, Verdict::Shrink { .. }) {
                watch.shrunk(now, resident_mb, resident_mb);
            }
            word(&verdict)
        };
        assert_eq!(at(1.0, 0), "fine");
        assert_eq!(at(900.0, 20), "shrink>800");
        assert_eq!(at(900.0, 21), "fine");
        assert_eq!(at(1100.0, 40), "restart>1000");
        assert_eq!(at(900.0, 41), "restart a 41");
    }
}
