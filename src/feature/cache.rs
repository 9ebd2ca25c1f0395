//! The feature cache: one computation for all horizons and callers of one bar.
//!
//! Every entry lives equally long, so the order of insertion is the order of expiry: a map and a queue,
//! no clock thread. Expired entries are never served. What is dropped here and held by nobody else is written anew:
//! once the cache is full a bar allocates no vector.

use crate::domain::{FeatureVector, SeriesId, Timestamp};
use crate::link::clock;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const SHARDS_MAX: usize = 8;
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
    /// Keys with the time of their insertion, the oldest first; a key that was inserted again has an
    /// older twin here, told by its time.
    order: VecDeque<(CacheKey, u64)>,
    /// Vectors that left the cache; some of them may still be on their way through the engine.
    spare: Vec<Arc<FeatureVector>>,
}

impl Shard {
    /// Drops what has expired, and the oldest until there is room for one more.
    fn make_room(&mut self, entries_max: usize, is_expired: impl Fn(u64) -> bool) {
        while let Some((oldest, inserted_ns)) = self.order.front().copied() {
            if !is_expired(inserted_ns) && self.entries.len() < entries_max {
                break;
            }
            self.order.pop_front();
            if self.entries.get(&oldest).is_some_and(|entry| entry.inserted_ns == inserted_ns)
                && let Some(entry) = self.entries.remove(&oldest)
            {
                self.keep(entry.vector);
            }
        }
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

/// Vectors by (series, bar, feature set), bounded in number and age.
pub struct FeatureCache {
    shards: Box<[Mutex<Shard>]>,
    shard_entries_max: AtomicUsize,
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
        let shards = entries_max.clamp(1, SHARDS_MAX);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            shard_entries_max: AtomicUsize::new(entries_max / shards),
            ttl_ns: AtomicU64::new(ttl_seconds.saturating_mul(1_000_000_000)),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            now_ns,
        }
    }

    /// Changes how many vectors it holds at most, and for how long each is served. What is too much goes at once.
    pub fn set_limits(&self, entries_max: usize, ttl_seconds: u64) {
        let shard_entries_max = entries_max / self.shards.len();
        self.shard_entries_max.store(shard_entries_max, Ordering::Relaxed);
        self.ttl_ns.store(ttl_seconds.saturating_mul(1_000_000_000), Ordering::Relaxed);
        for shard in &self.shards {
            shard.lock().make_room(shard_entries_max + 1, |_| false);
        }
    }

    fn shard(&self, key: &CacheKey) -> &Mutex<Shard> {
        &self.shards[key.series.0 as usize % self.shards.len()]
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
        let entries_max = self.shard_entries_max.load(Ordering::Relaxed);
        let ttl_ns = self.ttl_ns.load(Ordering::Relaxed);
        let is_expired = |inserted_ns| now_ns.saturating_sub(inserted_ns) >= ttl_ns;
        let spare = {
            let mut shard = self.shard(&key).lock();
            if let Some(entry) = shard.entries.get(&key).filter(|entry| !is_expired(entry.inserted_ns)) {
                self.hits.fetch_add(1, Ordering::Relaxed);
                return Arc::clone(&entry.vector);
            }
            shard.make_room(entries_max, is_expired);
            shard.take_spare(len)
        };
        self.misses.fetch_add(1, Ordering::Relaxed);
        let mut vector = spare.unwrap_or_else(|| Arc::new(FeatureVector::undefined(len)));
        // Nobody else holds it: it is new, or was looked for as such.
        if let Some(vector) = Arc::get_mut(&mut vector) {
            compute(vector);
        }
        let mut shard = self.shard(&key).lock();
        if entries_max == 0 || ttl_ns == 0 {
            shard.keep(Arc::clone(&vector));
            return vector;
        }
        // Another series may have taken the room meanwhile.
        shard.make_room(entries_max, is_expired);
        shard.entries.insert(key, Entry { vector: Arc::clone(&vector), inserted_ns: now_ns });
        shard.order.push_back((key, now_ns));
        vector
    }

    /// Drops all vectors, and the memory they were in; returns how many there were.
    pub fn clear(&self) -> usize {
        let clear = |shard: &Mutex<Shard>| std::mem::take(&mut *shard.lock()).entries.len();
        self.shards.iter().map(clear).sum()
    }

    /// The cache's numbers.
    pub fn read(&self) -> CacheReading {
        CacheReading {
            entries: self.shards.iter().map(|shard| shard.lock().entries.len()).sum(),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    thread_local! { static NOW_S: Cell<u64> = const { Cell::new(1) }; }

    fn now_ns() -> u64 {
        NOW_S.get() * 1_000_000_000
    }

    fn key(series: u32, minute: i64) -> CacheKey {
        CacheKey {
            series: SeriesId(series),
            ts: Timestamp::from_secs(minute * 60),
            revision: 0,
            features: 7,
            window: 1,
        }
    }

    fn value(cache: &FeatureCache, key: CacheKey, computed: f64) -> f64 {
        let compute = |vector: &mut FeatureVector| {
            vector.values[0] = computed;
            vector.undefined = None;
        };
        cache.get_or_compute(key, 1, compute).values[0]
    }

    #[test]
    fn what_is_older_than_its_time_to_live_is_never_served() {
        let cache = FeatureCache::with_clock(100, 300, now_ns);
        assert_eq!(value(&cache, key(0, 1), 1.0), 1.0);
        NOW_S.set(300);
        assert_eq!(value(&cache, key(0, 1), 2.0), 1.0, "299 s old: served");
        NOW_S.set(301);
        assert_eq!(value(&cache, key(0, 1), 3.0), 3.0, "300 s old: computed again");
        NOW_S.set(600);
        assert_eq!(value(&cache, key(0, 1), 4.0), 3.0, "the new one lives from its own insertion");
        assert_eq!(cache.read(), CacheReading { entries: 1, hits: 2, misses: 2 });
    }

    #[test]
    fn a_cleared_cache_goes_on() {
        let cache = FeatureCache::with_clock(100, 300, now_ns);
        for minute in 0..150 {
            value(&cache, key(minute, i64::from(minute)), 1.0);
        }
        let entries = cache.read().entries;
        assert!(entries > 0 && cache.clear() == entries && cache.clear() == 0);
        assert_eq!((value(&cache, key(0, 1), 2.0), value(&cache, key(0, 1), 3.0)), (2.0, 2.0));
    }

    #[test]
    fn a_vector_that_somebody_holds_is_not_written_anew() {
        for entries_max in [0, 1, 8, 100] {
            let cache = FeatureCache::with_clock(entries_max, 300, now_ns);
            let mut held = VecDeque::new();
            for minute in 0..2000 {
                let fill = |vector: &mut FeatureVector| vector.values.fill(minute as f64);
                let len = 1 + minute as usize % 3;
                held.push_back((minute, cache.get_or_compute(key(0, minute), len, fill)));
                // Rows travel for a while, and not all equally long.
                if held.len() > 40 {
                    held.remove(minute as usize * 7 % 40);
                }
                for (minute, vector) in &held {
                    let len = 1 + *minute as usize % 3;
                    assert_eq!(*vector.values, *vec![*minute as f64; len], "of {entries_max}");
                }
            }
        }
    }

    #[test]
    fn the_number_of_entries_is_bounded_and_the_oldest_goes_first() {
        for entries_max in [0, 1, 5, 16, 1000] {
            let cache = FeatureCache::with_clock(entries_max, 300, now_ns);
            for minute in 0..3000 {
                let series = minute as u32 % 40;
                value(&cache, key(series, minute), minute as f64);
                assert!(cache.read().entries <= entries_max);
                if entries_max >= 8 {
                    assert_eq!(value(&cache, key(series, minute), -1.0), minute as f64);
                }
            }
        }
    }
}
