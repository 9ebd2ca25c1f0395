//! What the policy is told of a stage.

/// Fewer items than this say nothing of how long items wait.
const SAMPLES_MIN: u64 = 20;

/// What one stage did in one interval, or in several.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Workers it has now.
    pub workers: usize,
    /// How many could be at work at the same time at most.
    pub parallel: usize,
    /// Whether its workers are set by hand.
    pub pinned: bool,
    /// How long the interval was, in ns.
    pub lasted_ns: u64,
    /// Items that came.
    pub arrivals: u64,
    /// Items that were handled.
    pub items: u64,
    /// Time spent handling them, over all workers, in ns.
    pub busy_ns: u64,
    /// Time for which workers waited for room in the next stage, in ns; not in `busy_ns`.
    pub blocked_ns: u64,
    /// The 99th percentile of how long items waited for a worker, in ns.
    pub wait_p99_ns: u64,
    /// Items waiting or in work at its end.
    pub depth: usize,
}

impl Sample {
    /// How many workers what came keeps busy: λ·S.
    pub(super) fn load(&self) -> f64 {
        if self.items == 0 || self.lasted_ns == 0 {
            return 0.0;
        }
        let service_ns = self.busy_ns as f64 / self.items as f64;
        self.arrivals as f64 * service_ns / self.lasted_ns as f64
    }

    /// How many workers were busy, also with what had come before.
    pub(super) fn busy(&self) -> f64 {
        self.busy_ns as f64 / self.lasted_ns.max(1) as f64
    }

    /// Whether there is enough of it to judge waits by.
    pub(super) fn is_telling(&self) -> bool {
        self.items > 0 && self.items.max(self.arrivals) >= SAMPLES_MIN
    }

    /// This one and the `next`, as one.
    pub(super) fn and(&self, next: &Self) -> Self {
        Self {
            lasted_ns: self.lasted_ns.saturating_add(next.lasted_ns),
            arrivals: self.arrivals.saturating_add(next.arrivals),
            items: self.items.saturating_add(next.items),
            busy_ns: self.busy_ns.saturating_add(next.busy_ns),
            blocked_ns: self.blocked_ns.saturating_add(next.blocked_ns),
            wait_p99_ns: self.wait_p99_ns.max(next.wait_p99_ns),
            ..next.clone()
        }
    }
}
