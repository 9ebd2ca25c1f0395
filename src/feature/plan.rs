//! From a list of names to the kernels behind them, and their state.

mod batch;
mod saved;

use super::FeatureError;
use super::frame::{Closed, Frame};
use super::kernel::{Column, Kernel, Layout, Slot, Spec};
use super::name::{coarser, parse};
use crate::domain::{Bar, Gap, Grid, Stability, Timeframe, Timestamp};
use std::ops::Range;
use std::sync::Arc;

pub use batch::Batch;
pub(super) use saved::SavedState;

const LEVELS: [Stability; 3] = [Stability::Defined, Stability::Digits4, Stability::Digits8];

/// A list of features, resolved: which kernels it takes, each once, and which column reads what.
///
/// Cheap to clone; one plan serves every series that is asked for the same features.
#[derive(Clone, Debug)]
pub struct Plan {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    grid: Grid,
    names: Box<[Arc<str>]>,
    /// For each column its frame, and how many of that frame's bars it takes, by [`Stability`].
    warm_up: Box<[(usize, [u64; 3])]>,
    /// The timeframes, the series' own first; which kernels each has.
    frames: Box<[(Timeframe, Range<usize>)]>,
    /// The kernels before their first bar.
    kernels: Box<[Kernel]>,
    /// The columns, grouped by the kernel they read.
    columns: Box<[Column]>,
    /// Which of `columns` read each kernel.
    readers: Box<[Range<usize>]>,
    /// How many numbers the kernels' windows take.
    memory: usize,
}

impl Plan {
    /// The plan for the features called `names`, in that order, over bars on `grid`. A name may come twice.
    ///
    /// # Errors
    /// When a name is unknown or a parameter out of range; see [`super::catalogue::FAMILIES`].
    pub fn new(names: &[impl AsRef<str>], grid: impl Into<Grid>) -> Result<Self, FeatureError> {
        let grid = grid.into();
        let mut timeframes = vec![grid.timeframe];
        let mut asked: Vec<(usize, Spec, Column)> = Vec::with_capacity(names.len());
        let mut warm_up = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            let (base, timeframe) = coarser(name.as_ref(), grid.timeframe)?;
            let (family, arguments) = parse(base)?;
            let frame = timeframes.iter().position(|known| *known == timeframe).unwrap_or_else(|| {
                timeframes.push(timeframe);
                timeframes.len() - 1
            });
            let (spec, read) = family.build(&arguments);
            asked.push((frame, spec, Column { at, read }));
            // What never settles counts from its first value: waiting would not help.
            let first = family.first_defined(&arguments);
            let bars = LEVELS.map(|level| family.settled(&arguments, level).unwrap_or(first) as u64 + 1);
            warm_up.push((frame, bars));
        }
        let mut specs: Vec<(usize, Spec)> = Vec::new();
        let mut columns: Vec<(usize, Column)> = Vec::with_capacity(names.len());
        for (frame, spec, column) in &asked {
            let is_asked = |wider: &Spec| asked.iter().any(|(f, s, _)| (f, s) == (frame, wider));
            let spec = (*frame, spec.wider().filter(is_asked).unwrap_or(*spec));
            let kernel = specs.iter().position(|known| *known == spec).unwrap_or_else(|| {
                specs.push(spec);
                specs.len() - 1
            });
            columns.push((kernel, *column));
        }
        // A frame's kernels stand side by side.
        let mut order: Vec<usize> = (0..specs.len()).collect();
        order.sort_by_key(|kernel| specs[*kernel].0);
        let mut place = vec![0; specs.len()];
        order.iter().enumerate().for_each(|(to, from)| place[*from] = to);
        columns.iter_mut().for_each(|(kernel, _)| *kernel = place[*kernel]);
        columns.sort_by_key(|(kernel, column)| (*kernel, column.at));
        let reader = |kernel| {
            columns.partition_point(|(k, _)| *k < kernel)..columns.partition_point(|(k, _)| *k <= kernel)
        };
        let readers = (0..specs.len()).map(reader).collect();
        let frame_of = |at: usize| specs[order[at]].0;
        let kernels_of = |frame: usize| {
            let from = (0..order.len()).position(|at| frame_of(at) >= frame).unwrap_or(order.len());
            from..from + (from..order.len()).take_while(|at| frame_of(*at) == frame).count()
        };
        let frames = timeframes.iter().enumerate().map(|(frame, tf)| (*tf, kernels_of(frame))).collect();
        let mut layout = Layout::default();
        let kernels = order.iter().map(|kernel| Kernel::new(specs[*kernel].1, &mut layout)).collect();
        let shared = Shared {
            grid,
            names: names.iter().map(|name| Arc::from(name.as_ref())).collect(),
            warm_up: warm_up.into(),
            frames,
            kernels,
            columns: columns.iter().map(|(_, column)| *column).collect(),
            readers,
            memory: layout.len(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The names of the columns, in order.
    pub fn names(&self) -> &[Arc<str>] {
        &self.shared.names
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.shared.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shared.names.is_empty()
    }

    /// How many bars of its series a column takes until it is as stable as `stability` says, the bar of its first
    /// such value included. Over coarser bars: at most so many, as the first of them may be cut short.
    /// What never settles ([`super::catalogue::Memory::Endless`]) counts from its first value.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn warm_up_bars(&self, column: usize, stability: Stability) -> u64 {
        let (frame, bars) = self.shared.warm_up[column];
        let bars = bars[stability as usize];
        let ratio = u64::from(self.shared.frames[frame].0.as_secs() / self.shared.grid.timeframe.as_secs());
        bars * ratio + (ratio - 1)
    }

    /// The same for the column that takes longest; 0 where there is none.
    pub fn warm_up_bars_max(&self, stability: Stability) -> u64 {
        self.warm_up_bars_over(1, stability)
    }

    /// How many bars of its series all columns take until each is as stable as `stability` says over the newest `window`
    /// bars; 0 where there is none.
    pub fn warm_up_bars_over(&self, window: usize, stability: Stability) -> u64 {
        let own_s = u64::from(self.shared.grid.timeframe.as_secs());
        let of = |(frame, bars): &(usize, [u64; 3])| {
            let ratio = u64::from(self.shared.frames[*frame].0.as_secs()) / own_s;
            (bars[stability as usize] + more_over(window, ratio)) * ratio + (ratio - 1)
        };
        self.shared.warm_up.iter().map(of).max().unwrap_or(0)
    }

    /// What some columns take together until each is as stable as `stability` says, over the newest `window` bars.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn warm_up(&self, columns: &[usize], window: usize, stability: Stability) -> WarmUp {
        let own_s = u64::from(self.shared.grid.timeframe.as_secs());
        let mut bars: Vec<(usize, u64)> = Vec::new();
        for column in columns {
            let (frame, needs) = self.shared.warm_up[*column];
            let ratio = u64::from(self.shared.frames[frame].0.as_secs()) / own_s;
            let needs = needs[stability as usize] + more_over(window, ratio);
            match bars.iter_mut().find(|(known, _)| *known == frame) {
                Some((_, most)) => *most = needs.max(*most),
                None => bars.push((frame, needs)),
            }
        }
        WarmUp { bars: bars.into() }
    }

    /// How many kernels serve the columns.
    pub fn kernels(&self) -> usize {
        self.shared.kernels.len()
    }

    /// The state of a series before its first bar.
    pub fn state(&self) -> PlanState {
        PlanState {
            kernels: self.shared.kernels.clone(),
            memory: vec![0.0; self.shared.memory].into(),
            values: vec![f64::NAN; self.len()].into(),
            frames: self.shared.frames.iter().map(|(timeframe, _)| Frame::new(*timeframe)).collect(),
            close: f64::NAN,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// How many bars of a timeframe that is `ratio` times the series' own a window looks back on at most, beside the newest.
fn more_over(window: usize, ratio: u64) -> u64 {
    (window as u64).saturating_sub(1).div_ceil(ratio)
}

/// How many bars of each of its timeframes some columns of a plan take. See [`Plan::warm_up`].
#[derive(Clone, Debug, Default)]
pub struct WarmUp {
    bars: Box<[(usize, u64)]>,
}

/// One series' state under a [`Plan`]. A clone is a snapshot: it goes on from here, bit for bit.
///
/// `clone_from` between states of one plan allocates nothing.
#[derive(Debug)]
pub struct PlanState {
    kernels: Box<[Kernel]>,
    memory: Box<[f64]>,
    values: Box<[f64]>,
    frames: Box<[Frame]>,
    /// The newest bar's close.
    close: f64,
    shared: Arc<Shared>,
}

impl PlanState {
    /// Commits one closed bar: the next of its series, with finite numbers and positive prices.
    ///
    /// Allocates nothing. Amortised O(1) per kernel, but for [`super::catalogue::Cost::Linear`]; the bar that
    /// fills a block of n costs O(n), one behind a gap that is filled in as much as the bars filled in.
    pub fn update(&mut self, bar: &Bar) {
        // Nearly every bar stands in the slot behind the newest bar's.
        if !self.frames[0].is_next(bar.ts) {
            match self.gap_before(bar) {
                Gap::Skip(_) => {}
                Gap::Reset => self.reset(),
                Gap::Fill(slots) => self.fill(slots),
            }
        }
        self.take(bar, false);
    }

    fn gap_before(&self, bar: &Bar) -> Gap {
        let newest = self.frames[0].newest();
        newest.map_or(Gap::Skip(0), |newest| self.shared.grid.gap(newest, bar.ts))
    }

    /// Flat bars for the `slots` that are missing after the newest bar.
    fn fill(&mut self, slots: u32) {
        let Some(mut newest) = self.frames[0].newest() else { return };
        let shared = Arc::clone(&self.shared);
        let close = self.close;
        for _ in 0..slots {
            let next = shared.grid.close_of(newest);
            newest = shared.grid.hours.next_open(next, shared.grid.timeframe);
            self.take(&Bar { ts: newest, open: close, high: close, low: close, close, volume: 0.0 }, true);
        }
    }

    /// One bar, or one that was filled in, through every timeframe; coarser ones first.
    #[inline]
    fn take(&mut self, bar: &Bar, synthetic: bool) {
        if self.frames.len() > 1 {
            self.take_coarser(bar, synthetic);
        }
        let close = self.shared.grid.close_of(bar.ts);
        let missing = self.note(bar);
        self.run(0, &Slot { bar, close, missing, synthetic });
    }

    /// Notes a bar of the series; how many expected ones are missing before it.
    #[inline]
    fn note(&mut self, bar: &Bar) -> u32 {
        self.close = bar.close;
        self.frames[0].take(bar.ts, &self.shared.grid)
    }

    /// The coarser bars that close before this bar opens, or with it.
    fn take_coarser(&mut self, bar: &Bar, synthetic: bool) {
        let closes = self.shared.grid.close_of(bar.ts);
        let base = Closed { bar: *bar, missing: 0, synthetic };
        let began = self.frames[0].newest().is_some();
        for frame in 1..self.frames.len() {
            let grid = &self.shared.grid;
            let before = self.frames[frame].close_before(bar, grid);
            let with = self.frames[frame].add(&base, closes, began, grid);
            for Closed { bar, missing, synthetic } in before.into_iter().chain(with) {
                let close = self.frames[frame].close_of(bar.ts);
                self.run(frame, &Slot { bar: &bar, close, missing, synthetic });
            }
        }
    }

    /// A bar of one timeframe, through its kernels.
    #[inline]
    fn run(&mut self, frame: usize, slot: &Slot<'_>) {
        let Self { kernels, memory, values, shared, .. } = self;
        let range = shared.frames[frame].1.clone();
        for (kernel, readers) in kernels[range.clone()].iter_mut().zip(&shared.readers[range]) {
            kernel.take(slot, memory, &shared.columns[readers.clone()], values);
        }
    }

    /// Gives in `out` what [`PlanState::update`] and [`PlanState::write`] would give for `bar`, and commits
    /// nothing. Allocates only where the bar closes coarser bars, or comes behind a gap that is not skipped.
    ///
    /// # Panics
    /// When `out` has not one place for each column.
    pub fn peek(&self, bar: &Bar, out: &mut [f64]) {
        assert_eq!(out.len(), self.values.len(), "one place for each column");
        let Gap::Skip(missing) = self.gap_before(bar) else { return self.fork(bar, out) };
        let grid = &self.shared.grid;
        let close = grid.close_of(bar.ts);
        let base = Closed { bar: *bar, missing, synthetic: false };
        let began = self.frames[0].newest().is_some();
        let closes_coarser = |frame: &Frame| {
            let mut frame = *frame;
            frame.close_before(bar, grid).is_some() || frame.add(&base, close, began, grid).is_some()
        };
        if self.frames[1..].iter().any(closes_coarser) {
            return self.fork(bar, out);
        }
        out.copy_from_slice(&self.values);
        let slot = Slot { bar, close, missing, synthetic: false };
        let shared = &self.shared;
        for i in shared.frames[0].1.clone() {
            let columns = &shared.columns[shared.readers[i].clone()];
            self.kernels[i].peek(&slot, &self.memory, columns, out);
        }
    }

    fn fork(&self, bar: &Bar, out: &mut [f64]) {
        let mut fork = self.clone();
        fork.update(bar);
        fork.write(out);
    }

    /// Forgets every bar: as new, but without a new allocation.
    pub fn reset(&mut self) {
        // Kernels read no memory that they have not written since they began.
        self.kernels.copy_from_slice(&self.shared.kernels);
        self.values.fill(f64::NAN);
        for (frame, (timeframe, _)) in self.frames.iter_mut().zip(&self.shared.frames) {
            *frame = Frame::new(*timeframe);
        }
    }

    /// The open time of the newest bar that was committed.
    pub fn newest_ts(&self) -> Option<Timestamp> {
        self.frames[0].newest()
    }

    /// Writes the newest bar's values in the order of the plan's names; NaN where undefined.
    ///
    /// # Panics
    /// When `out` has not one place for each column.
    pub fn write(&self, out: &mut [f64]) {
        out.copy_from_slice(&self.values);
    }

    /// The newest bar's values in the order of the plan's names; NaN where undefined.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Whether enough bars were taken for `warm_up`.
    #[inline]
    pub fn is_past(&self, warm_up: &WarmUp) -> bool {
        warm_up.bars.iter().all(|(frame, bars)| self.frames[*frame].taken() >= *bars)
    }

    /// How many bars have been taken since the series began, or began anew behind a gap; those that were
    /// filled in count.
    pub fn bars(&self) -> u64 {
        self.frames[0].taken()
    }
}

impl Clone for PlanState {
    fn clone(&self) -> Self {
        Self {
            kernels: self.kernels.clone(),
            memory: self.memory.clone(),
            values: self.values.clone(),
            frames: self.frames.clone(),
            close: self.close,
            shared: Arc::clone(&self.shared),
        }
    }

    fn clone_from(&mut self, source: &Self) {
        self.kernels.clone_from(&source.kernels);
        self.memory.clone_from(&source.memory);
        self.values.clone_from(&source.values);
        self.frames.clone_from(&source.frames);
        self.close = source.close;
        self.shared.clone_from(&source.shared);
    }
}
