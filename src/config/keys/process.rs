//! The end of the table of keys: the process itself, who watches it and what it says.

/// The table, and these sections at its end.
macro_rules! with_process_keys {
    ($($before:tt)*) => {
        settings! {
            $($before)*

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
                /// The file the log goes to; its folder is made where it is missing. "": no file.
                path: PathBuf = PathBuf::from("logs/infer_realtime.log"), PathOrEmpty, "", Restart;

                /// How much is logged: this level and all that is graver.
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
