//! The HTTP server's bounds and manners, each with a raw socket.

use crate::serve_support::{Client, SOON, Served, settings};
use crate::service_support::eventually;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use vela::config::ServeSettings;
use vela::serve::http::{Fault, Handler, HttpServer, Limits, Request, Response, Then};
use vela::serve::{Server, TOKEN_VARIABLE};
use vela::{Engine, Settings};

/// A server with other bounds.
fn bounded(change: impl FnOnce(&mut ServeSettings)) -> Served {
    let mut settings = settings();
    change(&mut settings.serve);
    Served::with(settings)
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let served = bounded(|serve| serve.head_bytes_max = 1024);
    let mut client = served.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(2000)).as_bytes());
    let reply = client.reply(false).unwrap();
    assert_eq!(reply.status, 431, "{}", reply.text());
    assert!(reply.text().contains("serve.head_bytes_max") && client.ends());
    let mut client = served.connect();
    client.send(format!("GET /{}", "a".repeat(2000)).as_bytes());
    assert_eq!(client.reply(false).unwrap().status, 414);
    let headers: String = (0..65).map(|n| format!("X{n}: 1\r\n")).collect();
    let served = bounded(|_| {});
    assert_eq!(served.ask("GET", "/livez", &headers, b"").status, 431);
}

#[test]
fn a_client_that_sends_its_head_slowly_is_cut_off() {
    let served = bounded(|serve| serve.head_deadline_ms = 300);
    let mut client = served.connect();
    let begin = Instant::now();
    let mut cut = false;
    // A byte now and then keeps any single read from timing out.
    for byte in "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".bytes().chain(std::iter::repeat(b'a')) {
        use std::io::Write as _;
        if client.stream.write_all(&[byte]).is_err() || begin.elapsed() > SOON {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        client.stream.set_nonblocking(true).unwrap();
        let mut peeked = [0; 1];
        cut = client.stream.peek(&mut peeked).is_ok();
        client.stream.set_nonblocking(false).unwrap();
        if cut {
            break;
        }
    }
    assert!(cut && begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
    assert_eq!(client.reply(false).unwrap().status, 408);
}

#[test]
fn a_body_that_is_too_large_or_too_slow_is_refused() {
    let served = bounded(|serve| {
        serve.body_bytes_max = 1024;
        serve.transfer_deadline_ms = 300;
    });
    let post = "POST /api/predict HTTP/1.1\r\nHost: localhost\r\n";
    let status = |rest: &[u8]| {
        let mut client = served.connect();
        client.send(&[post.as_bytes(), rest].concat());
        let reply = client.reply(false).unwrap();
        assert!(client.ends());
        reply.status
    };
    assert_eq!(status(b"Content-Length: 1025\r\n\r\n"), 413);
    assert_eq!(status(b"Content-Length: 99999999999999999999\r\n\r\n"), 413);
    assert_eq!(status(b"Expect: 100-continue\r\nContent-Length: 1025\r\n\r\n"), 413);
    let chunk = [b"Transfer-Encoding: chunked\r\n\r\n500\r\n".to_vec(), vec![b'a'; 0x500]].concat();
    assert_eq!(status(&chunk), 413);
    assert_eq!(status(b"Content-Length: 10\r\n\r\nabc"), 408, "the rest never comes");
    assert_eq!(status(b"Content-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    assert_eq!(status(b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), 400);
}

#[test]
fn connections_beyond_the_bound_are_turned_away_and_room_comes_back() {
    let served = bounded(|serve| serve.connections_max = 3);
    let mut held: Vec<Client> = (0..3).map(|_| served.connect()).collect();
    for client in &mut held {
        assert_eq!(client.ask("GET", "/livez", "", b"").status, 200);
    }
    let mut fourth = served.connect();
    let reply = fourth.reply(false).unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    assert!(reply.json()["detail"].as_str().unwrap().contains("serve.connections_max") && fourth.ends());
    drop(held.pop());
    let deadline = Instant::now() + SOON;
    loop {
        let mut client = served.connect();
        client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
        if client.reply(false).is_some_and(|reply| reply.status == 200) {
            break;
        }
        assert!(Instant::now() < deadline, "the place does not come back");
    }
}

#[test]
fn clients_that_are_slow_hold_up_nobody() {
    let served = bounded(|serve| serve.head_deadline_ms = 60_000);
    // Far more than there are threads.
    let mut slow: Vec<Client> = (0..60).map(|_| served.connect()).collect();
    for (nth, client) in slow.iter_mut().enumerate() {
        let begun =
            ["GET /livez HT", "POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{"];
        client.send(begun[nth % 2].as_bytes());
        assert_eq!(served.get("/livez").status, 200);
    }
    for (nth, client) in slow.iter_mut().enumerate() {
        client.send([&b"TP/1.1\r\nHost: localhost\r\n\r\n"[..], b"}"][nth % 2]);
    }
    for (nth, client) in slow.iter_mut().enumerate() {
        assert_eq!(client.reply(false).unwrap().status, [200, 400][nth % 2]);
    }
}

/// Answers at once, but where it is told to be stuck: until it is let go.
struct Stuck {
    let_go: crossbeam::channel::Receiver<()>,
    at_once: AtomicUsize,
}

impl Handler for Stuck {
    fn admits(&self, request: &Request<'_>, _: &mut Response) -> Option<usize> {
        Some(usize::from(request.path == "/stuck"))
    }

    fn answer(&self, route: usize, request: &Request<'_>, response: &mut Response) -> Then {
        if route == 1 {
            let _ = self.let_go.recv();
        } else {
            self.at_once.fetch_add(1, Ordering::SeqCst);
        }
        response.set(200, "text/plain", request.path);
        Then::Next
    }

    fn fault(&self, fault: Fault, response: &mut Response) {
        response.set(fault.status, "text/plain", fault.detail);
    }
}

#[test]
fn answers_that_take_long_hold_up_nobody_though_they_do_not_say_so() {
    let (go, let_go) = crossbeam::channel::bounded(0);
    let handler = Arc::new(Stuck { let_go, at_once: AtomicUsize::new(0) });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = HttpServer::start(listener, Limits::default(), Arc::clone(&handler) as _).unwrap();
    let connect = || Client::connect(server.address());
    let mut stuck: Vec<Client> = (0..60).map(|_| connect()).collect();
    for client in &mut stuck {
        client.send(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    let mut other = connect();
    for _ in 0..20 {
        assert_eq!(other.ask("GET", "/quick", "", b"").status, 200);
    }
    assert_eq!(handler.at_once.load(Ordering::SeqCst), 20);
    drop(go);
    for client in &mut stuck {
        assert_eq!(client.reply(false).unwrap().text(), "/stuck");
    }
    // Many at once, in turn with pauses: whoever rests is called again, and none is lost.
    let mut all: Vec<Client> = (0..60).map(|_| connect()).collect();
    for round in 0..200 {
        for client in &mut all {
            client.send(b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        for client in &mut all {
            assert_eq!(client.reply(false).unwrap().status, 200, "round {round}");
        }
    }
    server.stop();
    assert!(all.iter_mut().all(Client::ends));
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_kept() {
    let served = bounded(|serve| serve.idle_s = 1);
    let mut client = served.connect();
    let begin = Instant::now();
    assert_eq!(client.ask("GET", "/livez", "", b"").status, 200);
    assert!(client.ends());
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
    // Many, which have no threads of their own.
    let begin = Instant::now();
    let mut many: Vec<Client> = (0..30).map(|_| served.connect()).collect();
    for client in &mut many {
        assert_eq!(client.ask("GET", "/livez", "", b"").status, 200);
    }
    assert!(many.iter_mut().all(Client::ends));
    assert!(begin.elapsed() >= Duration::from_millis(900), "{:?}", begin.elapsed());
}

#[test]
fn a_client_that_asks_too_often_is_told_to_wait() {
    let served = bounded(|serve| serve.requests_per_s_max = 5);
    let mut client = served.connect();
    let replies: Vec<u16> = (0..12)
        .map(|_| {
            let reply = client.ask("GET", "/livez", "", b"");
            if reply.status == 429 {
                assert_eq!(reply.header("retry-after"), Some("1"));
                assert!(reply.text().contains("serve.requests_per_s_max"));
            }
            reply.status
        })
        .collect();
    assert_eq!(replies[..5], [200; 5]);
    assert!(replies.contains(&429), "{replies:?}");
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let served = bounded(|_| {});
    let mut client = served.connect();
    let one = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let body = "POST /api/models/none/rollback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
    client.send([one("/livez"), body.to_owned(), one("/none"), one("/readyz")].concat().as_bytes());
    let statuses: Vec<u16> = (0..4).map(|_| client.reply(false).unwrap().status).collect();
    assert_eq!(statuses, [200, 404, 404, 200]);
    // In pieces of three bytes the same.
    for piece in [one("/livez"), body.to_owned(), one("/readyz")].concat().as_bytes().chunks(3) {
        client.send(piece);
    }
    let statuses: Vec<u16> = (0..3).map(|_| client.reply(false).unwrap().status).collect();
    assert_eq!(statuses, [200, 404, 200]);
}

#[test]
fn manners_of_http() {
    let served = bounded(|_| {});
    let mut client = served.connect();
    // A body in chunks.
    client.send(
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
          11\r\n{\"symbol\":\"NONE\",\r\n20\r\n\"timeframe\":\"1m\",\"horizon\":5   }\r\n0\r\n\r\n",
    );
    let reply = client.reply(false).unwrap();
    assert_eq!((reply.status, reply.json()["reason"].as_str()), (404, Some("no_bar")), "{}", reply.text());
    // A body that waits for a word.
    client.send(
        b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    );
    assert_eq!(client.reply(false).unwrap().status, 100);
    client.send(b"{x}");
    assert_eq!(client.reply(false).unwrap().status, 400);
    // No word where the body is not wanted.
    client
        .send(b"POST /none HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(client.reply(false).unwrap().status, 404);
    assert!(client.ends());

    let mut client = served.connect();
    let (head, get) = (client.ask("HEAD", "/livez", "", b""), client.ask("GET", "/livez", "", b""));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!((head.status, get.text().as_str()), (200, "ok\n"));
    assert!(get.header("date").is_some_and(|date| date.ends_with(" GMT")));
    let reply = client.ask("DELETE", "/api/predict", "", b"");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD, POST")));
    let reply = client.ask("OPTIONS", "/api/predict", "", b"");
    assert_eq!((reply.status, reply.header("allow")), (204, Some("GET, HEAD, POST, OPTIONS")));
    let reply = client.ask("OPTIONS", "*", "", b"");
    assert_eq!((reply.status, reply.header("allow")), (204, Some("GET, HEAD, POST, PATCH, OPTIONS")));
    assert_eq!((reply.header("content-length"), reply.body.len()), (None, 0));
    assert_eq!(client.ask("GET", "/livez", "Connection: close\r\n", b"").status, 200);
    assert!(client.ends());
    let mut client = served.connect();
    client.send(b"GET /livez HTTP/1.0\r\n\r\n");
    assert_eq!(client.reply(false).unwrap().status, 200);
    assert!(client.ends());
    // Who speaks HTTP/1.0 is told where its connection stays; else it would wait for the end.
    let mut client = served.connect();
    client.send(b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".repeat(2).as_slice());
    for _ in 0..2 {
        let reply = client.reply(false).unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("keep-alive")));
    }
    for (garbage, status) in
        [(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], 400), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)]
    {
        let mut client = served.connect();
        client.send(garbage);
        assert_eq!(client.reply(false).unwrap().status, status);
    }
    // No path reaches the file system.
    for path in ["/../../etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/%2e%2e/Cargo.toml"] {
        assert_eq!(served.get(path).status, 404, "{path}");
    }
}

#[test]
fn the_page_is_sent_once() {
    let served = bounded(|_| {});
    for target in ["/", "/page/main.js", "/page/icon.svg"] {
        let first = served.get(target);
        let tag = first.header("etag").unwrap();
        assert!(first.status == 200 && !first.body.is_empty());
        for (known, status) in [
            (tag.to_owned(), 304),
            (format!("\"other\", W/{tag}"), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
            (tag.trim_matches('"').to_owned(), 200),
        ] {
            let mut client = served.connect();
            let reply = client.ask("GET", target, &format!("If-None-Match: {known}\r\n"), b"");
            assert_eq!(reply.status, status, "{target} {known}");
            assert_eq!(reply.header("etag"), Some(tag));
            assert_eq!(reply.body.is_empty(), status == 304);
            assert_eq!(
                client.ask("GET", "/livez", "", b"").status,
                200,
                "the next answer is where it must be"
            );
        }
    }
}

#[test]
fn a_method_that_is_none_is_told_which_are() {
    let served = bounded(|_| {});
    let reply = served.ask("DELETE", "/api/config", "", b"");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD, PATCH")));
    assert_eq!(reply.json()["detail"], "DELETE is not possible here, but GET, HEAD, PATCH");
}

#[test]
fn foreign_pages_and_foreign_names_get_nothing() {
    let served = bounded(|serve| serve.hosts = "vela.example.com".to_owned());
    let status = |method: &str, headers: &str| {
        let target = if method == "GET" { "/api/metrics" } else { "/api/models/none/rollback" };
        served.ask(method, target, headers, b"").status
    };
    assert_eq!(status("GET", "Host: rebound.evil.com\r\n"), 421);
    assert_eq!(status("GET", "Host: vela.example.com\r\n"), 200);
    assert_eq!(status("POST", ""), 404, "a program sends no origin");
    assert_eq!(status("POST", "Origin: http://evil.com\r\n"), 403);
    assert_eq!(status("POST", "Origin: null\r\n"), 403);
    assert_eq!(status("POST", "Host: localhost:1\r\nOrigin: http://localhost:2\r\n"), 403);
    assert_eq!(status("POST", "Host: localhost:1\r\nOrigin: http://localhost:1\r\n"), 404);
    assert_eq!(status("POST", "Origin: https://vela.example.com\r\n"), 404);
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    assert!(std::env::var(TOKEN_VARIABLE).is_err(), "the tests run without a token of their own");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef0123\nnot this\n").unwrap();
    let served = bounded(|serve| serve.token_file.clone_from(&file));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let reply = served.get("/api/metrics");
    assert_eq!(reply.status, 401);
    assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
    assert_eq!(served.ask("GET", "/api/metrics", &bearer("0123456789abcdef0124"), b"").status, 401);
    assert_eq!(served.ask("GET", "/api/metrics", &bearer("0123456789abcdef0123"), b"").status, 200);
    assert_eq!(served.get("/metrics").status, 401);
    for open in ["/", "/livez", "/readyz", "/healthz", "/openapi.json"] {
        assert_eq!(served.get(open).status, 200, "{open}");
    }
    // Another one is written there while it runs.
    std::fs::write(&file, "another-0123456789abcdef").unwrap();
    eventually("the other token", || {
        (served.ask("GET", "/api/metrics", &bearer("another-0123456789abcdef"), b"").status == 200)
            .then_some(())
    });
    assert_eq!(served.ask("GET", "/api/metrics", &bearer("0123456789abcdef0123"), b"").status, 401);
}

#[test]
fn other_machines_are_not_let_in_by_accident() {
    let with = |change: fn(&mut ServeSettings)| {
        let mut settings = Settings { ..settings() };
        settings.serve.listen = "0.0.0.0:0".to_owned();
        change(&mut settings.serve);
        let engine = Arc::new(Engine::start(settings).unwrap());
        Server::start(&engine).map(|server| server.map(|server| server.address().port()))
    };
    let error = with(|_| {}).unwrap_err().to_string();
    assert!(error.contains("serve.token_file") && error.contains("127.0.0.1"), "{error}");
    assert!(with(|serve| serve.allow_public = true).unwrap().is_some_and(|port| port > 0));
    assert!(with(|serve| serve.listen.clear()).unwrap().is_none());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings();
    settings.serve.listen = taken.local_addr().unwrap().to_string();
    let engine = Arc::new(Engine::start(settings).unwrap());
    let error = Server::start(&engine).err().unwrap().to_string();
    assert!(error.contains("serve.listen") && error.contains("--set"), "{error}");
}
