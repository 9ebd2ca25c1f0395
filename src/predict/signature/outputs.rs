//! Reading: which outputs hold values of a row, what they are called, and which one is the prediction.

use super::{Element, Port, Shape, SignatureError, VALUES_MAX, listed, names};
use crate::domain::ValueNames;
use crate::predict::manifest::{Kind, Manifest};
use std::sync::Arc;

/// The most values one row of an output that is not read may have.
const UNREAD_MAX: usize = 1 << 20;

/// What exporters call the median, in lower case.
pub const MEDIANS: [&str; 9] =
    ["q50", "p50", "q_50", "p_50", "median", "q0.5", "q_0.5", "quantile_0.5", "0.5"];

/// One output that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its position among the graph's outputs.
    pub output: usize,
    /// Its name.
    pub name: String,
    /// Values for one row.
    pub columns: usize,
    /// Where its first value stands in a row of results.
    pub at: usize,
    /// Its element type, or, for maps, the type of the keys.
    pub element: Element,
    /// The keys of its maps, in the order of the columns; empty for a tensor.
    pub keys: Vec<String>,
}

/// How all outputs are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputPlan {
    /// What is read.
    pub reads: Vec<Read>,
    /// The names of a row's values; empty when there is only one.
    pub names: ValueNames,
    /// Which value of a row is the prediction.
    pub value_index: usize,
    /// Values of a row.
    pub values_per_row: usize,
}

/// Refuses, before anything runs, what is declared to be empty or too large.
///
/// # Errors
/// An output of no column or of more than [`VALUES_MAX`].
pub fn check_declared(outputs: &[Port]) -> Result<(), SignatureError> {
    if outputs.is_empty() {
        return Err(SignatureError("the graph has no output".to_owned()));
    }
    for port in outputs {
        if let Shape::Other(kind) = &port.shape
            && kind.starts_with("Option")
        {
            // The binding panics over one that holds nothing.
            return Err(SignatureError(format!(
                "output `{}`, {kind}: it may hold nothing; export without it",
                port.name
            )));
        }
        if let Shape::Tensor(_, dims) = &port.shape {
            let known = || dims.iter().skip(1).filter(|dim| **dim >= 0);
            let columns = known().try_fold(1_i64, |n, dim| n.checked_mul(*dim));
            let columns = columns.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
            // A matrix a row will be passed over, but it is computed all the same.
            if columns > UNREAD_MAX || known().filter(|dim| **dim > 1).count() < 2 {
                check_width(port, columns)?;
            }
        }
    }
    Ok(())
}

fn check_width(port: &Port, columns: usize) -> Result<(), SignatureError> {
    match columns {
        0 => Err(SignatureError(format!("output `{}`, {}: it holds no value", port.name, port.shape))),
        1..=VALUES_MAX => Ok(()),
        _ => Err(SignatureError(format!(
            "output `{}`, {}: more than {VALUES_MAX} values a row",
            port.name, port.shape
        ))),
    }
}

/// An output whose values belong to the row.
struct Candidate<'a> {
    output: usize,
    port: &'a Port,
    element: &'a Element,
    keys: &'a [String],
    columns: usize,
}

impl Candidate<'_> {
    fn is_maps(&self) -> bool {
        matches!(self.port.shape, Shape::Maps(..))
    }

    fn is_float(&self) -> bool {
        self.is_maps() || self.element.is_float()
    }

    fn is_probability(&self) -> bool {
        self.is_maps() || self.is_float() && self.port.name.to_ascii_lowercase().contains("prob")
    }

    /// The names of its columns.
    fn column_names(&self, alone: bool, label: bool) -> Vec<String> {
        let name = &self.port.name;
        if label {
            vec!["label".to_owned()]
        } else if self.columns == 1 {
            vec![name.clone()]
        } else if self.is_probability() && alone {
            (0..self.columns).map(|c| format!("p_{c}")).collect()
        } else {
            (0..self.columns).map(|c| format!("{name}_{c}")).collect()
        }
    }
}

/// Decides how `outputs`, as returned for one row, are read.
///
/// # Errors
/// No output that holds a number, more than [`VALUES_MAX`] values, or a choice that only `[output]` can make.
pub fn plan_outputs(manifest: &Manifest, outputs: &[Port]) -> Result<OutputPlan, SignatureError> {
    let wanted = manifest.output.value.as_deref();
    if let Some(name) = wanted.filter(|name| !outputs.iter().any(|port| port.name == *name)) {
        return Err(SignatureError(format!(
            "`[output] value` is `{name}`, the graph has {}",
            names(outputs)
        )));
    }
    let mut candidates = Vec::new();
    for (output, port) in outputs.iter().enumerate() {
        candidates.extend(candidate(output, port, outputs.len() == 1 || wanted == Some(port.name.as_str()))?);
    }
    // Whole numbers beside a float output are class labels: they go last and are never the default.
    let floats = candidates.iter().filter(|c| c.is_float()).count();
    candidates.sort_by_key(|c| !c.is_float());
    let (index, column) = choose(manifest, &candidates, floats)?;
    let single_label = candidates.len() == floats + 1 && floats > 0;
    let alone = candidates.iter().filter(|c| c.is_probability()).count() == 1;

    let mut plan = OutputPlan { reads: vec![], names: Arc::from([]), value_index: 0, values_per_row: 0 };
    let mut names = Vec::new();
    for (i, c) in candidates.iter().enumerate() {
        let at = names.len();
        if i == index {
            plan.value_index = at + column;
        }
        let label = single_label && !c.is_float() && c.columns == 1;
        names.extend(c.column_names(alone, label).into_iter().map(Arc::<str>::from));
        plan.reads.push(Read {
            output: c.output,
            name: c.port.name.clone(),
            columns: c.columns,
            at,
            element: c.element.clone(),
            keys: c.keys.to_vec(),
        });
    }
    if names.len() > VALUES_MAX {
        return Err(SignatureError(format!(
            "the outputs have {} values a row, at most {VALUES_MAX} are taken",
            names.len()
        )));
    }
    plan.values_per_row = names.len();
    if names.len() > 1 {
        plan.names = names.into();
    }
    Ok(plan)
}

/// The output as something that can be read, `None` where it is passed over; what is `needed` is not.
fn candidate(output: usize, port: &Port, needed: bool) -> Result<Option<Candidate<'_>>, SignatureError> {
    let unread = |why: &str| match needed {
        true => Err(SignatureError(format!("output `{}`, {}: {why}", port.name, port.shape))),
        false => Ok(None),
    };
    let (element, keys, columns): (_, &[String], _) = match &port.shape {
        Shape::Maps(element, keys) => (element, keys, keys.len()),
        Shape::Tensor(element, _) if !element.is_float() && !element.is_whole() => {
            return unread("only numbers can be a prediction");
        }
        Shape::Tensor(element, dims) => {
            let (rows, tail) = match dims.as_slice() {
                // One row squeezed to a vector or a scalar.
                [] => (1, &[][..]),
                [_] => (1, dims.as_slice()),
                [rows, tail @ ..] => (*rows, tail),
            };
            // Hidden states and attention maps of a network: not values of the row.
            let matrix = tail.iter().filter(|dim| **dim > 1).count() > 1;
            if rows != 1 {
                return unread("its first dimension is not the rows'");
            }
            if matrix && !needed {
                return Ok(None);
            }
            let columns = tail.iter().try_fold(1_usize, |n, dim| n.checked_mul(usize::try_from(*dim).ok()?));
            (element, &[], columns.unwrap_or(usize::MAX))
        }
        Shape::Other(_) => return unread("only tensors and maps can be read"),
    };
    if element.is_float() || element.is_whole() || needed || matches!(port.shape, Shape::Maps(..)) {
        check_width(port, columns)?;
    }
    Ok(Some(Candidate { output, port, element, keys, columns }))
}

/// Which candidate, and which of its columns, is the prediction. The first `floats` of them are not labels.
fn choose(
    manifest: &Manifest,
    all: &[Candidate<'_>],
    floats: usize,
) -> Result<(usize, usize), SignatureError> {
    let asked = &manifest.output;
    if let Some(name) = &asked.value {
        // It is there: what is named and cannot be read was refused before.
        let index = all.iter().position(|c| c.port.name == *name);
        let index = index.ok_or_else(|| SignatureError(format!("output `{name}` cannot be read")))?;
        return Ok((index, column(manifest, &all[index])?));
    }
    let float = &all[..floats];
    let single = |index: usize| Ok((index, column(manifest, &all[index])?));
    let ambiguous = || {
        let listed = listed(all.iter().map(|c| format!("`{}` ({} a row)", c.port.name, c.columns)));
        SignatureError(format!(
            "several outputs could be the prediction: {listed}; write [output] value = \"…\" (and column)"
        ))
    };
    match all {
        [] => return Err(SignatureError("no output holds a number for each row".to_owned())),
        [_] => return single(0),
        _ => {}
    }
    let probable = float.iter().enumerate().filter(|(_, c)| c.is_probability());
    match probable.map(|(i, _)| i).collect::<Vec<_>>().as_slice() {
        [] => {}
        [one] => return single(*one),
        // One tensor a class: the last class, as in a matrix.
        [.., last] if float.iter().all(|c| c.columns == 1) => return single(*last),
        _ => return Err(ambiguous()),
    }
    if floats == 1 {
        return single(0);
    }
    let named = |names: &[&str]| {
        float.iter().position(|c| names.contains(&c.port.name.to_ascii_lowercase().as_str()))
    };
    if let Some(index) = named(&["variable", "prediction", "predictions", "output"]) {
        return single(index);
    }
    if floats > 0 && float.iter().all(|c| c.columns == 1) {
        let median = named(&MEDIANS);
        let middle = (manifest.kind == Some(Kind::Quantiles) && floats % 2 == 1).then_some(floats / 2);
        let last = (manifest.kind == Some(Kind::Classification)).then_some(floats - 1);
        return single(median.or(middle).or(last).unwrap_or(0));
    }
    Err(ambiguous())
}

fn column(manifest: &Manifest, c: &Candidate<'_>) -> Result<usize, SignatureError> {
    let name = &c.port.name;
    if let Some(class) = &manifest.output.class {
        let by_key = c.keys.iter().position(|key| key == class);
        let by_number = || class.parse().ok().filter(|n| c.keys.is_empty() && *n < c.columns);
        return by_key.or_else(by_number).ok_or_else(|| {
            let known = if c.keys.is_empty() { format!("0 to {}", c.columns - 1) } else { c.keys.join(", ") };
            SignatureError(format!("`[output] class` is `{class}`, output `{name}` has {known}"))
        });
    }
    if let Some(column) = manifest.output.column {
        if column < c.columns {
            return Ok(column);
        }
        return Err(SignatureError(format!(
            "`[output] column` is {column}, output `{name}` has {} (from 0)",
            c.columns
        )));
    }
    match c.columns {
        1 => Ok(0),
        n if c.is_probability() || manifest.kind == Some(Kind::Classification) => Ok(n - 1),
        n if manifest.kind == Some(Kind::Quantiles) && n % 2 == 1 => Ok(n / 2),
        n => Err(SignatureError(format!(
            "output `{name}` has {n} values a row and nothing says which is the prediction: write [output] \
             value = \"{name}\", column = 0 to {}",
            n - 1
        ))),
    }
}
