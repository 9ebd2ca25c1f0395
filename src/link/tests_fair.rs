//! What is shared is served in turn: any course of events against plain counting. Apart from `fair.rs`, which the model
//! checker compiles as it stands.

use super::fair::{Fair, LANES};
use proptest::prelude::*;
use std::collections::HashMap;

const HIGH: usize = 0;
const LOW: usize = 2;

fn all<T>(fair: &mut Fair<T>, first: usize) -> Vec<T> {
    std::iter::from_fn(|| fair.pop(first, |_| false)).map(|(item, _)| item).collect()
}

#[test]
fn series_take_turns_each_in_its_order_however_much_one_of_them_put_in() {
    let mut fair = Fair::new();
    (0..5).for_each(|n| fair.push(LOW, 7, (7, n)));
    (0..2).for_each(|n| fair.push(LOW, 8, (8, n)));
    fair.push(LOW, 9, (9, 0));
    assert_eq!(all(&mut fair, LOW), [(7, 0), (8, 0), (9, 0), (7, 1), (8, 1), (7, 2), (7, 3), (7, 4)]);
    // Who was served longest ago goes first, also when it comes last.
    [7, 8, 9].into_iter().for_each(|series| fair.push(LOW, series, (series, 9)));
    assert_eq!(all(&mut fair, LOW), [(9, 9), (8, 9), (7, 9)]);
}

#[test]
fn the_lane_that_is_asked_for_goes_first_then_the_others_by_their_order() {
    let mut fair = Fair::new();
    [(LOW, 20), (1, 10), (HIGH, 0), (LOW, 21), (1, 11), (HIGH, 1)]
        .into_iter()
        .for_each(|(lane, item)| fair.push(lane, 5, item));
    assert_eq!(fair.urgent(), Some(HIGH));
    assert_eq!(fair.pop(1, |_| false), Some((10, false)));
    assert_eq!(all(&mut fair, 1), [11, 0, 1, 20, 21]);
    assert_eq!(fair.urgent(), None);
}

#[test]
fn what_a_long_queue_took_is_given_back_and_nothing_is_taken_for_a_short_one() {
    let mut fair = Fair::new();
    (0..100_000).for_each(|n| fair.push(LOW, n % 10, n));
    assert_eq!(all(&mut fair, HIGH).len(), 100_000);
    assert_eq!(fair.room(), 0);
    for round in 0..1000 {
        (0..10).for_each(|n| fair.push(round % LANES, n, n));
        assert_eq!(all(&mut fair, HIGH).len(), 10);
    }
    assert!(fair.room() <= 16, "{}", fair.room());
}

proptest! {
    /// Goal: nothing lost, nothing twice, order within a series and lane, whatever comes when.
    #[test]
    fn any_course_of_events_keeps_every_item_and_the_order_of_its_series(
        events in proptest::collection::vec((any::<bool>(), 0..LANES, 0..5_u32, any::<bool>()), 0..300)
    ) {
        let mut fair = Fair::new();
        let mut seen: HashMap<(usize, u32), Vec<usize>> = HashMap::new();
        let mut waiting = 0;
        let mut take = |fair: &mut Fair<_>, lane: usize, spent: bool| {
            let taken = fair.pop(lane, |_| spent);
            if let Some(((lane, series, n), was_spent)) = taken {
                assert_eq!(was_spent, spent);
                seen.entry((lane, series)).or_default().push(n);
            }
            taken.is_some()
        };
        let put = events.iter().filter(|event| event.0).count();
        for (n, (is_put, lane, series, spent)) in events.into_iter().enumerate() {
            if is_put {
                fair.push(lane, series, (lane, series, n));
                waiting += 1;
            } else {
                prop_assert_eq!(take(&mut fair, lane, spent), waiting > 0);
                waiting -= usize::from(waiting > 0);
            }
        }
        while take(&mut fair, 0, false) {}
        prop_assert_eq!(seen.values().map(Vec::len).sum::<usize>(), put);
        prop_assert!(seen.values().all(|items| items.is_sorted()));
    }

    /// Goal: the bound. While an item of a series waits in time, every other series of its lane is served at most
    /// once before it. Items are spent by chance, series come and go.
    #[test]
    fn while_a_series_waits_every_other_one_is_served_at_most_once(
        events in proptest::collection::vec((any::<bool>(), 0..6_u32, any::<bool>()), 0..400)
    ) {
        let mut fair = Fair::new();
        let (mut waits, mut others) = ([0; 6], [[0; 6]; 6]);
        for (is_put, series, spent) in events {
            if is_put {
                fair.push(LOW, series, series);
                waits[series as usize] += 1;
            } else if let Some((served, spent)) = fair.pop(LOW, |_| spent) {
                let served = served as usize;
                waits[served] -= 1;
                if spent {
                    continue;
                }
                others[served] = [0; 6];
                for waiting in (0..6).filter(|other| *other != served && waits[*other] > 0) {
                    others[waiting][served] += 1;
                    prop_assert!(others[waiting][served] <= 1, "{} passed {} twice", served, waiting);
                }
            }
            for gone in (0..6).filter(|series| waits[*series] == 0) {
                others[gone] = [0; 6];
            }
        }
    }
}
