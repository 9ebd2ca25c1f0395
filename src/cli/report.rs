//! What a run came to: for a person, or as JSON.

use crate::engine::StopReport;
use crate::observe::{Metrics, Quantiles};
use std::fmt::Write as _;
use std::time::Duration;

/// A run's summary.
pub(super) struct Report {
    pub(super) metrics: Metrics,
    pub(super) stop: StopReport,
    pub(super) wall: Duration,
    /// Bars came as fast as they were taken, not at the pace of a market.
    pub(super) at_full_speed: bool,
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A duration of `us` µs with three digits and its unit.
pub(super) fn short_us(us: f64) -> String {
    match us {
        _ if us < 1000.0 => format!("{us:.0} µs"),
        _ if us < 1e6 => format!("{:.*} ms", usize::from(us < 1e5), us / 1e3),
        _ => format!("{:.1} s", us / 1e6),
    }
}

fn quantile_row(name: &str, quantiles: &Quantiles) -> String {
    let Quantiles { p50, p90, p99, max, .. } = *quantiles;
    let [p50, p90, p99, max] = [p50, p90, p99, max].map(short_us);
    format!("{name:<22}{p50:>10}{p90:>10}{p99:>10}{max:>10}")
}

/// The stages' latencies as a table.
pub(super) fn stage_table(metrics: &Metrics) -> String {
    let mut text = format!("{:<22}{:>10}{:>10}{:>10}{:>10}\n", "", "p50", "p90", "p99", "max");
    for name in &metrics.stage_order {
        let Some(stage) = metrics.stages.get(name) else { continue };
        let _ = writeln!(text, "{}", quantile_row(&format!("{name} wait"), &stage.queue_wait));
        let _ = writeln!(text, "{}", quantile_row(&format!("{name} work"), &stage.service));
    }
    let _ = writeln!(text, "{}", quantile_row("arrived → stored", &metrics.performance.latency));
    text
}

impl Report {
    /// For a person.
    pub(super) fn text(&self) -> String {
        let Metrics { performance, reasons, .. } = &self.metrics;
        let seconds = self.wall.as_secs_f64().max(1e-9);
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{} bars in, {} predictions stored in {seconds:.2} s: {} bars/s, {} predictions/s",
            grouped(performance.total_bars),
            grouped(performance.total_predictions),
            grouped((performance.total_bars as f64 / seconds) as u64),
            grouped((performance.total_predictions as f64 / seconds) as u64),
        );
        for (reason, count) in reasons {
            let _ = writeln!(text, "  without a prediction, {reason}: {}", grouped(*count));
        }
        let _ = writeln!(text, "\n{}", stage_table(&self.metrics).trim_end());
        if self.at_full_speed {
            let _ = writeln!(
                text,
                "(at full speed: a wait is what a full queue holds, not what a live bar sees)"
            );
        }
        if self.stop.undrained > 0 {
            let _ = writeln!(text, "NOT FINISHED: {} items were still on their way", self.stop.undrained);
        }
        if self.stop.unsaved > 0 {
            let _ = writeln!(text, "NOT STORED: {} outcomes; the log says why", self.stop.unsaved);
        }
        text
    }

    /// For machines.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "bars": self.metrics.performance.total_bars,
            "predictions": self.metrics.performance.total_predictions,
            "reasons": self.metrics.reasons,
            "seconds": self.wall.as_secs_f64(),
            "undrained": self.stop.undrained,
            "unsaved": self.stop.unsaved,
            "metrics": self.metrics,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_durations_short() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
        assert_eq!(
            [0.4, 14.0, 1234.0, 150_000.0, 2_500_000.0].map(short_us),
            ["0 µs", "14 µs", "1.2 ms", "150 ms", "2.5 s"]
        );
    }
}
