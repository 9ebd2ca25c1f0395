//! Stage 1: is this a bar, is it in order, how urgent is its symbol.
//!
//! Keyed by series. What passes goes to the feature stage; what does not ends here with its reason.

mod order;
mod rank;
mod saved;
mod spike;
mod stage;
mod validate;

pub use order::Order;
pub use rank::{Ranking, RankingOptions, Standing};
pub use saved::SavedOrder;
pub use spike::Spike;
pub use stage::{IngestKey, IngestStage};
pub use validate::{AnyPrice, Limits, hold_open_and_close, validate};
