//! Between the library's types and ours: what ports are declared as, what came back, and its values.

use super::RunError;
use crate::predict::signature::{Element, OutputPlan, Port, Read, Shape};
use half::f16;
use ort::session::SessionOutputs;
use ort::value::{
    DynMapValueType, DynValue, Outlet, PrimitiveTensorElementType, TensorElementType, ValueRef, ValueType,
};

fn element(ty: TensorElementType) -> Element {
    match ty {
        TensorElementType::Float16 => Element::F16,
        TensorElementType::Float32 => Element::F32,
        TensorElementType::Float64 => Element::F64,
        TensorElementType::Int32 => Element::I32,
        TensorElementType::Int64 => Element::I64,
        TensorElementType::Bool => Element::Bool,
        TensorElementType::String => Element::Text,
        other => Element::Other(other.to_string()),
    }
}

fn shape(dtype: &ValueType) -> Shape {
    match dtype {
        ValueType::Tensor { ty, shape, .. } => Shape::Tensor(element(*ty), shape.iter().copied().collect()),
        ValueType::Sequence(inner) => match **inner {
            ValueType::Map { key, value: TensorElementType::Float32 } => {
                Shape::Maps(element(key), Vec::new())
            }
            _ => Shape::Other(dtype.to_string()),
        },
        _ => Shape::Other(dtype.to_string()),
    }
}

/// A port as it is declared.
pub(super) fn port(outlet: &Outlet) -> Port {
    Port { name: outlet.name().to_owned(), shape: shape(outlet.dtype()) }
}

/// An output as it came back for one row.
pub(super) fn returned(name: &str, value: &ValueRef<'_>) -> Port {
    let shape = match shape(value.dtype()) {
        Shape::Maps(key, _) => {
            let keys = maps(value).ok().and_then(|maps| match key {
                Element::Text => keys_of::<String>(maps.first()?),
                _ => keys_of::<i64>(maps.first()?),
            });
            Shape::Maps(key, keys.unwrap_or_default())
        }
        other => other,
    };
    Port { name: name.to_owned(), shape }
}

fn maps(value: &DynValue) -> ort::Result<Vec<ort::value::Value<DynMapValueType>>> {
    value.try_extract_sequence::<DynMapValueType>()
}

fn keys_of<K: Key>(map: &ort::value::Value<DynMapValueType>) -> Option<Vec<String>> {
    let pairs = map.try_extract_key_values::<K, f32>().ok()?;
    Some(pairs.into_iter().map(|(key, _)| key.to_string()).collect())
}

/// The two types of keys that maps have.
trait Key: ort::value::IntoTensorElementType + Clone + std::hash::Hash + Eq + ToString {
    fn is(&self, text: &str) -> bool;
}

impl Key for String {
    fn is(&self, text: &str) -> bool {
        self == text
    }
}

impl Key for i64 {
    fn is(&self, text: &str) -> bool {
        text.parse() == Ok(*self)
    }
}

/// Reads the outputs of a run of `rows` rows into `out`, row after row.
pub(super) fn read(
    outputs: &SessionOutputs<'_>,
    plan: &OutputPlan,
    rows: usize,
    out: &mut Vec<f64>,
) -> Result<(), RunError> {
    out.resize(rows * plan.values_per_row, 0.0);
    for read in &plan.reads {
        let value = &outputs[read.output];
        let to = Table { values: out.as_mut_slice(), stride: plan.values_per_row, rows, read };
        match &read.element {
            Element::Text if !read.keys.is_empty() => to.maps::<String>(value),
            Element::I64 if !read.keys.is_empty() => to.maps::<i64>(value),
            Element::F16 => to.tensor(value, f16::to_f64),
            Element::F32 => to.tensor(value, |v: f32| f64::from(v)),
            Element::F64 => to.tensor(value, |v: f64| v),
            Element::I32 => to.tensor(value, |v: i32| f64::from(v)),
            Element::I64 => to.tensor(value, |v: i64| v as f64),
            Element::Bool => to.tensor(value, |v: bool| f64::from(u8::from(v))),
            Element::Text | Element::Other(_) => Err(to.wrong("it was planned wrongly".to_owned())),
        }?;
    }
    Ok(())
}

/// One output's columns within the table of all results.
struct Table<'a> {
    values: &'a mut [f64],
    stride: usize,
    rows: usize,
    read: &'a Read,
}

impl Table<'_> {
    fn wrong(&self, detail: String) -> RunError {
        RunError::Output { output: self.read.name.clone(), detail }
    }

    fn tensor<T: PrimitiveTensorElementType + Copy>(
        self,
        value: &DynValue,
        cast: impl Fn(T) -> f64,
    ) -> Result<(), RunError> {
        let (shape, data) =
            value.try_extract_tensor::<T>().map_err(|e| self.wrong(e.message().to_owned()))?;
        let columns = self.read.columns;
        // What came back counts, not what is declared.
        let by_row = self.rows == 1 || shape.first() == Some(&(self.rows as i64));
        if data.len() != self.rows * columns || !by_row {
            let detail = format!("{:?} came back for {} rows of {columns} values", &shape[..], self.rows);
            return Err(self.wrong(detail));
        }
        for (row, values) in data.chunks_exact(columns).enumerate() {
            let at = row * self.stride + self.read.at;
            for (to, value) in self.values[at..at + columns].iter_mut().zip(values) {
                *to = cast(*value);
            }
        }
        Ok(())
    }

    fn maps<K: Key>(self, value: &DynValue) -> Result<(), RunError> {
        let maps = maps(value).map_err(|e| self.wrong(e.message().to_owned()))?;
        if maps.len() != self.rows {
            return Err(self.wrong(format!("{} maps came back for {} rows", maps.len(), self.rows)));
        }
        let keys = &self.read.keys;
        for (row, map) in maps.iter().enumerate() {
            let pairs =
                map.try_extract_key_values::<K, f32>().map_err(|e| self.wrong(e.message().to_owned()))?;
            let at = row * self.stride + self.read.at;
            let complete = pairs.len() == keys.len();
            for (column, key) in keys.iter().enumerate() {
                let same_place = pairs.get(column).filter(|(k, _)| k.is(key));
                let pair = same_place.or_else(|| pairs.iter().find(|(k, _)| k.is(key))).filter(|_| complete);
                let (_, value) = pair.ok_or_else(|| {
                    self.wrong(format!("row {row} has other classes than {}", keys.join(", ")))
                })?;
                self.values[at + column] = f64::from(*value);
            }
        }
        Ok(())
    }
}
