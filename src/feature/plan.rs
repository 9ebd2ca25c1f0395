//! From a list of names to the kernels behind them, and their state.

use super::FeatureError;
use super::kernel::{Kernel, Layout, Read, Spec};
use super::name::parse;
use crate::domain::Bar;
use std::ops::Range;
use std::sync::Arc;

/// A list of features, resolved: which kernels it takes, each once, and which column reads what.
///
/// Cheap to clone; one plan serves every series that is asked for the same features.
#[derive(Clone, Debug)]
pub struct Plan {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    names: Box<[Arc<str>]>,
    first_defined: Box<[usize]>,
    /// The kernels before their first bar.
    kernels: Box<[Kernel]>,
    /// The columns, grouped by the kernel they read.
    columns: Box<[Column]>,
    /// Which of `columns` read each kernel.
    readers: Box<[Range<usize>]>,
    /// How many numbers the kernels' windows take.
    memory: usize,
}

/// Where a column goes, and how its value is read.
#[derive(Clone, Copy, Debug)]
struct Column {
    at: usize,
    read: Read,
}

impl Shared {
    #[inline]
    fn scatter(&self, kernel: usize, values: &super::kernel::Values, out: &mut [f64]) {
        for column in &self.columns[self.readers[kernel].clone()] {
            let value = column.read.of(values);
            // What is too large for an f64 is no number: undefined, like a ratio of nothing.
            out[column.at] = if value.is_infinite() { f64::NAN } else { value };
        }
    }
}

impl Plan {
    /// The plan for the features called `names`, in that order. A name may come twice.
    ///
    /// # Errors
    /// When a name is unknown or a parameter out of range; see [`super::catalogue::FAMILIES`].
    pub fn new(names: &[impl AsRef<str>]) -> Result<Self, FeatureError> {
        let mut specs: Vec<Spec> = Vec::new();
        let mut columns: Vec<(usize, Column)> = Vec::with_capacity(names.len());
        let mut first_defined = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            let (family, arguments) = parse(name.as_ref())?;
            let (spec, read) = family.build(&arguments);
            let kernel = specs.iter().position(|known| *known == spec).unwrap_or_else(|| {
                specs.push(spec);
                specs.len() - 1
            });
            columns.push((kernel, Column { at, read }));
            first_defined.push(family.first_defined(&arguments));
        }
        columns.sort_by_key(|(kernel, column)| (*kernel, column.at));
        let reader = |kernel| {
            columns.partition_point(|(k, _)| *k < kernel)..columns.partition_point(|(k, _)| *k <= kernel)
        };
        let readers = (0..specs.len()).map(reader).collect();
        let mut layout = Layout::default();
        let kernels = specs.iter().map(|spec| Kernel::new(*spec, &mut layout)).collect();
        let shared = Shared {
            names: names.iter().map(|name| Arc::from(name.as_ref())).collect(),
            first_defined: first_defined.into(),
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

    /// Index, from 0, of the first bar at which every column can be defined: one less than the bars that a
    /// warm-up takes at least. Recursive features go on depending on where the series begins for longer: see
    /// [`super::catalogue::Memory`].
    pub fn first_defined(&self) -> usize {
        self.shared.first_defined.iter().copied().max().unwrap_or(0)
    }

    /// The same for each column alone.
    pub fn first_defined_of(&self) -> &[usize] {
        &self.shared.first_defined
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
            bars: 0,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// One series' state under a [`Plan`]. A clone is a snapshot: it goes on from here, bit for bit.
///
/// `clone_from` between states of one plan allocates nothing.
#[derive(Debug)]
pub struct PlanState {
    kernels: Box<[Kernel]>,
    memory: Box<[f64]>,
    values: Box<[f64]>,
    bars: u64,
    shared: Arc<Shared>,
}

impl PlanState {
    /// Commits one closed bar: the next of its series, with finite numbers and positive prices.
    ///
    /// Allocates nothing. Amortised O(1) per kernel, but for [`super::catalogue::Cost::Linear`]; the bar that
    /// fills a block of n costs O(n).
    pub fn update(&mut self, bar: &Bar) {
        let Self { kernels, memory, values, bars, shared } = self;
        for (i, kernel) in kernels.iter_mut().enumerate() {
            let found = kernel.advance(bar, memory);
            kernel.store(memory);
            shared.scatter(i, &found, values);
        }
        *bars += 1;
    }

    /// Gives in `out` what [`PlanState::update`] and [`PlanState::write`] would give for `bar`, and commits
    /// nothing.
    ///
    /// # Panics
    /// When `out` has not one place for each column.
    pub fn peek(&self, bar: &Bar, out: &mut [f64]) {
        assert_eq!(out.len(), self.values.len(), "one place for each column");
        for (i, kernel) in self.kernels.iter().enumerate() {
            let mut kernel = *kernel;
            let found = kernel.advance(bar, &self.memory);
            self.shared.scatter(i, &found, out);
        }
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

    /// How many bars have been committed.
    pub fn bars(&self) -> u64 {
        self.bars
    }
}

impl Clone for PlanState {
    fn clone(&self) -> Self {
        Self {
            kernels: self.kernels.clone(),
            memory: self.memory.clone(),
            values: self.values.clone(),
            bars: self.bars,
            shared: Arc::clone(&self.shared),
        }
    }

    fn clone_from(&mut self, source: &Self) {
        self.kernels.clone_from(&source.kernels);
        self.memory.clone_from(&source.memory);
        self.values.clone_from(&source.values);
        self.bars = source.bars;
        self.shared.clone_from(&source.shared);
    }
}
