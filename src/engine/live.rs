//! Changing the configuration while it runs: checked whole, then taken up by whoever it concerns; or refused whole.

use super::{Engine, EngineError};
use crate::alert::Severity;
use crate::config::{ConfigError, Reconfigured, Settings};
use crate::control::Routine;
use crate::observe::log;
use crate::topology;
use serde_json::{Map, Value};
use std::sync::Arc;

/// The one key that the environment may overrule while the process runs.
const LEVEL: &str = "log.level";

impl Engine {
    /// Goes on with other settings: keys that are live take effect at once, the others at the next start, which the
    /// answer, the log and an alert say.
    ///
    /// # Errors
    /// When the settings contradict each other, or alerts cannot be sent as they say: nothing has changed then, and an
    /// alert says so.
    pub fn reconfigure(&self, wanted: Settings) -> Result<Reconfigured, EngineError> {
        self.change(|_| Ok(wanted))
    }

    /// Changes some keys (dotted name, text as with `--set`) of what was asked for last; the others stay.
    ///
    /// # Errors
    /// As [`Engine::reconfigure`], also when a key is unknown or a value none of its own.
    pub fn reconfigure_keys(&self, changes: &[(String, String)]) -> Result<Reconfigured, EngineError> {
        self.change(|last| last.with(changes))
    }

    /// Changes keys of what runs by a JSON merge patch ([`Settings::patched`]), as `by` asks: keys that are live, since
    /// nothing remembers a patch until the next start. Returns what has changed.
    ///
    /// # Errors
    /// As [`Engine::reconfigure`], where a key needs a restart, and where the level of the log is fixed; whoever asked is told,
    /// no alert is raised.
    pub fn patch(&self, patch: &Map<String, Value>, by: &str) -> Result<Vec<&'static str>, EngineError> {
        let mut last = self.wanted.lock();
        let wanted = last.patched(patch)?;
        let at_restart = last.changed_to(&wanted).1.at_restart;
        if !at_restart.is_empty() {
            return Err(EngineError::NeedsRestart(at_restart.join(", ")));
        }
        if last.log.level != wanted.log.level
            && let Some(why) = log::level_is_fixed()
        {
            return Err(EngineError::LevelFixed(why));
        }
        let Reconfigured { live, .. } = self.take_up(&wanted)?;
        *last = wanted;
        self.tell_live(&live, &format!(", as {by} asked,"));
        Ok(live)
    }

    /// The settings that were asked for last: those in force, and what waits for the next start.
    pub fn settings_wanted(&self) -> Settings {
        self.wanted.lock().clone()
    }

    fn change(
        &self,
        wanted: impl FnOnce(&Settings) -> Result<Settings, ConfigError>,
    ) -> Result<Reconfigured, EngineError> {
        let mut last = self.wanted.lock();
        let changed = wanted(&last).map_err(EngineError::from).and_then(|wanted| {
            wanted.check()?;
            let report = self.take_up(&wanted)?;
            *last = wanted;
            Ok(report)
        });
        match &changed {
            Ok(report) => self.tell(report),
            Err(error) => self.refuse(&error.to_string()),
        }
        changed
    }

    /// Tells that a change was refused; [`Engine::reconfigure`] does so itself.
    pub fn refuse(&self, detail: &str) {
        let detail = format!("{detail}; everything stays as it was");
        self.models.alerts.raise(Severity::Warning, "config_refused", "configuration", detail);
    }

    fn take_up(&self, wanted: &Settings) -> Result<Reconfigured, EngineError> {
        let before = self.settings.load_full();
        let (next, report) = before.changed_to(wanted);
        if before.alert != next.alert {
            // The one part that can fail comes first.
            self.health.webhook.follow(&next.alert).map_err(EngineError::Alerts)?;
        }
        if before.log.level != next.log.level {
            log::set_level(next.log.level.tracing());
        }
        self.topology.follow(&next);
        self.controller.set_options(topology::control_options(&next));
        self.watchdog.set_limits(super::watch::limits(&next));
        self.settings.store(Arc::new(next));
        self.checks.iter().for_each(Routine::wake);
        Ok(report)
    }

    fn tell(&self, report: &Reconfigured) {
        let Reconfigured { live, at_restart } = report;
        let fixed = log::level_is_fixed().filter(|_| live.contains(&LEVEL));
        let in_effect = |key: &&&str| fixed.is_none() || **key != LEVEL;
        let live: Vec<&str> = live.iter().filter(in_effect).copied().collect();
        self.tell_live(&live, ",");
        if let Some(why) = fixed {
            let detail = format!("{LEVEL} changed and has no effect: {why}");
            self.models.alerts.raise(Severity::Info, "config_ineffective", "configuration", detail);
        }
        if !at_restart.is_empty() {
            let take = if at_restart.len() == 1 { "takes" } else { "take" };
            let detail = format!("{} {take} effect at the next start", at_restart.join(", "));
            self.models.alerts.raise(Severity::Info, "config_restart", "configuration", detail);
        }
    }

    /// Tells which keys are in effect, `asked` being how that came about.
    fn tell_live(&self, live: &[&str], asked: &str) {
        if !live.is_empty() {
            let are = if live.len() == 1 { "is" } else { "are" };
            let detail = format!("{} changed{asked} and {are} in effect", live.join(", "));
            self.models.alerts.raise(Severity::Info, "config_changed", "configuration", detail);
        }
    }
}
