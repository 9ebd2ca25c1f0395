//! Keeping up with the models folder while the engine runs, away from the way of a bar.
//!
//! One thread looks at stamps of files, a few times a second; what has changed is read again once it has kept
//! still for a moment (a copy may be half done, a list half written). It loads nothing itself: new versions are
//! loaded, checked and warmed on threads of their own, and serve from the moment they are found good. Versions
//! that failed are tried again after growing pauses. Sessions of coarse bars are loaded shortly before their bar
//! closes. None of that takes longer than its deadline, and a stop waits for none of it.

use super::catalogue::{Catalogue, CatalogueModel};
use super::models::Models;
use super::registry::PROMOTED;
use super::stamp::Stamp;
use super::version::{Standing, Version, VersionStamp};
use crate::alert::Severity;
use crate::domain::{Timeframe, Timestamp};
use crate::link::{clock, compute_aside};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long what changed must have kept still before it is read.
const SETTLE: Duration = Duration::from_millis(100);
/// Versions that are tried at the same time.
const TRIES_MAX: usize = 2;
/// Bars at least as long as this have their sessions loaded before they close.
const COARSE_MS: i64 = 15 * 60_000;
/// How long before the close.
const BEFORE_CLOSE_MS: i64 = 2_000;

/// The thread that keeps up; ends when it is dropped.
pub struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts to look after `models` every `interval`; `changed` is called after the catalogue was replaced. When
    /// bars close is told by `wall_ms`: ms since 1970.
    pub fn start(
        models: Arc<Models>,
        interval: Duration,
        wall_ms: impl Fn() -> i64 + Send + 'static,
        changed: impl Fn() + Send + 'static,
    ) -> Self {
        let (stop, stopped) = bounded(0);
        let (wall_ms, changed) = (Box::new(wall_ms), Box::new(changed));
        let keeping = Keeping { models, interval, wall_ms, changed, tries: Arc::default() };
        let thread =
            std::thread::Builder::new().name("vela-models".into()).spawn(move || keeping.run(&stopped));
        if let Err(error) = &thread {
            tracing::error!(%error, "the system gives no thread: changes of the models folder go unnoticed");
        }
        Self { stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panics for defects only; the log has the message.
            let _ = thread.join();
        }
    }
}

type Candidate = (Arc<CatalogueModel>, Arc<Version>);

/// What is to be made ready, and by how many.
#[derive(Default)]
struct Tries {
    /// As the newest look has it.
    waiting: VecDeque<Candidate>,
    in_hand: Vec<Arc<Version>>,
    threads: usize,
}

struct Keeping {
    models: Arc<Models>,
    interval: Duration,
    wall_ms: Box<dyn Fn() -> i64 + Send>,
    changed: Box<dyn Fn() + Send>,
    tries: Arc<Mutex<Tries>>,
}

impl Keeping {
    fn run(self, stop: &Receiver<()>) {
        compute_aside();
        let mut unreadable = false;
        while stop.recv_timeout(self.interval) == Err(RecvTimeoutError::Timeout) {
            match std::fs::read_dir(self.models.folder()) {
                Ok(_) => {
                    unreadable = false;
                    if self.follow(stop) {
                        (self.changed)();
                    }
                }
                // Gone for a moment (a mount, permissions): what serves goes on serving.
                Err(error) if !unreadable => {
                    unreadable = true;
                    let subject = self.models.folder().display().to_string();
                    let detail = format!("cannot be read ({error}); the models that are known go on serving");
                    self.models.alerts.raise(Severity::Error, "models_folder", &subject, detail);
                }
                Err(_) => {}
            }
            self.make_ready();
        }
        // What is in hand ends by itself, by its deadline.
        self.tries.lock().waiting.clear();
    }

    /// Reads again what has changed; whether there was something.
    fn follow(&self, stop: &Receiver<()>) -> bool {
        let catalogue = self.models.catalogue();
        // A folder that cannot be read just now says nothing of the models that serve.
        let Ok(seen) = stamps(self.models.folder(), &catalogue, |_| true) else { return false };
        let mut changed = changed(&catalogue, &seen);
        if changed.is_empty() {
            return false;
        }
        if stop.recv_timeout(SETTLE) != Err(RecvTimeoutError::Timeout) {
            return false;
        }
        let again = stamps(self.models.folder(), &catalogue, |name| changed.contains(name));
        let Ok(again) = again else { return false };
        // What is still moving is for the next look.
        changed.retain(|name| again.get(name) == seen.get(name));
        if changed.is_empty() {
            return false;
        }
        self.models.look_again(|name| changed.contains(name));
        true
    }

    /// Has made ready what has to be: new versions that another serves for meanwhile, failed ones whose time has
    /// come, sessions that a bar is about to need.
    fn make_ready(&self) {
        let catalogue = self.models.catalogue();
        let now_ns = clock::now_ns();
        let due = catalogue.models().iter().flat_map(|model| due(model, now_ns));
        let due = due.map(|(model, version)| (Arc::clone(model), Arc::clone(version)));
        let mut waiting: VecDeque<Candidate> = due.collect();
        waiting.extend(self.needed_soon(&catalogue));
        let mut tries = self.tries.lock();
        waiting.retain(|(_, version)| !tries.in_hand.iter().any(|one| Arc::ptr_eq(one, version)));
        tries.waiting = waiting;
        while tries.threads < TRIES_MAX.min(tries.in_hand.len() + tries.waiting.len()) {
            let (models, shared) = (Arc::clone(&self.models), Arc::clone(&self.tries));
            let thread = std::thread::Builder::new().name("vela-try".into());
            if let Err(error) = thread.spawn(move || work_off(&models, &shared)) {
                tracing::warn!(%error, "no thread to try a version on; it is tried later");
                break;
            }
            tries.threads += 1;
        }
    }

    /// Versions whose session is not in memory, and that a bar is about to need.
    fn needed_soon(&self, catalogue: &Catalogue) -> Vec<Candidate> {
        let now_ms = (self.wall_ms)();
        let soon = |model: &&Arc<CatalogueModel>| {
            model.manifest.pinned || closes_soon(model.manifest.timeframe, now_ms)
        };
        // More than fit would push each other out.
        let room = self.models.pool.limits().sessions_max;
        let mut needed = Vec::new();
        for model in catalogue.models().iter().filter(soon).take(room) {
            let version = model.version();
            let needs = version.content().is_ok_and(|content| match version.standing() {
                Standing::Good => !content.slot.is_loaded(),
                // Its first bar would wait for it.
                standing => standing == Standing::Untried,
            });
            if needs {
                needed.push((Arc::clone(model), Arc::clone(version)));
            }
        }
        needed
    }
}

/// Makes ready what waits, one after the other.
fn work_off(models: &Models, tries: &Mutex<Tries>) {
    compute_aside();
    let mut done: Option<Arc<Version>> = None;
    loop {
        let (model, version) = {
            let mut tries = tries.lock();
            tries.in_hand.retain(|one| done.as_ref().is_none_or(|done| !Arc::ptr_eq(one, done)));
            let Some(next) = tries.waiting.pop_front() else {
                tries.threads -= 1;
                return;
            };
            tries.in_hand.push(Arc::clone(&next.1));
            next
        };
        // It panics for defects only; the log has the message, and the others are still to be tried.
        let _ = catch_unwind(AssertUnwindSafe(|| models.ready(&model, &version)));
        done = Some(version);
    }
}

/// Which versions of `model` are to be tried now.
fn due(
    model: &Arc<CatalogueModel>,
    now_ns: u64,
) -> impl Iterator<Item = (&Arc<CatalogueModel>, &Arc<Version>)> {
    let good = model.versions.iter().position(|version| version.standing() == Standing::Good);
    model.versions.iter().enumerate().filter_map(move |(at, version)| {
        let new = version.standing() == Standing::Untried && version.content().is_ok();
        let newer_than_good = good.is_some_and(|good| at < good);
        ((new && newer_than_good) || version.retry_is_due(now_ns)).then_some((model, version))
    })
}

/// Whether a bar of `timeframe` is about to close, and is long enough for its session to be gone by then.
fn closes_soon(timeframe: Timeframe, now_ms: i64) -> bool {
    let length_ms = timeframe.as_millis();
    if length_ms < COARSE_MS {
        return false;
    }
    let next = timeframe.open_of(Timestamp::from_millis(now_ms)).as_millis() + length_ms;
    next - now_ms <= BEFORE_CLOSE_MS
}

/// What is seen of one model.
#[derive(PartialEq)]
struct Seen {
    list: Stamp,
    /// Of the files of each version that may serve.
    versions: Vec<(u32, VersionStamp)>,
}

/// The stamps of all models in `folder` whose names `wanted` accepts.
///
/// # Errors
/// When the folder itself cannot be read.
fn stamps(
    folder: &Path,
    catalogue: &Catalogue,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<HashMap<Arc<str>, Seen>> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || !wanted(&name) {
            continue;
        }
        let list = Stamp::of(&entry.path().join(PROMOTED));
        let known = catalogue.models().binary_search_by(|model| (*model.name).cmp(&name)).ok();
        let model = known.map(|at| &catalogue.models()[at]);
        let versions = model.map_or_else(Vec::new, |model| {
            let listed = model.entry.listed.iter().rev().take(super::VERSIONS_MAX);
            let now = |number: &u32| match model.versions.iter().find(|version| version.number == *number) {
                Some(version) => version.stamp_now(&model.entry),
                None => Version::stamp_of(&model.entry, *number, &[]),
            };
            listed.map(|number| (*number, now(number))).collect()
        });
        // A plain file beside the models is none.
        if list.is_there() || model.is_some() || entry.path().is_dir() {
            found.insert(Arc::from(&*name), Seen { list, versions });
        }
    }
    Ok(found)
}

/// The names of the models of which something is not as `catalogue` has it.
fn changed(catalogue: &Catalogue, seen: &HashMap<Arc<str>, Seen>) -> BTreeSet<Arc<str>> {
    let mut changed: BTreeSet<Arc<str>> = BTreeSet::new();
    for (name, list) in &catalogue.lists {
        match seen.get(name) {
            Some(now) if now.list == *list => {}
            _ => drop(changed.insert(Arc::clone(name))),
        }
    }
    changed.extend(seen.keys().filter(|name| !catalogue.lists.contains_key(*name)).cloned());
    for model in catalogue.models() {
        let Some(now) = seen.get(&model.name) else { continue };
        let known = |(number, stamp): &(u32, VersionStamp)| {
            model.versions.iter().filter(|v| v.number == *number).take(1).all(|v| v.stamp == *stamp)
        };
        // A new content that was found good replaces what served from these files before.
        let doubled =
            |pair: &[Arc<Version>]| pair[0].number == pair[1].number && pair[0].standing() == Standing::Good;
        if !now.versions.iter().all(known) || model.versions.windows(2).any(doubled) {
            changed.insert(Arc::clone(&model.name));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_coarse_bars_are_loaded_shortly_before_the_close() {
        let hour: Timeframe = "1h".parse().unwrap();
        let minute: Timeframe = "1m".parse().unwrap();
        let close_ms = 1_700_002_800_000;
        for (timeframe, before_ms, expected) in [
            (hour, 1_999, true),
            (hour, 1, true),
            (hour, 2_001, false),
            (hour, 0, false),
            (hour, 1_800_000, false),
            (minute, 1_000, false),
        ] {
            assert_eq!(closes_soon(timeframe, close_ms - before_ms), expected, "{timeframe} {before_ms}");
        }
    }
}
