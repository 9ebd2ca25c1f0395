//! The feature cache: one computation for all horizons and callers of one bar.
//!
//! Every entry lives equally long, so the order of insertion is the order of expiry: a map and a queue,
//! no clock thread. Expired entries are never served. What is dropped here and held by nobody else is written anew:
//! once the cache is full a bar allocates no vector.
//!
//! Series are spread over shards, so that their workers do not wait for each other. The bound is one of all shards
//! together, and the oldest of all goes first: a few series may use all that there is.

use crate::domain::{FeatureVector, SeriesId, Timestamp};
use crate::link::clock;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const SHARDS: usize = 8;
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
        while !self.count_one(entries_max) {
            // Where all that are counted are still on their way in, this one is not kept: nobody waits here.
            let Some(dropped) = self.drop_oldest() else { return vector };
            place.with(|shard| shard.keep(dropped));
        }
        let entry = Entry { vector: Arc::clone(&vector), inserted_ns: now_ns };
        if place.with(|shard| shard.put(key, entry)) {
            self.entries.fetch_sub(1, Ordering::Relaxed);
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
    fn the_number_of_entries_is_what_was_configured_and_the_oldest_of_all_goes_first() {
        for series_count in [1, 3, 40] {
            for entries_max in [0, 1, 5, 16, 1000] {
                let cache = FeatureCache::with_clock(entries_max, 86_400, now_ns);
                let of = |minute: i64| key(minute as u32 % series_count, minute);
                for minute in 0..3000 {
                    NOW_S.set(1 + minute as u64);
                    value(&cache, of(minute), minute as f64);
                    assert_eq!(cache.read().entries, entries_max.min(minute as usize + 1));
                }
                let kept = 3000 - entries_max as i64..3000;
                kept.clone().for_each(|minute| assert_eq!(value(&cache, of(minute), -1.0), minute as f64));
                assert_eq!(cache.read().hits, entries_max as u64, "of {series_count}, {entries_max}");
                assert_eq!(value(&cache, of(kept.start - 1), -1.0), -1.0);
            }
        }
    }

    #[test]
    fn fewer_entries_than_shards_are_as_many_as_that_also_when_told_while_it_runs() {
        let cache = FeatureCache::with_clock(1000, 300, now_ns);
        for minute in 0..400 {
            NOW_S.set(1 + minute as u64);
            value(&cache, key(minute as u32 % 40, minute), minute as f64);
        }
        for entries_max in [100, 5, 3, 0, 5] {
            NOW_S.set(NOW_S.get() + 1);
            cache.set_limits(entries_max, 86_400);
            assert!(cache.read().entries <= entries_max);
            for features in 0..entries_max as u64 {
                value(&cache, CacheKey { features, ..key(0, 1000) }, features as f64);
            }
            // One bar's sets, all of them there for the next horizon.
            for features in 0..entries_max as u64 {
                assert_eq!(value(&cache, CacheKey { features, ..key(0, 1000) }, -1.0), features as f64);
            }
        }
    }

    #[test]
    fn workers_of_many_series_keep_to_the_bound_and_get_their_own() {
        let cache = FeatureCache::new(37, 300);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for minute in 0..20_000 {
                        let key = key(worker + 4 * (minute as u32 % 10), minute);
                        let written = f64::from(worker) + minute as f64 * 10.0;
                        assert_eq!(value(cache, key, written), written);
                        assert!(cache.read().entries <= 37);
                    }
                });
            }
        });
        let held: usize = cache.places.iter().map(|place| place.shard.lock().entries.len()).sum();
        assert_eq!((cache.read().entries, held), (37, 37));
    }
}
