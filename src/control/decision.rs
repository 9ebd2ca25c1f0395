//! What the controller decided, with what it saw: for the log, the metrics and the page.

use super::cost::Line;
use super::sample::Sample;
use crate::link::BatchReading;
use serde::Serialize;
use std::fmt;

/// One change that the controller made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// The stage whose workers, or the model whose rows a run, were changed.
    pub subject: String,
    /// What was changed: `workers` or `batch_rows`.
    pub what: &'static str,
    /// How many there were.
    pub from: usize,
    /// How many there are.
    pub to: usize,
    /// Why.
    pub why: DecisionWhy,
    /// What it saw.
    pub seen: DecisionSeen,
}

/// Why the controller changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionWhy {
    /// What comes keeps more workers busy.
    Load,
    /// So many drain the largest burst of the last minutes in time.
    Burst,
    /// Items waited lately, and cores are left.
    Spare,
    /// The 99th percentile of waits is above what it may be.
    QueueWait,
    /// What comes has kept fewer workers busy for a while.
    LessLoad,
    /// All stages that compute wanted more workers than there are cores for.
    CoreBudget,
    /// There were more or fewer than are allowed.
    Bounds,
    /// Runs of the model take too long.
    RunTooLong,
    /// Runs of the model are full, and short enough.
    RoomToGrow,
    /// Rows of the model cost no less in larger runs.
    NoGain,
}

/// What the controller saw in the interval before it decided.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DecisionSeen {
    /// Of a stage.
    Stage {
        /// Items that came, a second.
        arrivals_per_s: f64,
        /// Time to handle one, in µs.
        service_us: f64,
        /// How many workers that keeps busy.
        load: f64,
        /// The 99th percentile of waits for a worker, in µs.
        wait_p99_us: f64,
        /// What that may be, in µs.
        wait_max_us: f64,
        /// Items waiting or in work at its end.
        depth: usize,
    },
    /// Of a model.
    Batch {
        /// Runs it judged.
        runs: u64,
        /// Of which so many took as many rows as they may.
        full: u64,
        /// And so many took too long.
        late: u64,
        /// Rows a run, on average.
        rows_avg: f64,
        /// Time of a run, on average, in µs.
        run_avg_us: f64,
        /// What it may be, in µs.
        run_max_us: f64,
        /// What a call costs whatever its rows, in µs, where that is known.
        call_us: Option<f64>,
        /// What each row adds, in µs, where that is known.
        row_us: Option<f64>,
    },
}

impl DecisionWhy {
    /// The word it has in the log, in metrics and in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Burst => "burst",
            Self::Spare => "spare",
            Self::QueueWait => "queue_wait",
            Self::LessLoad => "less_load",
            Self::CoreBudget => "core_budget",
            Self::Bounds => "bounds",
            Self::RunTooLong => "run_too_long",
            Self::RoomToGrow => "room_to_grow",
            Self::NoGain => "no_gain",
        }
    }
}

impl fmt::Display for DecisionSeen {
    /// In words, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Stage { arrivals_per_s, service_us, load, wait_p99_us, wait_max_us, depth } => write!(
                f,
                "{arrivals_per_s:.1} items a second of {service_us:.1} us each keep {load:.2} workers busy; 99 % waited \
                 {:.2} ms at most, {:.2} may be; {depth} in the stage",
                wait_p99_us / 1e3,
                wait_max_us / 1e3
            ),
            Self::Batch { runs, full, late, rows_avg, run_avg_us, run_max_us, call_us, row_us } => {
                write!(
                    f,
                    "{runs} runs of {rows_avg:.1} rows and {run_avg_us:.1} us on average, {full} full, {late} longer than \
                     {run_max_us:.0} us"
                )?;
                match call_us.zip(row_us) {
                    Some((call, row)) => write!(f, "; a call costs {call:.1} us and {row:.1} us a row"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl DecisionSeen {
    pub(super) fn of_stage(sample: &Sample, load: f64, wait_max_ns: u64) -> Self {
        Self::Stage {
            arrivals_per_s: per(sample.arrivals as f64 * 1e9, sample.lasted_ns),
            service_us: per(sample.busy_ns as f64 / 1e3, sample.items),
            load,
            wait_p99_us: sample.wait_p99_ns as f64 / 1e3,
            wait_max_us: wait_max_ns as f64 / 1e3,
            depth: sample.depth,
        }
    }

    pub(super) fn of_batch(turns: &BatchReading, line: Option<Line>, run_max_ns: u64) -> Self {
        Self::Batch {
            runs: turns.turns,
            full: turns.full,
            late: turns.late,
            rows_avg: per(turns.items as f64, turns.turns),
            run_avg_us: per(turns.busy_ns as f64 / 1e3, turns.turns),
            run_max_us: run_max_ns as f64 / 1e3,
            call_us: line.map(|line| line.call_ns / 1e3),
            row_us: line.map(|line| line.row_ns / 1e3),
        }
    }
}

fn per(what: f64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { what / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_reads_as_a_sentence() {
        let seen = DecisionSeen::Stage {
            arrivals_per_s: 1234.56,
            service_us: 350.04,
            load: 0.4321,
            wait_p99_us: 2100.0,
            wait_max_us: 25_000.0,
            depth: 14,
        };
        let expected = "1234.6 items a second of 350.0 us each keep 0.43 workers busy; 99 % waited 2.10 ms at most, \
                        25.00 may be; 14 in the stage";
        assert_eq!(seen.to_string(), expected);
        let seen = DecisionSeen::Batch {
            runs: 40,
            full: 32,
            late: 1,
            rows_avg: 7.5,
            run_avg_us: 812.26,
            run_max_us: 25_000.0,
            call_us: Some(40.0),
            row_us: Some(100.04),
        };
        let expected = "40 runs of 7.5 rows and 812.3 us on average, 32 full, 1 longer than 25000 us; a call costs \
                        40.0 us and 100.0 us a row";
        assert_eq!(seen.to_string(), expected);
    }
}
