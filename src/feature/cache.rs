//! The feature cache: one computation for all horizons and callers of one bar.
//!
//! Every entry lives equally long, so the order of insertion is the order of expiry: a map and a queue,
//! no clock thread. Expired entries are never served. What is dropped here and held by nobody else is written anew:
//! once the cache is full a bar allocates no vector.
//!
//! Series are spread over shards, so that their workers do not wait for each other. The bound is one of all shards
//! together: a few series may use all that there is. Where it is reached a shard that has its share gives up the oldest of
//! its own, under one lock and with no count changed, and one that has less takes the place of the oldest of all.

use crate::domain::{FeatureVector, SeriesId, Timestamp};
use crate::link::clock;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const SHARDS: usize = 8;
/// The smallest share of a shard: the feature sets of one bar are fewer.
const SHARE_MIN: usize = 16;
/// How many vectors a shard keeps to be written anew, beyond its entries.
const SPARE_MAX: usize = 32;

/// What a vector is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey {
    /// Whose bar.
    pub series: SeriesId,
    /// The bar's open time.
    pub ts: Timestamp,
    /// How often the bar has changed.
    pub revision: u32,
    /// The hash of the feature set.
    pub features: u64,
    /// Over how many bars.
    pub window: usize,
}

struct Entry {
    vector: Arc<FeatureVector>,
    inserted_ns: u64,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<CacheKey, Entry>,
    /// As many entries as the map is half empty with. So far it finds room among its own memory, however many come and go.
    room: usize,
    /// Keys with the time of their insertion, the oldest first; a key that was inserted again has an
    /// older twin here, told by its time.
    order: VecDeque<(CacheKey, u64)>,
    /// Vectors that left the cache; some of them may still be on their way through the engine.
    spare: Vec<Arc<FeatureVector>>,
}

impl Shard {
    /// Takes the oldest out, if it is as old as `goes` asks for.
    fn take_oldest(&mut self, goes: impl Fn(u64) -> bool) -> Option<Arc<FeatureVector>> {
        while let Some((oldest, inserted_ns)) = self.order.front().copied().filter(|(_, ns)| goes(*ns)) {
            self.order.pop_front();
            if self.entries.get(&oldest).is_some_and(|entry| entry.inserted_ns == inserted_ns) {
                return self.entries.remove(&oldest).map(|entry| entry.vector);
            }
        }
        None
    }

    /// Puts `entry` in; whether it took the place of another one.
    fn put(&mut self, key: CacheKey, entry: Entry) -> bool {
        if self.entries.len() >= self.room {
            self.room = (2 * self.room).max(16);
            self.entries.reserve(2 * self.room - self.entries.len());
        }
        self.order.push_back((key, entry.inserted_ns));
        self.entries.insert(key, entry).is_some()
    }

    fn keep(&mut self, vector: Arc<FeatureVector>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(vector);
        }
    }

    /// A vector of `len` values that nobody else holds.
    fn take_spare(&mut self, len: usize) -> Option<Arc<FeatureVector>> {
        let is_free = |vector: &mut Arc<FeatureVector>| {
            Arc::get_mut(vector).is_some_and(|vector| vector.values.len() == len)
        };
        let at = self.spare.iter_mut().position(is_free)?;
        Some(self.spare.swap_remove(at))
    }
}

/// A shard, and when its oldest entry was inserted: readable by whoever looks for the oldest of all.
struct Place {
    shard: Mutex<Shard>,
    /// `u64::MAX` where it is empty. Written under the lock.
    oldest_ns: AtomicU64,
}

impl Default for Place {
    fn default() -> Self {
        Self { shard: Mutex::default(), oldest_ns: AtomicU64::new(u64::MAX) }
    }
}

impl Place {
    /// Does something to the shard.
    fn with<T>(&self, act: impl FnOnce(&mut Shard) -> T) -> T {
        let mut shard = self.shard.lock();
        let done = act(&mut shard);
        let oldest_ns = shard.order.front().map_or(u64::MAX, |(_, inserted_ns)| *inserted_ns);
        self.oldest_ns.store(oldest_ns, Ordering::Relaxed);
        done
    }
}

/// Vectors by (series, bar, feature set), bounded in number and age.
pub struct FeatureCache {
    places: [Place; SHARDS],
    /// How many entries all shards have. An entry is counted before it is put in.
    entries: AtomicUsize,
    entries_max: AtomicUsize,
    ttl_ns: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    now_ns: fn() -> u64,
}

/// The cache's numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReading {
    /// Entries held.
    pub entries: usize,
    /// Look-ups that found a live entry.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
}

impl FeatureCache {
    /// A cache of at most `entries_max` vectors (0: none), each served for `ttl_seconds`.
    pub fn new(entries_max: usize, ttl_seconds: u64) -> Self {
        Self::with_clock(entries_max, ttl_seconds, clock::now_ns)
    }

    fn with_clock(entries_max: usize, ttl_seconds: u64, now_ns: fn() -> u64) -> Self {
        Self {
            places: std::array::from_fn(|_| Place::default()),
            entries: AtomicUsize::new(0),
            entries_max: AtomicUsize::new(entries_max),
            ttl_ns: AtomicU64::new(ttl_seconds.saturating_mul(1_000_000_000)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            now_ns,
        }
    }

    /// Changes how many vectors it holds at most, and for how long each is served. What is too much goes at once.
    pub fn set_limits(&self, entries_max: usize, ttl_seconds: u64) {
        self.entries_max.store(entries_max, Ordering::Relaxed);
        self.ttl_ns.store(ttl_seconds.saturating_mul(1_000_000_000), Ordering::Relaxed);
        while self.entries.load(Ordering::Relaxed) > entries_max && self.drop_oldest().is_some() {}
    }

    /// Drops the oldest of all entries; `None` where there was none to be found.
    fn drop_oldest(&self) -> Option<Arc<FeatureVector>> {
        let oldest = self.places.iter().min_by_key(|place| place.oldest_ns.load(Ordering::Relaxed))?;
        let vector = oldest.with(|shard| shard.take_oldest(|_| true))?;
        self.entries.fetch_sub(1, Ordering::Relaxed);
        Some(vector)
    }

    /// Counts one entry more, if there may be one.
    fn count_one(&self, entries_max: usize) -> bool {
        let more = |entries| (entries < entries_max).then_some(entries + 1);
        self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Puts `entry` into `shard`; gives it back where there is no room and another shard has to make it.
    fn put(&self, shard: &mut Shard, entries_max: usize, key: CacheKey, entry: Entry) -> Result<(), Entry> {
        let has_share = shard.entries.len() >= (entries_max / SHARDS).max(SHARE_MIN);
        if has_share
            && self.entries.load(Ordering::Relaxed) == entries_max
            && let Some(dropped) = shard.take_oldest(|_| true)
        {
            // One goes and one comes: their number stays.
            shard.keep(dropped);
        } else if !self.count_one(entries_max) {
            return Err(entry);
        }
        if shard.put(key, entry) {
            self.entries.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The vector of `key`, of `len` values, written by `compute` where there is no live entry. A series is in one
    /// worker's hands at a time, so that nobody computes the same vector beside it.
    pub fn get_or_compute(
        &self,
        key: CacheKey,
        len: usize,
        compute: impl FnOnce(&mut FeatureVector),
    ) -> Arc<FeatureVector> {
        let now_ns = (self.now_ns)();
        let entries_max = self.entries_max.load(Ordering::Relaxed);
        let ttl_ns = self.ttl_ns.load(Ordering::Relaxed);
        let is_expired = |inserted_ns| now_ns.saturating_sub(inserted_ns) >= ttl_ns;
        let place = &self.places[key.series.0 as usize % SHARDS];
        let found = place.with(|shard| {
            if let Some(entry) = shard.entries.get(&key).filter(|entry| !is_expired(entry.inserted_ns)) {
                return Ok(Arc::clone(&entry.vector));
            }
            while let Some(vector) = shard.take_oldest(is_expired) {
                self.entries.fetch_sub(1, Ordering::Relaxed);
                shard.keep(vector);
            }
            Err(shard.take_spare(len))
        });
        let spare = match found {
            Ok(vector) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return vector;
            }
            Err(spare) => spare,
        };
        self.misses.fetch_add(1, Ordering::Relaxed);
        let mut vector = spare.unwrap_or_else(|| Arc::new(FeatureVector::undefined(len)));
        // Nobody else holds it: it is new, or was looked for as such.
        if let Some(vector) = Arc::get_mut(&mut vector) {
            compute(vector);
        }
        if entries_max == 0 || ttl_ns == 0 {
            place.with(|shard| shard.keep(Arc::clone(&vector)));
            return vector;
        }
        let mut entry = Entry { vector: Arc::clone(&vector), inserted_ns: now_ns };
        while let Err(again) = place.with(|shard| self.put(shard, entries_max, key, entry)) {
            entry = again;
            // Where all that are counted are still on their way in, this one is not kept: nobody waits here.
            let Some(dropped) = self.drop_oldest() else { break };
            place.with(|shard| shard.keep(dropped));
        }
        vector
    }

    /// Drops all vectors, and the memory they were in; returns how many there were.
    pub fn clear(&self) -> usize {
        let clear = |place: &Place| {
            let entries = place.with(std::mem::take).entries.len();
            self.entries.fetch_sub(entries, Ordering::Relaxed);
            entries
        };
        self.places.iter().map(clear).sum()
    }

    /// The cache's numbers.
    pub fn read(&self) -> CacheReading {
        CacheReading {
            entries: self.entries.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
