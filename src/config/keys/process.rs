//! The end of the table of keys: the process itself, who watches it and what it says.

/// The table, and these sections at its end.
macro_rules! with_process_keys {
    ($($before:tt)*) => {
        settings! {
            $($before)*

            /// Who is told when something is wrong: the log, the store, and a webhook. An alert is raised once, repeated
            /// after pauses that double while nothing changes, and cleared when it is over.
            alert: AlertSettings {
                /// When something is wrong. A rule is broken once its measure has been over its limit for for_s
                /// seconds, and mended once it has not been for as long. A broken rule of severity "error" makes the
                /// system's health critical, one of severity "warning" degraded. What a table says is laid over these
                /// rules: { over = 80 } changes one number, { enabled = false } turns a rule off, a rule of a new
                /// name needs a measure. In the environment and with --set it is written
                /// memory.over=80,cpu.enabled=false.
                ///
                /// Measures, each with the unit of its limit: "latency" (% of the live predictions since the last
                /// check that took longer than max_latency_ms), "errors" (% of the outcomes since then that are a
                /// failure of a model, a bar or vela; bars that warm up or have no model are none), "panics" (items
                /// since then over which a worker panics), "stalled" (s in which a stage with work finished
                /// nothing), "queue" (% of a stage's bound), "feed_quiet" (bars that a series is behind the newest of
                /// its timeframe), "silence" (bars, the shortest that are expected, in open hours, for which none came
                /// at all), "spike" (average true ranges, of the bars before, that one of a series' newest eight moved:
                /// perhaps a bad tick, which is taken all the same; severity "info" leaves health as it is),
                /// "models_missing" (1 where no model serves), "models_refused" (entries of the models folder
                /// that cannot be read), "model_fallback" (versions of a model that fail while an older one serves),
                /// "model_down" (models that no version serves), "runtime" (sessions whose creation hangs),
                /// "store_away" (s in which the store took nothing), "unsaved" (outcomes since the last check that it
                /// refused for good), "spool" (% of store.spool_size_max_mb), "memory" (% of max_memory_mb or of the
                /// control group's limit, whichever is nearer), "cpu" (% of all processors it may use), "disk" (% of
                /// the file systems of log, store and spool). Shares of fewer than 20 are no measure.
                rules: Rules = default_rules(), Allowed::Rules, "", Live;

                /// How long after an alert was raised it is repeated first, if it still stands; each further pause is
                /// twice as long, up to a day.
                repeat_after_s: u64 = 300, Whole(1..=86_400), "s", Live;

                /// Where alerts are sent as HTTP POST, one a request, as JSON: at, phase (raised, repeated, cleared),
                /// severity, code, subject, detail, host, pid. "": nowhere. What cannot be delivered is tried again
                /// for ten minutes; nothing waits for it.
                webhook_url: String = String::new(), HttpUrlOrEmpty, "", Live;

                /// The file whose first line is the secret that requests are signed with; VELA_WEBHOOK_KEY goes
                /// before it. "": there is none. The header X-Vela-Signature is t=SECONDS,v1=HEX, where HEX is the
                /// HMAC-SHA256 of "SECONDS.BODY".
                webhook_key_path: PathBuf = PathBuf::new(), PathOrEmpty, "", Live;

                /// How long one request may take.
                webhook_timeout_ms: u64 = 5000, Whole(10..=60_000), "ms", Live;
            }

            /// The watchdog: it looks at memory and at every stage's progress, gives memory back, and has the process
            /// drained and replaced by a fresh copy of itself where that is not enough.
            watchdog: WatchdogSettings {
                /// How often it looks at memory and progress.
                interval_ms: u64 = 1000, Whole(10..=60_000), "ms", Restart;

                /// The share of max_memory_mb beyond which the feature cache and sessions that are idle are dropped, and free
                /// pages are given back to the system.
                soft_share: f64 = 0.85, Fraction(0.1..=1.0), "of max_memory_mb", Live;

                /// How long a stage may get nothing done while work waits for it until the process is replaced. Never less than
                /// loading and running a model may take. Past half of it a service manager is told no more that all is well; the
                /// rule "stalled" of `alert` tells people. A store that is away is no such thing: it is waited for.
                stall_restart_s: u64 = 120, Whole(1..=86_400), "s", Live;

                /// How long what is on its way may take to be stored before the process is replaced all the same. What is
                /// left then is predicted again by the copy.
                drain_deadline_ms: u64 = 5000, Whole(0..=600_000), "ms", Live;

                /// How often the process may replace itself within restarts_window_s. Beyond it, it ends with exit code 75,
                /// for a service manager to decide. 0: it ends at once.
                restarts_max: usize = 5, Whole(0..=1000), "restarts", Live;

                /// The time over which restarts_max counts.
                restarts_window_s: u64 = 600, Whole(1..=86_400), "s", Live;

                /// What a copy waits before it begins to work: nothing the first time within restarts_window_s, this the
                /// second time, twice as long each further time, at most a minute.
                restart_pause_ms: u64 = 1000, Whole(0..=60_000), "ms", Live;
            }

            /// The log.
            log: LogSettings {
                /// The file the log goes to; its folder is made where it is missing. "": no file. Where it is renamed, removed or
                /// emptied (logrotate), the next line goes into the file of this name, without a signal.
                path: PathBuf = PathBuf::from("logs/infer_realtime.log"), PathOrEmpty, "", Restart;

                /// How much is logged: this level and all that is graver. The variable VELA_LOG, such as
                /// info,vela::predict=debug, goes before it.
                level: LogLevel = LogLevel::Info, OneOf(LogLevel::WORDS), "", Live;

                /// How a line is written: "text" for people; "json" for programs, an object with timestamp, level,
                /// target, message, and what is said beside it. The terminal gets text.
                format: LogFormat = LogFormat::Text, OneOf(LogFormat::WORDS), "", Restart;

                /// The size at which the file is put aside and a new one begun; one is begun each day (UTC) as well.
                file_size_max_mb: u64 = 64, Whole(1..=4096), "MiB", Restart;

                /// How many files that were put aside are kept: of so many days, where none grows too large.
                files_max: usize = 10, Whole(1..=1000), "files", Restart;

                /// How often the performance of each symbol is logged and stored (table inference_metrics).
                performance_interval_s: u64 = 60, Whole(1..=86_400), "s", Live;
            }
        }
    };
}

pub(super) use with_process_keys;
