//! Feeding: which values of a row go into which input, as what tensor.

use super::{Dims, Element, Port, Shape, SignatureError, names};
use crate::predict::manifest::{InputSpec, Manifest, Reads};
use std::collections::BTreeMap;

/// One input and what it is fed.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// Its name in the graph.
    pub name: String,
    /// The type of its elements.
    pub element: Element,
    /// The tensor's dimensions behind the first, which counts the rows.
    pub tail: Vec<usize>,
    /// Where its values come from.
    pub source: Source,
}

impl Feed {
    /// Values for one row.
    pub fn len(&self) -> usize {
        self.tail.iter().product()
    }

    /// Whether a row has no value: never, for a feed that was planned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where an input's values come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// These columns of the newest `window` bars of the row, oldest bar first.
    Features {
        /// Positions in the model's feature list.
        columns: Vec<usize>,
        /// How many bars.
        window: usize,
    },
    /// The number of the row's symbol.
    SymbolIds(BTreeMap<String, i64>),
}

/// How all inputs are fed.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPlan {
    /// One for each input, in the graph's order.
    pub feeds: Vec<Feed>,
    /// The most rows a run can have: 1 where the graph was exported for one row, else `usize::MAX`.
    pub batch_max: usize,
}

/// Decides how `inputs`, with their declared shapes, are fed.
///
/// # Errors
/// An input type that cannot be fed, a width that does not fit the features, an input nobody feeds or
/// feeding one that is not there.
pub fn plan_inputs(manifest: &Manifest, inputs: &[Port]) -> Result<InputPlan, SignatureError> {
    if inputs.is_empty() {
        return Err(SignatureError("the graph has no input: it cannot depend on the features".to_owned()));
    }
    if let Some(spec) = manifest.inputs.iter().find(|spec| !inputs.iter().any(|port| port.name == spec.name))
    {
        return Err(SignatureError(format!(
            "`[[input]]` names `{}`, the graph has {}: correct the name",
            spec.name,
            names(inputs)
        )));
    }
    let mut plan = InputPlan { feeds: Vec::with_capacity(inputs.len()), batch_max: usize::MAX };
    for port in inputs {
        let spec = manifest.inputs.iter().find(|spec| spec.name == port.name);
        plan.feeds.push(plan_input(manifest, inputs, port, spec, &mut plan.batch_max)?);
    }
    if !plan.feeds.iter().any(|feed| matches!(feed.source, Source::Features { .. })) {
        return Err(SignatureError("no input takes features: it would predict the same for ever".to_owned()));
    }
    Ok(plan)
}

fn plan_input(
    manifest: &Manifest,
    inputs: &[Port],
    port: &Port,
    spec: Option<&InputSpec>,
    batch_max: &mut usize,
) -> Result<Feed, SignatureError> {
    let wrong =
        |detail: String| SignatureError(format!("input `{}`, declared {}: {detail}", port.name, port.shape));
    let Shape::Tensor(element, dims) = &port.shape else {
        return Err(wrong("only tensors can be fed: export without it".to_owned()));
    };
    match dims.first() {
        Some(1) => *batch_max = 1,
        Some(0) => return Err(wrong("it takes no row at all".to_owned())),
        Some(fixed @ 2..) => {
            return Err(wrong(format!(
                "it was exported for exactly {fixed} rows: export with a dynamic first axis, or for 1 row"
            )));
        }
        _ => {}
    }
    let feed = |tail, source| Feed { name: port.name.clone(), element: element.clone(), tail, source };
    if let Some(Reads::SymbolIds(ids)) = spec.map(|spec| &spec.reads) {
        if !matches!(element, Element::I64 | Element::I32) {
            return Err(wrong("symbol numbers go into int64 or int32 inputs".to_owned()));
        }
        return match dims.as_slice() {
            [] | [_] => Ok(feed(vec![], Source::SymbolIds(ids.clone()))),
            [_, ..=-1 | 1] => Ok(feed(vec![1], Source::SymbolIds(ids.clone()))),
            _ => Err(wrong("one number a row goes into [N] or [N, 1]".to_owned())),
        };
    }
    if !element.is_float() {
        let hint = if element.is_whole() {
            format!("; for a symbol's number write [[input]] name = \"{}\", symbol_ids = {{ … }}", port.name)
        } else {
            String::new()
        };
        return Err(wrong(format!("features go into float, double or float16 inputs{hint}")));
    }
    let (columns, own_window) = match spec.map(|spec| &spec.reads) {
        Some(Reads::Features { columns, window }) => (columns.clone(), *window),
        _ => (implied_columns(manifest, inputs, port)?, None),
    };
    let columns = columns.unwrap_or_else(|| (0..manifest.features.len()).collect());
    let window = own_window.unwrap_or(manifest.window);
    let tail = tail(dims, window, columns.len()).map_err(wrong)?;
    Ok(feed(tail, Source::Features { columns, window }))
}

/// What an input without an `[[input]]` table reads: the feature of its name, or everything.
fn implied_columns(
    manifest: &Manifest,
    inputs: &[Port],
    port: &Port,
) -> Result<Option<Vec<usize>>, SignatureError> {
    let named = manifest.features.names().iter().position(|feature| **feature == *port.name);
    if let Some(position) = named.filter(|_| inputs.len() > 1 || manifest.features.len() == 1) {
        return Ok(Some(vec![position]));
    }
    let free = |p: &&Port| !manifest.inputs.iter().any(|spec| spec.name == p.name);
    if inputs.iter().filter(free).count() > 1 {
        return Err(SignatureError(format!(
            "the graph has {} inputs ({}) and nothing says what `{}` reads: write [[input]] name = \"{}\" with \
             `features`, `window` or `symbol_ids`",
            inputs.len(),
            names(inputs),
            port.name,
            port.name
        )));
    }
    Ok(None)
}

/// The tensor's dimensions behind the rows, for `window` bars of `width` values each.
fn tail(dims: &[i64], window: usize, width: usize) -> Result<Vec<usize>, String> {
    let fits = |dim: i64, n: usize| dim < 0 || usize::try_from(dim) == Ok(n);
    match *dims {
        // No dimension at all is how an unknown rank arrives.
        [] if window == 1 => Ok(vec![width]),
        [] => Ok(vec![window, width]),
        [_] if window * width == 1 => Ok(vec![]),
        [_, w] if window == 1 && fits(w, width) => Ok(vec![width]),
        // A flattened window, oldest bar first.
        [_, w] if window > 1 && usize::try_from(w) == Ok(window * width) => Ok(vec![window * width]),
        [_, t, w] if fits(t, window) && fits(w, width) => Ok(vec![window, width]),
        [_, w] if window > 1 && fits(w, width) => Err(format!(
            "it takes one bar, the manifest has `window = {window}`: write window = 1 (in its [[input]], if other \
             inputs take more)"
        )),
        [_, t, _] if !fits(t, window) => {
            Err(format!("it takes {t} bars, the manifest has `window = {window}`: correct the window"))
        }
        [_, .., w] if dims.len() < 4 => Err(format!(
            "the manifest gives it {width} features, it takes {w}: list exactly the features it was trained with, \
             in their order"
        )),
        _ => {
            let expected =
                if window == 1 { vec![-1, width as i64] } else { vec![-1, window as i64, width as i64] };
            Err(format!("its rank does not fit {}", Dims(&expected)))
        }
    }
}
