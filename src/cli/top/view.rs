//! What is shown: the newest look, the one before it, and what the person chose.

use super::ask::{Look, Metrics, Tally};
use super::interval::{difference, quantile, rate};
use ratatui::crossterm::event::KeyCode;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// How many intervals the latency's course shows.
const COURSE_MAX: usize = 240;

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Name,
    Rate,
    Latency,
    Errors,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) predictions: u64,
    pub(super) per_s: f64,
    pub(super) errors: u64,
    pub(super) latency_avg_ms: f64,
    pub(super) latency_max_ms: f64,
}

/// One stage over the last interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StageRow {
    pub(super) name: String,
    pub(super) per_s: f64,
    pub(super) depth: usize,
    pub(super) items_max: usize,
    pub(super) workers: usize,
    pub(super) workers_max: usize,
    pub(super) panics: u64,
    /// p50 and p99 of queue wait, then of service, in µs.
    pub(super) quantiles_us: [Option<f64>; 4],
}

/// Everything that is drawn.
pub(super) struct View {
    pub(super) server: String,
    pub(super) now: Look,
    before: Look,
    at: Instant,
    pub(super) seconds: f64,
    /// Why the newest look failed.
    pub(super) problem: Option<String>,
    /// p99 of each interval in µs, the oldest first.
    pub(super) course_us: VecDeque<u64>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) typing: bool,
    /// Models are listed, instead of symbols.
    pub(super) models: bool,
    /// How many rows are scrolled past.
    pub(super) first: usize,
}

impl View {
    pub(super) fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            now: Look::default(),
            before: Look::default(),
            at: Instant::now(),
            seconds: 0.0,
            problem: None,
            course_us: VecDeque::new(),
            sort: Sort::Name,
            filter: String::new(),
            typing: false,
            models: false,
            first: 0,
        }
    }

    /// Takes the newest look, or why there is none.
    pub(super) fn take(&mut self, look: Result<Look, String>) {
        match look {
            Ok(look) => {
                let at = Instant::now();
                self.take_after(look, at.duration_since(self.at).as_secs_f64());
                self.at = at;
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// The look that came `seconds` after the one before.
    pub(super) fn take_after(&mut self, look: Look, seconds: f64) {
        let first = self.now.metrics.stage_order.is_empty();
        self.before = if first { look.clone() } else { std::mem::take(&mut self.now) };
        (self.now, self.seconds, self.problem) = (look, seconds, None);
        if self.course_us.len() == COURSE_MAX {
            self.course_us.pop_front();
        }
        self.course_us.push_back(self.latency_us(0.99).unwrap_or(0.0) as u64);
    }

    /// A key; whether it goes on.
    pub(super) fn pressed(&mut self, key: KeyCode) -> bool {
        if self.typing {
            // While a filter is typed, letters belong to it.
            self.typed(key);
            return true;
        }
        match key {
            KeyCode::Char('q') => return false,
            KeyCode::Esc if self.filter.is_empty() => return false,
            KeyCode::Esc => self.typed(KeyCode::Esc),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char('m') => (self.models, self.first) = (!self.models, 0),
            KeyCode::Char('n') => self.sort = Sort::Name,
            KeyCode::Char('r') => self.sort = Sort::Rate,
            KeyCode::Char('l') => self.sort = Sort::Latency,
            KeyCode::Char('e') => self.sort = Sort::Errors,
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(-1),
            KeyCode::PageDown | KeyCode::Char(' ') => self.scroll(20),
            KeyCode::PageUp => self.scroll(-20),
            KeyCode::Home | KeyCode::Char('g') => self.first = 0,
            KeyCode::End | KeyCode::Char('G') => self.scroll(isize::MAX),
            _ => {}
        }
        true
    }

    /// Scrolls by so many rows; the last one stays in sight.
    fn scroll(&mut self, by: isize) {
        let last = self.rows().len().saturating_sub(1);
        self.first = self.first.saturating_add_signed(by).min(last);
    }

    /// A key of the filter.
    pub(super) fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.first = 0;
    }

    fn quantile(&self, of: impl Fn(&Metrics) -> Option<&Vec<u64>>, q: f64) -> Option<f64> {
        let now = of(&self.now.metrics)?;
        let before = of(&self.before.metrics).map_or(&[][..], Vec::as_slice);
        quantile(&self.now.metrics.bucket_bounds_us, &difference(now, before), q)
    }

    /// A quantile of arrived → stored over the last interval, in µs.
    pub(super) fn latency_us(&self, q: f64) -> Option<f64> {
        self.quantile(|metrics| Some(&metrics.performance.latency_buckets), q)
    }

    /// Something counted, a second.
    pub(super) fn per_s(&self, of: impl Fn(&Metrics) -> u64) -> f64 {
        rate(of(&self.now.metrics), of(&self.before.metrics), self.seconds)
    }

    /// The stages in flow order.
    pub(super) fn stages(&self) -> Vec<StageRow> {
        let row = |name: &String| {
            let stage = self.now.metrics.stages.get(name)?;
            let wait = |q| self.quantile(|m| m.stages.get(name).map(|stage| &stage.queue_wait_buckets), q);
            let work = |q| self.quantile(|m| m.stages.get(name).map(|stage| &stage.service_buckets), q);
            Some(StageRow {
                name: name.clone(),
                per_s: self.per_s(|m| m.stages.get(name).map_or(0, |stage| stage.items)),
                depth: stage.depth,
                items_max: stage.items_max,
                workers: stage.workers,
                workers_max: stage.workers_max,
                panics: stage.panics,
                quantiles_us: [wait(0.5), wait(0.99), work(0.5), work(0.99)],
            })
        };
        self.now.metrics.stage_order.iter().filter_map(row).collect()
    }

    /// The table's rows, filtered and ordered.
    pub(super) fn rows(&self) -> Vec<Row> {
        let of = |look: &Look| -> BTreeMap<String, Tally> {
            let metrics = &look.metrics;
            if self.models { metrics.model_pool.models.clone() } else { metrics.symbols.clone() }
        };
        let (now, before) = (of(&self.now), of(&self.before));
        let filter = self.filter.to_lowercase();
        let row = |(name, tally): (String, Tally)| {
            let old = before.get(&name).map_or(0, |tally| tally.predictions_count);
            Row {
                predictions: tally.predictions_count,
                per_s: rate(tally.predictions_count, old, self.seconds),
                errors: tally.errors_count,
                latency_avg_ms: tally.avg_latency_ms,
                latency_max_ms: tally.max_latency_ms,
                name,
            }
        };
        let mut rows: Vec<Row> =
            now.into_iter().filter(|(name, _)| name.to_lowercase().contains(&filter)).map(row).collect();
        // Stable, and by name before: equal rows stay in the order of their names.
        match self.sort {
            Sort::Name => {}
            Sort::Rate => rows.sort_by(|a, b| b.per_s.total_cmp(&a.per_s)),
            Sort::Latency => rows.sort_by(|a, b| b.latency_max_ms.total_cmp(&a.latency_max_ms)),
            Sort::Errors => rows.sort_by_key(|row| std::cmp::Reverse(row.errors)),
        }
        rows
    }
}
