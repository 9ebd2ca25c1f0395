//! What waits for the workers of a key that many series share: by lane, and within a lane the series that was served
//! longest ago goes first.
//!
//! So while an item of a series waits, each other series of its lane is served at most once more before it, however
//! much and whenever the others put in; and where only some are served before the rest is past its time, the next
//! time the rest goes first. A series keeps the order of its items. O(log series) an item; memory is kept for reuse.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::binary_heap::{BinaryHeap, PeekMut};

/// How many lanes there are.
pub(super) const LANES: usize = 3;

/// No item.
const NONE: u32 = u32::MAX;
/// Room for so many items stays when none waits; what a longer queue took is given back.
const KEPT: usize = 1024;

/// Items by lane and series.
pub(super) struct Fair<T> {
    series: HashMap<u32, [Waits; LANES]>,
    /// Of each lane the series of which something waits, as (served, series).
    ready: [BinaryHeap<Reverse<(u64, u32)>>; LANES],
    items: Items<T>,
    /// How many items were taken in time so far.
    served: u64,
}

/// What waits of one series in one lane: a list of items.
#[derive(Clone, Copy)]
struct Waits {
    first: u32,
    last: u32,
    /// The how-manieth its last item was that was taken in time; 0 before the first.
    served: u64,
}

/// The items of all lists.
struct Items<T> {
    nodes: Vec<Node<T>>,
    /// The first of the nodes that are not in use.
    free: u32,
    used: usize,
}

struct Node<T> {
    item: Option<T>,
    next: u32,
}

impl<T> Fair<T> {
    pub(super) fn new() -> Self {
        let items = Items { nodes: Vec::new(), free: NONE, used: 0 };
        Self { series: HashMap::new(), ready: [(); LANES].map(|()| BinaryHeap::new()), items, served: 0 }
    }

    /// Puts an item of `series` in, behind those of the same series and lane.
    pub(super) fn push(&mut self, lane: usize, series: u32, item: T) {
        let at = self.items.insert(item);
        let never = Waits { first: NONE, last: NONE, served: 0 };
        let waits = &mut self.series.entry(series).or_insert([never; LANES])[lane];
        if waits.first == NONE {
            waits.first = at;
            self.ready[lane].push(Reverse((waits.served, series)));
        } else {
            self.items.nodes[waits.last as usize].next = at;
        }
        waits.last = at;
    }

    /// Takes the next item, of the lane `first` before the others, and whether it is past its time: such an item is not
    /// what its series is served with, which stays the next.
    pub(super) fn pop(&mut self, first: usize, is_spent: impl FnOnce(&T) -> bool) -> Option<(T, bool)> {
        let lane = std::iter::once(first).chain(0..LANES).find(|lane| !self.ready[*lane].is_empty())?;
        let mut next = self.ready[lane].peek_mut()?;
        let waits = &mut self.series.get_mut(&next.0.1)?[lane];
        let (item, behind) = self.items.remove(waits.first)?;
        waits.first = behind;
        let spent = is_spent(&item);
        if !spent {
            self.served += 1;
            waits.served = self.served;
        }
        if behind == NONE {
            PeekMut::pop(next);
        } else if !spent {
            next.0.0 = waits.served;
        }
        Some((item, spent))
    }

    /// For how many items there is memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.items.nodes.capacity()
    }

    /// The first lane in which something waits.
    pub(super) fn urgent(&self) -> Option<usize> {
        self.ready.iter().position(|ready| !ready.is_empty())
    }
}

impl<T> Items<T> {
    fn insert(&mut self, item: T) -> u32 {
        self.used += 1;
        let node = Node { item: Some(item), next: NONE };
        if self.free == NONE {
            self.nodes.push(node);
            // A stage bounds its items far below.
            return (self.nodes.len() - 1) as u32;
        }
        let at = self.free;
        self.free = std::mem::replace(&mut self.nodes[at as usize], node).next;
        at
    }

    /// The item at `at`, and which one is behind it in its list.
    fn remove(&mut self, at: u32) -> Option<(T, u32)> {
        let node = self.nodes.get_mut(at as usize)?;
        let item = node.item.take()?;
        let behind = std::mem::replace(&mut node.next, self.free);
        self.free = at;
        self.used -= 1;
        if self.used == 0 && self.nodes.capacity() > KEPT {
            (self.nodes, self.free) = (Vec::new(), NONE);
        }
        Some((item, behind))
    }
}
