//! `vela models promote | rollback | history`.

use super::super::CliError;
use super::look;
use crate::config::Settings;
use crate::predict::promotion::{self, Action, Author, PromotionError};
use std::io::Write as _;

impl From<PromotionError> for CliError {
    fn from(error: PromotionError) -> Self {
        Self::Failed(error.to_string())
    }
}

fn author(reason: &str) -> Author {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "unknown".to_owned());
    let host = std::fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned());
    let host = host.or_else(|| variable("HOSTNAME")).unwrap_or_else(|| "unknown".to_owned());
    Author { user, host, reason: reason.to_owned() }
}

pub(super) fn promote(
    settings: &Settings,
    (name, version): (&str, u32),
    reason: &str,
    unchecked: bool,
) -> Result<(), CliError> {
    let root = &settings.models.path;
    let mut out = std::io::stdout().lock();
    if !unchecked {
        let folder = root.join(name).join(version.to_string());
        if folder.is_dir() {
            let report = look::check_folder(settings, &folder)?;
            if let Some(error) = report.error {
                return Err(CliError::Failed(format!(
                    "version {version} of {name} was not promoted, its check failed: {error} (--unchecked promotes it all the same)"
                )));
            }
        }
    }
    let entry = promotion::promote(root, name, version, &author(reason))?;
    writeln!(out, "{name}: version {} serves; a running vela follows within a second", entry.serves)?;
    Ok(())
}

pub(super) fn rollback(settings: &Settings, name: &str, reason: &str) -> Result<(), CliError> {
    let entry = promotion::rollback(&settings.models.path, name, &author(reason))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name}: version {} was rolled back, version {} serves", entry.version, entry.serves)?;
    Ok(())
}

pub(super) fn history(settings: &Settings, name: &str, json: bool) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let entries = promotion::history(&settings.models.path, name)?;
    if entries.is_empty() && !json {
        writeln!(out, "{name}: nothing was promoted or rolled back by `vela models` yet")?;
    }
    for entry in entries {
        if json {
            let line = serde_json::to_string(&entry).map_err(|error| CliError::Failed(error.to_string()))?;
            writeln!(out, "{line}")?;
            continue;
        }
        let what = match entry.action {
            Action::Promote => "promoted",
            Action::Rollback => "rolled back",
        };
        let who = format!("{}@{}", entry.user, entry.host);
        writeln!(
            out,
            "{:<25}{what:<12}version {:<6} serves {:<6} {who:<24} {}",
            entry.time, entry.version, entry.serves, entry.reason
        )?;
    }
    Ok(())
}
