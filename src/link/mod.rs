//! The mechanism between stages, and the only queueing code in the project: keyed mailboxes, priority
//! lanes, workers with a width that changes while they run, and the meters that watch them.
//!
//! ```text
//!            put(item)                    ready key                turn: claim, step, release
//! producer ───────────► key's mailbox ───────────────► a worker ──────────────────────────────► …
//!                       (lock-free queue)  lanes: high,           of this stage, or the producer's
//!                                          normal, low            own worker, when nothing waits
//! ```
//!
//! Order within a key, parallelism across keys, batches exactly as large as what has piled up, no timer.
//! A link knows that stages exist, not which.

mod batch;
mod carry;
pub mod clock;
mod crew;
mod fair;
mod lanes;
mod mailbox;
mod meter;
mod parking;
mod slice;
mod stage;
mod sync;
#[cfg(test)]
mod tests_fair;
mod workers;

pub use batch::{BatchLimit, BatchReading};
pub use crew::{LongWork, long_work};
pub use lanes::credit;
pub use mailbox::Mailbox;
pub use meter::{Meter, MeterReading};
pub use slice::lengthen as compute_aside;
pub use stage::{Key, KeyOptions, Link, LinkError, LinkOptions, Stage, StageReading};
pub use workers::Workers;
