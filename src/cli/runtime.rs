//! `vela runtime status|install`.

use super::CliError;
use crate::config::Settings;
use crate::predict::Models;
use crate::predict::runtime::{self, InstallProgress, Place};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write as _;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show where ONNX Runtime is looked for, and which one is used
    Status {
        #[command(flatten)]
        options: super::settings::ConfigOptions,
    },
    /// Fetch the pinned ONNX Runtime into the cache, its checksum verified
    Install,
}

/// Opens the models, with a bar on the terminal where ONNX Runtime has to be fetched first.
pub(super) fn open_models(settings: &Settings) -> Result<Models, CliError> {
    let mut drawn = Progress::default();
    let models = Models::open(settings, crate::feature::check, &mut |progress| drawn.show(progress));
    drawn.clear();
    models.map_err(|error| CliError::Failed(error.to_string()))
}

/// How far an installation is, as a bar on standard error; drawn only when there is something to show.
#[derive(Default)]
struct Progress {
    bar: Option<ProgressBar>,
    said: Option<&'static str>,
}

impl Progress {
    fn show(&mut self, progress: InstallProgress) {
        let what = match progress {
            InstallProgress::Waiting => "waiting for another vela that fetches ONNX Runtime",
            InstallProgress::Downloading { .. } => "fetching ONNX Runtime",
            InstallProgress::Checking => "checking its SHA-256",
            InstallProgress::Unpacking => "unpacking",
            InstallProgress::Done => "ONNX Runtime is in its place",
        };
        let bar = self.bar.get_or_insert_with(|| {
            // A constant template: it is valid, or no first run of the demo passes.
            #[allow(clippy::unwrap_used)]
            let style = ProgressStyle::with_template("{msg}  {bar:30}  {bytes}/{total_bytes}").unwrap();
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style)
        });
        if let InstallProgress::Downloading { done, total } = progress {
            bar.set_length(total);
            bar.set_position(done);
        }
        bar.set_message(what);
        if bar.is_hidden() && self.said != Some(what) {
            // No terminal: one line a step.
            let _ = writeln!(std::io::stderr(), "{what}");
        }
        self.said = Some(what);
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One place that was looked at.
fn place_line(place: &Place) -> String {
    let found = match (&place.found, &place.problem) {
        (_, Some(problem)) => problem.clone(),
        (Some(found), None) => {
            format!("{} (version {})", found.path.display(), found.version.as_deref().unwrap_or("unknown"))
        }
        (None, None) if place.looked_at.is_empty() => "not set".to_owned(),
        (None, None) => format!("nothing in {}", place.looked_at),
    };
    format!("{:<30}{found}", place.kind.label())
}

fn status(options: &super::settings::ConfigOptions) -> Result<(), CliError> {
    let library = options.load()?.settings.runtime.library;
    let status = runtime::status((!library.as_os_str().is_empty()).then_some(library.as_path()));
    let mut out = std::io::stdout().lock();
    for place in &status.places {
        writeln!(out, "{}", place_line(place))?;
    }
    if let Some(chosen) = &status.chosen {
        let version = chosen.version.as_deref().unwrap_or("unknown");
        // A file of that name need not be a library: only loading it tells.
        runtime::Runtime::load(&chosen.path)?;
        writeln!(out, "used: {} (version {version})", chosen.path.display())?;
    }
    match status.error {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn install() -> Result<(), CliError> {
    let mut drawn = Progress::default();
    let installed = runtime::install(&mut |progress| drawn.show(progress));
    drawn.clear();
    writeln!(std::io::stdout(), "{}", installed?.display())?;
    Ok(())
}

pub(super) fn run(command: &Command) -> Result<(), CliError> {
    match command {
        Command::Status { options } => status(options),
        Command::Install => install(),
    }
}
