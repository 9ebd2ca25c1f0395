//! What a bar's place in its series says: when it closed, and how complete the slots before it are.

use super::memory::{Layout, Memory};
use super::{Slot, Step, Values};
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

const DAY_MS: i64 = 86_400_000;
const WEEK_MS: i64 = 7 * DAY_MS;
/// 1970-01-01 was a Thursday: three days after a Monday.
const EPOCH_WEEKDAY_MS: i64 = 3 * DAY_MS;

/// `tod_sin`, `tod_cos`, `week_sin`, `week_cos`: sine and cosine of `2 pi x`, where x is the bar's CLOSE time as a share of
/// its day, or of its week from Monday 0:00, in UTC.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Phase;

impl Step for Phase {
    #[inline(always)]
    fn step(&mut self, slot: &Slot<'_>, _: &mut impl Memory) -> Values {
        let close_ms = slot.close.as_millis();
        let share = |ms: i64, of_ms: i64| ms.rem_euclid(of_ms) as f64 / of_ms as f64;
        let (day_sin, day_cos) = (TAU * share(close_ms, DAY_MS)).sin_cos();
        let (week_sin, week_cos) =
            (TAU * share(close_ms.saturating_add(EPOCH_WEEKDAY_MS), WEEK_MS)).sin_cos();
        [day_sin, day_cos, week_sin, week_cos]
    }
}

/// `q_gap_N` and `q_synth_N`, 0 to 1: of the last `n` slots, this bar's included, the share that is empty and the share
/// that holds a bar which was filled in. A slot is where a bar is expected; those before the series' first bar are not
/// empty, nobody knows. Defined from bar 0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Completeness {
    at: usize,
    n: usize,
    /// The number of the newest bar's slot, from 1; a gap of more than `n` counts as one of `n`.
    now: u64,
    /// Places of the oldest bar of the window, and of the next one, in a ring of `n`.
    oldest: usize,
    next: usize,
    /// How many bars of the window there are, and were filled in.
    bars: usize,
    synthetic: usize,
}

impl Completeness {
    /// A window of `n >= 1` slots.
    pub fn new(n: usize, layout: &mut Layout) -> Self {
        let at = layout.reserve(n);
        Self { at, n, now: 0, oldest: 0, next: 0, bars: 0, synthetic: 0 }
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        if place + 1 == self.n { 0 } else { place + 1 }
    }
}

impl Step for Completeness {
    /// Share that is empty, share that was filled in.
    #[inline(always)]
    fn step(&mut self, slot: &Slot<'_>, memory: &mut impl Memory) -> Values {
        let n = self.n as u64;
        if self.now > 0 {
            self.now += u64::from(slot.missing).min(n);
        }
        self.now += 1;
        // A bar is kept as its slot's number, doubled, plus whether it was filled in: exact in an f64.
        let flag = u64::from(slot.synthetic);
        let kept = (2 * self.now + flag) as f64;
        while self.bars > 0 {
            let bar = memory.held()[self.at + self.oldest] as u64;
            if bar / 2 + n > self.now {
                break;
            }
            self.synthetic -= (bar % 2) as usize;
            self.bars -= 1;
            self.oldest = self.after(self.oldest);
        }
        self.bars += 1;
        self.synthetic += usize::from(slot.synthetic);
        if let Some(memory) = memory.kept() {
            memory[self.at + self.next] = kept;
            self.next = self.after(self.next);
        }
        let seen = self.now.min(n) as usize;
        let share = |count: usize| count as f64 / self.n as f64;
        [share(seen - self.bars), share(self.synthetic), f64::NAN, f64::NAN]
    }
}
