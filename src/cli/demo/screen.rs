//! The demo's view: redrawn in place on a terminal, a line a second elsewhere.

use super::super::CliError;
use super::super::report::{grouped, stage_table};
use crate::domain::Outcome;
use crate::engine::Engine;
use crate::persist::Subscription;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Outcomes that may wait between two looks.
const UNREAD_MAX: usize = 8192;
/// Predictions shown: with the rest, they fit on a terminal of 24 lines.
const SHOWN: usize = 6;
/// Over how long the rate is taken: several minutes of the market, which come in bursts.
const RATE_OVER: Duration = Duration::from_secs(5);
const REDRAW: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What was seen since the start.
pub(super) struct Screen {
    stored: Subscription,
    newest: VecDeque<String>,
    terminal: bool,
    drawn_lines: usize,
    drawn_at: Instant,
    /// Where HTTP is served.
    served_at: Option<SocketAddr>,
    /// When there were how many predictions, over the last [`RATE_OVER`].
    counts: VecDeque<(Instant, u64)>,
}

fn line(outcome: &Outcome) -> Option<String> {
    let prediction = outcome.result.as_ref().ok()?;
    let latency_us = outcome.stamps.predicted_ns.saturating_sub(outcome.stamps.arrived_ns) as f64 / 1e3;
    Some(format!(
        "{}  {:<10}{:>4}  h{:<3}{:>13.6}  {} v{}  {latency_us:.0} µs",
        outcome.ts,
        outcome.series.symbol,
        outcome.series.timeframe,
        outcome.horizon,
        prediction.value,
        prediction.model,
        prediction.version,
    ))
}

impl Screen {
    pub(super) fn new(engine: &Engine, served_at: Option<SocketAddr>) -> Self {
        Self {
            served_at,
            stored: engine.subscribe(UNREAD_MAX),
            newest: VecDeque::new(),
            terminal: std::io::stdout().is_terminal(),
            drawn_lines: 0,
            drawn_at: Instant::now(),
            counts: VecDeque::from([(Instant::now(), 0)]),
        }
    }

    /// Reads what was stored since, and draws when it is time.
    pub(super) fn tick(&mut self, engine: &Engine) -> Result<(), CliError> {
        for outcome in self.stored.receiver().try_iter() {
            self.newest.extend(line(&outcome));
            if self.newest.len() > SHOWN {
                self.newest.pop_front();
            }
        }
        let since = self.drawn_at.elapsed();
        if since < if self.terminal { REDRAW } else { LINE_EVERY } {
            return Ok(());
        }
        self.drawn_at = Instant::now();
        let metrics = engine.metrics();
        let performance = &metrics.performance;
        let rate = self.rate(performance.total_predictions);
        let head = format!(
            "{} bars  {} predictions stored  {rate:.0}/s  {:.0} MiB",
            grouped(performance.total_bars),
            grouped(performance.total_predictions),
            metrics.system.memory_usage_mb,
        );
        if !self.terminal {
            let latency = performance.latency;
            writeln!(
                std::io::stdout(),
                "{head}  arrived → stored p50 {:.0} µs p99 {:.0} µs",
                latency.p50,
                latency.p99
            )?;
            return Ok(());
        }
        let page = self.served_at.map(|address| format!("; http://{address}")).unwrap_or_default();
        let mut text =
            format!("vela demo — a simulated market, real ONNX models; Ctrl-C stops{page}\n\n{head}\n\n");
        let _ = writeln!(text, "{}", stage_table(&metrics));
        for line in &self.newest {
            let _ = writeln!(text, "{line}");
        }
        self.clear()?;
        self.drawn_lines = text.lines().count();
        write!(std::io::stdout(), "{text}")?;
        std::io::stdout().flush()?;
        Ok(())
    }

    /// Predictions a second.
    fn rate(&mut self, predictions: u64) -> f64 {
        let now = Instant::now();
        self.counts.push_back((now, predictions));
        while self.counts.len() > 2 && now - self.counts[1].0 >= RATE_OVER {
            self.counts.pop_front();
        }
        let (then, before) = self.counts[0];
        (predictions - before) as f64 / (now - then).as_secs_f64().max(1e-3)
    }

    /// Takes the drawn lines away again.
    pub(super) fn clear(&mut self) -> Result<(), CliError> {
        if self.drawn_lines > 0 {
            // Up by as many lines as were drawn, then clear to the end of the screen.
            write!(std::io::stdout(), "\x1b[{}A\x1b[J", self.drawn_lines)?;
            self.drawn_lines = 0;
        }
        Ok(())
    }
}
