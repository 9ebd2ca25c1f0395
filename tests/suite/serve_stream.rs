//! The stream of predictions: what a client asks for comes, in order, numbered; one that does not read slows nobody.

use crate::serve_support::{SOON, Served, settings};
use crate::service_support::{eventually, market};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::TcpStream;
use std::time::Instant;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

/// A client of the stream.
pub struct Socket(WebSocket<TcpStream>);

impl Socket {
    pub fn open(served: &Served) -> Self {
        Self::try_open(served).unwrap()
    }

    /// `None` where it is turned away.
    fn try_open(served: &Served) -> Option<Self> {
        let stream = TcpStream::connect(served.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = format!("ws://{}/api/stream", served.address()).into_client_request().unwrap();
        tungstenite::client(request, stream).ok().map(|(socket, _)| Self(socket))
    }

    pub fn say(&mut self, value: &Value) {
        self.0.send(Message::text(value.to_string())).unwrap();
    }

    pub fn hear(&mut self) -> Value {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(text.as_str()).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next prediction or refusal.
    fn event(&mut self) -> Value {
        loop {
            let value = self.hear();
            if ["prediction", "refusal"].contains(&value["type"].as_str().unwrap()) {
                return value;
            }
        }
    }

    /// Subscribes; what the server says to it.
    pub fn subscribe(&mut self, wanted: Value) -> Value {
        let mut message = json!({"type": "subscribe"});
        message.as_object_mut().unwrap().extend(wanted.as_object().unwrap().clone());
        self.say(&message);
        let said = self.hear();
        assert_eq!(said["type"], "subscribed", "{said}");
        said
    }
}

/// Which event it is.
pub fn key_and_seq(event: &Value) -> (String, u64) {
    (event["key"].as_str().unwrap().to_owned(), event["seq"].as_u64().unwrap())
}

/// Waits until the stream has numbered everything that came out.
pub fn settled(served: &Served) {
    eventually("the stream has seen everything", || {
        let all = served.get("/api/predictions?limit=10000&refusals=true").json();
        (all["predictions"].as_array()?.len() as u64 == served.engine.outcomes()).then_some(())
    });
}

#[test]
fn a_subscriber_gets_a_snapshot_and_then_what_comes() {
    let (served, _) = Served::fed(3, 70);
    settled(&served);
    let mut socket = Socket::open(&served);
    let symbol = "BTC*";
    let said = socket.subscribe(json!({"symbols": [symbol], "timeframes": ["1m"], "horizons": [5, 15]}));
    let snapshot: Vec<Value> = (0..said["events"].as_u64().unwrap()).map(|_| socket.event()).collect();
    let horizons: Vec<_> = snapshot.iter().map(|event| event["horizon"].as_u64().unwrap()).collect();
    assert!(horizons.len() == 2 && horizons.contains(&5) && horizons.contains(&15), "{snapshot:?}");
    let mut seen: HashMap<String, u64> = snapshot.iter().map(key_and_seq).collect();
    let more = market(3, 75);
    served.feed(&more[3 * 70..]);
    for _ in 0..5 * 2 {
        let event = socket.event();
        assert!(event["symbol"].as_str().unwrap().starts_with("BTC") && event["value"].is_f64(), "{event}");
        let (key, seq) = key_and_seq(&event);
        assert_eq!(seq, seen[&key] + 1, "without a hole: {event}");
        seen.insert(key, seq);
    }
    // Another subscription takes the first one's place.
    let said = socket.subscribe(json!({"symbols": ["NONE"], "snapshot": true}));
    assert_eq!(said["events"], 0);
    socket.say(&json!({"type": "ping"}));
    assert_eq!(socket.hear()["type"], "pong");
    socket.say(&json!({"type": "subscribe", "symbols": "not a list"}));
    assert_eq!(socket.hear()["type"], "error");
    socket.say(&json!({"type": "unsubscribe"}));
    assert_eq!(socket.hear()["type"], "unsubscribed");
}

#[test]
fn a_client_that_comes_back_goes_on_where_it_was() {
    let (served, _) = Served::fed(2, 70);
    settled(&served);
    let mut socket = Socket::open(&served);
    let said = socket.subscribe(json!({}));
    let seen: HashMap<String, u64> =
        (0..said["events"].as_u64().unwrap()).map(|_| key_and_seq(&socket.event())).collect();
    drop(socket);
    served.feed(&market(2, 73)[2 * 70..]);
    settled(&served);
    let mut socket = Socket::open(&served);
    let resume = json!({"epoch": said["epoch"], "seq": seen});
    let again = socket.subscribe(json!({"resume": resume}));
    assert_eq!((again["resumed"].as_bool(), again["events"].as_u64()), (Some(true), Some(3 * 2 * 3)));
    let mut next = seen.clone();
    for _ in 0..3 * 2 * 3 {
        let (key, seq) = key_and_seq(&socket.event());
        assert_eq!(seq, next[&key] + 1);
        next.insert(key, seq);
    }
    // Numbers of another process mean nothing: the latest comes instead.
    let other = socket.subscribe(json!({"resume": {"epoch": "another", "seq": seen}}));
    assert_eq!((other["resumed"].as_bool(), other["events"].as_u64()), (Some(false), Some(2 * 3)));
}

#[test]
fn a_client_that_does_not_read_slows_nobody_and_gets_the_newest() {
    let mut settings = settings();
    // Who reads nothing for three of them is cut off, and a machine that is busy takes its time.
    settings.serve.stream_heartbeat_s = 10;
    let served = Served::with(settings);
    let mut slow = Socket::open(&served);
    slow.subscribe(json!({"refusals": true}));
    let mut quick = Socket::open(&served);
    quick.subscribe(json!({"symbols": ["BTCUSD"]}));
    let symbols = 40;
    let bars = market(symbols, 400);
    let mut got = 0;
    // More than the sockets' buffers hold, while `slow` reads nothing.
    for minutes in bars.chunks(symbols * 50) {
        served.feed(minutes);
        settled_up_to(&served);
        while got < 3 && quick.event()["symbol"] == "BTCUSD" {
            got += 1;
        }
        got = 0;
        let metrics = served.get("/api/metrics").json();
        if metrics["serve"]["stream_conflated"].as_u64().unwrap() > 0 {
            break;
        }
    }
    let metrics = served.get("/api/metrics").json();
    let conflated = metrics["serve"]["stream_conflated"].as_u64().unwrap();
    assert!(conflated > 0, "{}", metrics["serve"]);
    // It reads at last: what it gets ends with the newest of every key, and it hears what it missed.
    let newest = served.get("/api/predictions?limit=10000").json();
    let mut expected: HashMap<String, u64> = HashMap::new();
    for event in newest["predictions"].as_array().unwrap() {
        let (key, seq) = key_and_seq(event);
        let known = expected.entry(key).or_insert(seq);
        *known = (*known).max(seq);
    }
    let begin = Instant::now();
    let mut last: HashMap<String, u64> = HashMap::new();
    loop {
        assert!(begin.elapsed() < SOON);
        let value = slow.hear();
        match value["type"].as_str().unwrap() {
            "heartbeat" => {
                let done = expected.iter().all(|(key, seq)| last.get(key) == Some(seq));
                if done && value["conflated"].as_u64().unwrap() > 0 {
                    break;
                }
            }
            "prediction" | "refusal" => {
                let (key, seq) = key_and_seq(&value);
                assert!(last.get(&key).is_none_or(|before| seq > *before), "in order: {value}");
                last.insert(key, seq);
            }
            _ => {}
        }
    }
}

/// Waits until the stream has numbered the newest outcome.
fn settled_up_to(served: &Served) {
    let expected = served.engine.metrics().performance.total_predictions;
    eventually("the stream has seen everything", || {
        let all = served.get("/api/predictions?limit=10000").json();
        let sum: u64 = {
            let mut newest: HashMap<String, u64> = HashMap::new();
            for event in all["predictions"].as_array()? {
                let (key, seq) = key_and_seq(event);
                let known = newest.entry(key).or_insert(seq);
                *known = (*known).max(seq);
            }
            newest.values().sum()
        };
        (sum == expected).then_some(())
    });
}

#[test]
fn server_sent_events_say_the_same_and_resume() {
    let (served, _) = Served::fed(2, 70);
    settled(&served);
    let events = |query: &str, headers: &str, enough: &dyn Fn(&str) -> bool| {
        let mut client = served.connect();
        let reply = client.ask("GET", &format!("/api/stream{query}"), headers, b"");
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/event-stream")));
        let text = client.text_until(|text| text.ends_with("\n\n") && enough(text));
        text.split("\n\n")
            .filter(|one| one.contains("event: prediction"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let four = |text: &str| text.matches("event: prediction").count() >= 4;
    let all = events("?symbols=*&horizons=1,5", "", &four);
    assert_eq!(all.len(), 4);
    let id = all[1].lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let data: Value =
        serde_json::from_str(all[3].lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap();
    assert_eq!(data["type"], "prediction");
    let newest = |text: &str| text.contains(&all[3]);
    let rest = events("?horizons=1,5", &format!("Last-Event-ID: {id}\r\n"), &newest);
    assert!(rest.contains(&all[2]) && rest.contains(&all[3]), "{rest:?}");
    let number = |event: &str| -> u64 {
        let id = event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
        id.rsplit_once('-').unwrap().1.parse().unwrap()
    };
    assert!(number(&rest[0]) > number(&all[1]), "only what came behind that one");
    assert!(rest.windows(2).all(|pair| number(&pair[0]) < number(&pair[1])), "{rest:?}");
    for (query, status) in [("?horizons=x", 400), ("?symbol=A", 400), ("?refusals=maybe", 400)] {
        assert_eq!(served.get(&format!("/api/stream{query}")).status, status, "{query}");
    }
    let foreign = served.ask("GET", "/api/stream", "Origin: http://evil.com\r\n", b"");
    assert_eq!(foreign.status, 403);
    // Of a WebSocket as well: a browser lets any page open one.
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    for (origin, status) in
        [("http://evil.com", 403), ("null", 403), (&*format!("http://{}", served.address()), 101)]
    {
        let headers = format!("{upgrade}Origin: {origin}\r\n");
        assert_eq!(served.ask("GET", "/api/stream", &headers, b"").status, status, "{origin}");
    }
    let old = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n";
    assert_eq!(served.ask("GET", "/api/stream", old, b"").status, 426);
    let keyless = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    assert_eq!(served.ask("GET", "/api/stream", keyless, b"").status, 400);
}

#[test]
fn streams_have_a_bound_of_their_own_and_hearts_beat() {
    let mut settings = settings();
    settings.serve.streams_max = 2;
    settings.serve.connections_max = 1;
    settings.serve.stream_heartbeat_s = 1;
    let served = Served::with(settings);
    let mut first = Socket::open(&served);
    // A stream is a connection until it has been handed over.
    let second = eventually("the first is no connection any more", || Socket::try_open(&served));
    let reply = eventually("the second neither", || {
        let reply = served.get("/api/stream");
        reply.text().contains("serve.streams_max").then_some(reply)
    });
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{}", reply.text());
    let beat = first.hear();
    assert_eq!((beat["type"].as_str(), beat["conflated"].as_u64()), (Some("heartbeat"), Some(0)));
    drop(second);
    eventually("the place comes back", || {
        let metrics = served.get("/api/metrics").json();
        (metrics["serve"]["stream_clients"] == 1).then_some(())
    });
    served.server.stop();
    assert!(matches!(first.0.read(), Err(_) | Ok(Message::Close(_) | Message::Ping(_) | Message::Text(_))));
}

#[test]
fn what_a_client_of_the_stream_says_has_bounds() {
    let mut settings = settings();
    // Messages are counted from one heartbeat to the next.
    settings.serve.stream_heartbeat_s = 3600;
    let served = Served::with(settings);
    let ends = |socket: &mut Socket| loop {
        match socket.0.read() {
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("it goes on")
            }
            Err(_) | Ok(Message::Close(_)) => return,
            Ok(_) => {}
        }
    };
    // What it says may be lost to a connection that ended meanwhile.
    let mut long = Socket::open(&served);
    let _ = long.0.send(Message::text(" ".repeat(257 * 1024)));
    ends(&mut long);
    let mut many = Socket::open(&served);
    for _ in 0..2000 {
        if many.0.write(Message::text("{\"type\":\"ping\"}")).is_err() {
            break;
        }
    }
    let _ = many.0.flush();
    ends(&mut many);
    // A list that is too long is refused, and the client stays.
    let mut wide = Socket::open(&served);
    wide.say(&json!({"type": "subscribe", "horizons": vec![1; 10_001]}));
    let said = wide.hear();
    assert!(said["type"] == "error" && said["detail"].as_str().unwrap().contains("10000"), "{said}");
    wide.subscribe(json!({}));
}
