//! Runs over a caller's own tensors: what the graph takes and gives, by name, as it is.

use super::watch::Ended;
use super::{RunError, Session, Staging, brief, memory, values};
use crate::predict::signature::{Element, Port, Shape};
use half::f16;
use ort::session::SessionInputValue;
use ort::value::{PrimitiveTensorElementType, TensorRef, ValueRef};

/// The values of a tensor, row after row.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// 16-bit floats.
    F16(Vec<f16>),
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 32-bit signed whole numbers.
    I32(Vec<i32>),
    /// 64-bit signed whole numbers.
    I64(Vec<i64>),
    /// Truths.
    Bool(Vec<bool>),
    /// Texts.
    Text(Vec<String>),
}

/// A tensor under its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The input's or output's name in the graph.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<i64>,
    /// Its values.
    pub data: TensorData,
}

impl TensorData {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F16(data) => data.len(),
            Self::F32(data) => data.len(),
            Self::F64(data) => data.len(),
            Self::I32(data) => data.len(),
            Self::I64(data) => data.len(),
            Self::Bool(data) => data.len(),
            Self::Text(data) => data.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of its values.
    pub fn element(&self) -> Element {
        match self {
            Self::F16(_) => Element::F16,
            Self::F32(_) => Element::F32,
            Self::F64(_) => Element::F64,
            Self::I32(_) => Element::I32,
            Self::I64(_) => Element::I64,
            Self::Bool(_) => Element::Bool,
            Self::Text(_) => Element::Text,
        }
    }

    /// The place of the first value that is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<usize> {
        match self {
            Self::F16(data) => data.iter().position(|value| !value.is_finite()),
            Self::F32(data) => data.iter().position(|value| !value.is_finite()),
            Self::F64(data) => data.iter().position(|value| !value.is_finite()),
            _ => None,
        }
    }
}

impl Session {
    /// What it takes: each input with its type and its dimensions, the first of them -1 where rows may be many.
    pub fn input_ports(&self) -> Vec<Port> {
        let rows = if self.batch_max == 1 { 1 } else { -1 };
        let port = |staging: &Staging| {
            let feed = staging.feed();
            let dims = std::iter::once(rows).chain(feed.tail.iter().map(|dim| *dim as i64)).collect();
            Port { name: feed.name.clone(), shape: Shape::Tensor(feed.element.clone(), dims) }
        };
        self.staging.iter().map(port).collect()
    }

    /// What it gives; a map a row (ZipMap) as a tensor of its values in the order of their keys.
    pub fn output_ports(&self) -> Vec<Port> {
        let (_, outputs) = super::open::ports(&self.inner);
        let outputs = outputs.into_iter().enumerate();
        outputs
            .filter_map(|(at, port)| match port.shape {
                Shape::Tensor(..) => Some(port),
                Shape::Maps(..) => {
                    let read = self.plan.reads.iter().find(|read| read.output == at)?;
                    let shape = Shape::Tensor(Element::F32, vec![-1, read.columns as i64]);
                    Some(Port { name: port.name, shape })
                }
                Shape::Other(_) => None,
            })
            .collect()
    }

    /// Runs `inputs`, which name every input once and fit [`Session::input_ports`], and gives every output of
    /// [`Session::output_ports`].
    ///
    /// # Errors
    /// As [`RunError`] lists.
    pub fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let rows = inputs.first().and_then(|tensor| tensor.shape.first()).copied().unwrap_or(0);
        let rows = usize::try_from(rows).unwrap_or(0);
        // An empty batch makes ONNX Runtime end the whole process on some graphs.
        if rows == 0 || rows > self.batch_max {
            return Err(RunError::Rows { rows, max: self.batch_max });
        }
        let model = |e: ort::Error| RunError::Model(brief(e.message()));
        let values = inputs.iter().map(|tensor| Ok((tensor.name.as_str(), value_of(tensor)?)));
        let values = values.collect::<ort::Result<Vec<_>>>().map_err(model)?;
        let Self { inner, watch, plan, memory_bytes_max, .. } = self;
        let limit_bytes = *memory_bytes_max;
        let long = watch.begin().map_err(model)?;
        let (result, spent) = memory::within(limit_bytes, || inner.run_with_options(values, watch.options()));
        drop(long);
        match (result, watch.over()) {
            (Ok(outputs), _) => {
                let mut table = Vec::new();
                if plan.reads.iter().any(|read| !read.keys.is_empty()) {
                    values::read(&outputs, plan, rows, &mut table)?;
                }
                let mut tensors = Vec::new();
                for (at, (name, value)) in outputs.iter().enumerate() {
                    let maps = plan.reads.iter().find(|read| read.output == at && !read.keys.is_empty());
                    if let Some(read) = maps {
                        let of_row = |row: &[f64]| row[read.at..read.at + read.columns].to_vec();
                        let all = table.chunks_exact(plan.values_per_row).flat_map(of_row);
                        let data = TensorData::F32(all.map(|value| value as f32).collect());
                        let shape = vec![rows as i64, read.columns as i64];
                        tensors.push(Tensor { name: name.to_owned(), shape, data });
                        continue;
                    }
                    tensors.extend(tensor_of(name, &value));
                }
                Ok(tensors)
            }
            (Err(_), Some(Ended::Overdue)) => Err(RunError::Deadline { deadline: watch.deadline() }),
            (Err(_), Some(Ended::Asked)) => Err(RunError::Terminated),
            (Err(e), None) => Err(match spent.refused_bytes {
                Some(asked_bytes) => RunError::Memory { asked_bytes, limit_bytes },
                None => model(e),
            }),
        }
    }
}

fn value_of(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    fn view<'a, T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static>(
        tensor: &Tensor,
        data: &'a [T],
    ) -> ort::Result<SessionInputValue<'a>> {
        Ok(TensorRef::from_array_view((tensor.shape.clone(), data))?.into())
    }
    match &tensor.data {
        TensorData::F16(data) => view(tensor, data),
        TensorData::F32(data) => view(tensor, data),
        TensorData::F64(data) => view(tensor, data),
        TensorData::I32(data) => view(tensor, data),
        TensorData::I64(data) => view(tensor, data),
        TensorData::Bool(data) => view(tensor, data),
        TensorData::Text(_) => Err(ort::Error::new("text is no input that is fed here")),
    }
}

/// An output that is a tensor of a known type.
fn tensor_of(name: &str, value: &ValueRef<'_>) -> Option<Tensor> {
    fn read<T: PrimitiveTensorElementType + Copy>(value: &ValueRef<'_>) -> Option<(Vec<i64>, Vec<T>)> {
        let (shape, data) = value.try_extract_tensor::<T>().ok()?;
        Some((shape.iter().copied().collect(), data.to_vec()))
    }
    let Shape::Tensor(element, _) = values::returned(name, value).shape else { return None };
    let (shape, data) = match element {
        Element::F16 => read(value).map(|(shape, data)| (shape, TensorData::F16(data))),
        Element::F32 => read(value).map(|(shape, data)| (shape, TensorData::F32(data))),
        Element::F64 => read(value).map(|(shape, data)| (shape, TensorData::F64(data))),
        Element::I32 => read(value).map(|(shape, data)| (shape, TensorData::I32(data))),
        Element::I64 => read(value).map(|(shape, data)| (shape, TensorData::I64(data))),
        Element::Bool => read(value).map(|(shape, data)| (shape, TensorData::Bool(data))),
        Element::Text => {
            let (shape, data) = value.try_extract_strings().ok()?;
            Some((shape.iter().copied().collect(), TensorData::Text(data)))
        }
        Element::Other(_) => None,
    }?;
    Some(Tensor { name: name.to_owned(), shape, data })
}
