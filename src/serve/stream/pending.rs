//! What waits for a client that is behind, or that wants to be sent something only so often: of each key its newest event.
//!
//! What waits is sent in rounds. A round holds every key once, in the order of storing, and what comes in the meantime waits
//! for the next one: no key is passed over by another that changes more often, and what was sent last says that everything
//! stored before it was sent too, or replaced. That is what a client of Server-Sent Events resumes from.

use super::super::recent::Event;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The events that wait for one client.
#[derive(Debug, Default)]
pub struct Pending {
    /// What is to be sent now, in its order: the snapshot, what it missed, or a round.
    now: VecDeque<Arc<Event>>,
    newest: HashMap<u32, Arc<Event>>,
    /// The keys of `newest`, the longest-waiting first.
    order: VecDeque<u32>,
    /// Events that a newer one of their key replaced.
    pub conflated: u64,
    /// Events that were left out because too many keys waited.
    pub dropped: u64,
}

impl Pending {
    /// Begins anew with these.
    pub fn begin(&mut self, backlog: Vec<Arc<Event>>) {
        self.newest.clear();
        self.order.clear();
        self.now = backlog.into();
    }

    /// An event comes that is to be sent with those before it.
    pub fn follow(&mut self, event: &Arc<Event>) {
        self.now.push_back(Arc::clone(event));
    }

    /// An event comes for the next round, in which at most `keys_max` keys are; true where it replaces another.
    pub fn put(&mut self, event: &Arc<Event>, keys_max: usize) -> bool {
        if self.newest.insert(event.line, Arc::clone(event)).is_some() {
            self.conflated += 1;
            return true;
        }
        self.order.push_back(event.line);
        if self.order.len() > keys_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.newest.remove(&oldest);
            self.dropped += 1;
        }
        false
    }

    /// Whether there is something to be sent now.
    pub fn has_now(&self) -> bool {
        !self.now.is_empty()
    }

    /// Whether something waits for the next round.
    pub fn has_next(&self) -> bool {
        !self.order.is_empty()
    }

    /// The next round begins.
    pub fn turn_over(&mut self) {
        self.order.clear();
        let begin = self.now.len();
        self.now.extend(self.newest.drain().map(|(_, event)| event));
        self.now.make_contiguous()[begin..].sort_unstable_by_key(|event| event.id);
    }

    /// The next event to be sent now.
    pub fn take(&mut self) -> Option<Arc<Event>> {
        self.now.pop_front()
    }
}
