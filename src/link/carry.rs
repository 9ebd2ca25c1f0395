//! Carrying on: a worker that has nothing else to do takes the item it just produced through the next
//! stage itself, instead of waking another thread (a parked hop costs about 14 µs, the work often less).
//!
//! The producer's worker keeps what it announced in its thread's slot and runs it after its own turn has ended, so that
//! no key is ever held while another stage works. One key, and further ones behind it where what is kept already takes
//! no longer than waking a thread would: so the models of one bar, where they are quick, are all run before their rows
//! go to the store together.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// Keys that a slot takes at most.
const KEYS_MAX: usize = 16;

/// A key that is ready, whatever its stage.
pub(super) trait Ready: Send + Sync {
    /// Runs one turn of it on this thread.
    fn turn(self: Arc<Self>);
    /// Announces it to its stage's own workers.
    fn announce(self: Arc<Self>);
    /// Whether a turn of it takes no longer than waking a thread for it.
    fn is_quick(&self) -> bool;
}

/// This thread's slot: `None` on a thread that is no worker.
struct Slot {
    open: bool,
    keys: VecDeque<Arc<dyn Ready>>,
}

thread_local! {
    static SLOT: RefCell<Slot> = const { RefCell::new(Slot { open: false, keys: VecDeque::new() }) };
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
            slot.keys.pop_front()
        });
    }
}

/// Leaves `key` in this thread's slot, if it is open and nothing there keeps it waiting; true when it did.
pub(super) fn stash(key: &Arc<impl Ready + 'static>) -> bool {
    SLOT.with_borrow_mut(|slot| {
        let free = slot.open && slot.keys.len() < KEYS_MAX && slot.keys.iter().all(|key| key.is_quick());
        if free {
            slot.keys.push_back(Arc::clone(key) as Arc<dyn Ready>);
        }
        free
    })
}

/// Hands what is in this thread's slot to its own stage's workers: before this thread may have to wait
/// for them.
pub(super) fn flush() {
    while let Some(key) = SLOT.with_borrow_mut(|slot| slot.keys.pop_front()) {
        key.announce();
    }
}
