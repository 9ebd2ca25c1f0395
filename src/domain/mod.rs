//! The vocabulary: plain types that every stage shares.
//!
//! Standard library and serde only; no I/O, no threads. A type lives here when two rooms of the house need it; what one
//! room needs stays in that room.

mod adjustment;
mod alias;
mod bar;
mod dialect;
mod excerpt;
mod feature;
mod flow;
mod grid;
mod hours;
mod prediction;
mod reason;
mod report;
mod retry;
mod series;
mod severity;
mod stored;
mod time;
mod timeframe;

pub use adjustment::{Adjustment, Adjustments, PriceChange, SeriesAdjustments};
pub use alias::{Aliases, Meaning};
pub use bar::Bar;
pub use dialect::Dialect;
pub use excerpt::Excerpt;
pub use feature::{Demand, FeatureSet, FeatureVector, HORIZON_MAX, Stability};
pub use flow::{Admission, Admitted, Ask, Incoming, Origin, Place, Reply, Stamps, Task};
pub use grid::{FILLED_BARS_MAX, Gap, GapPolicy, Grid};
pub use hours::{MarketHours, ParseMarketHoursError};
pub use prediction::{OUTCOMES_PER_BAR_MAX, Outcome, Prediction, ValueNames};
pub use reason::{Reason, Refusal};
pub use report::{AlertEvent, Process, SymbolPerformance};
pub use retry::pause_ms;
pub use series::{Lane, SeriesId, SeriesKey, SymbolError, spelled_alike};
pub use severity::Severity;
pub use stored::{Said, Stored, Wanted};
pub use time::{ParseTimestampError, Timestamp};
pub use timeframe::{ParseTimeframeError, Timeframe};
