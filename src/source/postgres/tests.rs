//! What becomes of bars that were read, without a database.

use super::column::{Closed, Part};
use super::follow::Follow;
use super::look::{Ask, Found, NEVER, Named, Told};
use super::table::{Clock, Table};
use crate::config::CatchUp;
use crate::domain::{Bar, Origin, SeriesKey, Timeframe, Timestamp};
use crate::source::History;
use std::sync::Arc;

pub(super) fn table(closed: bool) -> Table {
    Table {
        name: "bars".into(),
        oid: 1,
        is_table: true,
        symbol: Part::Column("\"symbol\"".into(), "text".into()),
        timeframe: Part::Column("\"timeframe\"".into(), "text".into()),
        ts: "\"ts\"".into(),
        clock: Clock::Instant,
        times_allowed: "",
        numbers: Vec::new(),
        closed: closed.then(|| Closed { column: "\"closed\"".into(), is_boolean: true }),
        announces: true,
        deaf: None,
        indexed: true,
        times: parking_lot::Mutex::default(),
        list: String::new(),
        newest: String::new(),
        since: String::new(),
    }
}

fn named(symbol: &str) -> Named {
    Named { table: 0, symbol: symbol.into(), timeframe: "1m".into() }
}

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_secs(minute * 60)
}

fn bar(at: i64) -> Bar {
    Bar { ts: minute(at), close: 1.0, ..Bar::default() }
}

/// Now is long after every bar.
const NOW: Timestamp = Timestamp::from_secs(60_000);

fn follow(catch_up: CatchUp, watermark: Option<i64>) -> Follow {
    let history = History::new(5, catch_up, 9);
    let key = Arc::new(SeriesKey::new("A", Timeframe::MINUTE).unwrap());
    let watermarks: Vec<_> = watermark.map(|at| (key, minute(at))).into_iter().collect();
    Follow::new(history, (2, 0), &watermarks)
}

/// `minute origin` of what is ready.
fn ready(follow: &mut Follow) -> String {
    let text = |bar: crate::source::SourceBar| {
        let origin = match bar.origin {
            Origin::Live => 'l',
            Origin::CatchUp => 'c',
            Origin::Withdrawn => 'x',
            _ => 'w',
        };
        format!("{}{origin}", bar.bar.ts.as_secs() / 60)
    };
    follow.ready.drain(..).map(text).collect::<Vec<_>>().join(" ")
}

fn start(follow: &mut Follow, minutes: std::ops::Range<i64>) -> String {
    let asked = follow.next_starts().remove(0);
    let read = vec![(asked.series, minutes.rev().map(bar).collect())];
    follow.started(read, &[Arc::new(table(true))], NOW);
    ready(follow)
}

fn found(follow: &mut Follow, announced: Option<i64>, bars: Vec<Bar>, more: bool) -> String {
    let announced = announced.map_or(NEVER, minute);
    let ask = Ask { series: named("A"), since: minute(0), announced };
    follow.found(Found { ask, bars, more }, &table(true), NOW);
    ready(follow)
}

#[test]
fn a_start_warms_up_catches_up_and_goes_over_the_last_stored_bars_again() {
    for (catch_up, watermark, expected) in [
        (CatchUp::All, Some(16), "10w 11w 12w 13w 14w 15c 16c 17c 18c 19c"),
        (CatchUp::All, None, "6w 7w 8w 9w 10w 11c 12c 13c 14c 15c 16c 17c 18c 19c"),
        (CatchUp::Latest, Some(16), "14w 15w 16w 17w 18w 19c"),
        (CatchUp::Latest, Some(19), "15w 16w 17w 18w 19w"),
        (CatchUp::None, None, "15w 16w 17w 18w 19w"),
    ] {
        let mut follow = follow(catch_up, watermark);
        follow.listed(vec![named("A"), Named { timeframe: "soon".into(), ..named("B") }]);
        assert_eq!(start(&mut follow, 1..20), expected, "{catch_up:?} {watermark:?}");
        assert!(follow.next_starts().is_empty(), "B is no series");
    }
}

#[test]
fn announced_bars_are_live_and_those_nobody_heard_of_catch_up() {
    let mut follow = follow(CatchUp::All, None);
    follow.listed(vec![named("A")]);
    // Announced before its history was read: live with it.
    assert_eq!(found(&mut follow, Some(9), vec![bar(9)], false), "");
    assert_eq!(start(&mut follow, 7..10), "7c 8c 9l");
    assert_eq!(found(&mut follow, Some(10), vec![bar(10)], false), "10l");
    assert_eq!(found(&mut follow, Some(10), vec![bar(10)], false), "", "known");
    assert_eq!(found(&mut follow, Some(12), vec![bar(12)], false), "12l");
    assert_eq!(found(&mut follow, Some(11), vec![bar(11), bar(12)], false), "11l", "late");
    assert_eq!(found(&mut follow, None, (10..16).map(bar).collect(), false), "13c 14c 15l");
    let changed = Bar { close: 2.0, ..bar(15) };
    assert_eq!(found(&mut follow, None, vec![bar(13), bar(14), changed], false), "15l");
    assert_eq!(found(&mut follow, Some(3), vec![bar(3)], false), "3l", "ingest says that it is too late");
    follow.listed(vec![named("A")]);
    let asks = follow.next_asks(NOW);
    assert_eq!((asks[0].since, asks[0].announced), (minute(13), NEVER));
}

#[test]
fn a_series_that_is_new_starts_and_a_long_one_is_read_to_its_end() {
    let mut follow = follow(CatchUp::None, None);
    assert_eq!(found(&mut follow, Some(5), vec![bar(5)], false), "");
    assert_eq!(
        start(&mut follow, 1..6),
        "1w 2w 3w 4w 5l",
        "what was announced is live whatever catch_up says"
    );
    assert_eq!(found(&mut follow, Some(6), vec![bar(6), bar(7)], true), "6l 7l");
    let asks = follow.next_asks(NOW);
    assert_eq!((asks.len(), asks[0].since, asks[0].announced), (1, minute(7).plus_millis(1), minute(6)));
    assert!(follow.next_asks(NOW).is_empty());
    follow.polled(|_| true);
    assert_eq!(follow.next_asks(NOW)[0].since, minute(7));
    follow.lost();
    assert!(follow.next_asks(NOW).is_empty());
}

#[test]
fn a_bar_that_is_forming_is_read_when_it_has_closed() {
    let mut follow = follow(CatchUp::All, None);
    follow.listed(vec![named("A")]);
    let asked = follow.next_starts().remove(0);
    let now = minute(12);
    let read = vec![(asked.series, vec![bar(12), bar(11), bar(10)])];
    follow.started(read, &[Arc::new(table(false))], now);
    assert_eq!(ready(&mut follow), "10c 11c");
    assert_eq!(follow.next_again(), Some(minute(13)));
    assert!(follow.next_asks(minute(13).plus_millis(-1)).is_empty());
    let ask = follow.next_asks(minute(13)).remove(0);
    assert_eq!((ask.since, follow.next_again()), (minute(12), None));
    follow.found(Found { ask, bars: vec![bar(12)], more: false }, &table(false), minute(13));
    assert_eq!(ready(&mut follow), "12l");
}

#[test]
fn a_bar_that_is_told_is_live_at_once_and_looked_up_later() {
    let mut follow = follow(CatchUp::All, None);
    let tell = |follow: &mut Follow, bar: Bar, now| {
        follow.told(Told { series: named("A"), bar }, &table(true), now);
        ready(follow)
    };
    assert_eq!(tell(&mut follow, bar(3), NOW), "", "its history is read first");
    assert_eq!(start(&mut follow, 1..4), "1c 2c 3l");
    assert_eq!(tell(&mut follow, bar(4), NOW), "4l");
    assert_eq!(tell(&mut follow, bar(4), NOW), "", "known");
    assert_eq!(tell(&mut follow, Bar { close: 2.0, ..bar(4) }, NOW), "4l", "changed");
    assert_eq!(tell(&mut follow, bar(6), NOW.plus_millis(700)), "6l");
    assert_eq!(tell(&mut follow, bar(5), NOW.plus_millis(800)), "5l", "late");
    assert!(follow.next_asks(NOW.plus_millis(999)).is_empty());
    assert_eq!(follow.next_again(), Some(NOW.plus_millis(1000)));
    let ask = follow.next_asks(NOW.plus_millis(1000)).remove(0);
    assert_eq!((ask.since, ask.announced, follow.next_again()), (minute(4), NEVER, None));
    // The table has another 5 and no 6: 5 is corrected, and should 6 come it is news.
    let bars = vec![Bar { close: 2.0, ..bar(4) }, Bar { close: 3.0, ..bar(5) }];
    follow.found(Found { ask, bars, more: false }, &table(true), NOW);
    assert_eq!(ready(&mut follow), "6x 5l");
    assert_eq!(tell(&mut follow, bar(6), NOW), "6l");
    // One that was there and is deleted stays what it was.
    let ask = Ask { series: named("A"), since: minute(5), announced: NEVER };
    follow.found(Found { ask, bars: vec![bar(6)], more: false }, &table(true), NOW);
    assert_eq!(ready(&mut follow), "");
    // Far behind what is known: it is read before it is believed.
    assert_eq!(tell(&mut follow, bar(500), NOW), "");
    let ask = follow.next_asks(NOW).remove(0);
    assert_eq!((ask.since, ask.announced), (minute(500), minute(500)));
    // Whoever is too old to be told from one that is known is read.
    assert_eq!(tell(&mut follow, bar(1), NOW), "");
    let ask = follow.next_asks(NOW).remove(0);
    assert_eq!((ask.since, ask.announced), (minute(1), minute(1)));
}

#[test]
fn what_is_announced_while_a_start_reads_is_live_only_where_no_earlier_run_can_have_answered_it() {
    let mut follow = follow(CatchUp::None, Some(8));
    follow.listed(vec![named("A")]);
    assert_eq!(found(&mut follow, Some(7), vec![bar(7)], false), "");
    assert_eq!(start(&mut follow, 5..10), "5w 6w 7c 8c 9l");
}

#[test]
fn histories_under_several_names_of_a_symbol_come_in_one_order() {
    let aliases = "Z A until 1970-01-01T00:10:00Z, Y W".parse().unwrap();
    let history = History::new(5, CatchUp::All, 9).under(&aliases);
    let watermarks = [(Arc::new(SeriesKey::new("A", Timeframe::MINUTE).unwrap()), minute(8))];
    let mut follow = Follow::new(history.clone(), (0, 0), &history.done(&watermarks));
    let other = Named { timeframe: "5m".into(), ..named("A") };
    follow.listed(vec![named("A"), named("B"), other, named("Z")]);
    let asked: Vec<_> = follow.next_starts().into_iter().map(|start| start.series).collect();
    assert_eq!(asked, [named("A"), named("Z")]);
    let bars = [(10..14).rev().map(bar).collect(), (6..10).rev().map(bar).collect()];
    follow.started(asked.into_iter().zip(bars).collect(), &[Arc::new(table(true))], NOW);
    assert_eq!(ready(&mut follow), "6w 7w 8w 9c 10c 11c 12c 13c");
    assert_eq!(follow.next_starts().len(), 1, "B");
    assert_eq!(follow.next_starts().len(), 1, "A of 5m");
    assert!(follow.next_starts().is_empty());
}
