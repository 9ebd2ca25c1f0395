//! Stage 4: outcomes go to the store, in batches of whatever has piled up, and from there to whoever
//! subscribed or waits.

mod ledger;
mod outlets;
mod progress;
mod retry;
mod stage;

pub use ledger::{Ledger, LedgerReading, Tally};
pub use outlets::{Outlets, Subscription};
pub use progress::Progress;
pub use retry::pause_ms;
pub use stage::{PersistKey, PersistStage};
