//! The same bars and models give the same file, byte for byte, however many workers there are at any moment and in
//! whatever batches the rows happen to run.

use crate::support::zoo::good_models;
use crate::support::{DEMO_MODELS, Random, put_demo_models, put_model, reference};
use crossbeam::channel::{Receiver, RecvTimeoutError, bounded};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use vela::config::SourceKind;
use vela::domain::Timeframe;
use vela::engine::Overrides;
use vela::predict::Models;
use vela::source::Replay;
use vela::source::market::{Market, MarketSettings};
use vela::store::CsvStore;
use vela::topology::STAGES;
use vela::{Engine, Settings};

const RUNS: u64 = 20;
/// Bars of each series.
const BARS: usize = 700;
/// The longest time for which the stages keep their widths.
const WIDTHS_LAST_US_MAX: usize = 400;
const WORKERS_MAX: usize = 8;
const RUN_LASTS_MAX: Duration = Duration::from_secs(40);
/// Four series that trade at the same time, one of them in longer bars.
const SERIES: [&str; 4] = ["DASHBTC_1m", "ETHBTC_1m", "XLMBTC_1m", "ETHBTC_5m"];
/// Exports of several kinds, among them ones whose answers depend on the rows beside a row.
const ZOO: [&str; 10] = [
    "lgbm_clf_nozip_a",
    "linear_f64_a",
    "logreg_nozip_a",
    "logreg_zipmap_a",
    "torch_fixed_batch1_a",
    "torch_lstm_a",
    "torch_mlp_a",
    "torch_mlp_int8_a",
    "torch_quantiles_a",
    "xgb_clf_nozip_a",
];

/// Writes the newest bars of each series into `folder`: real ones, or of a simulated market where there are none.
fn write_bars(folder: &Path) -> Vec<PathBuf> {
    let files: Vec<PathBuf> =
        SERIES.iter().filter_map(|name| reference(&format!("data/{name}.csv"))).collect();
    if files.len() == SERIES.len() {
        let copy = |file: PathBuf| {
            let text = std::fs::read_to_string(&file).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let newest = [&lines[..1], &lines[lines.len() - BARS..], &[""]].concat().join("\n");
            let copy = folder.join(file.file_name().unwrap());
            std::fs::write(&copy, newest).unwrap();
            copy
        };
        return files.into_iter().map(copy).collect();
    }
    let mut written = Vec::new();
    for (timeframe, symbols) in [("1m", 3), ("5m", 1)] {
        let timeframe: Timeframe = timeframe.parse().unwrap();
        let mut settings = MarketSettings { timeframe, ..MarketSettings::default() };
        settings.instruments.truncate(symbols);
        let mut market = Market::new(settings).unwrap();
        let mut bars = Vec::new();
        while bars.len() < BARS * symbols {
            market.next_minute(&mut bars);
        }
        for series in market.series() {
            let mut text = "ts,open,high,low,close,volume\n".to_owned();
            for (_, bar) in bars.iter().filter(|(of, _)| of == series) {
                let vela::domain::Bar { ts, open, high, low, close, volume } = bar;
                text.push_str(&format!("{ts},{open},{high},{low},{close},{volume}\n"));
            }
            written.push(folder.join(format!("{}_{timeframe}.csv", series.symbol)));
            std::fs::write(written.last().unwrap(), text).unwrap();
        }
    }
    written
}

/// The demo models for both timeframes, and what there is of the zoo, for every symbol.
fn write_models(folder: &Path) -> PathBuf {
    let folder = folder.join("models");
    put_demo_models(&folder, "1m");
    put_demo_models(&folder, "5m");
    let from = Path::new(DEMO_MODELS).join("demo-btcusd-1m-h5/1");
    let manifest = std::fs::read_to_string(from.join("model.toml")).unwrap();
    // The same file as another, but for one symbol only.
    put_model(&folder, "dash-1m-h7", &from, &["model.onnx"], &{
        manifest.replace("\"BTCUSD\"", "\"DASHBTC\"").replace("horizon = 5", "horizon = 7")
    });
    for model in good_models().iter().filter(|model| ZOO.contains(&model.name.as_str())) {
        model.put(&folder, "*", "1m");
    }
    folder
}

/// How a run is set up.
#[derive(Debug)]
struct Variant {
    seed: u64,
    workers_initial: usize,
    workers_max: usize,
    batch_size_max: usize,
    cache_size: usize,
    /// Whether the test sets the workers, rather than the controller.
    by_hand: bool,
    core_budget: usize,
    /// Of ingest, feature, predict and persist.
    queues: [usize; 4],
}

impl Variant {
    /// One worker a stage, one row a batch: what all others are held against.
    fn plain() -> Self {
        Self {
            seed: 0,
            workers_initial: 1,
            workers_max: 1,
            batch_size_max: 1,
            cache_size: 1000,
            by_hand: true,
            core_budget: 0,
            queues: [1000; 4],
        }
    }

    fn of_seed(seed: u64) -> Self {
        let mut random = Random(seed);
        let workers_max = random.between(2, WORKERS_MAX);
        let mut one_of = |values: &[usize]| values[random.between(0, values.len() - 1)];
        Self {
            seed,
            batch_size_max: one_of(&[1, 2, 3, 7, 16, 33, 64, 100, 128]),
            cache_size: one_of(&[1, 10, 1000]),
            by_hand: seed.is_multiple_of(2),
            core_budget: [0, 3, 4, 6][seed as usize / 2 % 4],
            queues: std::array::from_fn(|_| one_of(&[1, 8, 100, 20_000])),
            workers_initial: random.between(1, workers_max),
            workers_max,
        }
    }

    fn settings(&self, models: &Path) -> Settings {
        let mut settings = Settings::default();
        settings.models.path = models.to_owned();
        settings.source.kind = SourceKind::None;
        settings.workers_initial = self.workers_initial;
        settings.workers_max = self.workers_max;
        settings.batch_size_max = self.batch_size_max;
        settings.batch_size_initial = self.batch_size_max.min(10);
        settings.controller_interval_ms = 10;
        settings.core_budget = self.core_budget;
        settings.feature_cache_size = self.cache_size;
        let [ingest, feature, predict, persist] = self.queues;
        settings.ingest.queue_bars_max = ingest;
        settings.feature.queue_bars_max = feature;
        settings.predict.queue_rows_max = predict;
        settings.persist.queue_rows_max = persist;
        settings
    }

    /// Runs `bars` through `models` into `out` while the stages' widths and the batch limits change; how often they
    /// did.
    fn run(&self, bars: &[PathBuf], models: &Path, out: &Path) -> u64 {
        let settings = self.settings(models);
        let models = Models::open(&settings, vela::feature::check, &mut |_| {}).unwrap();
        assert_eq!(models.catalogue().problems(), []);
        models.preload_all();
        let store = CsvStore::create(out, models.output_names()).unwrap();
        let overrides = Overrides {
            source: Some(Box::new(Replay::open(bars, None, None).unwrap())),
            store: Some(Box::new(store)),
            models: Some(models),
            accept_future: true,
            ..Overrides::default()
        };
        let engine = Arc::new(Engine::start_with(settings, overrides).unwrap());
        let (running, ended) = bounded(0);
        let changes = self.by_hand.then(|| {
            let (engine, seed, workers_max) = (Arc::clone(&engine), self.seed, self.workers_max);
            std::thread::spawn(move || change_widths(&engine, seed, workers_max, &ended))
        });
        if !engine.wait_source(RUN_LASTS_MAX) {
            let stages = engine.metrics().stages;
            let depths: Vec<_> = stages.iter().map(|(name, s)| (*name, s.depth, s.workers)).collect();
            // It would wait for what stands still.
            std::mem::forget(engine);
            panic!("{self:?} stands still: stages, items in them, workers: {depths:?}");
        }
        let report = engine.stop().unwrap();
        assert_eq!((report.undrained, report.unsaved), (0, 0), "{self:?}");
        assert_eq!(report.source_error, None, "{self:?}");
        drop(running);
        changes.map_or(0, |changes| changes.join().unwrap()) + engine.metrics().controller.decisions
    }
}

/// Sets random widths, of one stage after the other, until the run has ended; how often.
fn change_widths(engine: &Engine, seed: u64, workers_max: usize, ended: &Receiver<()>) -> u64 {
    let mut random = Random(!seed);
    let mut changes = 0;
    loop {
        let stage = STAGES[random.between(0, STAGES.len() - 1)];
        let width = random.between(1, workers_max);
        let set = engine.set_workers(stage, width);
        // A stage that has stopped has no workers.
        assert!([Some(0), Some(width)].contains(&set), "{stage}: {set:?} for {width}");
        changes += 1;
        let pause = Duration::from_micros(random.between(0, WIDTHS_LAST_US_MAX) as u64);
        if ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return changes;
        }
    }
}

#[test]
fn any_workers_and_any_batches_give_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let (bars, models) = (write_bars(folder.path()), write_models(folder.path()));
    let out = folder.path().join("out.csv");
    Variant::plain().run(&bars, &models, &out);
    let expected = std::fs::read_to_string(&out).unwrap();
    let rows = expected.lines().count() - 1;
    println!("{} series, {rows} predictions a run, {} bytes", bars.len(), expected.len());
    assert!(rows > bars.len() * (BARS - 100) * 3, "{rows}");
    let mut tuned = 0;
    for seed in 1..=RUNS {
        let variant = Variant::of_seed(seed);
        let changes = variant.run(&bars, &models, &out);
        println!("{variant:?}: {changes} changes of widths and batch limits");
        assert!(changes > 20 || !variant.by_hand, "{variant:?}: {changes} changes of widths");
        tuned += if variant.by_hand { 0 } else { changes };
        let got = std::fs::read_to_string(&out).unwrap();
        if got != expected {
            let lines = got.lines().zip(expected.lines()).enumerate();
            let differing: Vec<_> = lines.filter(|(_, (ours, plain))| ours != plain).take(5).collect();
            panic!("{variant:?}: {} rows, {rows} expected; {differing:#?}", got.lines().count() - 1);
        }
    }
    assert!(tuned > 0, "the controller changed nothing: it was tried on nothing");
}
