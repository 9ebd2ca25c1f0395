//! What models ask of a series, and how that changes while bars come.
//!
//! A feature that nobody asked for before starts from the bars that the series has kept, so that a model that
//! is promoted while the engine runs need not wait for its features to warm up. Features that are computed
//! already go on untouched, bit for bit. A recursive feature that starts so knows [`BARS_KEPT`] bars of the past,
//! as after a start with `source.history_bars` of that many; windows longer than what is kept fill with the
//! bars to come, and until then their rows are refused as undefined.

use super::super::plan::{Plan, PlanState};
use super::{FeatureKey, SeriesState};
use crate::domain::{Bar, Demand, Reason, Refusal};
use std::collections::VecDeque;
use std::sync::Arc;

/// How many bars a series keeps for features that are asked for later; 48 bytes each.
pub(super) const BARS_KEPT: usize = 512;

/// A demand, and where its features stand among the series' columns.
pub(super) struct Demanded {
    pub(super) demand: Demand,
    pub(super) columns: Box<[usize]>,
    /// The columns of the demand's other readings, in their order.
    pub(super) others: Box<[Box<[usize]>]>,
}

/// Columns that were asked for at the same time.
pub(super) struct Columns {
    plan: Plan,
    kernels: PlanState,
}

impl Columns {
    pub(super) fn reset(&mut self) {
        self.kernels = self.plan.state();
    }

    /// Takes a bar and writes its columns to the beginning of `row`; gives the rest.
    pub(super) fn update<'a>(&mut self, bar: &Bar, row: &'a mut [f64]) -> &'a mut [f64] {
        self.kernels.update(bar);
        let (own, rest) = row.split_at_mut(self.plan.len());
        self.kernels.write(own);
        rest
    }
}

/// Keeps the newest bars.
pub(super) fn keep(bars: &mut VecDeque<Bar>, bar: &Bar) {
    if bars.len() == BARS_KEPT {
        bars.pop_front();
    }
    bars.push_back(*bar);
}

impl FeatureKey {
    /// Replaces what is demanded of the series, from its next bar on; returns whether it was something else.
    pub fn set_demands(&self, demands: &[Demand]) -> bool {
        let mut state = self.state.lock();
        if state.demands.iter().map(|demanded| &demanded.demand).eq(demands) {
            return false;
        }
        state.demand(demands);
        true
    }
}

impl SeriesState {
    /// Takes up `demands`. Those that are `unusable`, or name features that do not exist, are answered with
    /// their reason.
    pub(super) fn demand(&mut self, demands: &[Demand]) {
        let known = self.names.len();
        let mut rows_max = self.rows_max;
        let demanded = demands.iter().cloned().map(|mut demand| {
            if let Err(error) = Plan::new(demand.features.names()) {
                let refusal = Refusal::of_model(&demand.name, Reason::ModelUnavailable, error.to_string());
                demand.unusable.get_or_insert(refusal);
            }
            demand.others.retain(|(features, _)| Plan::new(features.names()).is_ok());
            let usable: &[Arc<str>] = if demand.unusable.is_some() { &[] } else { demand.features.names() };
            let columns = columns_of(&mut self.names, usable);
            let others = demand.others.iter().map(|(set, _)| columns_of(&mut self.names, set.names()));
            let others = others.collect();
            let windows = demand.others.iter().map(|(_, window)| *window).chain([demand.window]);
            rows_max = windows.fold(rows_max, usize::max);
            Demanded { demand, columns, others }
        });
        self.demands = demanded.collect();
        let new = self.names.get(known..).unwrap_or_default().to_vec();
        self.widen(&new, rows_max);
    }

    /// Makes room for the columns called `new` and for `rows_max` rows, and computes what the kept bars give.
    fn widen(&mut self, new: &[Arc<str>], rows_max: usize) {
        if new.is_empty() && rows_max == self.rows_max {
            return;
        }
        let (old_width, width) = (self.names.len() - new.len(), self.names.len());
        let mut rows = vec![f64::NAN; rows_max * width];
        let kept = (self.rows_max as u64).min(self.count);
        for bar in self.count - kept..self.count {
            let from = (bar % self.rows_max as u64) as usize * old_width;
            let to = (bar % rows_max as u64) as usize * width;
            rows[to..to + old_width].copy_from_slice(&self.rows[from..from + old_width]);
        }
        if !new.is_empty() {
            // Every name was accepted before, so all of them together are.
            #[allow(clippy::expect_used)]
            let plan = Plan::new(new).expect("names that were accepted one by one");
            let mut columns = Columns { kernels: plan.state(), plan };
            let first = self.count - (self.bars.len() as u64).min(self.count);
            for (bar, at) in self.bars.iter().zip(first..) {
                let to = (at % rows_max as u64) as usize * width + old_width;
                columns.update(bar, &mut rows[to..to + new.len()]);
            }
            self.columns.push(columns);
        }
        self.rows = rows.into();
        self.rows_max = rows_max;
    }
}

/// Where `wanted` stand in `names`; those that do not are added.
fn columns_of(names: &mut Vec<Arc<str>>, wanted: &[Arc<str>]) -> Box<[usize]> {
    let column = |name: &Arc<str>| {
        names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(Arc::clone(name));
            names.len() - 1
        })
    };
    wanted.iter().map(column).collect()
}
