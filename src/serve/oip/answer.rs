//! Answers to a request to infer: JSON, and behind it the outputs that were asked for in binary, in the outputs' order.

use super::datatype::datatype;
use super::request::InferRequest;
use crate::predict::{Inferred, Tensor, TensorData};
use std::fmt::Write as _;

/// A body, and the length of its JSON where something follows it.
pub struct Body {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How many of them are JSON, where not all are.
    pub json_len: Option<usize>,
}

/// Writes what a model answered.
///
/// # Errors
/// When an output is wanted that is not there.
pub fn write(model: &str, request: &InferRequest, inferred: &Inferred) -> Result<Body, String> {
    let wanted: Vec<(&Tensor, bool)> = match &request.outputs {
        None => inferred.outputs.iter().map(|tensor| (tensor, request.binary)).collect(),
        Some(wanted) => {
            let mut found = Vec::with_capacity(wanted.len());
            for (name, binary) in wanted {
                let tensor = inferred.outputs.iter().find(|tensor| tensor.name == *name);
                let tensor = tensor.ok_or_else(|| format!("there is no output `{name}`"))?;
                found.push((tensor, *binary));
            }
            found
        }
    };
    let mut json = String::with_capacity(256);
    let _ = write!(json, "{{\"model_name\":{},\"model_version\":\"{}\"", quoted(model), inferred.version);
    if let Some(id) = &request.id {
        let _ = write!(json, ",\"id\":{}", quoted(id));
    }
    json.push_str(",\"outputs\":[");
    let mut binary_part = Vec::new();
    for (at, (tensor, binary)) in wanted.iter().enumerate() {
        let Tensor { name, shape, data } = tensor;
        if at > 0 {
            json.push(',');
        }
        let datatype = datatype(&data.element());
        let _ = write!(json, "{{\"name\":{},\"datatype\":\"{datatype}\",\"shape\":{shape:?},", quoted(name));
        // FP16 has no JSON form.
        if *binary || matches!(data, TensorData::F16(_)) {
            let from = binary_part.len();
            push_bytes(data, &mut binary_part);
            let size = binary_part.len() - from;
            let _ = write!(json, "\"parameters\":{{\"binary_data_size\":{size}}}}}");
        } else {
            json.push_str("\"data\":[");
            push_json(data, &mut json);
            json.push_str("]}");
        }
    }
    json.push_str("]}");
    let json_len = (!binary_part.is_empty()).then_some(json.len());
    let mut bytes = json.into_bytes();
    bytes.extend_from_slice(&binary_part);
    Ok(Body { bytes, json_len })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn push_json(data: &TensorData, json: &mut String) {
    fn all<T>(values: &[T], json: &mut String, mut one: impl FnMut(&T, &mut String)) {
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                json.push(',');
            }
            one(value, json);
        }
    }
    // Writing to memory does not fail. Debug writes a number so that it is read back as the same, and finite ones as JSON
    // has them.
    fn push(json: &mut String, value: std::fmt::Arguments<'_>) {
        let _ = json.write_fmt(value);
    }
    match data {
        TensorData::F16(_) => {}
        TensorData::F32(values) => all(values, json, |value, json| push(json, format_args!("{value:?}"))),
        TensorData::F64(values) => all(values, json, |value, json| push(json, format_args!("{value:?}"))),
        TensorData::I32(values) => all(values, json, |value, json| push(json, format_args!("{value}"))),
        TensorData::I64(values) => all(values, json, |value, json| push(json, format_args!("{value}"))),
        TensorData::Bool(values) => all(values, json, |value, json| push(json, format_args!("{value}"))),
        TensorData::Text(values) => all(values, json, |value, json| json.push_str(&quoted(value))),
    }
}

/// Little-endian, packed; texts with their lengths before them.
fn push_bytes(data: &TensorData, out: &mut Vec<u8>) {
    match data {
        TensorData::F16(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        TensorData::F32(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        TensorData::F64(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        TensorData::I32(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        TensorData::I64(values) => values.iter().for_each(|value| out.extend(value.to_le_bytes())),
        TensorData::Bool(values) => out.extend(values.iter().map(|value| u8::from(*value))),
        TensorData::Text(values) => {
            for text in values {
                out.extend((text.len() as u32).to_le_bytes());
                out.extend(text.as_bytes());
            }
        }
    }
}
