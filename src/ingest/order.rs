//! Whether a bar is the next of its series: a pure state machine.

use crate::domain::{Bar, Reason, Refusal, Timestamp};

/// How many of the newest bars are remembered, to tell a duplicate from a revision or a late bar.
const REMEMBERED: usize = 64;

/// The order of one series.
#[derive(Clone, Debug)]
pub struct Order {
    /// The newest bars, a ring; `next` is where the next one goes.
    recent: Box<[Bar]>,
    next: usize,
    count: usize,
}

impl Default for Order {
    fn default() -> Self {
        Self { recent: vec![Bar::default(); REMEMBERED].into(), next: 0, count: 0 }
    }
}

impl Order {
    /// The newest bar that was admitted.
    pub fn newest(&self) -> Option<&Bar> {
        self.count.checked_sub(1).map(|_| &self.recent[(self.next + REMEMBERED - 1) % REMEMBERED])
    }

    fn remembered(&self, ts: Timestamp) -> Option<&Bar> {
        self.recent[..self.count].iter().find(|bar| bar.ts == ts)
    }

    /// Admits a bar that is newer than all before; anything else changes nothing.
    ///
    /// # Errors
    /// `Duplicate`, `Revision` or `Late`.
    pub fn admit(&mut self, bar: &Bar) -> Result<(), Refusal> {
        let newest_ts = self.newest().map(|newest| newest.ts);
        if let Some(newest_ts) = newest_ts.filter(|newest_ts| bar.ts <= *newest_ts) {
            return Err(match self.remembered(bar.ts) {
                Some(known) if known == bar => {
                    Refusal::new(Reason::Duplicate, "the same bar was taken before")
                }
                Some(known) => Refusal::new(
                    Reason::Revision,
                    format!(
                        "taken before with other content: close {} then, {} now; the first stands",
                        known.close, bar.close
                    ),
                ),
                None => Refusal::new(
                    Reason::Late,
                    format!("bars up to {newest_ts} were taken already: bars must come in order"),
                ),
            });
        }
        self.recent[self.next] = *bar;
        self.next = (self.next + 1) % REMEMBERED;
        self.count = (self.count + 1).min(REMEMBERED);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(minute: i64, close: f64) -> Bar {
        Bar { ts: Timestamp::from_secs(minute * 60), open: 1.0, high: 9.0, low: 1.0, close, volume: 1.0 }
    }

    #[test]
    fn only_newer_bars_pass_and_the_others_have_their_reason() {
        let mut order = Order::default();
        let mut admit = |bar| order.admit(&bar).map_err(|refusal| refusal.reason);
        assert_eq!(admit(bar(10, 2.0)), Ok(()));
        assert_eq!(admit(bar(12, 3.0)), Ok(()), "a gap is no disorder");
        assert_eq!(admit(bar(12, 3.0)), Err(Reason::Duplicate));
        assert_eq!(admit(bar(12, 4.0)), Err(Reason::Revision));
        assert_eq!(admit(bar(10, 2.0)), Err(Reason::Duplicate));
        assert_eq!(admit(bar(11, 2.0)), Err(Reason::Late));
        for minute in 13..13 + 2 * REMEMBERED as i64 {
            assert_eq!(admit(bar(minute, 2.0)), Ok(()));
        }
        assert_eq!(admit(bar(10, 2.0)), Err(Reason::Late), "what is forgotten is late");
        assert_eq!(order.newest().map(|b| b.ts), Some(bar(12 + 2 * REMEMBERED as i64, 0.0).ts));
    }
}
