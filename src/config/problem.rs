//! Where values come from, and what is said about those that are refused.

use std::fmt;
use std::path::PathBuf;

/// Who set a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// Nobody: it has its default.
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// `--set` on the command line.
    Override,
    /// A request to the running system.
    Request,
    /// A program that made its [`Settings`](super::Settings) by hand.
    Program,
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Override => f.write_str("--set"),
            Self::Request => f.write_str("request"),
            Self::Program => f.write_str("settings"),
        }
    }
}

/// One thing that is wrong with a configuration. Holds no secret: passwords are masked already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Who set it; `None` when it concerns a whole file.
    pub set_by: Option<SetBy>,
    /// The key, or the table; empty where there is none (a file that is no TOML).
    pub key: String,
    /// The value, as it was written; empty where there is none.
    pub value: String,
    /// What is wrong and what is allowed.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(set_by) = &self.set_by {
            write!(f, "{set_by}: ")?;
        }
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if !self.value.is_empty() {
                write!(f, " = {}", self.value)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.detail)
    }
}

/// A configuration that is refused, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// What is wrong, the file's problems first; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "the configuration is refused: {one}"),
            many => {
                write!(f, "the configuration is refused for {} reasons", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
