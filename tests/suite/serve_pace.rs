//! A client of the stream that wants to be sent something only so often: of every key the newest, what was replaced is
//! counted, nothing comes out of order, and who comes back goes on where it was.

use crate::serve_stream::{Socket, key_and_seq, settled};
use crate::serve_support::{SOON, Served, settings};
use crate::service_support::market;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

const SYMBOLS: usize = 3;
/// Each minute of a symbol has a prediction for three horizons.
const KEYS: u64 = SYMBOLS as u64 * 3;
const MINUTES_BEFORE: usize = 70;

/// A server whose stream says every few seconds what a client missed. Who reads nothing for three times as long is cut off, and
/// nothing is read here while bars go in, however slow the machine is.
fn served() -> Served {
    let mut settings = settings();
    settings.serve.stream_heartbeat_s = 4;
    let served = Served::with(settings);
    served.feed(&market(SYMBOLS, MINUTES_BEFORE));
    settled(&served);
    served
}

/// Some of the minutes after those.
fn feed(served: &Served, minutes: Range<usize>) {
    let bars = market(SYMBOLS, MINUTES_BEFORE + minutes.end);
    let begin = SYMBOLS * (MINUTES_BEFORE + minutes.start);
    bars[begin..].chunks(SYMBOLS).for_each(|minute| served.feed(minute));
}

/// The newest number of every key.
fn newest(served: &Served) -> HashMap<String, u64> {
    let mut newest = HashMap::new();
    for event in served.get("/api/predictions?limit=10000").json()["predictions"].as_array().unwrap() {
        let (key, seq) = key_and_seq(event);
        let known = newest.entry(key).or_insert(seq);
        *known = (*known).max(seq);
    }
    newest
}

#[test]
fn of_every_key_the_newest_once_an_interval() {
    const MINUTES: usize = 120;
    let interval = Duration::from_millis(700);
    let served = served();
    for batch in [false, true] {
        let mut socket = Socket::open(&served);
        let begin = Instant::now();
        socket.subscribe(json!({"snapshot": false, "interval_ms": interval.as_millis(), "batch": batch}));
        let before = newest(&served);
        feed(&served, if batch { MINUTES..2 * MINUTES } else { 0..MINUTES });
        settled(&served);
        let expected = newest(&served);
        let mut last = before.clone();
        let mut counts: HashMap<String, u64> = HashMap::new();
        let (mut took, mut conflated) = (0, 0);
        while last != expected || took + conflated < MINUTES as u64 * KEYS {
            assert!(begin.elapsed() < SOON, "{took} came, {conflated} were conflated");
            let message = socket.hear();
            let events = match message["type"].as_str().unwrap() {
                "heartbeat" => {
                    conflated = message["conflated"].as_u64().unwrap();
                    assert_eq!(message["dropped"], 0);
                    continue;
                }
                "batch" if batch => message["events"].as_array().unwrap().clone(),
                "prediction" if !batch => vec![message],
                _ => panic!("{message}"),
            };
            for event in &events {
                let (key, seq) = key_and_seq(event);
                assert!(seq > last[&key], "in order: {event}");
                last.insert(key.clone(), seq);
                *counts.entry(key).or_default() += 1;
                took += 1;
            }
        }
        assert_eq!(took + conflated, MINUTES as u64 * KEYS, "each was sent or replaced");
        let metrics = served.get("/api/metrics").json();
        assert_eq!(metrics["serve"]["stream_conflated"], 0, "nobody was behind");
        // A round begins at once, further ones when the interval is over.
        let rounds = begin.elapsed().as_millis() / interval.as_millis() + 1;
        assert!(counts.values().all(|count| u128::from(*count) <= rounds), "{rounds} rounds: {counts:?}");
    }
}

#[test]
fn events_that_come_together_are_one_message() {
    let served = served();
    let mut socket = Socket::open(&served);
    let said = socket.subscribe(json!({"batch": true}));
    assert_eq!(said["events"], KEYS);
    let snapshot = socket.hear();
    assert_eq!((snapshot["type"].as_str(), snapshot["events"].as_array().unwrap().len()), (Some("batch"), 9));
    // Without an interval nothing is left out for one that reads.
    let mut last: HashMap<String, u64> =
        snapshot["events"].as_array().unwrap().iter().map(key_and_seq).collect();
    feed(&served, 0..5);
    let mut took = 0;
    while took < 5 * KEYS {
        let message = socket.hear();
        for event in message["events"].as_array().unwrap_or(&Vec::new()) {
            let (key, seq) = key_and_seq(event);
            assert_eq!(last.insert(key, seq), Some(seq - 1), "without a hole: {event}");
            took += 1;
        }
    }
}

#[test]
fn server_sent_events_at_an_interval_resume() {
    let served = served();
    for batch in [false, true] {
        let query = format!("/api/stream?interval_ms=300&batch={batch}");
        let mut client = served.connect();
        assert_eq!(client.ask("GET", &query, "", b"").status, 200);
        client.text_until(|text| text.ends_with("\n\n") && numbers(text).len() == KEYS as usize);
        feed(&served, if batch { 20..40 } else { 0..20 });
        settled(&served);
        let expected = newest(&served);
        let mut text = client.text_until(|text| text.ends_with("\n\n") && latest(text) == expected);
        let ids = ids(&text);
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        // Wherever it broke off: what was not seen comes, of every key the newest at least.
        let cut = text.find("\nid: ").unwrap() + 1;
        let cut = text[cut..].find("\n\n").unwrap() + cut + 2;
        text.truncate(cut);
        let id = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap();
        let mut client = served.connect();
        assert_eq!(client.ask("GET", &query, &format!("Last-Event-ID: {id}\r\n"), b"").status, 200);
        let seen = latest(&text);
        client.text_until(|rest| {
            let mut all = seen.clone();
            all.extend(latest(rest));
            rest.ends_with("\n\n") && all == expected
        });
    }
}

/// What the events in a text of Server-Sent Events say.
fn numbers(text: &str) -> Vec<(String, u64)> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let values = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let events = values.flat_map(|value| match value["type"].as_str() {
        Some("prediction") => vec![value],
        Some("batch") => value["events"].as_array().unwrap().clone(),
        _ => Vec::new(),
    });
    events.map(|event| key_and_seq(&event)).collect()
}

/// The last number of every key in it.
fn latest(text: &str) -> HashMap<String, u64> {
    numbers(text).into_iter().collect()
}

/// The numbers to resume from.
fn ids(text: &str) -> Vec<u64> {
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(|id| id.rsplit_once('-').unwrap().1.parse().unwrap()).collect()
}

#[test]
fn an_interval_has_bounds() {
    let served = Served::with(settings());
    let mut socket = Socket::open(&served);
    for (wrong, expected) in [
        (json!({"interval_ms": 60_001}), "interval_ms = 60001: 0 to 60000 are allowed"),
        (json!({"interval_ms": -1}), "not understood"),
        (json!({"interval_ms": "soon"}), "not understood"),
        (json!({"batch": 1}), "not understood"),
        (json!({"symbol": "BTCUSD"}), "there is no member `symbol`: symbols,"),
        (json!({"symbols": ["BTCUSD"], "interval": 5}), "there is no member `interval`"),
    ] {
        let mut message = json!({"type": "subscribe"});
        message.as_object_mut().unwrap().extend(wrong.as_object().unwrap().clone());
        socket.say(&message);
        let said = socket.hear();
        assert!(said["type"] == "error" && said["detail"].as_str().unwrap().contains(expected), "{said}");
    }
    for wrong in ["interval_ms=60001", "interval_ms=-1", "interval_ms=1e3", "interval_ms=", "batch=yes"] {
        let reply = served.get(&format!("/api/stream?{wrong}"));
        assert_eq!(reply.status, 400, "{wrong}");
        assert!(reply.text().contains(wrong.split('=').next().unwrap()), "{}", reply.text());
    }
    socket.subscribe(json!({"interval_ms": 60_000}));
}
