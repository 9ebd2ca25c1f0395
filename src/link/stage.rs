//! A stage is an object with a `step`, never a thread; a link holds the stage, its keys' mailboxes, its
//! ready lanes and its bound, and runs turns of it.

use super::carry::{self, Ready};
use super::clock::now_ns;
use super::fair::LANES;
use super::lanes::{Lanes, credit};
use super::mailbox::{Mailbox, SPENT_MAX};
use super::meter::{Meter, MeterReading};
use crate::domain::Lane;
use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};

/// What one of the four stages does. Called by workers: any number at a time over different keys, but
/// never by more than a key's slots over one key.
pub trait Stage: Send + Sync + 'static {
    /// What belongs to one key: a series' state, a model's sessions.
    type Key: Send + Sync;
    /// What waits in a mailbox.
    type Item: Send;

    /// How many items one turn may take of this key; at least 1.
    fn batch_max(&self, key: &Self::Key) -> usize;

    /// How many of them one `step` may be given; 1 where a step changes the key's state, so that a panic
    /// costs one item and never repeats another.
    fn chunk_max(&self) -> usize;

    /// Whether a worker of the stage before may carry an item on into this one.
    fn may_be_carried(&self) -> bool {
        true
    }

    /// Handles the items, in order; results go to the links that the stage was built with. The vector is
    /// the worker's: items may be moved out.
    fn step(&self, key: &Self::Key, items: &[Self::Item]);

    /// Whether an item is past its time at `now_ns`: handling it is only saying so, and it takes no place in a turn.
    fn is_spent(&self, _item: &Self::Item, _now_ns: u64) -> bool {
        false
    }

    /// Whose item it is, where a key is shared by many series.
    fn series(&self, _item: &Self::Item) -> u32 {
        0
    }

    /// A turn over `items` items of this key, spent ones aside, took so long, without the time for which the next stage
    /// had no room.
    fn turned(&self, _key: &Self::Key, _items: usize, _service_ns: u64) {}

    /// A step panicked over this one item: record what became of it.
    fn panicked(&self, key: &Self::Key, item: &Self::Item, message: &str);
}

/// The fixed numbers of a link.
#[derive(Clone, Copy, Debug)]
pub struct LinkOptions {
    /// How many items may wait or be in work in the stage at a time; a full stage makes `put` wait.
    pub items_max: usize,
    /// How many keys (times their slots) there may be.
    pub keys_max: usize,
    /// The most workers it will ever have.
    pub workers_max: usize,
}

/// What is particular to one key.
#[derive(Clone, Copy, Debug)]
pub struct KeyOptions {
    /// How many workers may be in it at a time.
    pub slots: u32,
    /// Whether many series share it, which have no order among them: its items go by their lanes as well, with the same
    /// credits as keys, and within a lane the series that was served longest ago goes first. Otherwise they are handled
    /// in the order in which they came.
    pub shared: bool,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self { slots: 1, shared: false }
    }
}

/// A key that a link cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stage takes at most {keys_max} keys: raise the setting that bounds them")]
pub struct LinkError {
    /// How many.
    pub keys_max: usize,
}

/// One stage at one moment.
#[derive(Clone, Debug)]
pub struct StageReading {
    /// Its name.
    pub name: &'static str,
    /// Items waiting or in work.
    pub depth: usize,
    /// The most that may.
    pub items_max: usize,
    /// Workers running.
    pub workers: usize,
    /// How many workers could be at work at the same time at most: one in each key, or as many as it has slots.
    pub parallel: usize,
    /// What the stage did so far.
    pub meter: MeterReading,
}

/// An item and when it was put in.
struct Envelope<T> {
    item: T,
    put_ns: u64,
}

/// A stage with all that waits for it.
pub struct Link<S: Stage> {
    stage: S,
    options: LinkOptions,
    lanes: Lanes<Arc<Key<S>>>,
    /// One unit for every item that waits or is in work: the bound, and the depth.
    room: (Sender<()>, Receiver<()>),
    keys: AtomicUsize,
    pub(super) width: AtomicUsize,
    busy: AtomicUsize,
    meter: Meter,
    /// Vectors that turns take their items into, kept for reuse.
    scratch: ArrayQueue<Vec<S::Item>>,
}

/// A key of a stage: its mailbox and what the stage keeps for it.
pub struct Key<S: Stage> {
    /// What the stage keeps for this key.
    pub data: S::Key,
    link: Arc<Link<S>>,
    mailbox: Mailbox<Envelope<S::Item>>,
    /// The lane of the item that last called a worker; what waits behind it goes the same way.
    lane: AtomicU8,
    shared: bool,
    /// Turns so far: whose credit the next one is.
    turns: AtomicUsize,
    /// The places that the turn before left because of spent items, times [`LANES`], and the lane it left them in.
    behind: AtomicU32,
}

impl<S: Stage> Link<S> {
    /// A link to `stage`, without workers yet.
    pub fn new(stage: S, options: LinkOptions) -> Arc<Self> {
        Arc::new(Self {
            stage,
            options,
            lanes: Lanes::new(options.keys_max, options.workers_max),
            room: bounded(options.items_max),
            keys: AtomicUsize::new(0),
            width: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            meter: Meter::new(options.workers_max + CARRIERS),
            scratch: ArrayQueue::new(options.workers_max + CARRIERS),
        })
    }

    /// A new key of this stage.
    ///
    /// # Errors
    /// When the link has `keys_max` already.
    pub fn key(self: &Arc<Self>, data: S::Key, options: KeyOptions) -> Result<Arc<Key<S>>, LinkError> {
        let slots = options.slots.max(1) as usize;
        let keys_max = self.options.keys_max;
        let room = |keys: usize| keys.checked_add(slots).filter(|wanted| *wanted <= keys_max);
        self.keys
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room)
            .map_err(|_| LinkError { keys_max })?;
        Ok(Arc::new(Key {
            data,
            link: Arc::clone(self),
            mailbox: if options.shared {
                Mailbox::shared(options.slots)
            } else {
                Mailbox::new(options.slots)
            },
            shared: options.shared,
            lane: AtomicU8::new(Lane::Normal as u8),
            turns: AtomicUsize::new(0),
            behind: AtomicU32::new(0),
        }))
    }

    /// The stage itself.
    pub fn stage(&self) -> &S {
        &self.stage
    }

    /// How many items wait or are in work.
    pub fn depth(&self) -> usize {
        self.room.0.len()
    }

    /// How many may; at that `put` waits.
    pub fn items_max(&self) -> usize {
        self.room.0.capacity().unwrap_or(usize::MAX)
    }

    /// How many workers run now.
    pub fn width(&self) -> usize {
        self.width.load(Ordering::Relaxed)
    }

    /// What the stage did so far.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Everything at this moment, under the name that it has in the wiring.
    pub fn read(&self, name: &'static str) -> StageReading {
        StageReading {
            name,
            depth: self.depth(),
            items_max: self.options.items_max,
            workers: self.width(),
            parallel: self.keys.load(Ordering::Relaxed),
            meter: self.meter.read(),
        }
    }

    pub(super) fn lanes(&self) -> &Lanes<Arc<Key<S>>> {
        &self.lanes
    }

    /// Whether nothing is announced and fewer turns run than there are workers: an item that comes now
    /// would only wait for a wake-up.
    fn has_free_slot(&self) -> bool {
        self.lanes.is_empty() && self.busy.load(Ordering::Relaxed) < self.width()
    }

    fn step(&self, key: &Key<S>, items: &[S::Item]) {
        for chunk in items.chunks(self.stage.chunk_max().max(1)) {
            if catch_unwind(AssertUnwindSafe(|| self.stage.step(&key.data, chunk))).is_ok() {
                continue;
            }
            // Whose fault it was shows when each goes alone.
            for item in chunk {
                let alone = std::slice::from_ref(item);
                let step = || {
                    if chunk.len() > 1 {
                        self.stage.step(&key.data, alone)
                    }
                };
                let again = catch_unwind(AssertUnwindSafe(step));
                if chunk.len() > 1 && again.is_ok() {
                    continue;
                }
                self.meter.panicked();
                let message = again.err().map_or_else(|| LAST_PANIC.into(), panic_message);
                let record = || self.stage.panicked(&key.data, item, &message);
                // Should recording panic too, the item is lost but not the worker; the meter counts it.
                let _ = catch_unwind(AssertUnwindSafe(record));
            }
        }
    }
}

/// Threads that may run turns of a stage besides its own workers: those of the stages before it.
const CARRIERS: usize = 8;

const _: () = assert!(Lane::ALL.len() == LANES);

thread_local! {
    /// How long this thread has waited for room so far, in ns.
    static BLOCKED_NS: Cell<u64> = const { Cell::new(0) };
}

const LAST_PANIC: &str = "a worker panicked over this item; the log has the message";

fn panic_message(payload: Box<dyn std::any::Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| LAST_PANIC.into())
}

impl<S: Stage> Key<S> {
    /// Puts an item in, with the priority `lane` should it have to be announced; waits while the stage
    /// is full.
    pub fn put(self: &Arc<Self>, item: S::Item, lane: Lane) {
        if self.link.room.0.try_send(()).is_err() {
            // This thread may hold the very key that has to move before there is room.
            carry::flush();
            let begin_ns = now_ns();
            // The receiver lives as long as the link, which `self` holds.
            let _ = self.link.room.0.send(());
            BLOCKED_NS.set(BLOCKED_NS.get() + (now_ns() - begin_ns));
        }
        self.deliver(item, lane);
    }

    /// Puts an item in, or gives it back when the stage is full.
    ///
    /// # Errors
    /// The item, when the stage is full.
    pub fn try_put(self: &Arc<Self>, item: S::Item, lane: Lane) -> Result<(), S::Item> {
        match self.link.room.0.try_send(()) {
            Ok(()) => {
                self.deliver(item, lane);
                Ok(())
            }
            Err(_) => Err(item),
        }
    }

    fn deliver(self: &Arc<Self>, item: S::Item, lane: Lane) {
        let batch = self.link.stage.batch_max(&self.data);
        let whose = (lane as usize, self.link.stage.series(&item));
        if self.mailbox.put_in(whose, Envelope { item, put_ns: now_ns() }, batch) {
            self.lane.store(lane as u8, Ordering::Relaxed);
            self.call();
        }
    }

    /// Sees to it that a worker comes: this thread, where nothing waits before it, or one of the stage's.
    fn call(self: &Arc<Self>) {
        if !(self.link.stage.may_be_carried() && self.link.has_free_slot() && carry::stash(self)) {
            Arc::clone(self).announce();
        }
    }
}

impl<S: Stage> Drop for Key<S> {
    /// Makes room for another key. Nothing waits in it any more: what waits is announced, and so holds it.
    fn drop(&mut self) {
        self.link.keys.fetch_sub(self.mailbox.slots(), Ordering::Relaxed);
    }
}

impl<S: Stage> Ready for Key<S> {
    fn turn(self: Arc<Self>) {
        let link = &self.link;
        link.busy.fetch_add(1, Ordering::Relaxed);
        let batch = link.stage.batch_max(&self.data).max(1);
        let mut items = link.scratch.pop().unwrap_or_default();
        let begin_ns = now_ns();
        let (first, places) = match self.behind.swap(0, Ordering::Relaxed) {
            0 if self.shared => (credit(self.turns.fetch_add(1, Ordering::Relaxed)) as usize, batch),
            0 => (Lane::High as usize, batch),
            // Spent items cost little, and those behind them are in time: its turn is not over.
            behind => (behind as usize % LANES, (behind as usize / LANES).min(batch)),
        };
        let is_spent = |envelope: &Envelope<_>| link.stage.is_spent(&envelope.item, begin_ns);
        let spent = self.mailbox.claim_from(first, places, is_spent, |envelope| {
            link.meter.waited(begin_ns.saturating_sub(envelope.put_ns));
            items.push(envelope.item);
        });
        if spent > SPENT_MAX {
            let left = places - (items.len() - spent);
            self.behind.store((left * LANES + first) as u32, Ordering::Relaxed);
        }
        if !items.is_empty() {
            let blocked_before_ns = BLOCKED_NS.get();
            link.step(&self, &items);
            let blocked_ns = BLOCKED_NS.get() - blocked_before_ns;
            let service_ns = (now_ns() - begin_ns).saturating_sub(blocked_ns);
            link.meter.served(items.len() as u64, service_ns, blocked_ns);
            if items.len() > spent {
                link.stage.turned(&self.data, items.len() - spent, service_ns);
            }
        }
        for _ in 0..items.len() {
            // One unit a handled item: there are at least as many.
            let _ = link.room.1.try_recv();
        }
        items.clear();
        // Full only when more threads than foreseen carry on: the vector is dropped then.
        let _ = link.scratch.push(items);
        link.busy.fetch_sub(1, Ordering::Relaxed);
        if self.mailbox.release(batch) {
            if self.shared {
                self.lane.store(self.mailbox.urgent() as u8, Ordering::Relaxed);
            }
            self.call();
        }
    }

    fn announce(self: Arc<Self>) {
        let lane = Lane::ALL[self.lane.load(Ordering::Relaxed) as usize];
        let link = Arc::clone(&self.link);
        link.lanes.announce(self, lane);
    }
}
