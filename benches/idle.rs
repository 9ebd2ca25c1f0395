//! How long a lone bar takes through an idle engine, beside what it cannot be shorter than.
//!
//! Four things are timed in turn, round after round, so that the machine's moods meet them all alike:
//! - `ort`: ONNX Runtime alone, one row through the same model, on a warm thread;
//! - `hops`: three parked channel hops, as a pipeline of four threads would need them;
//! - `engine`: from `ingest` to the row handed to the store, with the controller (as it is by default) and without.
//!
//! Between two measurements everything falls asleep: that is what a market between two minutes is like. A
//! regression here means that every prediction of a quiet market is later. `cargo bench` prints the
//! quantiles and the ratio, then criterion's own report.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam::channel::{Receiver, Sender, bounded};
use hdrhistogram::Histogram;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vela::config::SourceKind;
use vela::domain::{Bar, Outcome, SeriesKey, Timeframe, Timestamp};
use vela::predict::Runtime;
use vela::store::{Store, StoreError, Watermark};
use vela::{Engine, Overrides, Settings};

/// Long enough for every thread to park.
const REST: Duration = Duration::from_micros(300);
const ROUNDS: usize = 4000;
/// More than the model waits for (`feature.warm_up`): what is refused is not stored here.
const WARM_UP_BARS: i64 = 1_200;
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models/demo-1m-h1");

/// ONNX Runtime alone.
struct Alone {
    session: Session,
    row: Vec<f32>,
}

impl Alone {
    fn new(runtime: &Runtime) -> Self {
        let builder = SessionBuilder::new(runtime.environment()).unwrap();
        let builder = builder.with_intra_threads(1).unwrap().with_inter_threads(1).unwrap();
        let mut builder =
            builder.with_intra_op_spinning(false).unwrap().with_inter_op_spinning(false).unwrap();
        let session = builder.commit_from_file(Path::new(MODEL).join("2/model.onnx")).unwrap();
        let width = session.inputs()[0].dtype().tensor_shape().unwrap()[1] as usize;
        Self { session, row: vec![0.1; width] }
    }

    fn time(&mut self) -> Duration {
        let begin = Instant::now();
        let input = TensorRef::from_array_view(([1, self.row.len()], self.row.as_slice())).unwrap();
        let outputs = self.session.run(ort::inputs![input]).unwrap();
        let (_, values) = outputs[0].try_extract_tensor::<f32>().unwrap();
        std::hint::black_box(values[0]);
        begin.elapsed()
    }
}

/// A source and three threads behind it, each parked on a bounded channel of its own.
struct Hops {
    first: Sender<Instant>,
    arrived: Receiver<Duration>,
}

impl Hops {
    fn new() -> Self {
        let (first, mut receiver) = bounded::<Instant>(16);
        for _ in 0..2 {
            let (sender, next) = bounded::<Instant>(16);
            let mine = std::mem::replace(&mut receiver, next);
            std::thread::spawn(move || mine.iter().for_each(|begin| sender.send(begin).unwrap()));
        }
        let (done, arrived) = bounded(16);
        std::thread::spawn(move || receiver.iter().for_each(|begin| done.send(begin.elapsed()).unwrap()));
        Self { first, arrived }
    }

    fn time(&self) -> Duration {
        std::thread::sleep(REST);
        self.first.send(Instant::now()).unwrap();
        self.arrived.recv().unwrap()
    }
}

/// A store that says when it was handed a prediction.
struct Stamping(Sender<Instant>);

impl Store for Stamping {
    fn write(&mut self, outcomes: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        let now = Instant::now();
        outcomes.iter().filter(|outcome| outcome.result.is_ok()).for_each(|_| self.0.send(now).unwrap());
        Ok(())
    }
}

/// An engine with one model and one series.
struct Idle {
    engine: Engine,
    series: Arc<SeriesKey>,
    minute: i64,
    stored: Receiver<Instant>,
    _models: tempfile::TempDir,
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(std::fs::copy(entry.path(), target))
        }
    }
}

impl Idle {
    fn new(controller: bool) -> Self {
        let models = tempfile::tempdir().unwrap();
        copy(Path::new(MODEL), &models.path().join("demo-1m-h1"));
        let mut settings = Settings::default();
        settings.source.kind = SourceKind::None;
        settings.controller = controller;
        settings.models.path = models.path().to_owned();
        let (sender, stored) = bounded(4096);
        let store: Option<Box<dyn Store>> = Some(Box::new(Stamping(sender)));
        let overrides = Overrides { store, accept_future: true, ..Overrides::default() };
        let engine = Engine::start_with(settings, overrides).unwrap();
        let series = Arc::new(SeriesKey::new("BTCUSD", Timeframe::MINUTE).unwrap());
        let mut idle = Self { engine, series, minute: 0, stored, _models: models };
        (0..WARM_UP_BARS).for_each(|_| idle.ingest());
        assert!(idle.engine.drain(Duration::from_secs(10)));
        idle.stored.try_iter().for_each(drop);
        idle
    }

    fn ingest(&mut self) {
        self.minute += 1;
        // A price that moves, so that every feature is defined.
        let close = 100.0 + (self.minute as f64 * 0.7).sin() * 3.0 + (self.minute % 7) as f64 * 0.1;
        let ts = Timestamp::from_secs(1_700_000_040 + self.minute * 60);
        let bar =
            Bar { ts, open: close - 0.2, high: close + 0.5, low: close - 0.6, close, volume: 10.0 + close };
        self.engine.ingest_series(&self.series, bar).unwrap();
    }

    fn time(&mut self) -> Duration {
        std::thread::sleep(REST);
        let begin = Instant::now();
        self.ingest();
        self.stored.recv_timeout(Duration::from_secs(10)).unwrap().duration_since(begin)
    }
}

fn table(alone: &mut Alone, hops: &Hops, (idle, fixed): (&mut Idle, &mut Idle)) {
    let mut histograms = [(); 4].map(|()| Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3).unwrap());
    for _ in 0..ROUNDS {
        let times = [alone.time(), hops.time(), idle.time(), fixed.time()];
        for (histogram, time) in histograms.iter_mut().zip(times) {
            histogram.saturating_record(time.as_nanos() as u64);
        }
    }
    let at = |n: usize, quantile: f64| histograms[n].value_at_quantile(quantile) as f64 / 1e3;
    println!("\nan idle engine, {ROUNDS} lone bars, µs{:>24}{:>10}{:>10}{:>10}", "p50", "p90", "p99", "max");
    let names = [
        "ONNX Runtime alone",
        "three parked hops",
        "ingest to the row at the store",
        "the same without the controller",
    ];
    for (n, name) in names.into_iter().enumerate() {
        let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|quantile| at(n, quantile));
        println!("{name:<48}{p50:>10.1}{p90:>10.1}{p99:>10.1}{max:>10.1}");
    }
    let ratio = |n, quantile| at(n, quantile) / (at(0, quantile) + at(1, quantile));
    let [p50, p99, p50_fixed, p99_fixed] =
        [(2, 0.5), (2, 0.99), (3, 0.5), (3, 0.99)].map(|(n, q)| ratio(n, q));
    println!(
        "over the sum of the floors: p50 {p50:.2}, p99 {p99:.2}; without the controller {p50_fixed:.2}, {p99_fixed:.2}\n"
    );
}

fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::ensure(None, &mut |_| {}).unwrap();
    let (mut alone, hops, mut idle) = (Alone::new(runtime), Hops::new(), Idle::new(true));
    let mut fixed = Idle::new(false);
    table(&mut alone, &hops, (&mut idle, &mut fixed));
    fixed.engine.stop().unwrap();
    let mut group = criterion.benchmark_group("idle");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    let total = |rounds: u64, time: &mut dyn FnMut() -> Duration| (0..rounds).map(|_| time()).sum();
    group.bench_function("ort", |b| b.iter_custom(|rounds| total(rounds, &mut || alone.time())));
    group.bench_function("hops", |b| b.iter_custom(|rounds| total(rounds, &mut || hops.time())));
    group.bench_function("engine", |b| b.iter_custom(|rounds| total(rounds, &mut || idle.time())));
    group.finish();
    idle.engine.stop().unwrap();
}

criterion_group!(idle, benches);
criterion_main!(idle);
