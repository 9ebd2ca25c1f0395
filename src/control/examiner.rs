//! Checks of health, one after the other: rules judge what was seen, alerts are told, and a report is made.

use super::health::{HealthReport, Observation, Totals};
use super::rules::{Before, examine};
use crate::alert::Alerts;
use crate::config::Rules;
use crate::domain::Timestamp;
use std::time::Duration;

/// Remembers, from one check to the next, what shares are counted from.
#[derive(Default)]
pub struct Examiner {
    /// At the last check in turn, and at the one before.
    totals: [Totals; 2],
    /// How many bars had come when it was looked at last, and since when there were so many.
    arrived: (u64, Duration),
}

impl Examiner {
    /// Judges `seen` by `rules`, has `alerts` told of it, and reports.
    ///
    /// A check that is not `in_turn` counts shares from where the last one in turn did, so that somebody who asks
    /// often does not make them shares of nothing.
    pub fn check(
        &mut self,
        (seen, rules): (&Observation, &Rules),
        (alerts, repeat_after): (&Alerts, Duration),
        in_turn: bool,
    ) -> HealthReport {
        if self.arrived.0 != seen.totals.bars {
            self.arrived = (seen.totals.bars, seen.totals.at);
        }
        let totals = self.totals[usize::from(in_turn)];
        let before = Before { totals, arrived: self.arrived.1 };
        let conditions = examine(seen, &before, rules);
        if in_turn {
            self.totals = [self.totals[1], seen.totals];
        }
        alerts.update(conditions, repeat_after, seen.totals.at);
        HealthReport::of(alerts.standing(), Timestamp::now())
    }
}
