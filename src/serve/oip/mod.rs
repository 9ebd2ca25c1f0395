//! The Open Inference Protocol, version 2, at `/v2`: with Triton's extensions for binary tensors, configuration, statistics
//! and the repository, as far as `tritonclient` and `perf_analyzer` need them.

mod answer;
mod coding;
mod datatype;
mod numbers;
mod request;
pub mod stats;

pub use request::{InferRequest, LENGTH_HEADER, read as read_request};

use super::http::{JSON, Request, Response, Then};
use super::problem::Problem;
use super::service::{Captures, Service};
use crate::predict::{Described, Element, InferError, Port, Shape, Standing};
use datatype::datatype;
use serde_json::{Map, Value, json};
use stats::Parts;
use std::borrow::Cow;
use std::time::Instant;

/// What is offered beyond the protocol, by Triton's names.
const EXTENSIONS: [&str; 5] =
    ["binary_tensor_data", "model_configuration", "statistics", "model_repository", "parameters"];
/// What runs the models, by Triton's name.
const PLATFORM: &str = "onnxruntime_onnx";

type Answered = Result<Then, Problem>;

impl From<InferError> for Problem {
    fn from(error: InferError) -> Self {
        let (status, reason) = match &error {
            InferError::Unknown(_) => (404, "unknown_model"),
            InferError::Tensors(_) => (400, "bad_tensors"),
            InferError::Unavailable(_) => (503, "unavailable"),
            InferError::Deadline(_) => (504, "deadline"),
            InferError::Failed(_) => (500, "model_failed"),
        };
        Self::new(status, reason, error.to_string())
    }
}

fn answer(response: &mut Response, value: &Value) -> Answered {
    response.json(200, value);
    Ok(Then::Next)
}

/// The model's name, and the version where the path has one.
fn named<'a>(captures: &'a Captures<'_>) -> Result<(&'a str, Option<u32>), Problem> {
    let version = captures.get(1).map(|text| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.ok_or_else(|| {
            Problem::new(
                404,
                "unknown_version",
                format!("`{text}` is no version: versions are whole numbers"),
            )
        })
    });
    Ok((&captures[0], version.transpose()?))
}

/// `GET /v2`.
pub fn server(_: &Service, _: &Request<'_>, _: &Captures<'_>, response: &mut Response) -> Answered {
    answer(response, &json!({"name": "vela", "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS}))
}

/// `GET /v2/health/live`.
pub fn live(_: &Service, _: &Request<'_>, _: &Captures<'_>, response: &mut Response) -> Answered {
    answer(response, &json!({"live": true}))
}

/// `GET /v2/health/ready`.
pub fn ready(service: &Service, _: &Request<'_>, _: &Captures<'_>, response: &mut Response) -> Answered {
    let ready = !service.engine.is_stopping();
    response.json(if ready { 200 } else { 503 }, &json!({"ready": ready}));
    Ok(Then::Next)
}

/// `GET /v2/models/{model}/ready`.
pub fn model_ready(
    service: &Service,
    _: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Answered {
    let (name, version) = named(captures)?;
    service.inference.ready(name, version)?;
    answer(response, &json!({"name": name, "ready": true}))
}

/// Dimensions and type of a port.
fn dims_of(port: &Port) -> (&'static str, Vec<i64>) {
    match &port.shape {
        // No dimension is how an unknown rank arrives.
        Shape::Tensor(element, dims) if dims.is_empty() => (datatype(element), vec![-1]),
        Shape::Tensor(element, dims) => {
            (datatype(element), dims.iter().map(|dim| if *dim < 0 { -1 } else { *dim }).collect())
        }
        _ => (datatype(&Element::Text), vec![-1]),
    }
}

fn described(service: &Service, captures: &Captures<'_>) -> Result<std::sync::Arc<Described>, Problem> {
    let (name, version) = named(captures)?;
    Ok(service.inference.describe(name, version)?)
}

/// `GET /v2/models/{model}`.
pub fn metadata(
    service: &Service,
    _: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Answered {
    let described = described(service, captures)?;
    let model = service.inference.model(&captures[0])?;
    let mut versions: Vec<u32> = model.versions.iter().map(|version| version.number).collect();
    versions.sort_unstable();
    versions.dedup();
    let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
    let port = |port: &Port| {
        let (datatype, shape) = dims_of(port);
        json!({"name": port.name, "datatype": datatype, "shape": shape})
    };
    let inputs: Vec<Value> = described.inputs.iter().map(port).collect();
    let outputs: Vec<Value> = described.outputs.iter().map(port).collect();
    let name = &*captures[0];
    answer(
        response,
        &json!({"name": name, "versions": versions, "platform": PLATFORM, "inputs": inputs, "outputs": outputs}),
    )
}

/// `GET /v2/models/{model}/config`.
pub fn config(
    service: &Service,
    _: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Answered {
    let described = described(service, captures)?;
    let batched = described.rows_max > 1;
    let port = |port: &Port| {
        let (datatype, mut dims) = dims_of(port);
        if batched && !dims.is_empty() {
            // The first counts the rows, and is not named where there is a largest batch.
            dims.remove(0);
        }
        let word = if datatype == "BYTES" { "STRING" } else { datatype };
        json!({"name": port.name, "data_type": format!("TYPE_{word}"), "dims": dims})
    };
    let inputs: Vec<Value> = described.inputs.iter().map(port).collect();
    let outputs: Vec<Value> = described.outputs.iter().map(port).collect();
    let max_batch_size = if batched { described.rows_max } else { 0 };
    answer(
        response,
        &json!({
            "name": &*captures[0], "platform": PLATFORM, "backend": "onnxruntime",
            "max_batch_size": max_batch_size, "input": inputs, "output": outputs,
        }),
    )
}

/// `GET /v2/models/{model}/stats`.
pub fn stats(
    service: &Service,
    _: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Answered {
    let (name, version) = named(captures)?;
    let model = service.inference.model(name)?;
    let numbers = model.versions.iter().map(|version| version.number);
    let mut numbers: Vec<u32> =
        numbers.filter(|number| version.is_none_or(|wanted| wanted == *number)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.is_empty() {
        // Says which there are.
        service.inference.ready(name, version)?;
        return Err(Problem::new(404, "unknown_version", format!("`{name}` has no promoted version")));
    }
    let all: Vec<_> = numbers.iter().map(|number| service.stats.of(name, *number)).collect();
    answer(response, &json!({"model_stats": all}))
}

/// `GET /v2/models/stats`.
pub fn all_stats(service: &Service, _: &Request<'_>, _: &Captures<'_>, response: &mut Response) -> Answered {
    let catalogue = service.engine.catalogue();
    let all: Vec<_> = catalogue
        .models()
        .iter()
        .flat_map(|model| model.versions.iter().map(|version| service.stats.of(&model.name, version.number)))
        .collect();
    answer(response, &json!({"model_stats": all}))
}

/// `POST /v2/models/{model}/infer`.
pub fn infer(
    service: &Service,
    request: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Answered {
    let begin = Instant::now();
    let (name, version) = named(captures)?;
    let body = coding::body(request, || service.engine.settings().serve.body_bytes_max)?;
    let length = request.header(LENGTH_HEADER);
    let read = match request::is_raw(length) {
        true => request::read_raw(&body, &described(service, captures)?.inputs),
        false => read_request(&body, length),
    };
    let read = read.map_err(Problem::bad)?;
    let input_ns = begin.elapsed().as_nanos() as u64;
    let inferred = service.inference.run(name, version, &read.inputs, read.timeout).map_err(|error| {
        if matches!(error, InferError::Failed(_) | InferError::Deadline(_))
            && let Ok(model) = service.inference.model(name)
        {
            let version = version.unwrap_or(model.version().number);
            service.stats.failed(name, version, begin.elapsed().as_nanos() as u64);
        }
        Problem::from(error)
    })?;
    let at = Instant::now();
    let body = answer::write(name, &read, &inferred).map_err(Problem::bad)?;
    response.status = 200;
    response.body = body.bytes;
    match body.json_len {
        Some(length) => {
            response.content_type = Cow::Borrowed("application/octet-stream");
            response.header("Inference-Header-Content-Length", &length.to_string());
        }
        None => response.content_type = Cow::Borrowed(JSON),
    }
    if let Some(coding) = coding::accepted(request, response.body.len())
        && let Ok(small) = coding.compress(&response.body)
    {
        response.body = small;
        response.header("Content-Encoding", coding.name());
        response.header("Vary", "Accept-Encoding");
    }
    let (output_ns, all_ns) = (at.elapsed().as_nanos() as u64, begin.elapsed().as_nanos() as u64);
    service.stats.answered(name, &inferred, Parts { input_ns, output_ns, all_ns });
    Ok(Then::Next)
}

/// `POST /v2/repository/index`.
pub fn index(
    service: &Service,
    request: &Request<'_>,
    _: &Captures<'_>,
    response: &mut Response,
) -> Answered {
    let ready_only = match object(request)?.get("ready") {
        None => false,
        Some(Value::Bool(ready)) => *ready,
        Some(other) => return Err(Problem::bad(format!("`ready` is {other}: true or false is possible"))),
    };
    let mut all = Vec::new();
    for model in service.engine.catalogue().models() {
        for version in &model.versions {
            let unloaded = service.inference.ready(&model.name, Some(version.number)).err();
            let failed = version.standing() == Standing::Failed;
            let reason = unloaded.map(|error| error.to_string()).unwrap_or_default();
            let ready = reason.is_empty() && !failed;
            if ready || !ready_only {
                let state = if ready { "READY" } else { "UNAVAILABLE" };
                let version = version.number.to_string();
                all.push(json!({"name": &*model.name, "version": version, "state": state, "reason": reason}));
            }
        }
    }
    answer(response, &Value::Array(all))
}

/// The body of a request to the repository: an object, or nothing.
fn object(request: &Request<'_>) -> Result<Map<String, Value>, Problem> {
    if request.body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(request.body)
        .map_err(|error| Problem::bad(format!("the body is no JSON object: {error}")))
}

/// Inline files and configurations would come past the models folder.
fn refuse_inline(request: &Request<'_>) -> Result<(), Problem> {
    let body = object(request)?;
    let parameters = match body.get("parameters") {
        None => return Ok(()),
        Some(Value::Object(parameters)) => parameters,
        Some(other) => return Err(Problem::bad(format!("`parameters` is {other}: an object is possible"))),
    };
    if parameters.keys().any(|name| name == "config" || name.starts_with("file:")) {
        let detail = "models come from the models folder: put the version there and promote it, inline files are not taken";
        return Err(Problem::bad(detail));
    }
    Ok(())
}

/// `POST /v2/repository/models/{model}/load`.
pub fn load(
    service: &Service,
    request: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Answered {
    refuse_inline(request)?;
    request.waits();
    service.inference.load(&captures[0])?;
    response.set(200, JSON, "");
    Ok(Then::Next)
}

/// `POST /v2/repository/models/{model}/unload`.
pub fn unload(
    service: &Service,
    request: &Request<'_>,
    captures: &Captures<'_>,
    response: &mut Response,
) -> Answered {
    refuse_inline(request)?;
    service.inference.unload(&captures[0])?;
    response.set(200, JSON, "");
    Ok(Then::Next)
}
