//! What HTTP costs, and what its clients cost the pipeline: `perf/http` and `perf/stream` run it.
//!
//! - `vela MODELS`: the engine's server over a folder of models, until its standard input ends;
//! - `bare MODEL`: around the same model nothing but a socket, `httparse`, and JSON: one thread a connection, each with a
//!   session of its own; what a server cannot be quicker than;
//! - `watched [CLIENTS]`: a pipeline under a steady load, in turn alone and with clients of the stream and the page;
//! - `clients ADDRESS CLIENTS`: those clients, a process of their own.
#![allow(missing_docs, clippy::unwrap_used)]

use hdrhistogram::Histogram;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vela::config::{SourceKind, StoreUrl};
use vela::domain::{Bar, Outcome, SeriesKey, Stability, Timeframe, Timestamp};
use vela::predict::Runtime;
use vela::serve::Server;
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides, Settings};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models");
/// Bars a second of the watched pipeline; three models answer each.
const BARS_PER_S: u32 = 100;
const SERIES: usize = 100;
/// One turn alone or watched.
const TURN: Duration = Duration::from_secs(5);
const TURNS: usize = 6;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["vela", models] => vela(models),
        ["bare", model] => bare(model),
        ["watched"] => watched(200),
        ["watched", clients] => watched(clients.parse().unwrap()),
        ["clients", address, count] => clients(address, count.parse().unwrap()),
        _ => println!("perf/http and perf/stream run this: vela, bare, watched or clients is to be said"),
    }
}

fn until_told() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn settings(models: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.models.path = models.to_owned();
    settings.source.kind = SourceKind::None;
    settings.store.url = StoreUrl::None;
    // Whose predictions come, not how exact they are.
    settings.feature.warm_up = Stability::Defined;
    settings
}

fn serve(engine: &Arc<Engine>) -> Server {
    Server::start_on(engine, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
}

fn vela(models: &str) {
    let engine = Arc::new(Engine::start(settings(Path::new(models))).unwrap());
    let server = serve(&engine);
    println!("{}", server.address());
    until_told();
}

#[derive(Deserialize)]
struct Asked {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    data: Vec<f32>,
}

fn bare(model: &str) {
    let runtime = Runtime::ensure(None, &mut |_| {}).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let model = model.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let model = model.clone();
            std::thread::spawn(move || drop(bare_connection(stream.unwrap(), runtime, &model)));
        }
    });
    until_told();
}

fn bare_connection(mut stream: TcpStream, runtime: &Runtime, model: &str) -> std::io::Result<()> {
    let builder = SessionBuilder::new(runtime.environment()).unwrap();
    let builder = builder.with_intra_threads(1).unwrap().with_inter_threads(1).unwrap();
    let builder = builder.with_intra_op_spinning(false).unwrap().with_memory_pattern(false).unwrap();
    let mut builder = builder;
    let mut session = builder.commit_from_file(model).unwrap();
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = (vec![0; 16 * 1024], 0);
    let (mut out, mut body) = (Vec::new(), Vec::new());
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let head = match request.parse(&buffer[..filled]).unwrap() {
            httparse::Status::Complete(head) => head,
            httparse::Status::Partial => {
                match stream.read(&mut buffer[filled..])? {
                    0 => return Ok(()),
                    read => filled += read,
                }
                continue;
            }
        };
        let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length: usize = std::str::from_utf8(length.unwrap().value).unwrap().parse().unwrap();
        if filled < head + length {
            filled += stream.read(&mut buffer[filled..])?;
            continue;
        }
        let asked: Asked = serde_json::from_slice(&buffer[head..head + length]).unwrap();
        let row = &asked.inputs[0].data;
        let input = TensorRef::from_array_view(([1, row.len()], row.as_slice())).unwrap();
        let outputs = session.run(ort::inputs![input]).unwrap();
        let (_, values) = outputs[0].try_extract_tensor::<f32>().unwrap();
        body.clear();
        write!(
            body,
            "{{\"model_name\":\"trees\",\"model_version\":\"1\",\"outputs\":[{{\"name\":\"y\",\"datatype\":\"FP32\",\
             \"shape\":[1,1],\"data\":[{:?}]}}]}}",
            values[0]
        )?;
        out.clear();
        write!(
            out,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        out.extend_from_slice(&body);
        stream.write_all(&out)?;
        buffer.copy_within(head + length..filled, 0);
        filled -= head + length;
    }
}

/// A store that notes how long predictions took to it, in ns.
struct Timing(Arc<Mutex<Histogram<u64>>>);

impl Store for Timing {
    fn write(&mut self, outcomes: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        let now_ns = vela::link::clock::now_ns();
        let mut times = self.0.lock().unwrap();
        for outcome in outcomes.iter().filter(|outcome| outcome.result.is_ok()) {
            times.saturating_record(now_ns.saturating_sub(outcome.stamps.arrived_ns));
        }
        Ok(())
    }
}

/// Bars of many series, each series' next when its turn comes.
struct Market {
    series: Vec<Arc<SeriesKey>>,
    put: usize,
}

impl Market {
    fn put(&mut self, engine: &Engine) {
        let (series, minute) = (&self.series[self.put % SERIES], (self.put / SERIES) as i64);
        self.put += 1;
        let close = 100.0 + (minute as f64 * 0.7).sin() * 3.0 + (minute % 7) as f64 * 0.1;
        let ts = Timestamp::from_secs(1_700_000_040 + minute * 60);
        let bar =
            Bar { ts, open: close - 0.2, high: close + 0.5, low: close - 0.6, close, volume: 10.0 + close };
        engine.ingest_series(series, bar).unwrap();
    }

    /// Evenly, for as long as a turn takes.
    fn run(&mut self, engine: &Engine) {
        let begin = Instant::now();
        let every = Duration::from_secs(1) / BARS_PER_S;
        for n in 0.. {
            let due = every * n;
            if due >= TURN {
                return;
            }
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
            self.put(engine);
        }
    }
}

fn watched(count: usize) {
    let times = Arc::new(Mutex::new(Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3).unwrap()));
    let store: Option<Box<dyn Store>> = Some(Box::new(Timing(Arc::clone(&times))));
    let overrides = Overrides { store, accept_future: true, ..Overrides::default() };
    let engine = Arc::new(Engine::start_with(settings(Path::new(DEMO)), overrides).unwrap());
    let server = serve(&engine);
    let name = |n| Arc::new(SeriesKey::new(&format!("S{n}"), Timeframe::MINUTE).unwrap());
    let mut market = Market { series: (0..SERIES).map(name).collect(), put: 0 };
    for _ in 0..200 * SERIES {
        market.put(&engine);
    }
    assert!(engine.drain(Duration::from_secs(60)));
    market.run(&engine);
    // Alone, watched, alone, …: the machine's moods meet both alike.
    let mut all = [(); 2].map(|()| Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3).unwrap());
    println!(
        "{BARS_PER_S} bars a second of {SERIES} series, turns of {TURN:?}, µs from arrival to the store"
    );
    for turn in 0..2 * TURNS {
        let watched = turn % 2;
        let clients = (watched == 1).then(|| watchers(&server, count));
        times.lock().unwrap().reset();
        market.run(&engine);
        let times = times.lock().unwrap();
        all[watched].add(&*times).unwrap();
        line(["alone", "watched"][watched], &times);
        drop(times);
        if let Some(mut clients) = clients {
            drop(clients.stdin.take());
            let mut said = String::new();
            clients.stdout.take().unwrap().read_to_string(&mut said).unwrap();
            print!("  {said}");
            clients.wait().unwrap();
        }
    }
    line("all alone", &all[0]);
    line("all watched", &all[1]);
    let ratio =
        |quantile| all[1].value_at_quantile(quantile) as f64 / all[0].value_at_quantile(quantile) as f64;
    println!(
        "watched over alone by {count} clients and the page: p50 {:.3}, p99 {:.3}",
        ratio(0.5),
        ratio(0.99)
    );
}

fn line(name: &str, times: &Histogram<u64>) {
    let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| times.value_at_quantile(q) as f64 / 1e3);
    println!(
        "{name:<12} n {:>6}  p50 {p50:>8.1}  p90 {p90:>8.1}  p99 {p99:>8.1}  max {max:>8.1}",
        times.len()
    );
}

/// The clients, connected; they stand on other machines, so they get what the pipeline leaves of this one.
fn watchers(server: &Server, count: usize) -> Child {
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(std::env::current_exe().unwrap());
    command.args(["clients", &server.address().to_string(), &count.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    child
}

fn clients(address: &str, count: usize) {
    let upgrade = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let mut poll = mio::Poll::new().unwrap();
    let mut streams = Vec::new();
    for n in 0..count {
        let mut stream = TcpStream::connect(address).unwrap();
        // Everything, as it comes.
        let text = b"{\"type\":\"subscribe\"}";
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend(text);
        stream.write_all(&[upgrade.as_bytes(), &frame].concat()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, mio::Token(n), mio::Interest::READABLE).unwrap();
        streams.push(stream);
    }
    let address = address.to_owned();
    let page = std::thread::spawn(move || {
        // What the page asks for besides its stream.
        let mut stream = TcpStream::connect(&address).unwrap();
        let mut block = vec![0; 1 << 20];
        for path in ["/", "/page/main.js", "/page/page.css"].into_iter().chain(["/api/metrics"; 1000]) {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            if stream.write_all(request.as_bytes()).is_err() {
                return;
            }
            let _ = stream.read(&mut block);
            if path == "/api/metrics" {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    });
    std::thread::spawn(|| {
        until_told();
        std::thread::sleep(Duration::from_millis(10));
        DONE.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    println!("ready");
    let (mut events, mut block, mut bytes, mut reads) =
        (mio::Events::with_capacity(256), vec![0; 1 << 16], 0_u64, 0_u64);
    while !DONE.load(std::sync::atomic::Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(50))).unwrap();
        for event in &events {
            while let Ok(read @ 1..) = streams[event.token().0].read(&mut block) {
                (bytes, reads) = (bytes + read as u64, reads + 1);
            }
        }
    }
    println!("{count} clients were sent {bytes} bytes, read in {reads} pieces");
    drop(page);
}

static DONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
