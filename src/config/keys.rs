//! THE table: every key of the configuration, once, in the order in which a bar travels.
//!
//! A row reads `name: type = default, allowed, unit, Live or Restart;` under its documentation, which goes
//! into the reference file word by word. A new key is a new row here and nothing anywhere else. The table goes on in
//! [`process`], with the process itself.

mod process;

use super::table::{self, Allowed, Change, Section, settings};
use super::value::{Field, GAPS, STABILITY};
use super::watch::{Rules, default_rules};
use super::{BarTable, CatchUp, LogFormat, LogLevel, PostgresUrl, SourceKind, Stale, StoreUrl};
use crate::domain::{Adjustments, Aliases, GapPolicy, Lane, MarketHours, Stability};
use Allowed::{
    Bool, Events, Fraction, Hosts, Hours, HttpUrlOrEmpty, Lanes, Listen, Names, OneOf, PathOrEmpty,
    PostgresOrEmpty, SqlName, Store, Symbols, Tables, Whole,
};
use process::with_process_keys;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A key of the configuration: one row of the table.
pub type Key = table::Key<Settings>;

with_process_keys! {
    /// The checked configuration, one field a key. What a key means stands at its field.
    Settings {
        /// The time that a bar may take from its arrival to its stored prediction: a budget, not a cut-off.
        /// Predictions that take longer are stored all the same, and counted as late.
        max_latency_ms: u64 = 5000, Whole(1..=3_600_000), "ms", Live;

        /// How often the system examines itself by the rules of `alert`: what is wrong makes its health
        /// degraded or critical, and alerts somebody.
        health_check_interval: u64 = 60, Whole(1..=86_400), "s", Live;

        /// How long a computed feature vector may be served again. Older ones are computed anew.
        cache_ttl_seconds: u64 = 300, Whole(1..=86_400), "s", Live;

        /// The memory of the process beyond which it drains, stores what it holds, and replaces itself by
        /// a fresh copy, as `[watchdog]` says. Counted as resident memory. Where the process's cgroup allows
        /// less, nine tenths of that count instead.
        max_memory_mb: u64 = 2048, Whole(16..=1_048_576), "MiB", Live;

        /// The largest batch at start, before anything was measured. Must not exceed batch_size_max. From there
        /// each model's limit follows what its runs cost.
        batch_size_initial: usize = 10, Whole(1..=4096), "rows", Restart;

        /// The largest batch of rows that one run of a model takes. A batch is what has piled up: nothing
        /// ever waits for one to fill.
        batch_size_max: usize = 100, Whole(1..=4096), "rows", Restart;

        /// Whether the workers of each stage and the largest batch of each model follow the load. Otherwise they
        /// stay at workers_initial and batch_size_max.
        controller: bool = true, Bool, "", Restart;

        /// How often they are looked at. A change of load is answered within two intervals.
        controller_interval_ms: u64 = 250, Whole(10..=60_000), "ms", Live;

        /// The most workers that ingest, feature and predict have together, as far as workers_min leaves that
        /// open: what computes does not gain from more threads than cores. 0: the machine's cores and 3.
        core_budget: usize = 0, Whole(0..=1024), "workers", Live;

        /// Workers of each stage at start. Between workers_min and workers_max. The library changes them while
        /// running (`Engine::set_workers`), and the controller leaves them alone then.
        workers_initial: usize = 2, Whole(1..=256), "workers", Restart;

        /// The most workers a stage may get. Their threads are made at start and parked while unused.
        workers_max: usize = 8, Whole(1..=256), "workers", Restart;

        /// The fewest workers a stage keeps. Must not exceed workers_initial.
        workers_min: usize = 1, Whole(1..=256), "workers", Live;

        /// The most models held in memory at once. Beyond it the one that was not used for longest goes,
        /// and is loaded again when it is needed.
        model_pool_size: usize = 50, Whole(1..=10_000), "models", Live;

        /// The most feature vectors the cache holds.
        feature_cache_size: usize = 1000, Whole(1..=10_000_000), "vectors", Live;

        /// The most series (symbol and timeframe) one process takes. Bars of further ones are refused, so
        /// that a source gone wrong cannot fill the memory.
        series_max: usize = 10_000, Whole(1..=1_000_000), "series", Restart;
    }

    /// Where bars come from.
    source: SourceSettings {
        /// "sqlite": a table of an SQLite file, read as it grows. "postgres": tables of a PostgreSQL database. "csv":
        /// a folder with a growing file SYMBOL_TIMEFRAME.csv for each series. "none": bars only come through the library.
        kind: SourceKind = SourceKind::Sqlite, OneOf(SourceKind::WORDS), "", Restart;

        /// The database file, or the folder of CSV files. May be the file that the predictions go to. Not read with other kinds.
        path: PathBuf = PathBuf::from("vela.db"), Allowed::Path, "", Restart;

        /// The table that holds the bars, for kind = "sqlite".
        table: String = "ohlcv".to_owned(), SqlName, "", Restart;

        /// The database, for kind = "postgres": "postgres://USER@HOST:PORT/NAME". "": that of store.url. A password is
        /// better in the environment: PGPASSWORD, or VELA_SOURCE__URL with the whole URL.
        url: Option<PostgresUrl> = None, PostgresOrEmpty, "", Restart;

        /// The tables that hold the bars, for kind = "postgres"; none here: trading.ohlcv, as `vela db init` makes it.
        /// Each is a [[source.tables]] with its name, symbol or timeframe where all its bars have the same, and
        /// columns = { ts = "open_time", ... } for those that are not called symbol, timeframe, ts, open, high, low, close,
        /// volume. ts may be a time, or a whole number since 1970 in any unit; the timeframe a text, an interval, or a whole
        /// number of timeframe_unit = "s", "m", "h", "d" or "w". A row is taken once its column `closed` is true; where there
        /// is none (columns.closed = ""), once its time is over. In the environment and with --set: names with commas
        /// between, or a TOML array. New bars are seen at once where `vela db init --watch NAME` had them announced; else,
        /// and on a standby, the table is looked at every poll_interval_ms.
        tables: Vec<BarTable> = Vec::new(), Tables, "", Restart;

        /// How often every series of a PostgreSQL table is read again from its newest bar, less overlap_bars: finds what was
        /// not announced.
        recheck_interval_s: u64 = 10, Whole(1..=86_400), "s", Restart;

        /// How many bars before the newest are read again then, and after a connection was lost: bars that were committed
        /// late. At a start as many before the last stored one are predicted where that was not done.
        overlap_bars: usize = 16, Whole(0..=64), "bars per series", Restart;

        /// How long the source rests when it found nothing new. What it adds to a prediction's latency is
        /// half of it on average. A PostgreSQL table whose bars are announced is not waited for.
        poll_interval_ms: u64 = 5, Whole(1..=60_000), "ms", Restart;

        /// How much history is read per series at start, and at least what its models take to warm up, so that
        /// features are defined from the first live bar on. 0 reads all there is.
        history_bars: usize = 10_000, Whole(0..=10_000_000), "bars per series", Restart;

        /// What happens to bars that closed while nobody watched and have no stored outcome. "all": every
        /// one is predicted. "latest": only the newest of each series. "none": they only warm features up.
        catch_up: CatchUp = CatchUp::All, OneOf(CatchUp::WORDS), "", Restart;

        /// The most bars per series that are caught up on, newest first; older ones only warm features up.
        catch_up_bars_max: usize = 10_000, Whole(1..=10_000_000), "bars per series", Restart;
    }

    /// The first stage: checks bars, puts them in order, drops what came twice.
    ingest: IngestSettings {
        /// Other names under which the bars of a symbol come, however they come: "BTC/USDT BTCUSDT, FB META until
        /// 2022-06-09T00:00:00Z": what comes as BTC/USDT is BTCUSDT, and what comes as FB and opens before then (UTC) is
        /// META. Everything else (manifests, other keys, rows) names the symbol on the right. Train with the same.
        symbol_aliases: Aliases = Aliases::default(), Names, "", Restart;

        /// What a price of 1 is worth, however bars come: 0.0001 for feeds that tell prices as integers in ten-thousandths, of
        /// which 123450 is taken as 12.345, exactly. Volumes stay. Train with the same.
        price_unit: f64 = 1.0, Fraction(1e-9..=1.0), "of a price", Restart;

        /// How far in the future of this machine's clock a bar may close and still be taken.
        clock_skew_ms_max: u64 = 2000, Whole(0..=3_600_000), "ms", Live;

        /// Whether a bar whose open or close lies outside its low and high is taken with the low and high
        /// moved to hold them. Otherwise it is refused.
        clamp_ohlc: bool = false, Bool, "", Restart;

        /// The symbols whose prices may be 0 or below, such as spreads, or futures on oil in April 2020: "CL,BRENT-WTI".
        /// What has no meaning there (the logarithm of such a price) is undefined. Of all others such a bar is refused.
        any_price_symbols: String = String::new(), Symbols, "", Restart;

        /// How many of a series' newest bars can change after they closed: a bar that comes again with other content
        /// replaces the first, one that comes late goes in its place, and it and all newer bars are answered anew,
        /// each with its next revision number. Older ones are counted and recorded. 0: none can change.
        revision_bars: usize = 8, Whole(0..=1000), "bars per series", Restart;

        /// The most bars that wait for this stage. When it is full, the source stops reading.
        queue_bars_max: usize = 10_000, Whole(1..=10_000_000), "bars", Restart;
    }

    /// Which symbols go first when there is more work than workers: those that trade most.
    priority: PrioritySettings {
        /// The share of symbols, those of the largest traded volume, that goes first. At most 1 with low_share.
        high_share: f64 = 0.2, Fraction(0.0..=1.0), "of the symbols", Live;

        /// The share of symbols, those of the smallest traded volume, that goes last. At most 1 with high_share.
        low_share: f64 = 0.5, Fraction(0.0..=1.0), "of the symbols", Live;

        /// How many of its newest bars a symbol's traded volume (close * volume) is summed over.
        window_bars: usize = 60, Whole(1..=100_000), "bars", Restart;

        /// What becomes of a live bar whose prediction still waits when a newer bar of its series comes. "predict":
        /// both are predicted. "supersede": the newer takes its place, and the older is recorded with the reason
        /// superseded; features see both. Replays predict all.
        stale: Stale = Stale::Predict, OneOf(Stale::WORDS), "", Restart;

        /// Symbols whose rank is fixed, whatever they trade, such as { BTCUSDT = "high", DOGEUSDT = "low" }.
        /// In the environment and with --set it is written BTCUSDT=high,DOGEUSDT=low; what is set there replaces the whole table.
        pinned: BTreeMap<String, Lane> = BTreeMap::new(), Lanes, "", Live;
    }

    /// The second stage: turns bars into features.
    feature: FeatureSettings {
        /// What bars that are missing within the market's hours do to features. "skip": windows count the bars that
        /// are there. "fill_flat": bars without movement or volume at the last close stand in for them, as some
        /// venues send them; they have no predictions of their own. "reset": a series begins anew behind every gap,
        /// warm-up included, so that no window spans one. Part of what features are: train with the same.
        gaps: GapPolicy = GapPolicy::Skip, OneOf(GAPS), "", Restart;

        /// The longest gap over which features go on. Beyond it a series begins anew, warm-up included. 0:
        /// however long, but at most 10000 bars are ever filled in.
        gap_bars_max: u64 = 0, Whole(0..=1_000_000), "bars", Restart;

        /// When bars are expected, in UTC: "always", or stretches of the week such as "sun 22:00-fri 22:00",
        /// separated by commas. Bars missing at other times are no gap.
        market_hours: MarketHours = MarketHours::default(), Hours, "", Restart;

        /// Splits, dividends, rolls, for feeds that leave their history as it was: "AAPL 2020-08-31T13:30:00Z 0.25 4": from
        /// then on (UTC) features see earlier prices times 0.25 and volumes times 4; a signed price, such as +1.25, is added.
        /// Train with the same. Until then a series keeps as many bars as its features take to warm up.
        adjustments: Adjustments = Adjustments::default(), Events, "", Live;

        /// When a model may read a feature. "defined": as soon as it has a value. "stable_4", "stable_8": when
        /// that many digits no longer depend on where the series' history begins, which matters for
        /// exponential and Wilder averages. Until then a bar's reason is warming_up.
        warm_up: Stability = Stability::Digits4, OneOf(STABILITY), "", Restart;

        /// The most bars that wait for this stage. When it is full, the stage before it waits.
        queue_bars_max: usize = 10_000, Whole(1..=10_000_000), "bars", Restart;
    }

    /// The folder of models.
    models: ModelsSettings {
        /// The folder that holds one folder a model, with its versions and the list of those promoted.
        path: PathBuf = PathBuf::from("models"), Allowed::Path, "", Restart;

        /// How often the folder is looked at for changes, failed versions are tried again, and sessions are
        /// loaded for bars about to close. 0: never, what serves at start serves to the end; replays run so.
        look_interval_ms: u64 = 400, Whole(0..=3_600_000), "ms", Restart;
    }

    /// ONNX Runtime, the library that runs the models.
    runtime: RuntimeSettings {
        /// The file of the shared library (libonnxruntime.so and its like). "": it is looked for in
        /// ORT_DYLIB_PATH, beside the program, in the cache of vela, in Python's onnxruntime, in the system.
        library: PathBuf = PathBuf::new(), PathOrEmpty, "", Restart;

        /// Whether the library is fetched, and its checksum verified, when it is found nowhere.
        download: bool = true, Bool, "", Restart;
    }

    /// The third stage: runs the models.
    predict: PredictSettings {
        /// How long one run of a model (one batch of rows) may take. A run that takes longer is ended, its rows
        /// go to the version that was promoted before, and the model is left alone for a while. It binds the
        /// runs by which a model is tried before it serves as well.
        deadline_ms: u64 = 1000, Whole(1..=600_000), "ms", Restart;

        /// How long loading a model may take before it is given up: its bars get the reason, or the version
        /// that was promoted before, and other models are loaded meanwhile. Creating a session cannot be
        /// ended, so one that hangs keeps a thread until the process ends.
        load_deadline_ms: u64 = 10_000, Whole(100..=600_000), "ms", Live;

        /// How long a live bar may have been on its way when a model's turn comes to run it. Older ones are recorded as
        /// overdue: a model that is slower than its bars come answers the newest, instead of filling the queue that
        /// it shares with the others. Less than max_latency_ms, by a run and its storing, keeps what is predicted
        /// within it also under overload. 0: all are run, however late. Replays run all.
        overdue_ms: u64 = 60_000, Whole(0..=86_400_000), "ms", Restart;

        /// How much memory one run of a model may take for tensors at a time. A run that wants more fails, before it
        /// has it, and its rows go to the version promoted before. So many runs at once as there are workers.
        run_memory_max_mb: usize = 256, Whole(1..=1_048_576), "MiB", Restart;

        /// The most rows that wait for this stage. When it is full, the stage before it waits.
        queue_rows_max: usize = 20_000, Whole(1..=10_000_000), "rows", Restart;

        /// The most sessions of one model's file: further ones are loaded, as far as model_pool_size leaves
        /// room, while more rows wait for it than one batch takes, so that several workers share them.
        sessions_per_model_max: usize = 1, Whole(1..=64), "sessions", Restart;
    }

    /// The last stage: writes predictions to the store.
    persist: PersistSettings {
        /// The most rows that wait for this stage. When it is full, the stage before it waits.
        queue_rows_max: usize = 20_000, Whole(1..=10_000_000), "rows", Restart;
    }

    /// Where predictions go.
    store: StoreSettings {
        /// "sqlite:" and the path of a file, which is made where it is missing; the URL of a PostgreSQL database,
        /// "postgres://USER@HOST:PORT/NAME", whose tables `vela db init` makes; or "none": predictions only reach
        /// subscribers. A password is better in the environment: PGPASSWORD, or VELA_STORE__URL with the whole URL.
        url: StoreUrl = StoreUrl::Sqlite(PathBuf::from("vela.db")), Store, "", Restart;

        /// How long one write may take a PostgreSQL database before its rows go into the spool.
        write_timeout_ms: u64 = 500, Whole(10..=60_000), "ms", Restart;

        /// Whether each commit waits for PostgreSQL's disk. false: rows can be seen sooner, vela keeps them until that disk has
        /// them, and sends them again where the server crashed before.
        synchronous_commit: bool = false, Bool, "", Restart;

        /// Whether PostgreSQL announces every new prediction on the channel `vela_predictions`, as JSON.
        /// Commits that announce something queue behind each other.
        notify: bool = false, Bool, "", Restart;

        /// The folder where rows wait while a PostgreSQL database is away. One process a folder.
        spool_path: PathBuf = PathBuf::from("vela-spool"), Allowed::Path, "", Restart;

        /// How much may wait there. When it is full, the pipeline waits too: nothing is thrown away.
        spool_size_max_mb: u64 = 1024, Whole(1..=1_048_576), "MiB", Restart;
    }

    /// Connections to a PostgreSQL store, with SQLAlchemy's meanings.
    database: DatabaseSettings {
        /// Connections that are kept open.
        pool_size: usize = 20, Whole(1..=1000), "connections", Restart;

        /// Connections beyond pool_size that may be opened when all are in use, and are closed afterwards.
        max_overflow: usize = 30, Whole(0..=1000), "connections", Restart;

        /// Whether a connection is tried before it is used.
        pool_pre_ping: bool = true, Bool, "", Restart;

        /// The age at which a connection is replaced.
        pool_recycle: u64 = 3600, Whole(1..=604_800), "s", Restart;

        /// Whether every statement is logged.
        echo: bool = false, Bool, "", Restart;

        /// How long connecting may take, handshakes included.
        connect_timeout_ms: u64 = 5000, Whole(100..=600_000), "ms", Restart;

        /// How long the server may work on one statement before it ends it. 0: as long as it takes.
        statement_timeout_ms: u64 = 10_000, Whole(0..=3_600_000), "ms", Restart;
    }

    /// HTTP: the API, metrics, the Open Inference Protocol, the stream of predictions.
    serve: ServeSettings {
        /// Where `vela run` and `vela demo` listen; "": nowhere. Any address but 127.0.0.1 needs a token.
        listen: String = "127.0.0.1:8080".to_owned(), Listen, "", Restart;

        /// The file whose first line is the token that requests must carry: `Authorization: Bearer TOKEN`. Another
        /// token that is written there is the one that counts within a second.
        token_file: PathBuf = PathBuf::new(), PathOrEmpty, "", Restart;

        /// Whether other machines may connect although there is no token. Otherwise that is refused at start.
        allow_public: bool = false, Bool, "", Restart;

        /// Further names that it is reached by. Pages of other hosts neither change anything nor open the stream.
        hosts: String = String::new(), Hosts, "", Restart;

        /// The most connections at a time, streams not counted. Further ones get 503.
        connections_max: usize = 256, Whole(1..=10_000), "connections", Restart;

        /// The most clients of the stream of predictions at a time. Further ones get 503.
        streams_max: usize = 512, Whole(1..=10_000), "clients", Restart;

        /// The longest first line and headers of a request.
        head_bytes_max: usize = 16_384, Whole(1024..=1_048_576), "bytes", Restart;

        /// The longest body of a request.
        body_bytes_max: usize = 4_194_304, Whole(1024..=1_073_741_824), "bytes", Restart;

        /// How long a client may take to send a request's first line and headers.
        head_deadline_ms: u64 = 5000, Whole(100..=600_000), "ms", Restart;

        /// How long it may take to send the body, and to take the answer.
        transfer_deadline_ms: u64 = 30_000, Whole(100..=3_600_000), "ms", Restart;

        /// How long a connection without a request is kept.
        idle_s: u64 = 60, Whole(1..=86_400), "s", Restart;

        /// Requests a second of one client's address; more get 429. 0: no bound at 127.0.0.1, 1000 elsewhere.
        requests_per_s_max: u64 = 0, Whole(0..=10_000_000), "requests a second", Restart;

        /// How many of the newest outcomes are kept in memory, for /api/predictions and clients that come back.
        recent_max: usize = 20_000, Whole(1..=10_000_000), "outcomes", Restart;

        /// How many keys may have their newest prediction waiting for a client of the stream that is behind.
        stream_queue_max: usize = 4096, Whole(1..=1_000_000), "predictions", Restart;

        /// How often the stream says that it is alive, and how much a client missed.
        stream_heartbeat_s: u64 = 15, Whole(1..=3600), "s", Restart;

        /// The most sessions for inference by callers (/v2), besides model_pool_size: no bar waits for them.
        sessions_max: usize = 16, Whole(1..=10_000), "sessions", Restart;
    }
}
