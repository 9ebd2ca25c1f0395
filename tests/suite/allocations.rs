//! A row allocates nothing on its way through the predict stage, from when its task is taken until its outcome is
//! handed on: counted by the allocator itself. What ONNX Runtime and its binding take for a run is counted apart, over
//! the same rows through the binding alone; what the outcome owns, the values of a model that has several, is one more.
//!
//! Two things are known and not removed: where a model answers in maps (ZipMap), the binding makes a vector of each,
//! and one that has more than six inputs or four outputs makes the binding take lists of them from the heap.

#[path = "../../src/feature/tests_counting.rs"]
mod counting;

use crate::support::serving::Folder;
use crate::support::{onnx, zoo};
use counting::allocations;
use ort::session::RunOptions;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vela::Settings;
use vela::domain::{
    FeatureVector, Origin, Outcome, Place, SeriesId, SeriesKey, Stamps, Task, Timeframe, Timestamp,
};
use vela::link::{BatchLimit, Stage as _};
use vela::predict::{Loading, Models, PredictItem, PredictKey, PredictStage, Row};

/// What `rows` rows cost: through the stage, through its session, how many values an outcome has besides its own.
struct Cost {
    stage: u64,
    session: u64,
    several: bool,
}

/// The one model of `folder`, which is loaded already when its rows come.
fn costs(folder: &Path, symbol: &str, rows: usize) -> Cost {
    let mut settings = Settings::default();
    settings.models.path = folder.to_owned();
    let models = Arc::new(Models::open(&settings, vela::feature::check, &mut |_| {}).unwrap());
    let catalogue = models.catalogue();
    let version = catalogue.models()[0].version();
    models.prepare(&catalogue.models()[0], version).unwrap();
    let content = version.content().unwrap();
    let manifest = &content.manifest;
    let values: Box<[f64]> = vec![0.5; manifest.row_len()].into();
    let series = Arc::new(SeriesKey::new(symbol, Timeframe::MINUTE).unwrap());
    let task = || Task {
        series: Arc::clone(&series),
        series_id: SeriesId(0),
        model: catalogue.models()[0].number,
        horizon: 1,
        ts: Timestamp::from_secs(60_000_000),
        close: 1.0,
        revision: 0,
        vector: Arc::new(FeatureVector {
            set: manifest.features.hash(),
            values: values.clone(),
            undefined: None,
        }),
        others: Box::default(),
        place: Place::default(),
        origin: Origin::CatchUp,
        stamps: Stamps::default(),
        reply: None,
    };
    let answered = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&answered);
    let deliver = Box::new(move |outcome: Outcome| {
        assert!(outcome.result.is_ok(), "{outcome:?}");
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let stage = PredictStage::new(Arc::clone(&models), (64, None), Loading::Elsewhere, deliver);
    let key = PredictKey { cold: None, batch: Arc::new(BatchLimit::new(64, 1_000_000_000)) };
    let items: Vec<PredictItem> = (0..rows).map(|_| task().into()).collect();
    // The first turns make the memory that is kept.
    (0..3).for_each(|_| stage.step(&key, &items));
    let stage_count = allocations(|| stage.step(&key, &items));
    assert_eq!(answered.load(Ordering::Relaxed), 4 * rows);
    let with_session = models.pool.with(content, Loading::Elsewhere, |loaded| {
        let all = vec![Row { window: &values, symbol }; rows];
        let mut out = Vec::with_capacity(rows * loaded.session.values_per_row());
        let several = !loaded.session.names().is_empty();
        let mut session = 0;
        let mut from = 0;
        while from < rows {
            let to = from + loaded.batching.largest_at_most(rows - from);
            session += allocations(|| loaded.session.run(&all[from..to], &mut out).unwrap());
            from = to;
        }
        Cost { stage: stage_count, session, several }
    });
    with_session.unwrap().unwrap()
}

#[test]
fn a_row_allocates_nothing_on_its_way_through_the_stage() {
    let check = |name: &str, folder: &Path, symbol: &str| {
        for rows in [1, 7, 33] {
            let Cost { stage, session, several } = costs(folder, symbol, rows);
            let owned = if several { rows as u64 } else { 0 };
            assert_eq!(stage, session + owned, "{name}, {rows} rows: beyond what its session takes");
        }
    };
    let folder = Folder::new();
    folder.version("m", 1, onnx::linear(1, 1.0, 2.0), "").promote("m", &[1]);
    check("row by row", &folder.path(""), "BTCUSD");
    let models = zoo::good_models();
    for model in &models {
        let folder = Folder::new();
        model.put(&folder.path(""), "*", "1m");
        check(&model.name, &folder.path(""), &symbol_of(model));
    }
    println!("{} models of the zoo", models.len());
}

/// A symbol that the model knows.
fn symbol_of(model: &zoo::Model) -> String {
    let ids = model.meta["symbol_ids"].as_object();
    let first = ids.and_then(|ids| ids.keys().next());
    first.map_or("BTCUSD".to_owned(), |series| series.rsplit_once('_').unwrap().0.to_owned())
}

#[test]
fn a_session_allocates_nothing_beyond_its_binding() {
    let folder = Folder::new();
    folder.version("m", 1, onnx::linear(1, 1.0, 2.0), "").promote("m", &[1]);
    let file = folder.path("m/1/model.onnx");
    let runtime = vela::predict::Runtime::ensure(None, &mut |_| {}).unwrap();
    // As a session of vela is set up, tensors from the same allocator.
    let builder = SessionBuilder::new(runtime.environment()).unwrap();
    let builder = builder.with_intra_threads(1).unwrap().with_inter_threads(1).unwrap();
    let builder = builder.with_memory_pattern(false).unwrap().with_env_allocators().unwrap();
    let mut bare = builder.with_log_level(ort::logging::LogLevel::Error).unwrap();
    let mut bare = bare.commit_from_file(&file).unwrap();
    let options = RunOptions::new().unwrap();
    let row = [0.5_f32];
    let mut alone = || {
        let input = TensorRef::from_array_view(([1_usize, 1], row.as_slice())).unwrap();
        let outputs = bare.run_with_options(ort::inputs![input], &options).unwrap();
        assert_eq!(outputs[0].try_extract_tensor::<f32>().unwrap().1, [2.5]);
    };
    (0..3).for_each(|_| alone());
    let floor = allocations(&mut alone);
    let Cost { session, .. } = costs(&folder.path(""), "BTCUSD", 1);
    assert!(floor > 0, "nothing was counted");
    assert_eq!(session, floor);
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 10]))), 1);
}
