//! What waits for a client that is behind: of each key its newest event, the longest-waiting key first.

use super::super::recent::Event;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The events that wait for one client.
#[derive(Debug, Default)]
pub struct Pending {
    /// What it is to be sent in any case and in its order: the snapshot, or what it missed.
    backlog: VecDeque<Arc<Event>>,
    newest: HashMap<u32, Arc<Event>>,
    order: VecDeque<u32>,
    /// Events that a newer one of their key replaced.
    pub conflated: u64,
    /// Events that were left out because too many keys waited.
    pub dropped: u64,
}

impl Pending {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.backlog.is_empty() && self.order.is_empty()
    }

    /// Begins anew with these.
    pub fn begin(&mut self, backlog: Vec<Arc<Event>>) {
        self.newest.clear();
        self.order.clear();
        self.backlog = backlog.into();
    }

    /// An event comes while others wait; at most `keys_max` keys do.
    pub fn put(&mut self, event: &Arc<Event>, keys_max: usize) {
        if self.newest.insert(event.line, Arc::clone(event)).is_some() {
            self.conflated += 1;
            return;
        }
        self.order.push_back(event.line);
        if self.order.len() > keys_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.newest.remove(&oldest);
            self.dropped += 1;
        }
    }

    /// The next event to be sent.
    pub fn take(&mut self) -> Option<Arc<Event>> {
        if let Some(event) = self.backlog.pop_front() {
            return Some(event);
        }
        self.newest.remove(&self.order.pop_front()?)
    }
}
