//! Up to which bar everything of a series is stored: a pure bookkeeping of outcomes.
//!
//! Outcomes of one series arrive in any order, since its horizons go through different models. The
//! watermark is the newest bar before which (and for which) nothing is missing.

use crate::domain::{OUTCOMES_PER_BAR_MAX, Outcome, SeriesKey, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

// A bar's outcomes are remembered in the bits of one number.
const _: () = assert!(OUTCOMES_PER_BAR_MAX <= u128::BITS as usize);

/// One bar whose outcomes are coming in.
#[derive(Clone, Copy, Default)]
struct Pending {
    ts: Timestamp,
    /// One bit for every outcome that is in.
    seen: u128,
    /// How many there will be; 0 while none is in.
    of: u32,
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

/// The progress of all series of one run.
#[derive(Default)]
pub struct Progress {
    series: HashMap<Arc<SeriesKey>, SeriesProgress>,
}

impl Progress {
    /// Notes an outcome; returns the series' new watermark when it moved. An outcome that was noted
    /// before changes nothing, so that a batch may be tried again.
    pub fn note(&mut self, outcome: &Outcome) -> Option<Timestamp> {
        let place = outcome.place;
        let bit = u32::from(place.ordinal);
        if place.series_seq == 0 || bit >= u128::BITS {
            return None;
        }
        let series = match self.series.get_mut(&outcome.series) {
            Some(series) => series,
            None => self.series.entry(Arc::clone(&outcome.series)).or_default(),
        };
        let index = usize::try_from(place.series_seq.checked_sub(series.first)?).ok()?;
        if series.pending.len() <= index {
            series.pending.resize(index + 1, Pending::default());
        }
        let pending = &mut series.pending[index];
        pending.ts = if pending.of == 0 { outcome.ts } else { pending.ts.max(outcome.ts) };
        pending.seen |= 1 << bit;
        pending.of = u32::from(place.of);
        let complete = |p: &Pending| p.of > 0 && p.seen.count_ones() >= p.of;
        let before = series.watermark;
        while series.pending.front().is_some_and(complete) {
            series.watermark = series.watermark.max(series.pending.pop_front().map(|p| p.ts));
            series.first += 1;
        }
        series.watermark.filter(|_| series.watermark != before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Origin, Place, Reason, Refusal, Stamps, Timeframe};

    fn outcome(series_seq: u64, ordinal: u16, of: u16) -> Outcome {
        Outcome {
            series: Arc::new(SeriesKey::new("BTC", Timeframe::MINUTE).unwrap()),
            horizon: 1,
            ts: Timestamp::from_secs(series_seq as i64 * 60),
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
            |seq, ordinal, of| progress.note(&outcome(seq, ordinal, of)).map(|ts| ts.as_secs() / 60);
        assert_eq!(note(2, 0, 1), None, "bar 1 is missing");
        assert_eq!(note(1, 1, 3), None);
        assert_eq!(note(1, 1, 3), None, "again: nothing new");
        assert_eq!(note(1, 0, 3), None);
        assert_eq!(note(4, 0, 1), None);
        assert_eq!(note(1, 2, 3), Some(2), "bars 1 and 2 are complete");
        assert_eq!(note(1, 2, 3), None, "long done");
        assert_eq!(note(3, 0, 1), Some(4));
        assert_eq!(note(0, 0, 1), None, "a rejected bar has no place");
    }
}
