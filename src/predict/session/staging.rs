//! Laying rows out as an input wants them; the buffers are kept from run to run.

use super::{Row, RunError};
use crate::predict::signature::{Element, Feed, Source};
use half::f16;
use ort::session::SessionInputValue;
use ort::value::{PrimitiveTensorElementType, TensorRef};

/// One input, and the buffer its values are laid out in.
pub(super) struct Staging {
    feed: Feed,
    /// Features of a row's bar, of which the feed reads some.
    features: usize,
    buffer: Buffer,
}

enum Buffer {
    F16(Vec<f16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Staging {
    pub(super) fn new(feed: Feed, features: usize) -> Self {
        let buffer = match feed.element {
            Element::F16 => Buffer::F16(Vec::new()),
            Element::F64 => Buffer::F64(Vec::new()),
            Element::I32 => Buffer::I32(Vec::new()),
            Element::I64 => Buffer::I64(Vec::new()),
            // What is none of these was refused when the inputs were planned.
            _ => Buffer::F32(Vec::new()),
        };
        Self { feed, features, buffer }
    }

    /// What it feeds.
    pub(super) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Lays `rows` out; each has the model's length.
    pub(super) fn fill(&mut self, rows: &[Row<'_>]) -> Result<(), RunError> {
        let Self { feed, features, buffer } = self;
        match buffer {
            Buffer::F32(to) => values(feed, *features, rows, to, |v| v as f32, |v| v.is_finite()),
            Buffer::F64(to) => values(feed, *features, rows, to, |v| v, |v| v.is_finite()),
            Buffer::F16(to) => values(feed, *features, rows, to, f16::from_f64, |v| v.is_finite()),
            Buffer::I64(to) => numbers(feed, rows, to, Some),
            Buffer::I32(to) => numbers(feed, rows, to, |id| i32::try_from(id).ok()),
        }
    }

    /// The tensor over the buffer, which holds `rows` rows.
    pub(super) fn value(&self, rows: usize) -> ort::Result<SessionInputValue<'_>> {
        let tail = &self.feed.tail;
        match &self.buffer {
            Buffer::F16(data) => tensor(rows, tail, data),
            Buffer::F32(data) => tensor(rows, tail, data),
            Buffer::F64(data) => tensor(rows, tail, data),
            Buffer::I32(data) => tensor(rows, tail, data),
            Buffer::I64(data) => tensor(rows, tail, data),
        }
    }
}

fn tensor<'a, T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
    rows: usize,
    tail: &[usize],
    data: &'a [T],
) -> ort::Result<SessionInputValue<'a>> {
    // By rank, so that the shape needs no heap.
    match *tail {
        [] => Ok(TensorRef::from_array_view(([rows], data))?.into()),
        [a] => Ok(TensorRef::from_array_view(([rows, a], data))?.into()),
        [a, b] => Ok(TensorRef::from_array_view(([rows, a, b], data))?.into()),
        _ => {
            let shape: Vec<usize> = std::iter::once(rows).chain(tail.iter().copied()).collect();
            Ok(TensorRef::from_array_view((shape, data))?.into())
        }
    }
}

/// `rows` as features; `cast` is Rust's and NumPy's conversion, nearest with ties to even.
fn values<T: Copy>(
    feed: &Feed,
    features: usize,
    rows: &[Row<'_>],
    to: &mut Vec<T>,
    cast: impl Fn(f64) -> T,
    finite: impl Fn(T) -> bool,
) -> Result<(), RunError> {
    let Source::Features { columns, window } = &feed.source else { return Err(mismatch(feed)) };
    to.clear();
    to.reserve(rows.len() * feed.len());
    let whole = columns.len() == features && columns.iter().enumerate().all(|(i, column)| i == *column);
    for (i, row) in rows.iter().enumerate() {
        let newest = &row.window[row.window.len() - window * features..];
        let start = to.len();
        if whole {
            to.extend(newest.iter().map(|v| cast(*v)));
        } else {
            for bar in newest.chunks_exact(features) {
                to.extend(columns.iter().map(|column| cast(bar[*column])));
            }
        }
        // Trees, LSTMs and quantised graphs turn NaN and infinity into a plausible number.
        if let Some(at) = to[start..].iter().position(|v| !finite(*v)) {
            let column = columns[at % columns.len()];
            let value = newest[at / columns.len() * features + column];
            let detail = format!("feature {column} is {value}, which is no finite {} number", feed.element);
            return Err(RunError::Row { row: i, detail });
        }
    }
    Ok(())
}

/// `rows` as the numbers of their symbols.
fn numbers<T>(
    feed: &Feed,
    rows: &[Row<'_>],
    to: &mut Vec<T>,
    cast: impl Fn(i64) -> Option<T>,
) -> Result<(), RunError> {
    let Source::SymbolIds(ids) = &feed.source else { return Err(mismatch(feed)) };
    to.clear();
    for (i, row) in rows.iter().enumerate() {
        let id = ids.get(row.symbol).copied().and_then(&cast);
        let id = id.ok_or_else(|| RunError::Row {
            row: i,
            detail: format!("input `{}` has no number for the symbol `{}`", feed.name, row.symbol),
        })?;
        to.push(id);
    }
    Ok(())
}

/// The plan gives float inputs features and whole-number inputs symbols; anything else is a defect.
fn mismatch(feed: &Feed) -> RunError {
    RunError::Model(format!("input `{}` was planned wrongly", feed.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn feed(element: Element, columns: &[usize], window: usize) -> Feed {
        let source = Source::Features { columns: columns.to_vec(), window };
        Feed { name: "x".to_owned(), element, tail: vec![window, columns.len()], source }
    }

    fn row(window: &[f64]) -> Row<'_> {
        Row { window, symbol: "A" }
    }

    #[test]
    fn the_newest_bars_and_the_asked_columns_are_laid_out() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
        let mut staging = Staging::new(feed(Element::F32, &[1, 0], 2), 2);
        for _ in 0..2 {
            staging.fill(&[row(&a), row(&b)]).unwrap();
            let Buffer::F32(data) = &staging.buffer else { panic!() };
            assert_eq!(data, &[4.0, 3.0, 6.0, 5.0, 40.0, 30.0, 60.0, 50.0]);
        }
        let mut staging = Staging::new(feed(Element::F64, &[0, 1], 3), 2);
        staging.fill(&[row(&a)]).unwrap();
        let Buffer::F64(data) = &staging.buffer else { panic!() };
        assert_eq!(data, &a);
    }

    #[test]
    fn a_value_that_is_not_finite_or_becomes_so_is_refused_with_its_row() {
        for (element, bad) in [
            (Element::F32, f64::NAN),
            (Element::F32, 1e300),
            (Element::F64, f64::INFINITY),
            (Element::F16, 1e6),
        ] {
            let mut staging = Staging::new(feed(element, &[1], 1), 2);
            // What the input does not read may be anything.
            staging.fill(&[row(&[f64::NAN, 1.0])]).unwrap();
            let error = staging.fill(&[row(&[0.0, 1.0]), row(&[0.0, bad])]).unwrap_err();
            assert!(
                matches!(&error, RunError::Row { row: 1, detail } if detail.contains("feature 1")),
                "{error}"
            );
        }
    }

    #[test]
    fn symbols_become_numbers() {
        let source = Source::SymbolIds(BTreeMap::from([("A".to_owned(), 7), ("B".to_owned(), i64::MAX)]));
        let feed = |element| Feed { name: "id".to_owned(), element, tail: vec![], source: source.clone() };
        let mut staging = Staging::new(feed(Element::I64), 1);
        staging.fill(&[row(&[0.0]), Row { window: &[0.0], symbol: "B" }]).unwrap();
        assert!(matches!(&staging.buffer, Buffer::I64(ids) if ids == &[7, i64::MAX]));
        let error = staging.fill(&[Row { window: &[0.0], symbol: "C" }]).unwrap_err().to_string();
        assert!(error.contains("`C`"), "{error}");
        let mut staging = Staging::new(feed(Element::I32), 1);
        assert!(staging.fill(&[Row { window: &[0.0], symbol: "B" }]).is_err());
    }
}
