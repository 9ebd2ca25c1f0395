//! The last step: `exec`.

use super::generation::{Restart, generation};
use super::{Budget, GENERATION_VARIABLE, INHERIT_VARIABLE, inherited, system};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file this process runs, whatever became of its name.
const OWN_IMAGE: &str = "/proc/self/exe";
/// What systemd handed over to the first image; its numbers mean nothing to the next one.
const LISTEN_VARIABLES: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Replaces this process by a fresh copy of itself: the same number, program, arguments, folder and environment.
/// Everything else ends where it stands, without a destructor: what must be written is written before. Call it on
/// the main thread. Returns only when it fails, with the reason.
///
/// It is the program that runs that is started again, also when its file was replaced or removed meanwhile: a
/// replacement out of need is no upgrade, and a half-written file no program. A restart by hand takes the new one.
pub fn replace(restart: Restart, budget: &Budget) -> io::Error {
    match prepare(restart, budget) {
        Ok(mut command) => {
            system::unblock_signals();
            system::ignore_hang_up();
            command.exec()
        }
        Err(error) => error,
    }
}

fn prepare(restart: Restart, budget: &Budget) -> io::Result<Command> {
    let generation = generation();
    let past: Vec<u64> = budget.within(&generation.past_ms, restart.at_ms).collect();
    let text = generation.next(restart, past.into_iter());
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program()?);
    command.arg0(arguments.next().unwrap_or_else(|| "vela".into())).args(arguments);
    LISTEN_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.env(GENERATION_VARIABLE, text);
    system::close_all_on_exec();
    command.env(INHERIT_VARIABLE, inherited::pass_on()?);
    Ok(command)
}

/// The name of the file that runs, where it still is that file; else the file itself.
fn program() -> io::Result<PathBuf> {
    let own = std::fs::metadata(OWN_IMAGE)?;
    let same =
        |path: &Path| std::fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (own.dev(), own.ino()));
    match std::env::current_exe().ok().filter(|path| same(path)) {
        Some(path) => Ok(path),
        None => {
            tracing::warn!(
                "the program's file was replaced or removed: the one that runs goes on; restart to upgrade"
            );
            Ok(OWN_IMAGE.into())
        }
    }
}
