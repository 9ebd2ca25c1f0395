//! Requests to infer: a JSON header, and behind it the tensors that are sent as they lie in memory.

use super::datatype::{datatype, unknown};
use super::numbers::Numbers;
use crate::predict::{Port, Shape, Tensor, TensorData};
use half::f16;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;

/// The length of the JSON before binary tensors.
pub const LENGTH_HEADER: &str = "inference-header-content-length";

/// A request, read.
#[derive(Clone, Debug, PartialEq)]
pub struct InferRequest {
    /// What the caller calls it; echoed.
    pub id: Option<String>,
    /// The tensors.
    pub inputs: Vec<Tensor>,
    /// The outputs that are wanted, and whether each is to come in binary; `None`: all.
    pub outputs: Option<Vec<(String, bool)>>,
    /// Whether outputs come in binary where nothing else is said.
    pub binary: bool,
    /// How long the caller has it wait for a session at most.
    pub timeout: Option<Duration>,
}

#[derive(Deserialize)]
struct RequestJson<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    parameters: Option<Map<String, Value>>,
    #[serde(borrow)]
    inputs: Vec<InputJson<'a>>,
    #[serde(borrow)]
    outputs: Option<Vec<OutputJson<'a>>>,
}

#[derive(Deserialize)]
struct InputJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    shape: Vec<i64>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    parameters: Option<Map<String, Value>>,
    data: Option<Numbers>,
}

#[derive(Deserialize)]
struct OutputJson<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    parameters: Option<Map<String, Value>>,
}

/// Reads a body; `length` is the header [`LENGTH_HEADER`], where it was sent.
///
/// # Errors
/// What is wrong with it.
pub fn read(body: &[u8], length: Option<&[u8]>) -> Result<InferRequest, String> {
    let (header, mut rest) = match length {
        None => (body, &[][..]),
        Some(length) => {
            let text = std::str::from_utf8(length).unwrap_or_default().trim();
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let length = digits.then(|| text.parse::<usize>().ok()).flatten();
            let length = length.filter(|length| *length <= body.len()).ok_or_else(|| {
                format!(
                    "Inference-Header-Content-Length is `{text}`: 0 to {}, the body's length, is possible",
                    body.len()
                )
            })?;
            body.split_at(length)
        }
    };
    let json: RequestJson<'_> = serde_json::from_slice(header)
        .map_err(|error| format!("the request is no inference request: {error}"))?;
    let parameters = json.parameters.unwrap_or_default();
    if let Some(name) = parameters.keys().find(|name| name.starts_with("triton_")) {
        return Err(format!("the parameter `{name}` is reserved: parameters must not begin with triton_"));
    }
    whole(&parameters, "priority")?;
    // In microseconds; 0 is none.
    let timeout = whole(&parameters, "timeout")?.filter(|us| *us > 0).map(Duration::from_micros);
    let binary = truth(&parameters, "binary_data_output")?.unwrap_or(false);
    let mut inputs = Vec::with_capacity(json.inputs.len());
    for input in json.inputs {
        inputs.push(tensor(input, &mut rest)?);
    }
    if !rest.is_empty() {
        return Err(format!("{} bytes are left behind the last tensor", rest.len()));
    }
    // No output named is every output.
    let outputs = match json.outputs.filter(|outputs| !outputs.is_empty()) {
        None => None,
        Some(outputs) => {
            let mut wanted = Vec::with_capacity(outputs.len());
            for OutputJson { name, parameters } in outputs {
                let parameters = parameters.unwrap_or_default();
                refuse_shared_memory(&parameters).map_err(|detail| format!("output `{name}`: {detail}"))?;
                if parameters.get("classification").is_some_and(|value| value.as_u64() != Some(0)) {
                    return Err("`classification` is not offered: see the server's extensions".to_owned());
                }
                wanted.push((name.into_owned(), truth(&parameters, "binary_data")?.unwrap_or(binary)));
            }
            Some(wanted)
        }
    };
    Ok(InferRequest { id: json.id.map(Cow::into_owned), inputs, outputs, binary, timeout })
}

/// Whether a body is one row of a model's only input as it lies in memory, and no JSON at all: the header is 0 then.
pub fn is_raw(length: Option<&[u8]>) -> bool {
    length.is_some_and(|length| length.trim_ascii() == b"0")
}

/// Reads a body for which [`is_raw`] holds, for a model of these inputs; all outputs come in binary.
///
/// # Errors
/// Why it is not one row.
pub fn read_raw(body: &[u8], inputs: &[Port]) -> Result<InferRequest, String> {
    let [Port { name, shape: Shape::Tensor(element, dims) }] = inputs else {
        let count = inputs.len();
        return Err(format!(
            "the model takes {count} inputs: raw bytes (Inference-Header-Content-Length: 0) are one"
        ));
    };
    // Of the rows, the only dimension that varies, it is one.
    let shape: Vec<i64> = dims.iter().map(|dim| (*dim).max(1)).collect();
    let data = from_bytes(body, datatype(element))?;
    let values = shape.iter().try_fold(1_i64, |values, dim| values.checked_mul(*dim));
    if i64::try_from(data.len()).ok() != values {
        return Err(format!("raw bytes are one row, of the shape {shape:?}: {} values came", data.len()));
    }
    let inputs = vec![Tensor { name: name.clone(), shape, data }];
    Ok(InferRequest { id: None, inputs, outputs: None, binary: true, timeout: None })
}

/// A whole number, which some clients write as text.
fn whole(parameters: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    let Some(value) = parameters.get(name) else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.map(Some).ok_or_else(|| format!("the parameter `{name}` must be a whole number"))
}

fn truth(parameters: &Map<String, Value>, name: &str) -> Result<Option<bool>, String> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(yes)) => Ok(Some(*yes)),
        Some(other) => Err(format!("the parameter `{name}` is {other}: true or false is possible")),
    }
}

/// A caller that names a region would read there what was never written.
fn refuse_shared_memory(parameters: &Map<String, Value>) -> Result<(), String> {
    if parameters.keys().any(|name| name.starts_with("shared_memory_")) {
        return Err("shared memory is not offered: tensors are sent as JSON or in binary".to_owned());
    }
    Ok(())
}

fn tensor(input: InputJson<'_>, rest: &mut &[u8]) -> Result<Tensor, String> {
    let InputJson { name, shape, datatype, parameters, data } = input;
    let wrong = |detail: String| format!("input `{name}`: {detail}");
    let parameters = parameters.unwrap_or_default();
    refuse_shared_memory(&parameters).map_err(wrong)?;
    let size = parameters.get("binary_data_size");
    let data = match (size, data) {
        (Some(_), Some(_)) => {
            return Err(wrong("`data` and `binary_data_size` exclude each other".to_owned()));
        }
        (None, None) => return Err(wrong("it has neither `data` nor `binary_data_size`".to_owned())),
        (None, Some(numbers)) => numbers.into_data(&datatype).map_err(wrong)?,
        (Some(size), None) => {
            let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
            let size = size.ok_or_else(|| wrong("`binary_data_size` is no whole number".to_owned()))?;
            if size > rest.len() {
                return Err(wrong(format!("{size} bytes are announced, {} came", rest.len())));
            }
            let (bytes, behind) = rest.split_at(size);
            *rest = behind;
            from_bytes(bytes, &datatype).map_err(wrong)?
        }
    };
    Ok(Tensor { name: name.into_owned(), shape, data })
}

/// Little-endian, packed.
fn from_bytes(bytes: &[u8], datatype: &str) -> Result<TensorData, String> {
    fn all<const N: usize, T>(bytes: &[u8], of: fn([u8; N]) -> T) -> Result<Vec<T>, String> {
        let (chunks, left) = bytes.as_chunks::<N>();
        if !left.is_empty() {
            return Err(format!("{} bytes are no whole number of values of {N} bytes", bytes.len()));
        }
        Ok(chunks.iter().map(|chunk| of(*chunk)).collect())
    }
    Ok(match datatype {
        "FP16" => TensorData::F16(all(bytes, f16::from_le_bytes)?),
        "FP32" => TensorData::F32(all(bytes, f32::from_le_bytes)?),
        "FP64" => TensorData::F64(all(bytes, f64::from_le_bytes)?),
        "INT32" => TensorData::I32(all(bytes, i32::from_le_bytes)?),
        "INT64" => TensorData::I64(all(bytes, i64::from_le_bytes)?),
        "BOOL" => TensorData::Bool(all(bytes, |[byte]: [u8; 1]| byte != 0)?),
        other => return Err(unknown(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_binary_say_the_same() {
        let nested =
            br#"{"id":"","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2.5],[3,4]]}]}"#;
        let all_json = read(nested, None).unwrap();
        assert_eq!(all_json.id.as_deref(), Some(""));
        assert_eq!(all_json.inputs[0].data, TensorData::F32(vec![1.0, 2.5, 3.0, 4.0]));
        let length = nested.len().to_string();
        assert_eq!(read(nested, Some(length.as_bytes())).unwrap(), all_json);
        let header = br#"{"id":"","inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","parameters":{"binary_data_size":16}}]}"#;
        let values: Vec<u8> = [1.0_f32, 2.5, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let length = header.len().to_string();
        let body = [&header[..], &values].concat();
        assert_eq!(read(&body, Some(length.as_bytes())).unwrap(), all_json);
        for (cut, what) in [(1, "announced"), (16, "announced")] {
            let error = read(&body[..body.len() - cut], Some(length.as_bytes())).unwrap_err();
            assert!(error.contains(what), "{error}");
        }
        assert!(
            read(&[&body[..], b"x"].concat(), Some(length.as_bytes())).unwrap_err().contains("left behind")
        );
        for length in ["-1", "x", "", "9999"] {
            assert!(read(&body, Some(length.as_bytes())).unwrap_err().contains("Content-Length"), "{length}");
        }
    }

    #[test]
    fn parameters_are_held_to_what_they_may_be() {
        let with = |parameters: &str| {
            let text = format!(r#"{{"parameters":{parameters},"inputs":[]}}"#);
            read(text.as_bytes(), None)
        };
        assert!(with(r#"{"binary_data_output":true}"#).unwrap().binary);
        let timed = with(r#"{"priority":1,"timeout":"500"}"#).unwrap();
        assert_eq!(timed.timeout, Some(Duration::from_micros(500)));
        assert_eq!(with(r#"{"timeout":0}"#).unwrap().timeout, None);
        assert!(with(r#"{"priority":"high"}"#).is_err());
        assert!(with(r#"{"triton_x":1}"#).unwrap_err().contains("reserved"));
        assert!(with(r#"{"binary_data_output":1}"#).is_err());
        assert!(with(r#"{"anything":1}"#).is_ok());
    }
}
