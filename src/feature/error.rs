//! Why a feature name cannot be taken.

/// A feature name that cannot be taken. The text says what was asked for, and what could have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// There is nothing where a name should be.
    #[error("a feature's name is empty; write names such as rsi_14, with one comma between two")]
    Empty,
    /// No family has this name.
    #[error("`{name}` is not a feature; {}", meant(*.closest))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The most similar name of the named sets; `None` where none is similar.
        closest: Option<&'static str>,
    },
    /// It names a set, and stands where a feature's own name has to.
    #[error("`{name}` is a named set; write out which of its features, such as {example}")]
    Set {
        /// What was asked for.
        name: String,
        /// One of the set.
        example: &'static str,
    },
    /// The family exists, but takes another number of parameters.
    #[error("`{name}` has {given} parameter(s): write {usage}")]
    Parameters {
        /// What was asked for.
        name: String,
        /// How many it has.
        given: usize,
        /// How the family is written, with an example.
        usage: String,
    },
    /// A parameter is not a number, or out of range.
    #[error("`{name}`: {parameter} is `{value}`; write {allowed}")]
    Value {
        /// What was asked for.
        name: String,
        /// Which parameter.
        parameter: &'static str,
        /// Its text.
        value: String,
        /// The range.
        allowed: String,
    },
    /// The fast period is not below the slow one.
    #[error("`{name}`: FAST is {fast} and SLOW is {slow}; FAST must be below SLOW")]
    Order {
        /// What was asked for.
        name: String,
        /// The fast period.
        fast: usize,
        /// The slow period.
        slow: usize,
    },
    /// What stands behind the `@` is no coarser timeframe of the series.
    #[error("`{name}`: behind @ stands the timeframe of coarser bars, {allowed}")]
    Coarser {
        /// What was asked for.
        name: String,
        /// What could have been.
        allowed: String,
    },
}

/// What somebody may have meant.
fn meant(closest: Option<&str>) -> String {
    match closest {
        Some(name) => format!("the closest name is `{name}`"),
        None => "`vela features --list` shows all that there are".to_owned(),
    }
}
