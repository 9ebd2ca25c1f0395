//! Features: what a closed bar, seen after all the bars before it, says in numbers.
//!
//! A feature is asked for by name (`rsi_14`, `bb_pctb`, `macd_hist_12_26_9`); the [`catalogue`] lists what
//! there is. A [`Plan`] turns a list of names into the streaming kernels it needs, each once; its
//! [`PlanState`] takes one bar at a time and holds one value per name. [`FeatureStage`] keeps one such
//! state a series and shares vectors through the [`FeatureCache`]. [`Batch`] does many bars at once, for tables.
//!
//! An [`indicator`] is one kernel by itself, for a program that wants a single value and no plan.
//!
//! Three rules hold for every value:
//!
//! - it depends on bars that have closed, the current one included, and on nothing else: windows count bars,
//!   not time;
//! - undefined (still warming up, a ratio of nothing, too large for an f64) is NaN, never 0 or infinity;
//! - the same bars give the same bits, whether streamed, replayed or exported, and whatever else is in the
//!   plan.
//!
//! The conventions are those of TA-Lib's C library 0.8.1 with unstable period 0, evaluated with exact
//! arithmetic where TA-Lib's running sums would leave rounding noise.

mod cache;
pub mod catalogue;
mod error;
mod frame;
pub mod indicator;
mod kernel;
mod name;
mod plan;
mod retained;
mod rows;
mod series;
mod stage;

use crate::domain::{FeatureSet, Timeframe};

pub use cache::{CacheKey, CacheReading, FeatureCache};
pub use error::FeatureError;
pub use name::warm_up;
pub use plan::{Batch, Plan, PlanState, WarmUp};
pub use series::SeriesFeatures;
pub use stage::{FeatureKey, FeatureRules, FeatureStage, ResumedSeries, SavedSeries, bars_kept_to_adjust};

/// Whether every feature of a set can be computed over bars of a timeframe.
///
/// # Errors
/// Which cannot, and why.
pub fn check(features: &FeatureSet, timeframe: Timeframe) -> Result<(), String> {
    Plan::new(features.names(), timeframe).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests_allocations;
#[cfg(test)]
mod tests_core;
#[cfg(test)]
mod tests_counting;
#[cfg(test)]
mod tests_drift;
#[cfg(test)]
mod tests_frames;
#[cfg(test)]
mod tests_golden;
#[cfg(test)]
mod tests_odd;
#[cfg(test)]
mod tests_plan;
#[cfg(test)]
mod tests_properties;
#[cfg(test)]
mod tests_series;
#[cfg(test)]
pub(crate) mod tests_support;
#[cfg(test)]
mod tests_warm_up;
#[cfg(test)]
mod tests_windows;
