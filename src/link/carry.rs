//! Carrying on: a worker that has nothing else to do takes the item it just produced through the next
//! stage itself, instead of waking another thread (a parked hop costs about 14 µs, the work often less).
//!
//! The producer's worker keeps at most one announced key in its thread's slot and runs it after its own
//! turn has ended, so that no key is ever held while another stage works.

use std::cell::RefCell;
use std::sync::Arc;

/// A key that is ready, whatever its stage.
pub(super) trait Ready: Send + Sync {
    /// Runs one turn of it on this thread.
    fn turn(self: Arc<Self>);
    /// Announces it to its stage's own workers.
    fn announce(self: Arc<Self>);
}

/// This thread's slot: `None` on a thread that is no worker.
struct Slot {
    open: bool,
    key: Option<Arc<dyn Ready>>,
}

thread_local! {
    static SLOT: RefCell<Slot> = const { RefCell::new(Slot { open: false, key: None }) };
}

/// Runs `key`, and then whatever is carried on from it; `idle` says whether the worker's own stage has
/// nothing else to do, asked before each turn.
pub(super) fn run(key: Arc<dyn Ready>, idle: impl Fn() -> bool) {
    let mut next = Some(key);
    while let Some(key) = next {
        SLOT.with_borrow_mut(|slot| slot.open = idle());
        key.turn();
        next = SLOT.with_borrow_mut(|slot| {
            slot.open = false;
            slot.key.take()
        });
    }
}

/// Leaves `key` in this thread's slot, if it is open and empty; true when it did.
pub(super) fn stash(key: &Arc<impl Ready + 'static>) -> bool {
    SLOT.with_borrow_mut(|slot| {
        let free = slot.open && slot.key.is_none();
        if free {
            slot.key = Some(Arc::clone(key) as Arc<dyn Ready>);
        }
        free
    })
}

/// Hands what is in this thread's slot to its own stage's workers: before this thread may have to wait
/// for them.
pub(super) fn flush() {
    if let Some(key) = SLOT.with_borrow_mut(|slot| slot.key.take()) {
        key.announce();
    }
}
