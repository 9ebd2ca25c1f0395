//! How a graph is fed and read: decided from what it declares, what it returns, and what its manifest says.
//!
//! Exporters agree on little: see the tests for the shapes that real ones write. What cannot be decided is
//! refused, with the keys of `model.toml` that would decide it. Nothing here knows the library that runs
//! the graph.

mod inputs;
mod outputs;

pub use inputs::{Feed, InputPlan, Source, plan_inputs};
pub use outputs::{MEDIANS, OutputPlan, Read, check_declared, plan_outputs};

use std::fmt;

/// The most values one row of outputs may have.
pub const VALUES_MAX: usize = 4096;

/// The type of a tensor's elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// 16-bit float.
    F16,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 32-bit signed whole number.
    I32,
    /// 64-bit signed whole number.
    I64,
    /// True or false.
    Bool,
    /// Text.
    Text,
    /// Anything else, by name.
    Other(String),
}

impl Element {
    fn is_float(&self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    fn is_whole(&self) -> bool {
        matches!(self, Self::I32 | Self::I64 | Self::Bool)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F16 => "float16",
            Self::F32 => "float",
            Self::F64 => "double",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::Bool => "bool",
            Self::Text => "string",
            Self::Other(name) => name,
        })
    }
}

/// The type of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A tensor: its element type and dimensions, -1 for one that varies. No dimension at all: a scalar or,
    /// where it is declared, an unknown rank.
    Tensor(Element, Vec<i64>),
    /// One map for each row (ZipMap): the type of its keys and, where it was returned, the keys.
    Maps(Element, Vec<String>),
    /// Anything else, by name.
    Other(String),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(element, dims) => write!(f, "{element} {}", Dims(dims)),
            Self::Maps(key, _) => write!(f, "one map {key} → float a row"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Dimensions as people write them: `[N, 29]`.
struct Dims<'a>(&'a [i64]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match (*dim, i) {
                (..0, 0) => f.write_str("N")?,
                (..0, _) => write!(f, "{comma}?")?,
                (dim, _) => write!(f, "{comma}{dim}")?,
            }
        }
        f.write_str("]")
    }
}

/// An input or output of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type: as declared for inputs, as returned for outputs.
    pub shape: Shape,
}

/// Why a graph cannot be fed or read, and what to write into `model.toml` or to export otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignatureError(pub String);

/// A name or a text of a graph as it may be shown: nobody knows what is in it, and how much.
pub fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.escape_debug().to_string()
}

/// Some of many, as a list that a person can read.
fn listed(all: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN_MAX: usize = 12;
    let more = all.len().saturating_sub(SHOWN_MAX);
    let list = all.take(SHOWN_MAX).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

fn names(ports: &[Port]) -> String {
    listed(ports.iter().map(|port| format!("`{}`", port.name)))
}

/// Refuses names that nobody can write into a manifest or read in a log.
///
/// # Errors
/// Which name, as far as it can be shown.
pub fn check_names(ports: &[Port]) -> Result<(), SignatureError> {
    const BYTES_MAX: usize = 1024;
    let odd = |name: &str| name.len() > BYTES_MAX || name.chars().any(char::is_control);
    match ports.iter().find(|port| odd(&port.name)) {
        None => Ok(()),
        Some(Port { name, .. }) => Err(SignatureError(format!(
            "an input or output is called \"{}\": names have at most {BYTES_MAX} bytes and no control characters",
            shown(name)
        ))),
    }
}

#[cfg(test)]
mod tests;
