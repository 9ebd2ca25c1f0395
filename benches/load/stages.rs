//! Where the time of a prediction goes: waiting and work of each stage, of the busiest tenth and of the others.

use hdrhistogram::Histogram;
use vela::domain::Stamps;

/// Parts of the way: until the engine took the bar, and through each stage.
const PARTS: [&str; 5] = ["source", "ingest", "feature", "predict", "persist"];

/// What each part of the way took, in ns.
pub fn parts(stamps: &Stamps, latency_ns: u64) -> [u64; 5] {
    let Stamps { arrived_ns, ingested_ns, featured_ns, predicted_ns } = *stamps;
    let [ingest, feature, predict] =
        [(arrived_ns, ingested_ns), (ingested_ns, featured_ns), (featured_ns, predicted_ns)]
            .map(|(from, to)| to.saturating_sub(from));
    let stored = vela::link::clock::now_ns().saturating_sub(predicted_ns);
    [latency_ns.saturating_sub(ingest + feature + predict + stored), ingest, feature, predict, stored]
}

/// The distribution of each part.
pub struct Parts([Histogram<u64>; 5]);

impl Parts {
    pub fn new() -> Self {
        Self([(); 5].map(|()| Histogram::new_with_bounds(1000, 3_600_000_000_000, 3).unwrap()))
    }

    pub fn note(&mut self, parts: &[u64; 5]) {
        self.0.iter_mut().zip(parts).for_each(|(histogram, ns)| histogram.saturating_record(*ns));
    }

    /// One line: median and 99th percentile of each part, in ms.
    pub fn line(&self) -> String {
        let ms = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        let part = |(name, histogram): (&&str, &Histogram<u64>)| {
            format!("{name} {:.2} / {:.2}", ms(histogram, 0.5), ms(histogram, 0.99))
        };
        PARTS.iter().zip(&self.0).map(part).collect::<Vec<_>>().join(", ")
    }
}
