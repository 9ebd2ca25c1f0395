//! What HTTP costs, and what its clients cost the pipeline: `perf/http` and `perf/stream` run it.
//!
//! - `vela MODELS`: the engine's server over a folder of models, until its standard input ends;
//! - `bare MODEL`: around the same model nothing but a socket, `httparse`, and JSON: one thread a connection, each with a
//!   session of its own; what a server cannot be quicker than;
//! - `watched [CLIENTS]`: a pipeline under a steady load, in turn alone, with clients of the stream and the page, and beside a
//!   program that writes as much to as many;
//! - `clients ADDRESS CLIENTS KIND`, `feeder CLIENTS`: those clients and that program, processes of their own.
#![allow(missing_docs, clippy::unwrap_used)]

use hdrhistogram::Histogram;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use serde::Deserialize;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
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
        ["clients", address, count, kind] => clients(address, count.parse().unwrap(), kind),
        ["feeder", count] => feeder(count.parse().unwrap()),
        _ => println!("perf/http and perf/stream run this: vela, bare or watched is to be said"),
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

/// Who watches in a turn.
#[derive(Clone, Copy, PartialEq)]
enum Watching {
    /// Nobody.
    Nobody,
    /// The page, and clients that subscribe to everything.
    All,
    /// The page, and clients that subscribe to three series each.
    Few,
    /// Nobody of vela: as many clients as for all are written as many bytes as often, by a program that does nothing else. What
    /// a machine takes for it that the pipeline shares.
    Floor,
}

const SETTINGS: [(&str, Watching); 4] =
    [("alone", Watching::Nobody), ("all", Watching::All), ("few", Watching::Few), ("floor", Watching::Floor)];

fn watched(count: usize) {
    let times = Arc::new(Mutex::new(histogram()));
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
    println!(
        "{BARS_PER_S} bars a second of {SERIES} series, {count} clients, turns of {TURN:?}; µs from arrival to the store, \
         ms of processor time a second"
    );
    let mut seen: Vec<(Histogram<u64>, Vec<f64>)> =
        SETTINGS.iter().map(|_| (histogram(), Vec::new())).collect();
    // One setting after the other, again and again: the machine's moods meet all alike.
    for _ in 0..TURNS {
        for ((name, watching), (all, p99s)) in SETTINGS.iter().zip(&mut seen) {
            let watchers = match watching {
                Watching::Nobody => None,
                Watching::Floor => Some(Watchers::of_nothing(count)),
                watching => Some(Watchers::of(&server.address().to_string(), count, *watching)),
            };
            times.lock().unwrap().reset();
            let before = processor_s();
            market.run(&engine);
            let after = processor_s();
            let times = times.lock().unwrap();
            all.add(&*times).unwrap();
            p99s.push(times.value_at_quantile(0.99) as f64);
            line(name, &times);
            drop(times);
            let spent = |thread: &str| (after(thread) - before(thread)) / TURN.as_secs_f64() * 1e3;
            let (stream, http) = (spent("vela-stream"), spent("vela-http"));
            println!("  vela-stream {stream:.1}, vela-http {http:.1}, all of vela {:.1}", spent("vela-"));
            if let Some(watchers) = watchers {
                watchers.end();
            }
        }
    }
    println!();
    for ((name, _), (all, _)) in SETTINGS.iter().zip(&seen) {
        line(name, all);
    }
    let median = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
    };
    for ((name, _), (all, p99s)) in SETTINGS.iter().zip(&seen).skip(1) {
        let ratio =
            |quantile| all.value_at_quantile(quantile) as f64 / seen[0].0.value_at_quantile(quantile) as f64;
        println!(
            "{name} over alone: p50 {:.3}, p99 {:.3}; the median turn's p99 {:.3}",
            ratio(0.5),
            ratio(0.99),
            median(p99s) / median(&seen[0].1)
        );
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap()
}

/// The processor time that this process's threads took so far, in seconds, by the beginning of their names.
fn processor_s() -> impl Fn(&str) -> f64 {
    let mut threads = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread may end in between.
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let ns = read("schedstat").split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0);
        threads.push((read("comm"), ns / 1e9));
    }
    move |start| threads.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, s)| s).sum()
}

fn line(name: &str, times: &Histogram<u64>) {
    let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|q| times.value_at_quantile(q) as f64 / 1e3);
    println!(
        "{name:<12} n {:>6}  p50 {p50:>8.1}  p90 {p90:>8.1}  p99 {p99:>8.1}  max {max:>8.1}",
        times.len()
    );
}

/// Programs beside this one, which read and write as long as their standard input is open.
struct Watchers(Vec<Child>);

impl Watchers {
    /// They stand for other machines, so they get what is left of this one.
    fn program(arguments: &[&str]) -> (Child, String) {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(std::env::current_exe().unwrap()).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut byte = [0; 1];
        while !said.ends_with('\n') {
            child.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
            said.push(char::from(byte[0]));
        }
        (child, said.trim().to_owned())
    }

    fn of(address: &str, count: usize, watching: Watching) -> Self {
        let kind = ["all", "few"][usize::from(watching == Watching::Few)];
        Self(vec![Self::program(&["clients", address, &count.to_string(), kind]).0])
    }

    fn of_nothing(count: usize) -> Self {
        let count = count.to_string();
        let (feeder, address) = Self::program(&["feeder", &count]);
        Self(vec![feeder, Self::program(&["clients", &address, &count, "floor"]).0])
    }

    fn end(self) {
        for mut child in self.0 {
            drop(child.stdin.take());
            let mut said = String::new();
            child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
            print!("{said}");
            child.wait().unwrap();
        }
    }
}

/// Writes to all that connect what the stream would: at every bar's time three frames at once.
fn feeder(count: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    end_when_told();
    let mut streams: Vec<TcpStream> = (0..count).map(|_| listener.accept().unwrap().0).collect();
    // What a demo's prediction takes in JSON, and its frame's head.
    let block = vec![b'x'; 3 * 373];
    let begin = Instant::now();
    let every = Duration::from_secs(1) / BARS_PER_S;
    for n in 1.. {
        if DONE.load(Ordering::Relaxed) {
            return;
        }
        for stream in &mut streams {
            if stream.write_all(&block).is_err() {
                return;
            }
        }
        std::thread::sleep((every * n).saturating_sub(begin.elapsed()));
    }
}

fn end_when_told() {
    std::thread::spawn(|| {
        until_told();
        std::thread::sleep(Duration::from_millis(10));
        DONE.store(true, Ordering::Relaxed);
    });
}

fn clients(address: &str, count: usize, kind: &str) {
    let upgrade = "GET /api/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let mut poll = mio::Poll::new().unwrap();
    let mut streams = Vec::new();
    for n in 0..count {
        let mut stream = TcpStream::connect(address).unwrap();
        let own: Vec<String> = (0..3).map(|more| format!("\"S{}\"", (n + 33 * more) % SERIES)).collect();
        let text = match kind {
            "few" => format!("{{\"type\":\"subscribe\",\"symbols\":[{}]}}", own.join(",")),
            _ => "{\"type\":\"subscribe\"}".to_owned(),
        };
        if kind != "floor" {
            let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
            frame.extend(text.as_bytes());
            stream.write_all(&[upgrade.as_bytes(), &frame].concat()).unwrap();
        }
        stream.set_nonblocking(true).unwrap();
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry().register(&mut stream, mio::Token(n), mio::Interest::READABLE).unwrap();
        streams.push(stream);
    }
    let page = (kind != "floor").then(|| address.to_owned());
    std::thread::spawn(move || {
        let Some(address) = page else { return };
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
    end_when_told();
    println!("ready");
    let (mut events, mut block, mut bytes, mut reads) =
        (mio::Events::with_capacity(256), vec![0; 1 << 16], 0_u64, 0_u64);
    while !DONE.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(50))).unwrap();
        for event in &events {
            while let Ok(read @ 1..) = streams[event.token().0].read(&mut block) {
                (bytes, reads) = (bytes + read as u64, reads + 1);
            }
        }
    }
    let spent = processor_s()("") / TURN.as_secs_f64() * 1e3;
    println!("  clients {spent:.1}: {bytes} bytes read in {reads} pieces");
}

static DONE: AtomicBool = AtomicBool::new(false);
