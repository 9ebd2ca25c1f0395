//! The text format itself: names, labels, histograms.

use hdrhistogram::Histogram;
use std::fmt::{Display, Write as _};

/// The upper ends of the buckets, in ns: 1, 2.5, 5 of every power of ten from a microsecond to ten seconds.
const BUCKETS_NS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// The text that is being written.
#[derive(Default)]
pub(super) struct Exposition {
    pub(super) text: String,
}

/// Labels, as they stand between the braces.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// Begins a metric.
    pub(super) fn metric(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One line.
    pub(super) fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.text.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.text, " {value}");
    }

    fn labels(&mut self, labels: Labels<'_>, bound: Option<&str>) {
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        for (at, (name, value)) in all.enumerate() {
            self.text.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() || bound.is_some() {
            self.text.push('}');
        }
    }

    /// A metric of one line.
    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.metric(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A histogram of nanoseconds, in seconds.
    pub(super) fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram<u64>) {
        let mut counts = [0_u64; BUCKETS_NS.len()];
        let mut sum_ns = 0.0;
        for step in histogram.iter_recorded() {
            let (value_ns, count) = (step.value_iterated_to(), step.count_at_value());
            sum_ns += value_ns as f64 * count as f64;
            let bucket = BUCKETS_NS.partition_point(|end| *end < value_ns);
            if let Some(bucket) = counts.get_mut(bucket) {
                *bucket += count;
            }
        }
        let mut below = 0;
        let bucket = format!("{name}_bucket");
        for (end_ns, count) in BUCKETS_NS.iter().zip(counts) {
            below += count;
            let end = (*end_ns as f64 / 1e9).to_string();
            self.text.push_str(&bucket);
            self.labels(labels, Some(&end));
            let _ = writeln!(self.text, " {below}");
        }
        self.text.push_str(&bucket);
        self.labels(labels, Some("+Inf"));
        let _ = writeln!(self.text, " {}", histogram.len());
        self.sample(&format!("{name}_sum"), labels, sum_ns / 1e9);
        self.sample(&format!("{name}_count"), labels, histogram.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_below_each_end() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for value_ns in [500, 2_000, 2_000_000, 60_000_000_000] {
            histogram.record(value_ns).unwrap();
        }
        let mut out = Exposition::default();
        out.histogram("h_seconds", &[("stage", "a\"b\\c\n")], &histogram);
        let line = |end: &str| {
            let start = format!("h_seconds_bucket{{stage=\"a\\\"b\\\\c\\n\",le=\"{end}\"}} ");
            out.text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
        };
        assert_eq!(
            [line("0.000001"), line("0.0000025"), line("0.0025"), line("10"), line("+Inf")],
            ["1", "2", "3", "3", "4"]
        );
        assert!(out.text.contains("h_seconds_count{stage=\"a\\\"b\\\\c\\n\"} 4"), "{}", out.text);
    }
}
