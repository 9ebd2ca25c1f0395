//! Stage 4: outcomes go to the store, in batches of whatever has piled up, and from there to whoever
//! subscribed or waits.

mod ledger;
mod outlets;
mod progress;
mod stage;

pub use ledger::{Ledger, LedgerReading, Tally};
pub use outlets::{Outlets, Subscription};
pub use progress::Progress;
pub use stage::{PersistKey, PersistStage};
