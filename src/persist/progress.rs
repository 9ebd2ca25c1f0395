//! Up to which bar everything of a series is stored: a pure bookkeeping of outcomes.
//!
//! Outcomes of one series arrive in any order, since its horizons go through different models. The
//! watermark is the newest bar before which (and for which) nothing is missing.

use crate::domain::{Outcome, SeriesKey, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// One bar whose outcomes are coming in.
#[derive(Clone, Default)]
struct Pending {
    ts: Timestamp,
    /// One bit for every outcome that is in: those of one bar fit into the first number.
    seen: u128,
    /// The bits of further outcomes: a bar that changed has those of all that are answered anew.
    seen_more: Vec<u128>,
    /// How many outcomes are in.
    count: u32,
    /// How many there will be; 0 while none is in.
    of: u32,
}

impl Pending {
    /// Notes outcome `ordinal` of `of`; once is as good as twice.
    fn note(&mut self, ordinal: u32, of: u32) {
        self.of = of;
        let (word, bit) = ((ordinal / u128::BITS) as usize, 1 << (ordinal % u128::BITS));
        let bits = match word.checked_sub(1) {
            None => &mut self.seen,
            Some(word) => {
                self.seen_more.resize(self.seen_more.len().max(word + 1), 0);
                &mut self.seen_more[word]
            }
        };
        self.count += u32::from(*bits & bit == 0);
        *bits |= bit;
    }

    fn is_complete(&self) -> bool {
        self.of > 0 && self.count >= self.of
    }
}

struct SeriesProgress {
    /// The `series_seq` of the first bar that is not complete.
    first: u64,
    pending: VecDeque<Pending>,
    /// A late bar completes after newer ones: the watermark does not go back for it.
    watermark: Option<Timestamp>,
}

impl Default for SeriesProgress {
    fn default() -> Self {
        Self { first: 1, pending: VecDeque::new(), watermark: None }
    }
}

impl SeriesProgress {
    fn note(&mut self, outcome: &Outcome) {
        let place = outcome.place;
        if place.series_seq == 0 || place.ordinal >= place.of {
            return;
        }
        let Some(behind) = place.series_seq.checked_sub(self.first) else { return };
        let Ok(index) = usize::try_from(behind) else { return };
        if self.pending.len() <= index {
            self.pending.resize_with(index + 1, Pending::default);
        }
        let pending = &mut self.pending[index];
        pending.ts = if pending.of == 0 { outcome.ts } else { pending.ts.max(outcome.ts) };
        pending.note(place.ordinal, place.of);
        while self.pending.front().is_some_and(Pending::is_complete) {
            self.watermark = self.watermark.max(self.pending.pop_front().map(|p| p.ts));
            self.first += 1;
        }
    }
}

/// The progress of all series of one run.
#[derive(Default)]
pub struct Progress {
    series: HashMap<Arc<SeriesKey>, SeriesProgress>,
}

impl Progress {
    /// Notes outcomes of one series; returns its new watermark when it moved. An outcome that was noted
    /// before changes nothing, so that a batch may be tried again.
    pub fn note(&mut self, outcomes: &[Outcome]) -> Option<Timestamp> {
        let name = &outcomes.first()?.series;
        let series = match self.series.get_mut(name) {
            Some(series) => series,
            None => self.series.entry(Arc::clone(name)).or_default(),
        };
        let before = series.watermark;
        outcomes.iter().for_each(|outcome| series.note(outcome));
        series.watermark.filter(|_| series.watermark != before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Origin, Place, Reason, Refusal, Stamps, Timeframe};

    fn outcome(series_seq: u64, ordinal: u32, of: u32) -> Outcome {
        Outcome {
            series: Arc::new(SeriesKey::new("BTC", Timeframe::MINUTE).unwrap()),
            horizon: 1,
            ts: Timestamp::from_secs(series_seq as i64 * 60),
            close: 1.0,
            revision: 0,
            place: Place { seq: 0, series_seq, ordinal, of },
            origin: Origin::Live,
            stamps: Stamps::default(),
            result: Err(Refusal::new(Reason::NoModel, "")),
            reply: None,
        }
    }

    #[test]
    fn the_watermark_moves_only_over_bars_that_are_complete() {
        let mut progress = Progress::default();
        let mut note =
            |seq, ordinal, of| progress.note(&[outcome(seq, ordinal, of)]).map(|ts| ts.as_secs() / 60);
        assert_eq!(note(2, 0, 1), None, "bar 1 is missing");
        assert_eq!(note(1, 1, 3), None);
        assert_eq!(note(1, 1, 3), None, "again: nothing new");
        assert_eq!(note(1, 0, 3), None);
        assert_eq!(note(4, 0, 1), None);
        assert_eq!(note(1, 2, 3), Some(2), "bars 1 and 2 are complete");
        assert_eq!(note(1, 2, 3), None, "long done");
        assert_eq!(note(3, 0, 1), Some(4));
        assert_eq!(note(0, 0, 1), None, "a refused bar has no place");
    }

    #[test]
    fn outcomes_that_come_together_move_it_as_far_as_one_by_one() {
        let mut progress = Progress::default();
        let outcomes = [outcome(2, 0, 1), outcome(1, 0, 2), outcome(1, 1, 2), outcome(4, 0, 1)];
        assert_eq!(progress.note(&outcomes).map(|ts| ts.as_secs() / 60), Some(2));
        assert_eq!(progress.note(&[]), None);
    }

    #[test]
    fn a_change_of_many_bars_is_complete_with_its_last_outcome_and_no_sooner() {
        let mut progress = Progress::default();
        // The first 1001 outcomes in a scattered order, each twice; 5 and 1001 have no common divisor.
        for step in 0..1001_u32 {
            let outcome = [outcome(1, step * 5 % 1001, 1002)];
            assert_eq!((progress.note(&outcome), progress.note(&outcome)), (None, None), "{step}");
        }
        assert!(progress.note(&[outcome(1, 1001, 1002)]).is_some());
    }
}
