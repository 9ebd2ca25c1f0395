//! What the mailbox is built on, by short names: the model checker compiles `mailbox.rs` against its own
//! versions of these (see `tests/loom`).

pub(super) use crossbeam::queue::SegQueue as Queue;
pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicU64, Ordering};
