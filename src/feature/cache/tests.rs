//! The cache against a clock that is set, and against several workers.

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
fn the_number_of_entries_is_what_was_configured_and_the_oldest_goes_first() {
    for series_count in [1, 3, 40] {
        for entries_max in [0, 1, 5, 16, 1000] {
            let cache = FeatureCache::with_clock(entries_max, 86_400, now_ns);
            let of = |minute: i64| key(minute as u32 % series_count, minute);
            for minute in 0..3000 {
                NOW_S.set(1 + minute as u64);
                value(&cache, of(minute), minute as f64);
                assert_eq!(cache.read().entries, entries_max.min(minute as usize + 1));
            }
            // Which shard was full first may make a difference of one entry of each.
            let newest = 3000 - entries_max.saturating_sub(SHARDS) as i64..3000;
            let hits = newest.end - newest.start;
            newest.for_each(|minute| assert_eq!(value(&cache, of(minute), -1.0), minute as f64));
            assert_eq!(cache.read().hits, hits as u64, "of {series_count}, {entries_max}");
            let gone = 3000 - (entries_max + SHARDS) as i64;
            assert_eq!(value(&cache, of(gone), -1.0), -1.0);
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
        let sets = entries_max.min(10) as u64;
        for features in 0..sets {
            value(&cache, CacheKey { features, ..key(0, 1000) }, features as f64);
        }
        // One bar's sets, all of them there for the next horizon.
        for features in 0..sets {
            assert_eq!(value(&cache, CacheKey { features, ..key(0, 1000) }, -1.0), features as f64);
        }
    }
}

#[test]
fn a_series_that_filled_the_cache_gives_way_to_others() {
    let cache = FeatureCache::with_clock(80, 86_400, now_ns);
    (0..200).for_each(|minute| assert_eq!(value(&cache, key(0, minute), 1.0), 1.0));
    // Another shard's series, of one bar: ten sets, each there for the next horizon.
    for (round, written) in [(0, 2.0), (1, -1.0)] {
        NOW_S.set(NOW_S.get() + 1);
        for features in 0..10 {
            let found = value(&cache, CacheKey { features, ..key(1, 500) }, written);
            assert_eq!(found, 2.0, "round {round}, set {features}");
        }
    }
    assert_eq!(cache.read().entries, 80);
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
