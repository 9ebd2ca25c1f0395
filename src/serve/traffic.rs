//! What was asked and answered: counts by route and class of status, and how long answers took.

use crate::link::Meter;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The classes of status: 1xx to 5xx.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// How many threads record without sharing a sheet.
const SHEETS: usize = 4;

/// The requests of one server.
pub struct Traffic {
    /// The method and the pattern of each route.
    routes: Box<[(&'static str, &'static str)]>,
    /// By route; the last is what no route answers.
    counts: Box<[[AtomicU64; CLASSES.len()]]>,
    duration: Meter,
}

impl Traffic {
    /// Of these routes, each a method and a pattern.
    pub fn new(routes: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        let routes: Box<[_]> = routes.collect();
        let counts = (0..=routes.len()).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect();
        Self { routes, counts, duration: Meter::new(SHEETS) }
    }

    /// Notes an answer; `route` is `None` where there is none for what was asked.
    pub fn note(&self, route: Option<usize>, status: u16, took: Duration) {
        let unrouted = self.counts.len() - 1;
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.counts[route.unwrap_or(unrouted)][class].fetch_add(1, Ordering::Relaxed);
        self.duration.waited(took.as_nanos() as u64);
    }

    /// How many answers of each class each route gave, with its method and pattern; `any` and `none` for what no route
    /// answers.
    pub fn by_route(&self) -> impl Iterator<Item = (&'static str, &'static str, [u64; CLASSES.len()])> {
        let routes = self.routes.iter().copied().chain([("any", "none")]);
        let counts = self.counts.iter().map(|of| of.each_ref().map(|count| count.load(Ordering::Relaxed)));
        routes.zip(counts).map(|((method, pattern), counts)| (method, pattern, counts))
    }

    /// How many answers there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How long answers took, from the request being read until its answer was made, in ns.
    pub fn duration(&self) -> Histogram<u64> {
        self.duration.read().queue_wait
    }
}
