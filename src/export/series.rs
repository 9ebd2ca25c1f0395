//! The rows of one series: bars that serving would take, their features, their label once it is known.
//!
//! Serving lets a series' newest bars change. Here they are held back until they cannot change any more, so that
//! a table holds every bar as it stands in the end, each once.

use super::label::{Label, Waiting};
use super::{Dtype, ExportError, Row, Rules, Sink};
use crate::domain::{Adjustment, Admission, Bar, Refusal, SeriesAdjustments, SeriesKey, Timestamp};
use crate::feature::{Batch, Plan, WarmUp, bars_kept_to_adjust};
use crate::ingest::{Limits, Order, hold_open_and_close, validate};
use std::collections::{BTreeMap, VecDeque};

/// How many bars are taken together.
const SETTLED: usize = 64;

/// What became of the bars of one series.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub(super) series: SeriesKey,
    /// Bars that were taken.
    pub(super) bars: u64,
    /// Bars among them that changed, or came late and were put in their place.
    pub(super) changed: u64,
    /// Rows that were written.
    pub(super) rows: u64,
    /// Rows that were left out because something was undefined or warming up.
    pub(super) left_out: u64,
    /// Open time of the first and of the last row.
    pub(super) span: Option<(Timestamp, Timestamp)>,
    /// What came in force among them.
    pub(super) adjusted: Vec<Adjustment>,
    /// By reason: how many bars were refused, the first of them, and what was wrong with it.
    pub(super) refused: BTreeMap<&'static str, (u64, Timestamp, Refusal)>,
}

/// Turns the bars of one series into rows.
pub(super) struct SeriesRows<'a> {
    series: &'a SeriesKey,
    order: Order,
    /// The newest bars, which can still change, the oldest first; at most `revision_bars`.
    newest: VecDeque<Bar>,
    revision_bars: usize,
    clamp_ohlc: bool,
    any_price: bool,
    plan: Plan,
    batch: Batch,
    /// Splits and the like, how many of them are in force, and while one is to come, the bars that it will be applied to:
    /// as many as serving keeps.
    adjustments: SeriesAdjustments,
    in_force: usize,
    kept: VecDeque<Bar>,
    kept_max: usize,
    /// Bars that do not change any more and wait to be taken together, and what came of those that were.
    settled: Vec<Bar>,
    found: Vec<f64>,
    past_warm_up: Vec<bool>,
    width: usize,
    waiting: Option<Waiting>,
    /// The rows of the bars that wait: open time, whether warmed up; and their values one after another.
    held: VecDeque<(Timestamp, bool)>,
    values: VecDeque<f64>,
    /// The features of a row and its label, cast.
    row: Vec<f64>,
    /// What all columns take until a model may read them.
    warm_up: WarmUp,
    dtype: Dtype,
    complete: bool,
    tally: Tally,
}

impl<'a> SeriesRows<'a> {
    pub(super) fn new(
        series: &'a SeriesKey,
        plan: &Plan,
        rules: &Rules,
        label: Option<Label>,
        (dtype, complete): (Dtype, bool),
    ) -> Self {
        let columns: Vec<usize> = (0..plan.len()).collect();
        let revision_bars = rules.features.revision_bars;
        let tally = Tally {
            series: series.clone(),
            bars: 0,
            changed: 0,
            rows: 0,
            left_out: 0,
            span: None,
            adjusted: Vec::new(),
            refused: BTreeMap::new(),
        };
        Self {
            series,
            order: Order::new(revision_bars),
            newest: VecDeque::with_capacity(revision_bars + 1),
            revision_bars,
            clamp_ohlc: rules.clamp_ohlc,
            any_price: rules.any_price.allows(&series.symbol),
            plan: plan.clone(),
            batch: Batch::new(plan),
            adjustments: rules.features.adjustments.of(&series.symbol),
            in_force: 0,
            kept: VecDeque::new(),
            kept_max: bars_kept_to_adjust(plan, &rules.features, 1),
            settled: Vec::with_capacity(SETTLED),
            found: Vec::with_capacity(SETTLED * plan.len()),
            past_warm_up: Vec::with_capacity(SETTLED),
            width: plan.len(),
            waiting: label.map(|label| Waiting::new(label, series.timeframe)),
            held: VecDeque::new(),
            values: VecDeque::new(),
            row: Vec::with_capacity(plan.len() + 1),
            warm_up: plan.warm_up(&columns, 1, rules.features.stability),
            dtype,
            complete,
            tally,
        }
    }

    /// Takes the next bar of the file; hands on the rows that are known by it.
    pub(super) fn push(&mut self, mut bar: Bar, sink: &mut dyn Sink) -> Result<(), ExportError> {
        if self.clamp_ohlc {
            hold_open_and_close(&mut bar);
        }
        // As a replay takes bars: they closed long ago, whatever this machine's clock says.
        let limits = Limits { now: None, clock_skew_ms_max: 0, any_price: self.any_price };
        let admitted = validate(&bar, self.series.timeframe, limits).and_then(|()| self.order.admit(&bar));
        match admitted {
            Err(refusal) => {
                let code = refusal.reason.code();
                self.tally.refused.entry(code).or_insert((0, bar.ts, refusal)).0 += 1;
                return Ok(());
            }
            Ok(Admission::Next) => self.newest.push_back(bar),
            Ok(Admission::Revision | Admission::Late | Admission::Withdrawn) => {
                self.tally.changed += 1;
                let at = self.newest.partition_point(|known| known.ts < bar.ts);
                match self.newest.get_mut(at).filter(|known| known.ts == bar.ts) {
                    Some(known) => *known = bar,
                    None => self.newest.insert(at, bar),
                }
            }
        }
        if self.newest.len() > self.revision_bars
            && let Some(settled) = self.newest.pop_front()
        {
            self.settle(settled, sink)?;
        }
        Ok(())
    }

    /// A bar that does not change any more.
    fn settle(&mut self, bar: Bar, sink: &mut dyn Sink) -> Result<(), ExportError> {
        if self.in_force < self.adjustments.all().len() {
            self.adjust(bar, sink)?;
        }
        self.settled.push(bar);
        if self.settled.len() < SETTLED { Ok(()) } else { self.take_settled(sink) }
    }

    /// Where a split or the like comes in force with `bar`: takes the bars before it anew, adjusted, as serving does.
    fn adjust(&mut self, bar: Bar, sink: &mut dyn Sink) -> Result<(), ExportError> {
        let in_force = self.adjustments.terms_at(bar.ts);
        if self.in_force < in_force {
            self.take_settled(sink)?;
            for event in &self.adjustments.all()[self.in_force..in_force] {
                self.kept.iter_mut().for_each(|kept| event.apply(kept));
                if let Some(waiting) = &mut self.waiting {
                    waiting.adjust(event.price);
                }
                if !self.kept.is_empty() {
                    self.tally.adjusted.push(*event);
                }
            }
            self.in_force = in_force;
            self.batch = Batch::new(&self.plan);
            self.batch.update(self.kept.make_contiguous(), &self.warm_up, |_, _, _| {});
        }
        if self.kept.len() >= self.kept_max {
            self.kept.pop_front();
        }
        self.kept.push_back(bar);
        Ok(())
    }

    /// Takes the bars that wait, together, and then each one's row.
    fn take_settled(&mut self, sink: &mut dyn Sink) -> Result<(), ExportError> {
        let Self { batch, settled, found, past_warm_up, warm_up, .. } = self;
        found.clear();
        past_warm_up.clear();
        batch.update(settled, warm_up, |_, values, past| {
            found.extend_from_slice(values);
            past_warm_up.push(past);
        });
        let bars = std::mem::take(settled);
        let taken = bars.iter().enumerate().try_for_each(|(i, bar)| self.take(i, bar, sink));
        self.settled = bars;
        self.settled.clear();
        taken
    }

    /// The row of a bar, the `i`-th of those that were taken together.
    fn take(&mut self, i: usize, bar: &Bar, sink: &mut dyn Sink) -> Result<(), ExportError> {
        while let Some(label) = self.waiting.as_mut().and_then(|waiting| waiting.decided_by(bar)) {
            self.release(label, sink)?;
        }
        self.tally.bars += 1;
        let (settled, values) = (self.past_warm_up[i], i * self.width..(i + 1) * self.width);
        if let Some(waiting) = &mut self.waiting {
            waiting.take(bar);
            self.held.push_back((bar.ts, settled));
            self.values.extend(&self.found[values]);
            return Ok(());
        }
        self.row.clear();
        self.row.extend_from_slice(&self.found[values]);
        self.write(bar.ts, settled, sink)
    }

    /// The rows that the end of the series leaves without a label, and what became of all.
    pub(super) fn finish(mut self, sink: &mut dyn Sink) -> Result<Tally, ExportError> {
        while let Some(bar) = self.newest.pop_front() {
            self.settle(bar, sink)?;
        }
        self.take_settled(sink)?;
        while !self.held.is_empty() {
            self.release(f64::NAN, sink)?;
        }
        Ok(self.tally)
    }

    /// Hands on the oldest row that waits, with its label.
    fn release(&mut self, label: f64, sink: &mut dyn Sink) -> Result<(), ExportError> {
        let Some((ts, settled)) = self.held.pop_front() else { return Ok(()) };
        self.row.clear();
        self.row.extend(self.values.drain(..self.width));
        self.row.push(label);
        self.write(ts, settled, sink)
    }

    fn write(&mut self, ts: Timestamp, settled: bool, sink: &mut dyn Sink) -> Result<(), ExportError> {
        self.row.iter_mut().for_each(|value| *value = self.dtype.cast(*value));
        if self.complete && !(settled && self.row.iter().all(|value| value.is_finite())) {
            self.tally.left_out += 1;
            return Ok(());
        }
        sink.row(Row { series: self.series, ts, values: &self.row })?;
        self.tally.rows += 1;
        self.tally.span = Some((self.tally.span.map_or(ts, |(first, _)| first), ts));
        Ok(())
    }
}
